"""The embedded world: pictures, questions, files; and the training examples made of annotations."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest

from sdvp_core.base import wording
from sdvp_core.base.errors import UserError
from sdvp_core.base.ontology import attribute, holds
from sdvp_core.tasks import gqa, nlvr2, refcoco, tallyqa
from sdvp_core.tasks.descriptions import Phrase
from sdvp_core.tasks.shapes import TASKS, looks, render, scene, write
from sdvp_core.tasks.shapes.geometry import is_related, related
from sdvp_core.tasks.shapes.statements import state
from sdvp_core.tasks.shapes.world import SIDE, Thing
from sdvp_core.tasks.subquestions import answer_samples, box_samples, match_samples

SCENES = {"train": 12, "distill": 10, "val": 6, "test": 12}
READERS = {
    **{"shapes_generic": gqa, "shapes_gqa": gqa, "shapes_nlvr2": nlvr2},
    **{"shapes_count": tallyqa, "shapes_refer": refcoco},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    for task in TASKS:
        write(task, folder / task, SCENES, seed=3)
    return folder


@pytest.fixture(scope="module")
def annotated():
    rng = Random(5)
    scenes = [scene(rng, "flat")[1] for _ in range(150)]
    rows = [{"image_id": str(i), "objects": things} for i, things in enumerate(scenes)]
    return rows, {row["image_id"]: (SIDE, SIDE) for row in rows}


def read(world: Path, task: str):
    tables = READERS[task].read(world / task, task)
    return list(tables.questions), list(tables.images), list(tables.annotations)


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


# --- pictures


@pytest.mark.parametrize("name", list(looks.LOOKS))
def test_a_black_square_darkens_exactly_its_box(name):
    thing = Thing("square", "black", "plain", 0.0, (30.0, 40.0, 58.0, 68.0))
    # The same noise draws both, so that what differs is the square.
    with_it = render.draw([thing], looks.look(name), np.random.default_rng(1))
    blank = render.draw(
        [Thing("square", "black", "plain", 0.0, (0.0, 0.0, 1.0, 1.0))],
        *(looks.look(name), np.random.default_rng(1)),
    )
    darker = np.asarray(blank, int).sum(2) - np.asarray(with_it, int).sum(2) > 45
    rows, columns = np.nonzero(darker)
    found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert np.abs(np.array(found) - np.array(thing.box)).max() <= 2  # dusk is blurred
    assert darker[40:68, 30:58].mean() > 0.9


def test_patterns_leave_different_shares_of_a_shape_painted():
    shares = {}
    for pattern in ("plain", "striped", "hollow"):
        thing = Thing("square", "black", pattern, 0.0, (30.0, 30.0, 60.0, 60.0))
        image = render.draw([thing], looks.look("flat"), np.random.default_rng(2))
        shares[pattern] = (np.asarray(image, int)[30:60, 30:60].sum(2) < 300).mean()
    assert shares["plain"] > 0.95 > 0.8 > shares["striped"] > 0.45 > shares["hollow"] > 0.15


def test_scenes_keep_the_rules_of_the_world():
    rng = Random(1)
    for _ in range(300):
        image, things = scene(rng, "tinted")
        assert image.size == (SIDE, SIDE) and image.mode == "RGB" and 2 <= len(things) <= 5
        for i, thing in enumerate(things):
            x0, y0, x1, y1 = thing["box"]
            assert 0 <= x0 < x1 <= SIDE and 0 <= y0 < y1 <= SIDE and 14 < max(x1 - x0, y1 - y0) < 35
            for other in things[:i]:
                a = other["box"]
                assert x1 <= a[0] or a[2] <= x0 or y1 <= a[1] or a[3] <= y0


def test_looks_differ_and_an_unknown_one_is_refused():
    means = [
        np.mean([np.asarray(scene(Random(s), name)[0]).mean() for s in range(20)])
        for name in looks.LOOKS
    ]
    assert means[0] > means[1] + 10 and means[1] > means[2] + 20
    with pytest.raises(UserError, match="no look"):
        scene(Random(0), "noir")


# --- files


@pytest.mark.parametrize("task", TASKS)
def test_every_task_comes_back_through_its_reader(world, task):
    questions, images, annotations = read(world, task)
    expected = SCENES["test"] if task in ("shapes_count", "shapes_refer") else sum(SCENES.values())
    assert len(images) == expected and {row["status"] for row in images} == {"ok"}
    assert {row["image_id"] for row in annotations} == {row["image_id"] for row in images}
    assert all((row["width"], row["height"]) == (SIDE, SIDE) for row in images)
    splits = {row["group_id"]: row["split"] for row in questions}
    assert all(splits[row["group_id"]] == row["split"] for row in questions)
    assert len({row["question_id"] for row in questions}) == len(questions)
    if task == "shapes_gqa":
        assert set(splits.values()) == {"train", "distill", "val", "test"}


@pytest.mark.parametrize("task", ["shapes_gqa", "shapes_nlvr2", "shapes_refer"])
def test_equal_seeds_give_equal_bytes(tmp_path, task):
    few = {"train": 4, "test": 4}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write(task, tmp_path / name, few, seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_more_scenes_leave_the_first_ones_as_they_are(tmp_path):
    for name, count in (("few", 3), ("many", 5)):
        write("shapes_gqa", tmp_path / name, {"train": count}, 1)
    few, many = (json.loads((tmp_path / n / "train_balanced_questions.json").read_text())
                 for n in ("few", "many"))  # fmt: skip
    assert few.items() <= many.items() and len(few) < len(many)


def test_an_unknown_task_is_refused(tmp_path):
    with pytest.raises(UserError, match="shapes_gqa"):
        write("shapes_gaq", tmp_path, SCENES, 0)


def test_questions_have_the_fields_and_the_form_of_gqa(world):
    path = world / "shapes_gqa" / "train_balanced_questions.json"
    for record in json.loads(path.read_text()).values():
        assert set(record) == {
            *("semantic", "semanticStr", "question", "answer", "fullAnswer", "types", "groups"),
            *("imageId", "isBalanced", "entailed", "equivalent", "annotations"),
        }
        for place, operation in enumerate(record["semantic"]):
            assert set(operation) == {"operation", "dependencies", "argument"}
            assert all(0 <= d < place for d in operation["dependencies"])
            assert operation["operation"] in record["semanticStr"]


def test_every_statement_expression_and_count_has_a_program_in_both_dialects(world):
    for task in ("shapes_nlvr2", "shapes_count", "shapes_refer"):
        lines = (world / task / "programs.jsonl").read_text().splitlines()
        bank = {row["sentence"]: row for row in map(json.loads, lines)}
        assert len(bank) == len(lines)
        for question in read(world, task)[0]:
            programs = bank[question["question"]]
            assert programs["viper"].startswith("def execute_command(")
            assert programs["visprog"].splitlines()[-1].startswith("FINAL_RESULT=RESULT(var=")


# --- answers, worked out again from the annotations


def center(thing):
    return [(thing["box"][i] + thing["box"][i + 2]) / 2 for i in range(2)]


RELATED = {
    "to the left of": lambda a, b: center(a)[0] < center(b)[0],
    "to the right of": lambda a, b: center(a)[0] > center(b)[0],
    "above": lambda a, b: center(a)[1] < center(b)[1],
    "below": lambda a, b: center(a)[1] > center(b)[1],
}


def run_semantic(semantic, things):
    """The answer of a functional program, by the meaning of GQA's operations."""
    values = []
    for step in semantic:
        argument = step["argument"]
        values.append(operation(step["operation"], argument, things,
                                [values[d] for d in step["dependencies"]]))  # fmt: skip
    return values[-1]


