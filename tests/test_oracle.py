"""Perfect perception: what it finds, answers and matches, and where it says that it cannot."""

import json
import os
from pathlib import Path

import pytest

from sdvp_core.base.images import ImageStore
from sdvp_core.base.scene_answer import question_answer
from sdvp_core.interpreter.scheduler import Job, execute
from sdvp_core.modules import oracle
from sdvp_core.modules.call import Call
from sdvp_core.program.bank import Bank
from sdvp_core.program.generate import recorded
from sdvp_core.tasks.nlvr import objects

DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data"
SHARED = Path(os.environ.get("SDVP_SHARED_DATA", DEFAULT))
NO_IMAGES = ImageStore([])
WHOLE = (0.0, 0.0, 100.0, 100.0)


def thing(name, box, *attributes):
    return {
        "object_id": name,
        "name": name,
        "categories": ["object", "item"],
        "attributes": list(attributes),
        "box": list(box),
    }


SCENE = [
    thing("square", (60, 10, 80, 30), "red", "striped"),
    thing("ring", (10, 40, 30, 60), "blue", "plain"),
    thing("square", (32, 40, 52, 60), "blue", "hollow"),
]
MODULES = oracle.load([{"image_id": "i", "objects": SCENE}])


def ask(module, region, *texts, image_id="i"):
    return MODULES[module].answer([Call(module, image_id, region, texts)], NO_IMAGES)[0]


def test_locate_finds_what_a_description_is_true_of_from_left_to_right():
    assert ask("locate", WHOLE, "square").boxes == ((32, 40, 52, 60), (60, 10, 80, 30))
    assert ask("locate", WHOLE, "red striped square").boxes == ((60, 10, 80, 30),)
    assert len(ask("locate", WHOLE, "object").boxes) == 3
    nothing = ask("locate", WHOLE, "red ring")
    assert nothing.boxes == () and nothing.confidence == 0 and nothing.error is None


def test_locate_leaves_out_what_the_region_cuts_at_its_centre():
    left_of_square = (0.0, 0.0, 42.0, 100.0)  # cut along the blue square's centre
    assert ask("locate", left_of_square, "square").boxes == ()
    wider = (0.0, 0.0, 45.0, 100.0)
    assert ask("locate", wider, "square").boxes == ((32, 40, 45, 60),)  # clipped to the region


@pytest.mark.parametrize(
    "question, answer",
    [
        ("What color is it?", "red"),
        ("What shape is it?", "square"),
        ("What is it?", "square"),
        ("What pattern is it?", "striped"),
        ("Is it red?", "yes"),
        ("Is it a ring?", "no"),
        ("Is it blue or red?", "red"),
        ("Is it a ring or a square?", "square"),
    ],
)
def test_it_is_what_the_crop_is_of(question, answer):
    # The crop enlarged 1.5 times around the red square
    assert ask("vqa", (55, 5, 85, 35), question).answer == answer


@pytest.mark.parametrize(
    "question, answer",
    [
        ("What color is the ring?", "blue"),
        ("What pattern is the blue square?", "hollow"),
        ("Is the red square striped?", "yes"),
        ("How many squares are there?", "2"),
        ("How many rings are there?", "1"),
        ("Is there a blue ring?", "yes"),
        ("Is there a red ring?", "no"),
        ("Is the ring red or blue?", "blue"),
    ],
)
def test_questions_that_say_what_they_mean(question, answer):
    assert ask("vqa", WHOLE, question).answer == answer


@pytest.mark.parametrize(
    "question",
    [
        "What material is it?",
        "What color is the star?",
        "Who won the match?",
        "Is it a star or a cross?",
        "Is there a square riding on a horse?",
    ],
)
def test_it_says_so_where_it_cannot_answer(question):
    output = ask("vqa", (55, 5, 85, 35), question)
    assert output.answer is None and "cannot answer" in output.error


def test_an_image_without_annotations_is_an_error_of_that_call_only():
    calls = [Call("vqa", i, WHOLE, ("How many rings are there?",)) for i in ("other", "i")]
    outputs = MODULES["vqa"].answer(calls, NO_IMAGES)
    assert "other" in outputs[0].error and outputs[1].answer == "1"


def test_match_scores_the_thing_that_the_region_shows():
    texts = ("blue ring", "blue square", "hollow item", "square object", "ring object")
    output = ask("match", (30, 38, 54, 62), *texts)
    assert output.scores == (0, 1, 1, 1, 0) and output.answer == "blue square"


TOWER = [  # from the floor: yellow, black, blue; the region is NLVR's right box
    thing("square", (340, 80, 360, 100), "yellow", "medium"),
    thing("square", (340, 59, 360, 79), "black", "medium"),
    thing("square", (340, 38, 360, 58), "blue", "medium"),
    {**thing("box", (300, 0, 400, 100), "grey"), "categories": []},
]
for block in TOWER[:3]:
    block["categories"].append("block")


