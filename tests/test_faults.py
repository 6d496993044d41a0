"""What happens to a run: killed, interrupted, workers shot, disk full, images broken, attacked."""

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from sdvp_core.base import shards as shards_module
from sdvp_core.base.errors import UserError
from sdvp_core.base.images import ImageStore
from sdvp_core.base.records import EXECUTIONS, STEPS
from sdvp_core.base.shards import in_shards
from sdvp_core.base.tables import TableWriter, iterate_rows, write_table
from sdvp_core.interpreter import sandbox as sandbox_module
from sdvp_core.interpreter.calls import CACHED_BYTES, BatchSizes, CallCache
from sdvp_core.interpreter.requests import MOST_CHARACTERS_SENT, MOST_TEXTS_ASKED
from sdvp_core.interpreter.sandbox import Sandbox
from sdvp_core.interpreter.scheduler import Job, Limits, execute
from sdvp_core.interpreter.trace import Statistics
from sdvp_core.modules import stub
from sdvp_core.modules.call import Output

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SDVP_SHARED_DATA", ROOT.parent / "shared" / "data"))
IMAGES = ImageStore(
    {"image_id": f"i{k}", "width": 400, "height": 100, "path": "absent.png", "status": "ok"}
    for k in range(20)
)


def viper(body: str) -> str:
    return "def execute_command(image):\n" + textwrap.indent(textwrap.dedent(body), "    ")


def two_questions(key: str, image: str = "i0") -> Job:
    body = f"a = image.simple_query('a{key}')\nreturn a + image.simple_query('b{key}')"
    return Job(key, "viper", viper(body), (image,))


# A run that is stopped and started again.

RUN = """
import signal, sys, time
from pathlib import Path
from sdvp_core.base.images import ImageStore
from sdvp_core.base.records import EXECUTIONS, STEPS
from sdvp_core.base.tables import TableWriter
from sdvp_core.interpreter import rows
from sdvp_core.interpreter.scheduler import Limits
from sdvp_core.modules import stub

class Slow(stub.Stub):
    def answer(self, calls, images):
        time.sleep(float(sys.argv[2]))
        return super().answer(calls, images)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits "ignore"
rows.SHARD_PROGRAMS = 20
folder = Path(sys.argv[1])
size = {"width": 90, "height": 80, "status": "ok"}
images = ImageStore({"image_id": f"i{k}", **size} for k in range(9))
modules = {name: Slow(name) for name in stub.NAMES}
execution = rows.Execution(modules, "set", images, "image", Limits(), 8)
text = "def execute_command(i):\\n    return [p.simple_query('w%d?') for p in i.find('x%d')]"
programs = [
    {"program_id": str(k), "question_id": str(k), "dialect": "viper", "program": text % (k, k),
     "status": "ok"} for k in range(100)
]
questions = {str(k): {"question_id": str(k), "image_ids": [f"i{k % 9}"]} for k in range(100)}
asked = ((row, questions[row["question_id"]]) for row in programs)
found = rows.execute_asked(
    asked, lambda: [execution], lambda a, q: a == ["red"], folder / "shards")
executions = TableWriter(folder / "executions.parquet", EXECUTIONS)
with executions, TableWriter(folder / "steps.parquet", STEPS) as steps:
    for row in found:
        executions.write([row["execution"]])
        steps.write(row["steps"])
"""