def operation(name, argument, things, given):
    head, _, kind = name.partition(" ")
    bare = argument.split(" (")[0]
    if head == "select":
        return [t for t in things if holds(t, bare)]
    if head == "filter":
        return [t for t in given[0] if argument in t["attributes"]]
    if head == "relate":
        noun, relation, _ = bare.split(",")
        (anchor,) = given[0]
        return [
            t
            for t in things
            if t is not anchor and (noun == "_" or holds(t, noun)) and RELATED[relation](t, anchor)
        ]
    if head == "exist":
        return bool(given[0])
    if head in ("and", "or"):
        return all(given) if head == "and" else any(given)
    (thing,) = given[0]  # whatever is asked about one thing: the question must mean one only
    if head == "query":
        return attribute(thing, argument)
    if name == "verify rel":
        noun, relation, role = bare.split(",")
        (other,) = [t for t in things if holds(t, noun)]
        return RELATED[relation](*((other, thing) if role == "s" else (thing, other)))
    if name == "choose rel":
        noun, options, _ = bare.split(",")
        (other,) = [t for t in things if holds(t, noun)]
        (true,) = [o for o in options.split("|") if RELATED[o](other, thing)]
        return true.removeprefix("to the ").removesuffix(" of")
    if head == "verify":
        return argument in thing["attributes"]
    if head == "choose":
        (true,) = [o for o in argument.split("|") if attribute(thing, kind) == o]
        return true
    (second,) = given[1]
    alike = [
        k for k in ("color", "pattern", "shape") if attribute(thing, k) == attribute(second, k)
    ]
    if head == "common":
        (only,) = alike
        return only
    return (kind in alike) == (head == "same")