@pytest.mark.parametrize(
    "question, answer",
    [
        ("How many blocks are in the tower?", "3"),
        ("Is the block at the top of the tower blue?", "yes"),
        ("Is the item at the top a yellow square?", "no"),
        ("Is the second block from the base black?", "yes"),
        ("Is the third block from the top of the tower yellow?", "yes"),
        ("Is the fourth block from the top blue?", "no"),
        ("Is the block in the middle of the tower black?", "yes"),
        ("What color is the block at the base of the tower?", "yellow"),
        ("Is there a blue square above a yellow square?", "yes"),
        ("Is there a blue square directly on top of a yellow square?", "no"),
        ("Is there a blue square directly on top of a black square?", "yes"),
        ("Is there a yellow square below a black square?", "yes"),
        ("Is there a black square touching only blue squares?", "no"),
        ("Is there a blue square touching only black squares?", "yes"),
        ("Is there a black block that touches both a yellow block and a blue block?", "yes"),
        ("Is there a black square between two blue squares?", "no"),
        ("How many items are touching the wall?", "1"),
        ("How many squares are not touching the wall?", "2"),
        ("Is there a yellow square touching the bottom of the box?", "yes"),
        ("Is there a yellow item touching the right wall?", "no"),
        ("Is there a square touching a corner?", "no"),
        ("Are all the blocks in the tower the same color?", "no"),
        ("Are the two lowest blocks of the tower both black?", "no"),
        (
            "Is the block at the top of the tower the same color as the block at the base of the "
            "tower?",
            "no",
        ),
        (
            "Is there a black item directly on top of a yellow item that is touching the wall?",
            "yes",
        ),
        ("Is there a square riding on a whale?", None),
        ("Is there a square touching", None),
    ],
)
def test_relations_and_stacks(question, answer):
    assert question_answer(TOWER, (300, 0, 400, 100), question) == answer


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is absent: set SDVP_SHARED_DATA")
@pytest.mark.parametrize(
    "split, wanted", [("dev", {"viper": 965, "visprog": 960}), ("test", {"viper": 965})]
)
def test_the_bank_of_nlvr_reaches_its_ceiling(split, wanted):
    lines = (SHARED / "nlvr" / split / f"{split}.json").read_text().splitlines()
    records = {r["identifier"]: r for r in map(json.loads, lines)}
    bank = Bank.load(SHARED / "programs" / "nlvr_bank.jsonl")
    asked = [{"question_id": key, "question": r["sentence"]} for key, r in records.items()]
    annotations = [
        {"image_id": key, "objects": objects(r["structured_rep"])} for key, r in records.items()
    ]
    images = ImageStore(
        {"image_id": key, "width": 400, "height": 100, "status": "ok"} for key in records
    )
    jobs = [
        Job(r["question_id"], r["dialect"], r["program"], (r["question_id"],), "boxes")
        for r in recorded(asked, bank, tuple(wanted))
    ]
    right = dict.fromkeys(wanted, 0)
    modules = oracle.load(annotations)
    for job, trace in zip(jobs, execute(jobs, modules, images), strict=True):
        truth = trace.answer in (True, "true", "yes")
        label = records[job.key]["label"] == "true"
        right[job.dialect] += trace.status == "ok" and truth == label
    assert right["viper"] == wanted["viper"]
    assert right.get("visprog", 0) >= wanted.get("visprog", 0)


@pytest.mark.parametrize(
    "question, answer",
    [
        ("Is there a ring on the red square?", "yes"),
        ("Is there a ring on top of the red square?", "no"),
        ("Is there a red square on the ring?", "no"),
        ("Is the red square near an object?", "yes"),
        ("Is the ring near the blue square?", "no"),
        ("Is the blue square near or on the red square?", "near"),
        ("What is on the red square?", "ring"),
        ("Is there a ring on the left?", None),
        ("Is the ring on the square red?", None),
        ("Is there a ring on the square near the wall?", None),
    ],
)
def test_annotated_relations(question, answer):
    relations = [
        {"subject": "1", "name": "on", "object": "0"},
        {"subject": "0", "name": "near", "object": "2"},
    ]
    scene = [{**t, "object_id": str(n)} for n, t in enumerate(SCENE)]
    assert question_answer(scene, WHOLE, question, relations) == answer


@pytest.mark.parametrize(
    "question", ["Is there a ring on the square?", "Is there a ring above it?"]
)
def test_annotated_sides_change_nothing(question):
    relations = [{"subject": "ring", "name": "to the left of", "object": "square"}]
    assert question_answer(SCENE, WHOLE, question, relations) == question_answer(
        SCENE, WHOLE, question
    )