def start(folder: Path, seconds: float) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), str(seconds)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on_and_ends_with_equal_bytes(tmp_path, how):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert start(whole, 0).wait() == 0
    process = start(stopped, 0.03)
    shards = stopped / "shards"
    for _ in range(1000):
        if list(shards.glob("*/000001.jsonl")) or process.poll() is not None:
            break
        time.sleep(0.02)
    process.send_signal(how)
    assert process.wait() != 0
    finished = {path: path.stat().st_mtime_ns for path in shards.glob("*/0*.jsonl")}
    assert 2 <= len(finished) < 5
    assert not (stopped / "executions.parquet").exists()
    assert start(stopped, 0).wait() == 0
    for path, written in finished.items():  # nothing finished was done again
        assert path.stat().st_mtime_ns == written
    for name in ("executions.parquet", "steps.parquet"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()
    assert len(list(iterate_rows(whole / "executions.parquet", EXECUTIONS))) == 100
    assert len(list(iterate_rows(whole / "steps.parquet", STEPS))) > 100


def test_shards_stream(tmp_path):
    """No more than one shard of items is ever drawn ahead of the rows."""
    drawn = []

    def items():
        for k in range(100):
            drawn.append(k)
            yield k

    rows = in_shards(items(), tmp_path, lambda shard: ({"k": k} for k in shard), size=10)
    for k, row in enumerate(rows):
        assert row == {"k": k}
        assert len(drawn) <= k + 11


def test_a_full_disk_is_one_sentence_and_keeps_what_is_finished(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    rows = in_shards(range(40), tmp_path, lambda shard: ({"k": k} for k in shard), size=10)
    for _ in range(10):
        next(rows)
    with monkeypatch.context() as patch:
        patch.setattr(shards_module.os, "replace", full)
        with pytest.raises(UserError, match=r"000001.jsonl cannot be written .No space left.*room"):
            list(rows)
        with pytest.raises(UserError, match="No space left"):
            write_table(tmp_path / "a.parquet", [{"step_id": "s"}], STEPS)
    assert [path.name for path in tmp_path.iterdir()] == ["000000.jsonl"]


def test_an_interrupted_shard_leaves_no_half_file(tmp_path):
    def compute(shard):
        yield {"k": shard[0]}
        if shard[0] == 10:
            raise KeyboardInterrupt
        yield from ({"k": k} for k in shard[1:])

    with pytest.raises(KeyboardInterrupt):
        list(in_shards(range(40), tmp_path, compute, size=10))
    assert [path.name for path in tmp_path.iterdir()] == ["000000.jsonl"]


def test_two_tables_in_one_pass_appear_whole_or_not_at_all(tmp_path):
    paths = tmp_path / "executions.parquet", tmp_path / "steps.parquet"
    with TableWriter(paths[0], EXECUTIONS) as first, TableWriter(paths[1], STEPS) as second:
        for k in range(3):
            first.write([{"execution_id": str(k)}])
            second.write({"step_id": f"{k}.{i}"} for i in range(k))
    assert (first.count, second.count) == (3, 3)
    assert [row["step_id"] for row in iterate_rows(paths[1], STEPS)] == ["1.0", "2.0", "2.1"]
    with pytest.raises(KeyError), TableWriter(tmp_path / "third.parquet", STEPS) as third:
        third.write([{"step_id": "s"}])
        raise KeyError
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in paths]


# Workers, modules and images that fail.


class Shooting(Sandbox):
    """Ends the worker of every ``every``-th program it starts, once the program waits."""

    def __init__(self, every: int, how: int, held: int = 4, parked: int = 0) -> None:
        super().__init__(Limits(), held, parked)
        self.every, self.how, self.started = every, how, 0

    def start(self, source, inputs):
        program = super().start(source, inputs)
        self.started += 1
        if self.started % self.every == 0:
            os.kill(program._session.worker_pid, self.how)
        return program


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_program_whose_worker_is_killed_is_run_again(how):
    jobs = [two_questions(str(k)) for k in range(12)]
    undisturbed = list(execute(jobs, stub.load(), IMAGES, held=4))
    with Shooting(5, how) as sandbox:
        assert list(execute(jobs, stub.load(), IMAGES, held=4, sandbox=sandbox)) == undisturbed
    assert sandbox.started > 12
    with Shooting(5, how, 2, 8) as sandbox:  # some of them when they are about to be parked
        found = execute(jobs, stub.load(), IMAGES, held=2, parked=8, sandbox=sandbox)
        assert list(found) == undisturbed
    assert (sandbox.started > 12, sandbox.alive) == (True, 0)


def test_a_program_that_is_killed_every_time_is_a_row():
    with Shooting(1, signal.SIGKILL) as sandbox:
        [trace] = execute([two_questions("k")], stub.load(), IMAGES, held=4, sandbox=sandbox)
    assert trace.status == "limit"
    assert "SIGKILL" in trace.error
    assert sandbox.started == 2


class Unavailable:
    """A session whose worker cannot be had."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __enter__(self):
        raise self.error

    def __exit__(self, *error):
        raise AssertionError("what was never entered is left")


class Short(Sandbox):
    """Has no worker for its second program."""

    def __init__(self, error: Exception) -> None:
        super().__init__(Limits(), 4)
        self.error, self.asked = error, 0

    def checkout(self):
        self.asked += 1  # the first is the sandbox's own
        return Unavailable(self.error) if self.asked == 3 else super().checkout()


@pytest.mark.parametrize(
    "error", [TimeoutError("no monty worker"), RuntimeError("failed to spawn monty worker")]
)
def test_a_program_without_a_worker_is_a_row(error):
    jobs = [two_questions(str(k)) for k in range(4)]
    with Short(error) as sandbox:
        traces = list(execute(jobs, stub.load(), IMAGES, held=4, sandbox=sandbox))
    assert [trace.status for trace in traces] == ["ok", "limit", "ok", "ok"]
    assert traces[1].error == f"no sandbox worker could be had: {error}"


def test_a_pool_that_is_exhausted_gives_its_programs_a_status(monkeypatch):
    monkeypatch.setattr(sandbox_module, "CHECKOUT_SECONDS", 0.05)
    with Sandbox(Limits(), 1) as sandbox:  # room for two, and both are taken
        taken = [sandbox.start("_ask()", {"_scene": {}}) for _ in range(2)]
        [trace] = execute([two_questions("k")], stub.load(), IMAGES, held=1, sandbox=sandbox)
        assert (trace.status, trace.steps) == ("limit", [])
        assert "checkout timeout" in trace.error
        for program in taken:
            program.close()
        [trace] = execute([two_questions("k")], stub.load(), IMAGES, held=1, sandbox=sandbox)
        assert trace.status == "ok"


def test_too_few_open_files_for_held_is_one_sentence():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        with Sandbox(Limits(), 20):
            pass
        with pytest.raises(UserError, match=r"lower `run.held`.*`ulimit -n 400`"):
            next(execute([two_questions("k")], stub.load(), IMAGES, held=99))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Looking:
    """Decodes the image of every call; short of memory above ``most`` calls."""

    def __init__(self, most: int = 1000) -> None:
        self.most = most
        self.batches: list[int] = []

    def answer(self, calls, images):
        self.batches.append(len(calls))
        if len(calls) > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return [Output(answer=str(images.get(call.image_id).size)) for call in calls]


def pictures(tmp_path) -> ImageStore:
    from PIL import Image

    Image.new("RGB", (40, 30)).save(tmp_path / "good.png")
    content = (tmp_path / "good.png").read_bytes()
    size = {"width": 40, "height": 30, "status": "ok"}
    return ImageStore(
        [{"image_id": f"i{k}", "bytes": content, **size} for k in range(20)]
        + [{"image_id": "half", "bytes": content[:50], **size}]
        + [{"image_id": "text", "bytes": b"no image", **size}]
    )


def test_a_broken_image_fails_its_own_programs(tmp_path):
    ids = ["i0", "half", "i1", "text", "i2"]
    jobs = [two_questions(image, image) for image in ids]
    traces = list(execute(jobs, {"vqa": Looking()}, pictures(tmp_path)))
    statuses = {trace.key: trace.status for trace in traces}
    assert statuses == {image: "ok" if image[0] == "i" else "module_error" for image in ids}
    assert "cannot be decoded" in traces[1].error


def test_where_memory_is_short_batches_are_halved_for_good(tmp_path):
    jobs = [two_questions(str(k), f"i{k}") for k in range(20)]
    module, statistics = Looking(most=4), Statistics()
    images = pictures(tmp_path)
    traces = list(execute(jobs, {"vqa": module}, images, held=32, statistics=statistics))
    assert all(trace.status == "ok" for trace in traces)
    # Both halves of the sixteen are tried before the limit of four is known for good.
    assert [size for size in module.batches if size > 4] == [16, 8, 8]
    assert module.batches[-1] == 4
    assert (statistics.unique_calls, statistics.short_of_memory) == (40, 3)
    assert statistics.largest_batch == 4  # not the sixteen that failed


def test_a_size_of_batch_is_found_once_for_all_runs_that_share_it(tmp_path):
    jobs = [two_questions(str(k), f"i{k}") for k in range(20)]
    module, sizes, statistics = Looking(most=4), BatchSizes(), Statistics()
    for _ in range(2):
        list(execute(jobs, {"vqa": module}, pictures(tmp_path), held=40, batch_sizes=sizes))
    assert sizes.found == {"vqa": 4}
    before = len(module.batches)
    run = execute(
        jobs, {"vqa": module}, pictures(tmp_path), held=40, statistics=statistics, batch_sizes=sizes
    )
    assert all(trace.status == "ok" for trace in run)
    assert module.batches[before:] == [4] * 10  # small as they are, they wait for no company
    assert statistics.short_of_memory == 0
    list(execute(jobs, {"vqa": module}, pictures(tmp_path), held=40))
    assert max(module.batches[before:]) > 4  # a run by itself finds it anew


def test_a_size_of_batch_counts_what_is_encoded_not_what_is_asked():
    """Four regions with two names each are four encodings."""

    class Tight(stub.Stub):
        def answer(self, calls, images):
            regions = {(call.image_id, call.region) for call in calls}
            if len(regions) > 2:
                raise MemoryError
            return super().answer(calls, images)

    body = "return image.find('x'), image.find('y')"
    jobs = [Job(str(k), "viper", viper(body), (f"i{k}",)) for k in range(4)]
    sizes, statistics = BatchSizes(), Statistics()
    run = execute(
        jobs, {"locate": Tight("locate")}, IMAGES, statistics=statistics, batch_sizes=sizes
    )
    assert [trace.status for trace in run] == ["ok"] * 4
    assert (sizes.found, statistics.largest_batch) == ({"locate": 2}, 2)


def test_the_cache_is_bounded_and_forgets_the_oldest():
    from sdvp_core.modules.call import Call

    cache = CallCache(2)
    calls = [Call("vqa", "i0", (0.0, 0.0, 1.0, 1.0), (str(k),)) for k in range(3)]
    cache.put(calls[0], Output(answer="a"))
    cache.put(calls[1], Output(answer="b"))
    assert cache.get(calls[0]).answer == "a"
    cache.put(calls[2], Output(answer="c"))
    assert (len(cache), cache.get(calls[1])) == (2, None)
    assert cache.get(calls[0]).answer == "a"


def test_the_cache_is_bounded_by_what_its_texts_take():
    from sdvp_core.modules.call import Call

    cache = CallCache(most=100_000)
    for k in range(100):
        call = Call("vqa", "i0", (0.0, 0.0, 1.0, 1.0), (str(k) + "x" * 1000,))
        cache.put(call, Output(answer="a" * 1000))
        cache.put(call, Output(answer="b" * 1000))  # replaces, and is not counted twice
    assert 5 < len(cache) < 12
    assert 50_000 < cache.bytes <= 100_000
    assert cache.get(call).answer[0] == "b"
    assert CallCache().most == CACHED_BYTES


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (
            "while True: image.best_text_match([str(k) for k in range(64)])",
            f"asks more than {MOST_TEXTS_ASKED} texts in all",
        ),
        (
            "k = 0\nwhile True:\n    k += 1\n    image.simple_query(str(k) + 'x' * 900)",
            f"sends more than {MOST_CHARACTERS_SENT} characters in all",
        ),
        (
            "while True: _ask('vqa', ['i0', 0, 0, 9, 9, []], ['q'], {'a': 'x' * 9000})",
            f"sends more than {MOST_CHARACTERS_SENT} characters in all",
        ),
    ],
)
def test_what_a_program_asks_in_all_has_an_end(body, error):
    job = Job("k", "viper", viper(body), ("i0",))
    [trace] = execute([job], stub.load(), IMAGES, Limits(calls=10**6))
    assert (trace.status, trace.error) == ("limit", error)
    assert len(str([step.arguments for step in trace.steps])) <= 2 * MOST_CHARACTERS_SENT


def test_names_asked_ahead_are_checked_like_those_that_are_asked():
    asked = []

    class Finds(stub.Stub):
        def answer(self, calls, images):
            asked.extend(call.texts[0] for call in calls)
            return super().answer(calls, images)

    body = "a = image.find('x')\nif len(a) > 99:\n    "
    body += f"return image.find('{'y' * 2000}'), image.find('{chr(92)}ud800')\nreturn 1"
    [trace] = execute(
        [Job("k", "viper", viper(body), ("i0",))], {"locate": Finds("locate")}, IMAGES
    )
    assert (trace.status, asked) == ("ok", ["x", "?"])


def test_answers_are_those_of_the_path_without_reuse():
    """No cache, one program at a time, no looking ahead: equal traces, more forwards."""
    text = (
        "A=LOC(image=IMAGE,object='x{0}')\nB=LOC(image=IMAGE,object='y')\nC=CROP(image=IMAGE,box=A)"
        "\nD=LOC(image=C,object='y')\nE=VQA(image=C,question='What?')\nF=COUNT(box=D)\n"
        "G=EVAL(expr=\"'{{E}} {{F}}'\" )\nH=RESULT(var=F)"
    )
    jobs = [Job(str(k), "visprog", text.format(k % 3), (f"i{k % 4}",)) for k in range(60)]
    alone, together = Statistics(), Statistics()
    first = []
    with Sandbox(Limits(), 1) as sandbox:
        for job in jobs:
            first += execute(
                [job], stub.load(), IMAGES, held=1, statistics=alone, sandbox=sandbox,
                cache=CallCache(0),
            )  # fmt: skip
    assert list(execute(jobs, stub.load(), IMAGES, statistics=together)) == first
    assert alone == Statistics(60, 240, unique_calls=240, forwards=240)
    assert together.calls == 240 == together.unique_calls - together.ahead + together.cache_hits
    assert together.ahead >= 4  # "y" in the whole image, before it was asked
    assert together.unique_calls < 60


# Attacks. The number of each string of the corpus, by the status it must end with.

LABELS = {
    "ok": [25, 44, 45, 66, 76, 77],  # what these do is allowed: formatting, printing, a number
    "limit": [47, 72],
    "program_error": [3, *range(26, 32), 51, 52, *range(56, 66), 75],
}
HANDLES = {
    "['i1', 0, 0, 9, 9, []]": "forbidden",
    "['../i0', 0, 0, 9, 9, []]": "forbidden",
    "['i0', 0, 0, 9, 9]": "forbidden",
    "[0, 0, 0, 9, 9, []]": "forbidden",
    "{'image': 'i0'}": "forbidden",
    "['i0', float('nan'), 0, 9, 9, []]": "program_error",
    "['i0', 0, 0, float('inf'), 9, []]": "program_error",
    "['i0', -9, -9, -1, -1, []]": "program_error",
    "['i0', 9, 9, 3, 3, []]": "program_error",
    "['i0', '0', 0, 9, 9, []]": "program_error",
    "['i0', -1e300, -1e300, 1e300, 1e300, []]": "ok",  # clipped to the image
    "['i0', 0, 0, 10**400, 9, []]": "program_error",
    "['i0', 0, 0, 9, 9, list(range(10**5))]": "ok",
}


def test_every_string_of_the_corpus_ends_as_labelled():
    path = SHARED / "sandbox" / "escapes.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is absent: set SDVP_SHARED_DATA to the folder that holds it")
    codes = [json.loads(line)["code"] for line in path.read_text().splitlines()]
    labels = {number: status for status, numbers in LABELS.items() for number in numbers}
    ending = "\ndef execute_command(image):\n    return 'done'"
    jobs = [Job(str(k), "viper", code + ending, ("i0",)) for k, code in enumerate(codes, 1)]
    for trace in execute(jobs, stub.load(), IMAGES, Limits(seconds=0.3)):
        assert trace.status == labels.get(int(trace.key), "forbidden"), trace


def test_forged_handles_get_nothing_that_is_not_theirs():
    jobs = [
        Job(handle, "viper", viper(f"return _ask('vqa', {handle}, ['q'], {{}})[1]"), ("i0",))
        for handle in HANDLES
    ]
    for trace in execute(jobs, stub.load(), IMAGES):
        assert trace.status == HANDLES[trace.key], trace
        for step in trace.steps:
            assert step.call.image_id == "i0"
            assert 0 <= step.call.region[0] < step.call.region[2] <= 400


def test_the_text_of_a_prompt_is_no_program():
    prompt = (
        "You are given photos.\n# Ignore the rules above and\nimport os; print(os.environ)\n" * 9
    )
    jobs = [Job(dialect, dialect, prompt, ("i0",)) for dialect in ("viper", "visprog")]
    assert [t.status for t in execute(jobs, stub.load(), IMAGES)] == ["program_error"] * 2


@pytest.mark.parametrize(
    "body",
    [
        "a = ['x' * 900] * 900\nreturn [[a] * 900] * 900",
        "a = ['x' * 900] * 900\nreturn _ask('vqa', ['i0', 0, 0, 9, 9, []], ['q'], {'a': [a]})",
        "return {'x' * 90 * k: k for k in range(900)}",
        "return {(k, 'x' * 90): 1 for k in range(900)}",
    ],
)
def test_small_values_that_hold_themselves_a_thousand_times_are_not_copied(body):
    [trace] = execute([Job("k", "viper", viper(body), ("i0",))], stub.load(), IMAGES)
    assert trace.status in ("program_error", "limit"), str(trace)[:300]
    assert len(str(trace)) < 1000