@pytest.mark.parametrize("task", ["shapes_generic", "shapes_gqa"])
def test_functional_programs_give_the_answers(world, task):
    questions, _, annotations = read(world, task)
    things = {row["image_id"]: row["objects"] for row in annotations}
    seen = Counter()
    for question in questions:
        semantic = json.loads(question["semantic"])
        answer = run_semantic(semantic, things[question["image_ids"][0]])
        if isinstance(answer, bool):
            answer = "yes" if answer else "no"
        assert answer == question["answer"], question["question"]
        seen[semantic[-1]["operation"].split()[0]] += 1
    assert {"query", "verify", "choose", "exist"} <= set(seen)


def test_answers_are_balanced():
    from sdvp_core.tasks.shapes.ask import ask

    rng = Random(2)
    answers = Counter(
        draft.answer for _ in range(700) for draft in ask(rng, scene(rng, "flat")[1], 3)
    )
    total = sum(answers.values())
    yesno = answers["yes"] + answers["no"]
    assert 0.40 < yesno / total < 0.50
    assert 0.44 < answers["yes"] / yesno < 0.56


def test_relations_leave_a_margin_for_perception():
    def at(x, name="square"):
        box = [x - 10.0, 0.0, x + 10.0, 20.0]
        return {"name": name, "categories": [], "attributes": [], "box": box}

    anchor, phrase = at(50, "ring"), Phrase("square")
    for offset, verdict in ((-8, True), (-7, None), (0, None), (3, None), (4, False)):
        assert is_related(at(50 + offset), "to the left of", anchor) is verdict
    left, right, doubtful = at(30), at(60), at(47)
    assert related([anchor, left, right], "to the left of", anchor, phrase) == [left]
    assert related([anchor, left, doubtful], "to the left of", anchor, phrase) is None
    # A thing of another name may stand where it will.
    other = at(47, "star")
    assert related([anchor, left, other], "to the left of", anchor, phrase) == [left]


def test_answers_survive_boxes_that_are_off_by_a_few_pixels(world):
    questions, _, annotations = read(world, "shapes_gqa")
    rng = Random(4)
    scenes = {}
    for row in annotations:
        scenes[row["image_id"]] = [
            {**thing, "box": [c + rng.uniform(-1.9, 1.9) for c in thing["box"]]}
            for thing in row["objects"]
        ]
    for question in questions:
        if "relate" in question["semantic"] or " rel" in question["semantic"]:
            answer = run_semantic(json.loads(question["semantic"]), scenes[question["group_id"]])
            answer = {True: "yes", False: "no"}.get(answer, answer)
            assert answer == question["answer"], question["question"]


def test_counts_are_the_counts(world):
    questions, _, annotations = read(world, "shapes_count")
    things = {row["image_id"]: row["objects"] for row in annotations}
    simple = [q for q in questions if wording.parse(q["question"]) is not None]
    assert len(simple) > 5
    for question in simple:
        subject = wording.parse(question["question"]).subject
        number = sum(holds(t, subject) for t in things[question["group_id"]])
        assert question["answer"] == str(number)


def test_plain_expressions_mean_one_thing_and_give_its_box(world):
    questions, _, annotations = read(world, "shapes_refer")
    things = {row["image_id"]: row["objects"] for row in annotations}
    checked = 0
    for question in questions:
        words = question["question"].removeprefix("the ")
        if any(word in words for word in ("most", " of ", "above", "below")):
            continue
        (meant,) = [t for t in things[question["group_id"]] if holds(t, words)]
        assert json.loads(question["answer"]) == pytest.approx(meant["box"], abs=0.011)
        checked += 1
    assert checked > 3


def test_statements_are_balanced_and_most_ask_for_looks():
    rng = Random(9)
    made = []
    for _ in range(400):
        sides = [scene(rng, "flat")[1] for _ in range(2)]
        made.append(state(rng, *sides, wanted=rng.random() < 0.5))
    assert None not in made
    assert 0.42 < sum(s.truth for s in made) / len(made) < 0.58
    asked = [s for s in made if "simple_query" in s.viper or "verify_property" in s.viper]
    assert len(asked) / len(made) > 0.4
    assert sum("VQA" in s.visprog for s in made) / len(made) > 0.4


def test_a_statement_is_true_of_its_pair():
    rng = Random(10)
    checked = 0
    for _ in range(400):
        left, right = (scene(rng, "flat")[1] for _ in range(2))
        statement = state(rng, left, right, wanted=rng.random() < 0.5)
        sentence = statement.sentence.rstrip(".")
        if sentence.startswith("Both images contain "):
            words = sentence.removeprefix("Both images contain ")
            truth = all(any(holds(t, words) for t in side) for side in (left, right))
        elif " image is " in sentence:
            subject, value = sentence.removeprefix("The ").split(" image is ")
            words, side = subject.rsplit(" in the ", 1)
            (thing,) = [t for t in (left if side == "left" else right) if holds(t, words)]
            truth = holds(thing, value)
        else:
            continue
        assert truth == statement.truth, sentence
        checked += 1
    assert checked > 100


