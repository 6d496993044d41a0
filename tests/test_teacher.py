"""The teacher: its words and views, the adapter's strategies, labelling, fitting and saving."""

import io
import json
from random import Random

import numpy as np
import pytest
from PIL import Image

from sdvp_core.base.compare import matched, overlap, same
from sdvp_core.base.errors import UserError
from sdvp_core.base.images import ImageError, ImageStore
from sdvp_core.base.params import Supervise
from sdvp_core.base.params import Teacher as TeacherParams
from sdvp_core.base.records import SUPERVISION
from sdvp_core.base.tables import write_table
from sdvp_core.modules import oracle
from sdvp_core.modules.call import Call
from sdvp_core.tasks.shapes import scene
from sdvp_core.teacher import accuracy, fit, learning, sight, swap
from sdvp_core.teacher.adapter import adapt, boxes_given, pointed, refers
from sdvp_core.teacher.boxes import BoxConfig, BoxTeacher, Candidates, candidates
from sdvp_core.teacher.examples import Examples, beside, own_questions
from sdvp_core.teacher.label import _sure, label, to_samples
from sdvp_core.teacher.model import PRESENT, Teacher, load, save
from sdvp_core.teacher.views import CROP, WIDE, frame, view, whole_view
from sdvp_core.teacher.words import Words, heads_of

SIZE = (100, 100)
RED, BLUE = [10.0, 40.0, 30.0, 60.0], [60.0, 40.0, 80.0, 60.0]


def thing(name, color, box):
    return {
        "object_id": color,
        "name": name,
        "categories": ["object", "shape", "item"],
        "attributes": [color, "plain"],
        "box": box,
    }


def step(index, module, text, region, output, parents=(), image_id="i", **arguments):
    return {
        "step_id": f"s{index}",
        "execution_id": "e",
        "index": index,
        "parents": list(parents),
        "module": module,
        "arguments": json.dumps(arguments),
        "text": text,
        "image_id": image_id,
        "region": list(map(float, region)),
        "output": None if output is None else json.dumps(output),
        "confidence": 0.5,
        "question_id": "q",
        "task": "t",
    }


def adapted(last, earlier, strategy):
    return adapt(last, {s["index"]: s for s in [*earlier, last]}, SIZE, strategy)


# Words


def test_words_number_what_occurs_twice_and_pad_to_a_length():
    words = Words.of(["What color is the square?", "what color is it"])
    assert words.words == ("color", "is", "what")
    assert words.encode("What is it?", 5) == [4, 3, 1, 0, 0]
    assert words.unknown("What shape is it?") == ["shape", "it"]


def test_heads_are_found_without_articles_and_in_the_plural():
    assert heads_of("the red circles", ("circle", "red")) == ([1, 0], [])
    assert heads_of("a green box", ("circle", "red")) == ([], ["green", "box"])


# Views


def test_a_small_region_is_a_crop_and_a_large_one_a_scene():
    image = Image.new("RGB", SIZE, (10, 20, 30))
    assert view(image, (10, 10, 40, 30)).shape == (CROP, CROP, 3)
    assert view(image).shape == (WIDE, WIDE, 3)
    assert view(Image.new("RGB", (400, 100))).shape == (WIDE, 4 * WIDE, 3)
    assert whole_view([image, image]).shape == (WIDE, 2 * WIDE, 3)


