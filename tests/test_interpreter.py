"""Programs in the sandbox: what they get, what they may not, and how their calls are batched."""

import json
import math
import os
import textwrap
import threading
from collections import Counter
from pathlib import Path

import pytest

from sdvp_core.base.images import ImageStore
from sdvp_core.interpreter.sandbox import Limits, Sandbox
from sdvp_core.interpreter.scheduler import Job, execute
from sdvp_core.interpreter.trace import Statistics
from sdvp_core.modules import stub
from sdvp_core.modules.call import Output
from sdvp_core.program import viper as viper_module

parse = viper_module.parse

SHARED = Path(
    os.environ.get("SDVP_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)
IMAGES = ImageStore(
    [
        {"image_id": f"i{k}", "width": 400, "height": 100, "path": "absent.png", "status": "ok"}
        for k in range(20)
    ]
    + [{"image_id": "bad", "path": "absent.png", "status": "corrupt", "message": "half a file"}]
)
QUICK = Limits(seconds=0.3)


class Scripted:
    """Answers by the call's first text: a word, boxes, scores, or an exception to raise."""

    def __init__(self, answers: dict) -> None:
        self.answers = answers
        self.batches: list[int] = []
        self.asked: list = []

    def answer(self, calls, images):
        self.batches.append(len(calls))
        self.asked += calls
        return [self.one(call) for call in calls]

    def one(self, call):
        given = self.answers.get(call.texts[0], self.answers.get("*"))
        if isinstance(given, Exception):
            raise given
        if isinstance(given, Output):
            return given
        if call.module == "locate":
            return Output(boxes=tuple(given), scores=(0.9,) * len(given))
        if call.module == "match":
            return Output(scores=tuple(given[: len(call.texts)]), answer=call.texts[0])
        return Output(answer=given, confidence=1.0)


def scripted(**answers) -> dict:
    return {name: Scripted(answers) for name in stub.NAMES}


def viper(body: str, parameters: str = "image") -> str:
    return f"def execute_command({parameters}):\n" + textwrap.indent(body, "    ")


def run(program: str, modules=None, images=("i0",), scene="image", limits=QUICK):
    dialect = "viper" if "def " in program else "visprog"
    job = Job("k", dialect, program, images, scene, "What?")
    [trace] = execute([job], modules or stub.load(), IMAGES, limits)
    assert trace.key == "k"
    assert (trace.error is None) == (trace.status == "ok")
    return trace


def answer(program: str, modules=None, **options):
    trace = run(program, modules, **options)
    assert trace.status == "ok", trace.error
    return trace.answer


def corpus(name: str) -> list[dict]:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{path} is absent: set SDVP_SHARED_DATA to the folder that holds it")
    return [json.loads(line) for line in path.read_text().splitlines()]


# VisProg: typing of EVAL, geometry of CROP_*.


def original_eval(expression: str, state: dict):
    """What VisProg's own EVAL does with values it can paste: the reference."""
    pasted = {}
    for name, value in state.items():
        if isinstance(value, str) and value in ("yes", "no"):
            pasted[name] = value == "yes"
        elif isinstance(value, str) and not value.isdecimal():
            pasted[name] = f"'{value}'"
        else:
            pasted[name] = value
    return eval(expression.replace("xor", "!=").format(**pasted))


EXPRESSIONS = (
    "{A}",
    "{A} == {B}",
    "{A} xor {B}",
    "not {A}",
    "{A} and {B}",
    "{A} or {B}",
    "{A} == 'yes'",
    "'yes' if {A} == 'red' else 'no'",
    "{A} + {B} == 1",
    "{A} >= 2 and {B} < 3",
    "({A} > 0) != ({B} > 0)",
    "{A} in ['red', 3, True]",
    "'left' if {A} and not {B} else 'right'",
    "{A} - {B} * 2",
    "-{A} / 2 if {B} else {A} % 2",
)


def test_eval_types_its_values_as_the_original_does():
    values = ("yes", "no", "3", "0", "red", "bread box")
    jobs, expected = [], []
    for expression in EXPRESSIONS:
        for a in values:
            for b in values:
                try:
                    expected.append(original_eval(expression, {"A": a, "B": b}))
                except TypeError:
                    expected.append(TypeError)
                program = (
                    f"A=VQA(image=IMAGE,question='{a}')\nB=VQA(image=IMAGE,question='{b}')\n"
                    f'C=EVAL(expr="{expression}")\nD=RESULT(var=C)'
                )
                jobs.append(Job(program, "visprog", program, ("i0",)))
    traces = execute(jobs, scripted(**{value: value for value in values}), IMAGES)
    for trace, value in zip(traces, expected, strict=True):
        if value is TypeError:
            assert (trace.status, trace.error.split(":")[0]) == ("program_error", "TypeError")
        else:
            assert (trace.answer, type(trace.answer)) == (value, type(value)), trace.key
    assert TypeError in expected and True in expected and "right" in expected


def test_an_apostrophe_in_an_answer_stays_a_text():
    program = "A=VQA(image=IMAGE,question='q')\nB=EVAL(expr=\"{A} == 'x' or {A}\")\nC=RESULT(var=B)"
    text = "it's' or __import__('os')"
    assert answer(program, scripted(q=text)) == text


BOX = (100.0, 20.0, 140.0, 60.0)  # centre 120, 40; the image is 400 x 100


@pytest.mark.parametrize(
    ("operation", "found", "missing"),
    [
        ("CROP", (90, 10, 150, 70), (0, 0, 400, 100)),
        ("CROP_BEHIND", (90, 10, 150, 70), (0, 0, 400, 100)),
        ("CROP_LEFTOF", (0, 0, 120, 100), (0, 0, 200, 100)),
        ("CROP_RIGHTOF", (120, 0, 400, 100), (200, 0, 400, 100)),
        ("CROP_ABOVE", (0, 0, 400, 40), (0, 0, 200, 100)),  # the left half, as in the original
        ("CROP_BELOW", (0, 40, 400, 100), (0, 0, 200, 100)),
    ],
)
def test_regions_of_the_crops(operation, found, missing):
    program = (
        "BOX0=LOC(image=IMAGE,object='x')\n"
        f"IMAGE0={operation}(image=IMAGE,box=BOX0)\n"
        "A=VQA(image=IMAGE0,question='q')\nB=RESULT(var=A)"
    )
    second = (0.0, 0.0, 9.0, 9.0)
    trace = run(program, scripted(x=[BOX, second], q="w"))
    assert trace.steps[1].call.region == found
    assert trace.steps[1].parents == (0,)
    assert trace.steps[1].arguments == {"op": "VQA", "question": "q", "crop": operation}
    trace = run(program, scripted(x=[], q="w"))
    assert trace.steps[1].call.region == missing
    assert trace.steps[1].parents == (0,)  # the find in vain says what was meant


def test_crops_stay_inside_their_image_and_search_inside_themselves():
    program = (
        "BOX0=LOC(image=IMAGE,object='x')\nIMAGE0=CROP_LEFTOF(image=IMAGE,box=BOX0)\n"
        "BOX1=LOC(image=IMAGE0,object='y')\nIMAGE1=CROP(image=IMAGE0,box=BOX1)\n"
        "A=VQA(image=IMAGE1,question='q')\nB=RESULT(var=A)"
    )
    trace = run(program, scripted(x=[BOX], y=[(80.0, 70.0, 120.0, 100.0)], q="w"))
    assert trace.steps[1].call.region == (0, 0, 120, 100)
    assert trace.steps[2].call.region == (70, 62.5, 120, 100)  # cut at IMAGE0's right border
    assert [step.parents for step in trace.steps] == [(), (0,), (1,)]


def test_special_locations_ask_no_module():
    program = "BOX0=LOC(image=IMAGE,object='{}')\nA=RESULT(var=BOX0)"
    expected = {"TOP": [0, 0, 400, 50], "BOTTOM": [0, 50, 400, 100]}
    expected |= {"LEFT": [0, 0, 200, 100], "RIGHT": [200, 0, 400, 100]}
    for name, box in expected.items():
        trace = run(program.format(name))
        assert (trace.answer, trace.steps) == ([box], [])


def test_scenes_bind_their_names():
    text = "A=VQA(image={},question='q')\nB=RESULT(var=A)"
    pair = {"images": ("i3", "i4"), "scene": "pair"}
    assert run(text.format("LEFT"), **pair).steps[0].call.image_id == "i3"
    assert run(text.format("RIGHT"), **pair).steps[0].call.image_id == "i4"
    assert run(text.format("IMAGE"), **pair).error == "NameError: name 'IMAGE' is not defined"
    regions = [
        run(text.format(name), scene="boxes").steps[0].call.region
        for name in ("IMAGE", "LEFT", "MIDDLE", "RIGHT")
    ]
    assert regions == [(0, 0, 400, 100), (0, 0, 100, 100), (150, 0, 250, 100), (300, 0, 400, 100)]
    assert run(text.format("LEFT"), images=("i0",), scene="pair").status == "program_error"


# ViperGPT: coordinates, functions, order of calls.


def test_coordinates_are_exact_and_y_runs_upward():
    body = """
        p = ImagePatch(image).find('x')[0]
        q = image.crop(0, p.upper, p.left, image.height)
        return [p.left, p.lower, p.right, p.upper, p.horizontal_center, p.vertical_center, q, p]
    """
    box = (10.25, 20.5, 33.125, 60.75)
    left, lower, right, upper, x, y, above, found = answer(viper(body), scripted(x=[box]))
    assert (left, lower, right, upper) == (10.25, 39.25, 33.125, 79.5)
    assert (x, y) == (21.6875, 59.375)
    assert above == [0, 0, 10.25, 20.5]
    assert found == list(box)


def test_crops_by_coordinates_keep_the_steps_they_come_from():
    body = """
        p = image.find('x')[0]
        image.crop(0, 0, p.left, image.height).simple_query('a')
        p.crop(p.left, p.lower, p.right, p.vertical_center).simple_query('b')
        return [q.simple_query('c') for q in image.crop(p.right, 0, image.right, 100).find('y')]
    """
    answers = scripted(x=[BOX], y=[(200.0, 0.0, 240.0, 50.0)], a="1", b="2", c="3")
    trace = run(viper(body), answers)
    assert [step.parents for step in trace.steps] == [(), (0,), (0,), (0,), (3,)]
    assert trace.steps[1].call.region == (0, 0, 100, 100)
    assert trace.steps[2].call.region == (100, 40, 140, 60)
    assert trace.answer == ["3"]


def test_the_functions_of_a_patch():
    modules = scripted(
        x=[BOX, (200.0, 20.0, 230.0, 60.0)],
        gone=[],
        depth="2.5",
        k="paris",
        **{"red x": (0.51,), "blue x": (0.5,), "cat": (0.2, 0.7), "What is this?": "dog"},
    )
    body = """
        p, q = image.find('x')
        return [
            p.exists('x'), p.exists('gone'),
            p.verify_property('x', 'red'), p.verify_property('x', property='blue'),
            p.best_text_match(['cat', 'dog']), p.simple_query(), p.compute_depth(),
            p.llm_query('k'), llm_query('k', long_answer=False),
            p.overlaps_with(130, 0, 500, 100), p.overlaps_with(141, 0, 500, 100),
            distance(p, q), distance(p, p), distance(3, 5),
            bool_to_yesno(p.left > 0), coerce_to_numeric('about 10-15'),
            coerce_to_numeric('three dogs'), coerce_to_numeric('-2.5'), coerce_to_numeric('none'),
            best_image_match([p, q], ['cat', 'dog']) is p, best_image_match([], ['cat']),
        ]
    """
    assert answer(viper(body), modules) == [
        *(True, False, True, False, "dog", "dog", 2.5, "paris", "paris", True, False),
        *(60.0, -1.0, 2, "yes", 10, 3, -2.5, "none", True, None),
    ]
    assert modules["match"].asked[-1].texts == ("cat", "dog")


def test_parameters_are_bound_by_name():
    pair = {"images": ("i3", "i4"), "scene": "pair"}
    program = viper("return [right.simple_query('q'), left.simple_query('r')]", "right, left")
    trace = run(program, **pair)
    assert [step.call.image_id for step in trace.steps] == ["i4", "i3"]
    program = viper(
        "return ImagePatch(image_dict['right']).simple_query(query)", "image_dict, query"
    )
    [step] = run(program, **pair).steps
    assert (step.call.image_id, step.call.texts) == ("i4", ("What?",))


def test_calls_inside_callbacks_and_generators_run_in_pythons_order():
    """any() stops at the first hit, sorted() asks once an item: as CPython would."""
    boxes = [(30.0, 0.0, 40.0, 10.0), (10.0, 0.0, 20.0, 10.0), (50.0, 0.0, 60.0, 10.0)]
    modules = scripted(x=boxes, yes="yes", **{"*": "5"})
    body = """
        ps = image.find('x')
        ps.sort(key=lambda p: p.compute_depth() + p.left, reverse=True)
        a = any(p.simple_query('yes') == 'yes' for p in ps if p.left < 40)
        b = all(p.simple_query('no') == 'yes' for p in ps)
        c = next((p.left for p in ps if p.simple_query('n') == '5'), None)
        d = next((p for p in ps if p.left > 99), 'none')
        e = min(ps, key=lambda p: p.compute_depth()).left
        f = list(map(lambda p: p.left, filter(lambda p: p.simple_query('f') == '5', ps)))
        g = any(i == j for i, p in enumerate(ps) for j in [2] if i)
        return [a, b, c, d, e, f, g, list(map(str.upper, ['a'])), max(3, 4), min([], default=1)]
    """
    trace = run(viper(body), modules)
    assert trace.answer == [True, False, 50, "none", 50, [50, 30, 10], True, ["A"], 4, 1]
    asked = Counter(step.call.texts[0] for step in trace.steps)
    assert asked == {"x": 1, "depth": 6, "yes": 1, "no": 1, "n": 1, "f": 3}


# What programs may not do.


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("while True: pass", "limit"),
        ("try:\n    while True: pass\nexcept BaseException:\n    return 1", "limit"),
        ("return [0] * 10**9", "limit"),
        ("def f(n): return f(n + 1)\nreturn f(0)", "limit"),
        ("for i in range(10**6): image.exists(str(i))", "limit"),
        ("a = []\na.append(a)\nreturn a", "limit"),
        ("print('x' * 10**6)", "limit"),
        ("return 9**9**9", "limit"),
        ("return _ask('vqa', ['i1', 0, 0, 9, 9, []], ['q'], {})[1]", "forbidden"),
        ("return _ask('shell', ['i0', 0, 0, 9, 9, []], ['q'], {})[1]", "forbidden"),
        ("return _ask('vqa', 'i0', ['q'], {})", "forbidden"),
        ("return _ask('vqa', ['i0', 0, 0, 9, 9, []], ['q'], 1)", "forbidden"),
        ("return _ask()", "forbidden"),
        ("return _ask('vqa', ['i0', float('nan'), 0, 9, 9, []], ['q'], {})", "program_error"),
        ("return _ask('vqa', ['i0', 500, 0, 900, 9, []], ['q'], {})", "program_error"),
        ("return _ask('vqa', ['i0', 0, 0, 9, 9, []], ['q' * 10**5], {})", "program_error"),
        ("return image.crop(5, 5, 5, 9)", "program_error"),
        ("return image.simple_query(5)", "program_error"),
        ("return image.best_text_match([])", "program_error"),
        ("return image.find('x')[99]", "program_error"),
        ("return None", "program_error"),
        ("return float('nan')", "program_error"),
        ("return len", "program_error"),
        ("return 10**30", "program_error"),
        ("return 'a' * 20000", "program_error"),
        ("return undefined_name", "program_error"),
    ],
)
def test_bad_programs_end_with_a_status_and_harm_no_other(body, status):
    jobs = [
        Job("bad", "viper", viper(body), ("i0",)),
        Job("good", "viper", viper("return 1"), ("i0",)),
    ]
    bad, good = execute(jobs, stub.load(), IMAGES, Limits(seconds=0.3, calls=20))
    assert (bad.status, bad.answer) == (status, None)
    assert bad.error and "\n" not in bad.error
    assert (good.status, good.answer) == ("ok", 1)