# --- training examples


def test_answer_samples_are_true(annotated):
    rows, sizes = annotated
    things = {row["image_id"]: row["objects"] for row in rows}
    samples = answer_samples(rows, sizes, 2000, Random(1))
    assert len(samples) == 2000
    kinds = Counter()
    for sample in samples:
        asked = wording.parse(sample.texts[0])
        ((answer, probability),) = sample.answers
        assert probability == 1.0 and inside_image(sample.region)
        kinds[asked.kind, asked.subject == "it"] += 1
        assert answer == truth(asked, sample, things[sample.image_id]), sample
    assert {kind for kind, _ in kinds} >= {"color", "shape", "pattern", "is", "choose", "count"}
    its = sum(n for (_, it), n in kinds.items() if it)
    assert 0.4 < its / 2000 < 0.6
    yesno = Counter(s.answers[0][0] for s in samples)
    assert 0.8 < yesno["yes"] / yesno["no"] < 1.25


def truth(asked, sample, things):
    x0, y0, x1, y1 = sample.region
    inside = [t for t in things if x0 < center(t)[0] < x1 and y0 < center(t)[1] < y1]
    if asked.kind in ("count", "exists"):
        number = sum(holds(t, asked.subject) for t in inside)
        return str(number) if asked.kind == "count" else "yes" if number else "no"
    fit = inside if asked.subject == "it" else [t for t in inside if holds(t, asked.subject)]
    middle = ((x0 + x1) / 2, (y0 + y1) / 2)
    thing = min(
        fit, key=lambda t: sum((a - b) ** 2 for a, b in zip(center(t), middle, strict=True))
    )
    if asked.kind == "is":
        return "yes" if holds(thing, asked.value) else "no"
    if asked.kind == "choose":
        return next(option for option in asked.options if holds(thing, option))
    return attribute(thing, asked.kind)


def inside_image(box, size=(SIDE, SIDE)):
    return 0 <= box[0] < box[2] <= size[0] and 0 <= box[1] < box[3] <= size[1]


def test_box_samples_hold_all_boxes_of_their_region(annotated):
    rows, sizes = annotated
    things = {row["image_id"]: row["objects"] for row in rows}
    samples = box_samples(rows, sizes, 1500, Random(1))
    for sample in samples:
        x0, y0, x1, y1 = sample.region
        fit = [
            t
            for t in things[sample.image_id]
            if holds(t, sample.texts[0]) and x0 < center(t)[0] < x1 and y0 < center(t)[1] < y1
        ]
        assert len(fit) == len(sample.boxes) == len(sample.scores)
        for box in sample.boxes:
            assert x0 <= box[0] < box[2] <= x1 and y0 <= box[1] < box[3] <= y1
    absent = sum(not sample.boxes for sample in samples) / len(samples)
    assert 0.15 < absent < 0.45
    assert sum(sample.region == (0, 0, SIDE, SIDE) for sample in samples) < 1000


def test_match_samples_are_true_about_half_of_the_time(annotated):
    rows, sizes = annotated
    things = {row["image_id"]: row["objects"] for row in rows}
    samples = match_samples(rows, sizes, 500, Random(1))
    for sample in samples:
        middle = [(sample.region[i] + sample.region[i + 2]) / 2 for i in range(2)]
        thing = min(
            things[sample.image_id],
            key=lambda t: sum((a - b) ** 2 for a, b in zip(center(t), middle, strict=True)),
        )
        assert sample.scores == tuple(float(holds(thing, text)) for text in sample.texts)
    mean = np.mean([score for sample in samples for score in sample.scores])
    assert 0.4 < mean < 0.6


def test_examples_ask_only_what_things_have():
    things = [
        {"object_id": "1", "name": "square", "attributes": ["blue", "big"]},
        {"object_id": "2", "name": "circle", "attributes": ["black", "small"]},
    ]
    for thing, box in zip(
        things, ([10.0, 10.0, 40.0, 40.0], [60.0, 60.0, 70.0, 70.0]), strict=True
    ):
        thing |= {"categories": ["item"], "box": box}
    rows = [{"image_id": "a", "objects": things}]
    samples = answer_samples(rows, {"a": (100, 100)}, 300, Random(1))
    text = " ".join(sample.texts[0] for sample in samples)
    assert "What size is it?" in text and "pattern" not in text and "plain" not in text


def test_examples_depend_on_the_random_stream_alone(annotated):
    rows, sizes = annotated
    for make in (answer_samples, box_samples, match_samples):
        one, same, other = (make(rows, sizes, 50, Random(seed)) for seed in (1, 1, 2))
        assert one == same != other
    assert answer_samples([], {}, 10, Random(1)) == []