def test_a_view_keeps_proportions_and_tells_where_a_point_lies():
    image = Image.new("RGB", SIZE, (200, 0, 0))
    image.putpixel((20, 20), (0, 0, 255))
    look = view(image, (10, 10, 40, 25))
    assert (look[0, 0] == 127).all()  # grey above, for the region is twice as wide as high
    x, y = frame(SIZE, (10, 10, 40, 25)).place(20.5, 20.5)
    bluest = np.unravel_index(look[..., 2].astype(int).argmax() // 1, look.shape[:2])
    blue = look[..., 2].astype(int) - look[..., 0]
    assert blue[int(y), int(x)] == blue.max() or abs(bluest[0] - y) < 2


def test_an_outlined_region_is_drawn_in_magenta_around_it():
    look = view(Image.new("RGB", SIZE), None, (20, 20, 40, 40)).astype(int)
    ys, xs = np.nonzero((look == (255, 0, 255)).all(-1))
    assert 17 <= xs.min() <= 20 and 37 <= xs.max() <= 40
    assert 17 <= ys.min() <= 20 and 37 <= ys.max() <= 40


# The adapter

SQUARES = step(0, "locate", "square", (0, 0, 100, 100), [RED, BLUE])


def test_none_leaves_the_question_as_it_is():
    vqa = step(1, "vqa", "What color is it?", RED, "red", [0])
    given = adapted(vqa, [SQUARES], "none")
    assert (given.adapter, given.pointer, given.text) == ("none", None, "What color is it?")
    assert given.region == tuple(RED)


@pytest.mark.parametrize("region", [RED, [5, 35, 35, 65]])  # tight, and enlarged by CROP
def test_name_puts_what_was_looked_for_in_place_of_it(region):
    vqa = step(1, "vqa", "What color is it?", region, "red", [0])
    given = adapted(vqa, [SQUARES], "name")
    assert (given.pointer, given.text) == ("square", "What color is the square?")


def test_a_half_of_the_image_does_not_show_what_it_was_cut_beside():
    vqa = step(1, "vqa", "Is there a ring?", (0, 0, 20, 100), "yes", [0], crop="CROP_LEFTOF")
    given = adapted(vqa, [SQUARES], "name")
    assert (given.adapter, given.pointer, given.text) == ("none", None, "Is there a ring?")


def test_match_becomes_a_yes_no_question_and_a_check_of_the_name():
    match = step(1, "match", "red square", RED, [0.7], [0])
    assert adapted(match, [SQUARES], "name").questions == (
        ("Is the square red?", "Is it a square?"),
    )
    assert adapted(match, [SQUARES], "none").questions == (("Is it a red square?",),)
    options = step(1, "match", "red | blue", RED, [0.7, 0.1], [0])
    assert adapted(options, [SQUARES], "name").questions == (
        ("Is the square red?",),
        ("Is the square blue?",),
    )


def test_match_of_a_shape_with_a_general_name():
    found = step(0, "locate", "red object", (0, 0, 100, 100), [RED])
    match = step(1, "match", "square object", RED, [0.7], [0])
    assert adapted(match, [found], "name").questions == (("Is the red object a square?",),)


@pytest.mark.parametrize(
    ("region", "cut", "words"),
    [
        ((0, 0, 70, 100), "CROP_LEFTOF", "to the left of"),
        ((0, 0, 70, 100), "crop", "to the left of"),  # ViperGPT's crop tells its numbers only
        ((0, 0, 60, 100), "crop", "to the left of"),
        ((70, 0, 100, 100), "CROP_RIGHTOF", "to the right of"),
        ((0, 0, 100, 50), "crop", "above"),
        ((0, 50, 100, 100), "crop", "below"),
    ],
)
def test_lineage_refers_to_the_anchor_by_the_side_that_was_cut(region, cut, words):
    anchor = step(0, "locate", "blue ring", (0, 0, 100, 100), [BLUE])
    found = step(1, "locate", "square", region, [RED], [0], crop=cut)
    vqa = step(2, "vqa", "What color is it?", RED, "red", [1])
    given = adapted(vqa, [anchor, found], "lineage")
    assert given.text == f"What color is the square {words} the blue ring?"
    assert given.region == (0, 0, 100, 100)


def test_box_outlines_the_region_on_the_whole_image():
    vqa = step(1, "vqa", "What color is it?", RED, "red", [0])
    given = adapted(vqa, [SQUARES], "box")
    assert given.region == (0, 0, 100, 100) and given.drawn == tuple(RED)
    assert given.text == "What color is it?"


def test_a_question_that_names_its_thing_is_left_alone():
    assert pointed("What color is the ring?", "square") == "What color is the ring?"
    assert pointed("Is it red or blue?", "square") == "Is the square red or blue?"
    assert pointed("What is this?", "square") == "What is the square?"


def test_only_a_pronoun_refers():
    for text, found in (("Is it red?", True), ("Is the star that is above it red?", True),
                        ("Is the star that is above the ring red?", False)):  # fmt: skip
        assert refers(text) == found


def test_a_find_without_a_box_still_says_what_is_meant():
    whole = (0, 0, 100, 100)
    nothing = step(0, "locate", "blue square", whole, [])
    given = adapted(step(1, "vqa", "What color is it?", whole, "red", [0]), [nothing], "name")
    assert (given.adapter, given.pointer) == ("name", "blue square")
    assert given.text == "What color is the blue square?"
    elsewhere = step(1, "vqa", "What color is it?", (0, 0, 50, 100), "red", [0])
    assert adapted(elsewhere, [nothing], "name").pointer is None


def test_an_unknown_strategy_is_a_mistake():
    with pytest.raises(ValueError, match="lineage"):
        adapted(SQUARES, [], "magic")


# Examples


def test_examples_are_true_of_their_scene_and_repeat_with_their_seed():
    rows = [
        {"image_id": "i", "objects": [thing("square", "red", RED), thing("ring", "blue", BLUE)]}
    ]

    def drawn(seed):
        examples = Examples(rows, {"i": SIZE}, Random(seed))
        return examples.crops(30) + examples.outlined(10) + examples.related(10)

    asks = drawn(3)
    assert asks == drawn(3) and asks != drawn(4)
    answers = {pair for ask in asks for pair in ask.pairs}
    assert ("What color is the square?", "red") in answers
    assert ("What color is the square?", "blue") not in answers
    assert any("to the left of the" in q for q, _ in answers)


def test_beside_compares_middles():
    assert beside(RED, BLUE, "to the left of") and not beside(BLUE, RED, "to the left of")
    assert not beside(RED, BLUE, "above") and not beside(RED, BLUE, "below")


def test_own_questions_go_together_by_image():
    row = {"image_ids": ["a"], "question": "?", "answer": "yes", "answer_type": "yesno"}
    asks = own_questions([row] * 4 + [row | {"answer_type": "box"}], ("yesno",))
    assert [len(ask.pairs) for ask in asks] == [2, 2]


# Boxes


def test_overlap_and_one_to_one_matching():
    assert overlap(RED, RED) == 1 and overlap(RED, BLUE) == 0
    near = [11.0, 40.0, 31.0, 60.0]
    assert matched([near, RED], [RED]) == [(1, 0)]
    assert matched([RED], [BLUE]) == []


def test_maps_that_equal_their_targets_give_the_boxes_back():
    large = [0.0, 0.0, 100.0, 96.0]  # holds the others: found on the coarse map
    config = BoxConfig(("blue", "red"))
    words = [np.array([0, 1], np.float32), np.array([1, 0], np.float32), np.zeros(2, np.float32)]
    things = [
        learning.Labelled(tuple(box), hot)
        for box, hot in zip((RED, BLUE, large), words, strict=True)
    ]
    import torch

    shapes = [(28, 28), (7, 7)]
    wanted = learning.targets([things], shapes, config)
    maps = []
    for target, shape in zip(wanted, shapes, strict=True):
        cells = torch.full((1, 7, *shape), -9.0)
        cells[:, :1] = torch.logit(target.heat.clamp(1e-4, 1 - 1e-4))
        image, line, column = target.cells
        cells[image, 1:5, line, column] = target.sides
        cells[image, 5:, line, column] = target.words * 20 - 10
        maps.append(cells)
    seen = candidates(maps, 0, 1.0, 0.5)
    pairs = matched(seen.boxes.tolist(), [RED, BLUE, large], 0.99)
    assert len(seen.boxes) == len(pairs) == 3
    moved = [cells.roll(3, dims=3) for cells in maps]
    assert learning.box_loss(maps, wanted) < 0.2 < 5 < learning.box_loss(moved, wanted)


def test_descriptions_choose_candidates_by_their_least_likely_word():
    model = Teacher(None, BoxTeacher(BoxConfig(("blue", "red", "square"))))
    seen = Candidates(
        np.array([RED, BLUE, [11.0, 40.0, 31.0, 60.0]]),
        np.array([0.9, 0.9, 0.6]),
        np.array([[0.1, 0.9, 1.0], [0.9, 0.1, 1.0], [0.1, 0.9, 1.0]]),
    )
    assert [box for box, _ in model.described(seen, "red square")] == [tuple(RED)]
    assert len(model.described(seen, "squares")) == 2  # the double of RED is left out
    assert model.described(seen, "green square") == []
    assert model.unknown("locate", "green square") == ["green"]
    clipped = model.inside(seen, "blue square", (0.0, 0.0, 75.0, 100.0))
    assert clipped[0][0] == (60.0, 40.0, 75.0, 60.0)
    assert model.inside(seen, "blue square", (0.0, 0.0, 65.0, 100.0)) == []


# Fitting, labelling and saving, on a few scenes


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Several threads on a busy machine wait for each other more than they work."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world():
    rng, images, rows = Random(0), [], []
    for number in range(24):
        image, objects = scene(rng, "flat")
        file = io.BytesIO()
        image.save(file, "PNG")
        images.append({"image_id": f"i{number}", "bytes": file.getvalue(), "status": "ok"})
        rows.append({"image_id": f"i{number}", "objects": objects, "relations": []})
    return ImageStore(images), rows


def params(answers, boxes):
    return TeacherParams(
        answers={"steps": answers, "batch_size": 6, "samples": 60},
        boxes={"steps": boxes, "batch_size": 4},
    )


@pytest.fixture(scope="module")
def teacher(world):
    images, rows = world
    own = [
        {"image_ids": [r["image_id"]], "question": "Is it so?", "answer": "no",
         "answer_type": "yesno"} for r in rows
    ]  # fmt: skip
    losses = []
    fitted = fit.fit(rows, images, own, params(24, 40), 1, lambda *told: losses.append(told))
    answers = [loss for what, _, loss in losses if what == "answers"]
    boxes = [loss for what, _, loss in losses if what == "boxes"]
    assert answers[-1] < answers[0] and boxes[-1] < 0.7 * boxes[0]
    return fitted


def test_the_teacher_is_smaller_than_any_student(teacher):
    sizes = teacher.parameters()
    assert 0 < sizes["answers"] <= 300_000 and 0 < sizes["boxes"] <= 200_000


def test_equal_seeds_fit_equal_teachers(world):
    images, rows = world
    one, two, other = (fit.fit(rows, images, [], params(2, 2), s).revision for s in (5, 5, 6))
    assert one == two != other


def test_nothing_annotated_is_a_mistake_of_the_user(world):
    with pytest.raises(UserError, match="no annotated images"):
        fit.fit([{"image_id": "i0", "objects": []}], world[0], [], params(1, 1), 0)


def test_a_saved_teacher_answers_as_before(teacher, world, tmp_path):
    images, _ = world
    save(teacher, tmp_path)
    again = load(tmp_path)
    assert again.revision == teacher.revision == swap.revision(tmp_path)
    asked = [images.get("i0")], ["What color is the square?"]
    assert np.array_equal(again.answer(*asked), teacher.answer(*asked))
    assert again.boxes(images.get("i0"), ["object"]) == teacher.boxes(images.get("i0"), ["object"])
    wide = Image.new("RGB", (400, 100))
    assert len(again.boxes(wide, ["red object", "item"])) == 2


def test_a_folder_without_a_teacher_is_a_mistake_of_the_user(tmp_path):
    with pytest.raises(UserError, match="holds no teacher"):
        load(tmp_path)
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="can be loaded"):
        load(tmp_path)