def test_a_worker_that_dies_ends_its_program_alone():
    bodies = ["x = 10**1000\nwhile True: x = x * x", "return image.simple_query('q')"]
    jobs = [Job(str(i), "viper", viper(body), ("i0",)) for i, body in enumerate(bodies)]
    died, lived = execute(jobs, scripted(q="w"), IMAGES, Limits(seconds=0.1))
    assert died.status == "limit"
    assert lived.answer == "w"


def test_a_forged_history_is_cut_to_steps_that_exist():
    body = """
        image.simple_query('q')
        return _ask('vqa', ['i0', 0, 0, 999, 9, [0, 7, -1, 'x', 0]], ['q'], {})[1]
    """
    step = run(viper(body)).steps[1]
    assert step.parents == (0,)
    assert step.call.region == (0, 0, 400, 9)


def test_unknown_dialects_and_scenes_are_rows():
    jobs = [Job("a", "lisp", "()", ("i0",)), Job("b", "viper", viper("return 1"), ("i0",), "film")]
    assert [t.status for t in execute(jobs, {}, IMAGES)] == ["program_error"] * 2


HARMLESS = {  # what these strings do is allowed: formatting, a long number, a printed text
    "a = 'Hello {}'\nb = a.format('world')",
    '"{}:{}".format(1, 2)',
    "9**9**5",
    "print('{0:s} = {1:.2f}'.format('a', 1.2012345))",
    "'{0}'.format(dict)",
    "str.format('{0}', dict)",
}