def test_answers_do_not_depend_on_what_is_asked_beside_them(teacher, world):
    images, rows = world
    looks = [view(images.get(r["image_id"]), tuple(r["objects"][0]["box"])) for r in rows[:6]]
    questions = ["What color is it?", "Is it red?"] * 3
    together = teacher.answer(looks, questions)
    alone = [teacher.answer([look], [q])[0] for look, q in zip(looks, questions, strict=True)]
    assert np.allclose(together, alone, atol=1e-5)
    assert np.allclose(together.sum(1), 1, atol=1e-5)


def test_yes_no_questions_are_read_off_open_ones(teacher, world):
    image = world[0].get("i0")
    said = teacher.answer([image] * 2, ["What color is it?", "What shape is it?"])
    red, square = (teacher.answer_words.index(word) for word in ("red", "square"))
    sure = teacher.truths([image] * 3, ["Is it red?", "Is it a red square?", "Is there a ring?"])
    assert sure[0] == pytest.approx(said[0, red], abs=1e-5)
    assert sure[1] == pytest.approx(min(said[0, red], said[1, square]), abs=1e-5)
    asked = teacher.answer([image], ["Is there a ring?"])
    assert sure[2] == pytest.approx(teacher.yes(asked)[0], abs=1e-5)


def traces(rows):
    """One step of each module on the first thing of every scene, and what cannot be labelled."""
    found = []
    for row in rows:
        first, image_id = row["objects"][0], row["image_id"]
        box, name = first["box"], first["name"]
        found.append(
            [
                step(0, "locate", name, (0, 0, 100, 100), [box], image_id=image_id),
                step(1, "vqa", "What color is it?", box, "red", [0], image_id),
                step(2, "match", f"red {name}", box, [0.9], [0], image_id),
                step(3, "vqa", "Is it edible?", box, "no", [0], image_id),
                step(4, "vqa", "What color is it?", box, None, [0], image_id),
                step(5, "knowledge", "why?", box, "so", [0], image_id),
                step(6, "vqa", "What color is it?", (0, 0, 100, 100), "red", (), image_id),
            ]
        )
    found.append([step(0, "vqa", "Is it red?", RED, "no", image_id="gone")])
    return found


def test_every_step_has_a_row_and_every_rejected_one_its_reason(teacher, world, tmp_path):
    images, rows = world
    given = traces(rows)
    made = list(label(given, teacher, images, Supervise(), oracle=oracle.load(rows)))
    assert [r["step_id"] for r in made] == [s["step_id"] for trace in given for s in trace]
    by_place = [[r for r in made[:-1] if r["index"] == i] for i in range(7)]
    assert {r["drop_reason"] for r in by_place[3]} == {"the teacher does not know 'edible'"}
    assert {r["drop_reason"] for r in by_place[4]} == {"the step failed"}
    assert {r["drop_reason"] for r in by_place[5]} == {"no teacher for knowledge"}
    assert {r["drop_reason"] for r in by_place[6]} == {
        "nothing in the view says what is asked about"
    }
    assert made[-1]["drop_reason"] == "the image cannot be read"
    assert all(r["kept"] == (r["drop_reason"] is None) for r in made)
    assert all(r["question_id"] == "q" and r["teacher_revision"] for r in made)
    assert by_place[1][0]["pointer"] == rows[0]["objects"][0]["name"]
    truth = [json.dumps(row["objects"][0]["attributes"][0]) for row in rows]
    assert [r["oracle_answer"] for r in by_place[1]] == truth
    assert write_table(tmp_path / "supervision.parquet", made, SUPERVISION) == len(made)