def test_escapes_harm_nothing(tmp_path, monkeypatch):
    """Each string of the suites as a program, and straight in the sandbox without our checks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CANARY", "tweet-4711")
    (tmp_path / "canary").write_text("tweet-4711")
    before = dict(os.environ)
    codes = [row["code"] for row in corpus("sandbox/escapes.jsonl")]
    assert len(codes) == 78
    codes += ["import os\nx = os.environ['CANARY']", "x = open('canary').read()"]
    codes += ["from pathlib import Path\nx = Path('canary').read_text()"]
    ending = "\ndef execute_command(image):\n    return 'done'"
    jobs = [Job(code, "viper", code + ending, ("i0",)) for code in codes]
    for trace in execute(jobs, stub.load(), IMAGES, QUICK):
        assert trace.status in ("ok", "program_error", "limit", "forbidden", "module_error")
        assert (trace.status == "ok") == (trace.key in HARMLESS), trace.key
    with Sandbox(QUICK, 1) as sandbox:
        for code in codes:
            program = sandbox.start(f"{code}\nx", {"_scene": {}})
            assert "tweet" not in str(program.state)
            program.close()
    assert [path.name for path in tmp_path.iterdir()] == ["canary"]
    assert (tmp_path / "canary").read_text() == "tweet-4711"
    assert dict(os.environ) == before


# Modules that fail, images that fail.


def test_a_module_that_raises_on_one_input_fails_that_program_alone():
    modules = scripted(bad=RuntimeError("out of\nmemory"), **{"*": "w"})
    texts = ["a", "bad", "c"]
    jobs = [Job(t, "viper", viper(f"return image.simple_query('{t}')"), ("i0",)) for t in texts]
    statistics = Statistics()
    a, bad, c = execute(jobs, modules, IMAGES, QUICK, statistics=statistics)
    assert (a.answer, c.answer) == ("w", "w")
    assert (bad.status, bad.error) == ("module_error", "vqa: RuntimeError: out of memory")
    assert modules["vqa"].batches == [3, 1, 2, 1, 1]  # halved until "bad" stands alone
    assert statistics.forwards == 5


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (Output(error="no image"), "vqa: no image"),
        (Output(), "vqa: there is no answer"),
    ],
)
def test_module_errors_cannot_be_caught_by_the_program(output, message):
    body = "try:\n    return image.simple_query('q')\nexcept BaseException:\n    return 'caught'"
    trace = run(viper(body), scripted(q=output))
    assert (trace.status, trace.error) == ("module_error", message)


def test_missing_modules_and_images_are_module_errors():
    missing = run(viper("return image.compute_depth()"), {"vqa": stub.load()["vqa"]})
    assert (missing.status, missing.error) == (
        "module_error",
        "there is no module 'depth' in this set",
    )
    bad = run(viper("return 1"), images=("bad",))
    assert (bad.status, bad.error) == ("module_error", "image 'bad' is corrupt: half a file")
    assert run(viper("return 1"), images=("nowhere",)).status == "module_error"


def test_boxes_are_clipped_and_those_without_area_left_out():
    boxes = [(-5.0, 10.0, 20.0, 120.0), (7.0, 7.0, 7.0, 9.0), (500.0, 0.0, 600.0, 9.0)]
    assert answer(viper("return image.find('x')"), scripted(x=boxes)) == [[0, 10, 20, 100]]


# Batches, cache, order.


def queries(count: int, image: str = "i0") -> list[Job]:
    body = "a = image.simple_query('q{0}')\nreturn [a, image.simple_query('r{0}')]"
    return [Job(str(i), "viper", viper(body.format(i)), (image,)) for i in range(count)]


def test_calls_of_held_programs_share_a_batch():
    modules, statistics = stub.load(), Statistics()
    traces = list(execute(queries(40), modules, IMAGES, held=20, statistics=statistics))
    assert [trace.key for trace in traces] == [str(i) for i in range(40)]
    # Of twenty held at most ten share a batch, for the others run meanwhile; and eight is what
    # ten become where batches are powers of two. The first has two: it waits for no more.
    assert statistics == Statistics(programs=40, calls=80, unique_calls=80, forwards=12)
    assert statistics.largest_batch == 8


def test_the_first_batch_starts_when_a_quarter_of_a_full_one_waits():
    """The ninth job is handed out once a module has been asked, which sees the first eight."""

    class Tells(stub.Stub):
        def answer(self, calls, images):
            batches.append(len(calls))
            asked.set()
            return super().answer(calls, images)

    asked, batches, modules = threading.Event(), [], {"vqa": Tells("vqa")}

    def jobs():
        for number, job in enumerate(queries(64)):
            assert number != 8 or asked.wait(20)
            yield job

    assert len(list(execute(jobs(), modules, IMAGES, held=64))) == 64
    assert batches[:2] == [8, 32]  # the second is a full one
    first = list(batches)
    list(execute(queries(64), modules, IMAGES, held=64))
    assert batches == 2 * first


def test_the_module_most_programs_wait_for_goes_first():
    modules = scripted(**{"*": "1.5", "x": []})
    bodies = ["return image.compute_depth()"] + [
        "image.exists('x')\nreturn image.compute_depth()"
    ] * 3
    jobs = [Job(str(i), "viper", viper(body), (f"i{i}",)) for i, body in enumerate(bodies)]
    assert [t.answer for t in execute(jobs, modules, IMAGES)] == [1.5] * 4
    assert modules["locate"].batches == [3]
    assert modules["depth"].batches == [4]


def test_equal_calls_are_computed_once():
    statistics, modules = Statistics(), scripted(q="w")
    jobs = [
        Job(str(i), "viper", viper("return image.simple_query('q')"), ("i0",)) for i in range(9)
    ]
    assert [t.answer for t in execute(jobs, modules, IMAGES, held=3, statistics=statistics)] == [
        "w"
    ] * 9
    assert modules["vqa"].batches == [1]
    assert statistics == Statistics(programs=9, calls=9, unique_calls=1, forwards=1, cache_hits=8)


def test_a_program_is_parsed_twice_at_most_however_many_images_it_runs_on(monkeypatch):
    """Once to be compiled, once for the names it looks for."""
    parsed = []
    monkeypatch.setattr(viper_module, "parse", lambda text: parsed.append(text) or parse(text))
    program = viper("return len(image.find('once')) + len(image.find('twice'))")
    jobs = [Job(str(k), "viper", program, (f"i{k}",)) for k in range(20)]
    statistics = Statistics()
    list(execute(jobs, stub.load(), IMAGES, held=4, statistics=statistics))
    assert statistics.ahead + statistics.cache_hits >= 20  # the names have been read
    assert parsed == [program] * 2


def test_a_slow_program_does_not_let_results_pile_up():
    """At most four times `held` programs run ahead of one that waits for its module."""
    started = []

    def jobs():
        yield Job("slow", "viper", viper("return image.compute_depth()"), ("i0",))
        for i in range(60):
            started.append(i)
            yield Job(str(i), "viper", viper("return 1"), ("i0",))

    first = next(iter(execute(jobs(), stub.load(), IMAGES, held=2)))
    assert first.key == "slow"
    assert len(started) <= 8


def test_traces_do_not_depend_on_how_many_are_held_or_whether_the_sandbox_is_warm():
    jobs = []
    for i, row in enumerate(corpus("programs/nlvr_bank.jsonl")[:25]):
        jobs += [Job(f"{d}{i}", d, row[d], (f"i{i % 20}",), "boxes") for d in ("viper", "visprog")]
    first = list(execute(jobs, stub.load(), IMAGES, held=1))
    second = list(execute(jobs, stub.load(), IMAGES, held=16))
    assert first == second
    with Sandbox(Limits(), 4) as sandbox:
        for _ in range(2):
            assert first == list(execute(jobs, stub.load(), IMAGES, held=4, sandbox=sandbox))
        abandoned = execute(jobs, stub.load(), IMAGES, held=4, sandbox=sandbox)
        next(abandoned)
        abandoned.close()  # gives its workers back, or the next run would wait for them
        assert first == list(execute(jobs, stub.load(), IMAGES, held=4, sandbox=sandbox))


LARGE = "a = 'x' * {}\nimage.simple_query('q')\nreturn len(a)"


class Counting(Sandbox):
    """Remembers the most workers taken at once, and how many programs were parked."""

    def __init__(self, held: int, parked: int, limits: Limits = QUICK) -> None:
        super().__init__(limits, held, parked)
        self.most = self.checkouts = 0

    def checkout(self):
        self.most = max(self.most, self.alive + 1)
        self.checkouts += 1
        return super().checkout()


def execute_parked(jobs, modules, held, parked, limits=QUICK):
    """The traces, and the sandbox and the counters that saw them."""
    statistics = Statistics()
    with Counting(held, parked, limits) as sandbox:
        options = {"statistics": statistics, "sandbox": sandbox, "parked": parked}
        traces = list(execute(jobs, modules, IMAGES, held=held, **options))
        assert sandbox.alive == 0
    return traces, sandbox, statistics


def test_parked_programs_wait_without_a_worker_and_end_as_if_they_had_one():
    bodies = (
        "ps = image.find('x')\nreturn [p.simple_query('q{0}') for p in ps] + [ps[0].left]",
        "try:\n    image.simple_query(5)\nexcept ValueError as e:\n    "
        "return str(e) + image.simple_query('r{0}')",
        "def f(n):\n    return image.simple_query(str(n)) + f(n - 1) if n else 'end'\nreturn f(4)",
        "image.exists('x')\nreturn [][{0}]",
    )
    jobs = [
        Job(str(k), "viper", viper(bodies[k % 4].format(k)), (f"i{k % 20}",)) for k in range(48)
    ]
    modules = scripted(x=[BOX, (200.0, 20.0, 230.0, 60.0)], **{"*": "w"})
    alone = list(execute(jobs, modules, IMAGES, QUICK, held=2))
    traces, sandbox, statistics = execute_parked(jobs, modules, 2, 30)
    assert traces == alone
    assert {trace.status for trace in traces} == {"ok", "program_error"}
    assert sandbox.checkouts > 1 + len(jobs)  # they came back to another worker
    assert sandbox.most <= 3  # those held, and the one that runs
    assert statistics.largest_batch == 8  # two held alone would have one


@pytest.mark.parametrize(
    ("body", "seconds", "error"),
    [
        ("n = 0\nwhile True:\n    n += 1\n    image.simple_query(str(n))\n    "
         "for i in range(1000000): pass", 0.5, "TimeoutError"),
        ("n = 0\nwhile True:\n    n += 1\n    print('x' * 9000)\n    image.simple_query(str(n))",
         5, "memory limit"),
        ("n = 0\nwhile True:\n    n += 1\n    image.simple_query(str(n))", 5, "50 module calls"),
        ("n = 0\nwhile True:\n    n += 1\n    image.simple_query(str(n))\n    "
         "for k in range(30):\n        try:\n            nowhere\n        "
         "except NameError: pass", 5, "suspension limit 250"),
        ("a = ['x']\nwhile True:\n    a += a\n    image.simple_query(str(len(a)))",
         5, "MemoryError"),
    ],
)  # fmt: skip
def test_limits_hold_over_the_times_that_a_program_is_parked(body, seconds, error):
    jobs = [Job(str(k), "viper", viper(body), (f"i{k}",)) for k in range(4)]
    limits = Limits(seconds, calls=50)
    traces, sandbox, _ = execute_parked(jobs, scripted(**{"*": "w"}), 1, 6, limits)
    assert [trace.status for trace in traces] == ["limit"] * 4
    assert all(error in trace.error for trace in traces), traces[0].error
    assert sandbox.checkouts > 5  # more than to begin: they went on in another worker


def test_what_is_too_large_to_be_parked_keeps_its_worker():
    jobs = [Job(str(k), "viper", viper(LARGE.format(3 * 10**6)), (f"i{k}",)) for k in range(12)]
    traces, sandbox, _ = execute_parked(jobs, scripted(q="w"), 1, 5, Limits(60))
    assert [trace.answer for trace in traces] == [3000000] * 12
    assert 3 < sandbox.most <= 7
    assert sandbox.checkouts == 13


def test_what_has_no_memory_left_to_be_parked_is_run_again_and_keeps_its_worker():
    jobs = [Job(str(k), "viper", viper(LARGE.format(4 * 10**7)), (f"i{k}",)) for k in range(4)]
    traces, sandbox, _ = execute_parked(jobs, scripted(q="w"), 1, 5, Limits(60))
    assert [trace.answer for trace in traces] == [4 * 10**7] * 4
    assert all(len(trace.steps) == 1 for trace in traces)
    assert 5 < sandbox.checkouts <= 9


def test_the_workers_of_a_sandbox_serve_one_program_after_another():
    with Sandbox(Limits(), 4) as sandbox:
        rounds = []
        for _ in range(3):
            programs = [sandbox.start("_ask()", {"_scene": {}}) for _ in range(4)]
            rounds.append({program._session.worker_pid for program in programs})
            for program in programs:
                program.close()
    assert len(rounds[0]) == 4
    assert rounds[0] == rounds[1] == rounds[2]


def test_the_benchmark_times_warm_workers_and_tells_what_starting_them_costs(monkeypatch, capsys):
    from benchmarks import execute as benchmark
    from sdvp_core.modules import students

    lent = []

    def recorded(*arguments, sandbox=None, **options):
        lent.append(sandbox)
        return execute(*arguments, sandbox=sandbox, **options)

    monkeypatch.setattr(students, "load_students", lambda *_: stub.load())
    monkeypatch.setattr(benchmark, "jobs_of", lambda *_: queries(6))
    monkeypatch.setattr(benchmark, "images_of", lambda _: IMAGES)
    monkeypatch.setattr(benchmark, "execute", recorded)
    benchmark.main(Path("students"), Path("task"), repeats=2, alone=2, held=4, device="cpu")
    found = json.loads(capsys.readouterr().out)
    assert set(found["spawn_seconds"]) == {"all_workers", "a_worker"}
    assert found["counts_of_b"]["programs"] == 6
    assert None not in lent[1:]  # the first only collects calls
    assert len(set(map(id, lent[1:]))) == 2  # one of (a), one of (b), in both repeats


# The corpora.


def test_every_program_of_the_nlvr_bank_ends_well():
    jobs = []
    for i, row in enumerate(corpus("programs/nlvr_bank.jsonl")):
        jobs += [Job(f"{d} {i}", d, row[d], (f"i{i % 20}",), "boxes") for d in ("viper", "visprog")]
    answers = Counter()
    for trace in execute(jobs, stub.load(), IMAGES):
        assert trace.status == "ok", (trace.key, trace.error)
        answers[json.dumps(trace.answer)] += 1
        for step in trace.steps:
            assert all(parent < step.index for parent in step.parents)
            assert all(map(math.isfinite, step.call.region))
    assert len(jobs) == 946
    assert set(answers) <= {'"true"', '"false"', "true", "false", "0", "1"} | {'"yes"', '"no"'}


def test_the_programs_written_for_photos_run():
    jobs = [
        Job(row["query"], "viper", row["program"], ("i0",), "image", row["query"])
        for row in corpus("programs/viper_refcoco.jsonl")
    ]
    for row in corpus("programs/visprog_incontext.jsonl"):
        if row["file"] in ("gqa.py", "nlvr.py"):
            two = row["file"] == "nlvr.py"
            scene = (("i0", "i1"), "pair") if two else (("i0",), "image")
            jobs.append(Job(row["file"], "visprog", row["program"], *scene))
    traces = list(execute(jobs, stub.load(), IMAGES))
    failed = Counter(trace.status for trace in traces if trace.status != "ok")
    # Two of the first (no execute_command; cut off), nine of the second: eight in test_program.py,
    # and one that two programs were pasted into.
    assert failed == {"program_error": 11}
    assert len(traces) > 90