def test_columns_of_the_execution_are_passed_on(teacher, world):
    images, rows = world
    given = [[s | {"forced": True} for s in traces(rows)[0]], traces(rows)[1]]
    made = list(label(given, teacher, images, Supervise()))
    assert [row["forced"] for row in made] == [True] * 7 + [None] * 7


def test_kept_rows_become_samples_once_each(teacher, world):
    images, rows = world
    made = list(label(traces(rows) * 2, teacher, images, Supervise()))
    samples = to_samples(made)
    kept = [row for row in made if row["kept"]]
    assert 0 < len(samples) == len(kept) // 2
    for sample in samples:
        assert len(sample.scores) == (0 if sample.module == "vqa" else len(
            sample.boxes if sample.module == "locate" else sample.texts))  # fmt: skip
        assert bool(sample.answers) == (sample.module == "vqa")


def test_filters_of_confidence_and_of_the_students_answers(teacher, world):
    images, rows = world
    strict = Supervise(min_confidence={"vqa": 1.0})
    asked = [[s for s in trace if s["module"] == "vqa"] for trace in traces(rows)[:5]]
    for row in label(asked, teacher, images, strict):
        assert not row["kept"]
    limited = [r for r in label(traces(rows)[:5], teacher, images, Supervise(), answers=["mauve"])
               if r["module"] == "vqa" and r["target_answer"]]  # fmt: skip
    assert limited and not any(r["kept"] for r in limited)
    assert not any(r["target_topk"] for r in limited)


def test_a_box_at_the_threshold_is_the_least_certain():
    sure = [_sure(score) for score in (0.0, 0.2, PRESENT, 0.7, 1.0)]
    assert sure[0] == sure[-1] == 1 and min(sure) == sure[2] == 0.5


def test_targets_are_compared_with_the_oracle_as_steps_are():
    assert same("vqa", "Red", "red") and not same("vqa", "red", None)
    assert same("match", [0.9], [0.6]) and not same("match", [0.9], [0.4])
    assert same("match", [0.2, 0.3], [0.0, 1.0])
    assert same("locate", [RED, BLUE], [BLUE, RED])
    assert not same("locate", [RED], [RED, BLUE])


def test_a_region_with_parts_of_two_things_is_ambiguous():
    things = [thing("square", "red", RED), thing("ring", "blue", [31.0, 40.0, 45.0, 60.0])]
    tight, wide = {"region": RED}, {"region": [5, 35, 38, 65]}
    assert not accuracy.ambiguous(tight, things, SIZE)
    assert accuracy.ambiguous(wide, things, SIZE)


def test_all_strategies_are_measured_on_the_same_steps(teacher, world):
    images, rows = world
    found = accuracy.measure_strategies(
        traces(rows)[:-1], teacher, images, Supervise(), oracle.load(rows), rows
    )
    assert {len(set(v["n"] for v in found[m].values())) for m in found} == {1}
    assert set(found["vqa"]) == {"none", "name", "lineage", "box"}
    assert set(found["locate"]) == {"none"}  # its input is the same under every strategy
    assert found["locate"]["none"]["n"] == len(rows)


def test_the_thing_meant_is_the_one_the_pointer_names(teacher, world):
    images, rows = world
    image_id = rows[0]["image_id"]
    things = [
        {"name": "circle", "categories": [], "attributes": ["red"], "box": [0, 0, 12, 12]},
        {"name": "square", "categories": [], "attributes": ["blue"], "box": [14, 0, 20, 6]},
    ]
    perfect = oracle.load([{"image_id": image_id, "objects": things}])
    row = {"module": "vqa", "image_id": image_id, "region": [0, 0, 20, 12],
           "text": "What color is it?", "pointer": "square",
           "teacher_text": "What color is the square?"}  # fmt: skip
    unnamed = row | {"pointer": None}
    absent = row | {"pointer": "star", "teacher_text": "What color is the star?"}
    assert accuracy._meant([row, unnamed, absent], perfect, images) == ["blue", None, None]


def test_a_sample_of_traces_holds_both_dialects():
    some = accuracy.draw([1] * 40, 20)
    assert len(some) == 20 and {place % 2 for place in some} == {0, 1}
    assert some == accuracy.draw([1] * 40, 20)
    assert accuracy.draw([1] * 40, 1000) == set(range(40))
    assert len(accuracy.draw([30, 30, 30], 40)) == 2  # whole traces, until there are enough


def counted(rows):
    tally = accuracy.Tally()
    assert list(tally.watch(rows)) == list(rows)
    return tally


def test_perfect_targets_have_accuracy_one():
    base = {"kept": True, "module": "vqa", "target_confidence": 1.0, "target_answer": "red"}
    made = [base | {"oracle_answer": '"red"'}, base | {"oracle_answer": '"blue"'}]
    assert counted(made[:1]).accuracy() == {"vqa": 1.0}
    assert counted(made).accuracy() == counted(made).accuracy(kept_only=True) == {"vqa": 0.5}
    matched_one = {"module": "match", "oracle_answer": "[1.0]", "target_topk": [{"probability": 1}]}
    made += [made[1] | {"kept": False}, made[0] | {"kept": False} | matched_one]
    tally = counted(made)
    assert (tally.steps, tally.kept) == (4, 2)
    assert tally.accuracy(kept_only=True) == {"vqa": 0.5}
    assert tally.accuracy()["vqa"] == 0.3333 and set(tally.accuracy()) == {"match", "vqa"}


def test_the_teacher_stands_in_for_modules(teacher, world, tmp_path):
    images, rows = world
    save(teacher, tmp_path)
    modules = swap.load_modules(tmp_path)
    box = tuple(rows[0]["objects"][0]["box"])
    whole = (0.0, 0.0, 100.0, 100.0)
    asked = Call("vqa", "i0", box, ("What color is it?",))
    answered, missing, repeated = modules["vqa"].answer(
        [asked, Call("vqa", "gone", box, ("What color is it?",)), asked], images
    )
    assert answered.answer in teacher.answer_words and missing.error and repeated == answered
    (fits,) = modules["match"].answer([Call("match", "i0", box, ("red object", "ring"))], images)
    assert len(fits.scores) == 2 and fits.answer in ("red object", "ring")
    (seen,) = modules["locate"].answer([Call("locate", "i0", whole, ("object",))], images)
    assert len(seen.boxes) == len(seen.scores)


def test_an_image_is_looked_at_once_and_the_oldest_forgotten(teacher, world, monkeypatch):
    images, _ = world
    looked = []
    find = teacher.find
    monkeypatch.setattr(teacher, "find", lambda pictures: looked.append(1) or find(pictures))
    monkeypatch.setattr(sight, "HELD", 2)
    seen = sight.Sight(teacher)
    assert seen.of("i0", images) is seen.of("i0", images) and len(looked) == 1
    seen.of("i1", images), seen.of("i0", images), seen.of("i2", images)
    assert len(looked) == 3
    seen.of("i0", images), seen.of("i1", images)
    assert len(looked) == 4  # i1 had been asked for longest ago
    with pytest.raises(ImageError, match="gone"):
        seen.of("gone", images)


@pytest.mark.parametrize("strategy", ["name", "none"])
def test_after_a_search_in_vain_the_teacher_looks_at_what_it_finds_by_the_name(
    teacher, world, monkeypatch, strategy
):
    images, _ = world
    whole, there = [0.0, 0.0, 100.0, 100.0], (10.0, 20.0, 40.5, 60.0)
    monkeypatch.setattr(
        teacher, "inside",
        lambda seen, text, region, least=0.0: [(there, 0.9)] if text == "red object" else [],
    )  # fmt: skip
    about_it, about_other = "What color is it?", "What color is the blue object?"
    for name, text, region in (
        ("red object", about_it, there),
        ("blue object", about_it, tuple(whole)),  # the teacher does not find it either
        ("red object", about_other, tuple(whole)),  # what is asked about was not searched for
    ):
        find = step(0, "locate", name, whole, [], image_id="i0")
        query = step(1, "vqa", text, whole, "red", (0,), image_id="i0")
        settings = Supervise(adapter={"vqa": strategy})
        row = list(label([[find, query]], teacher, images, settings))[1]
        assert tuple(row["teacher_region"]) == (region if strategy == "name" else tuple(whole))


def test_what_the_teacher_handed_on_counts_even_where_it_was_nothing():
    step_row = step(0, "locate", "circle", [0, 0, 100, 100], [[1, 1, 9, 9]], handed=[])
    assert boxes_given(step_row) == []


def test_held_out_measures_name_their_size(teacher, world):
    images, rows = world
    found = fit.measure(teacher, rows, images, [], 3, count=20)
    assert {"named", "it", "outlined", "related", "scene", "boxes"} <= set(found)
    assert found["named"]["n"] == 20 and 0 <= found["boxes"]["recall"] <= 1


def test_a_vqa_checkpoint_of_others_can_be_the_teacher(world, tmp_path):
    from sdvp_core.modules.vqa import VqaStudent

    VqaStudent.create(["what", "color", "is", "it"], ["red", "blue"], 0).save(tmp_path / "answers")
    other = load(tmp_path)
    image = world[0].get("i0")
    scores = other.answer([image, image], ["What color is it?", "Why?"])
    assert other.answer_words == ("red", "blue") and np.allclose(scores.sum(1), 1, atol=1e-5)
    asked = [[s for s in trace if s["module"] != "knowledge"] for trace in traces(world[1])[:2]]
    made = list(label(asked, other, world[0], Supervise()))
    assert {r["drop_reason"] for r in made if r["module"] == "locate"} == {"no teacher for locate"}
    assert any(r["kept"] for r in made if r["module"] == "vqa")
