"""Losses, the order of batches, and training: what is learnt, kept, and resumed."""

import copy
import functools
import io
import random

import numpy as np
import pytest
import torch
from PIL import Image

from sdvp_core.base.errors import UserError
from sdvp_core.base.images import ImageStore
from sdvp_core.base.params import Distill
from sdvp_core.base.sample import Sample
from sdvp_core.distill import box_examples, examples, losses
from sdvp_core.distill import fit as fit_module
from sdvp_core.distill.agreement import agreement
from sdvp_core.distill.fit import FitSettings, distance, fit
from sdvp_core.distill.link import fit_settings
from sdvp_core.distill.replay import Order, keep
from sdvp_core.modules.students import create_students

torch.set_num_threads(1)  # such small products are not worth waiting for a busy core
PAINTS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 220)}
NAMES = list(PAINTS)


@pytest.fixture(scope="module")
def images():
    rows = []
    for index in range(24):
        rng = random.Random(index)
        picture = Image.new("RGB", (100, 100), (235, 235, 235))
        picture.paste(PAINTS[NAMES[index % 3]], _box(rng))
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        rows.append(
            {"image_id": str(index), "bytes": stream.getvalue(), "width": 100, "height": 100}
        )
    return ImageStore([*rows, {"image_id": "broken", "bytes": b"?"}])


def _box(rng):
    x, y = rng.randrange(5, 60), rng.randrange(5, 60)
    return (x, y, x + 30, y + 30)


def _samples(module, count=24, first=0):
    found = []
    for index in range(first, first + count):
        box, paint = _box(random.Random(index)), NAMES[index % 3]
        whole = (0.0, 0.0, 100.0, 100.0)
        place = (str(index), tuple(map(float, box)))
        if module == "vqa":
            found.append(
                Sample(
                    "vqa", *place, ("What color is it?",), answers=((paint, 0.9), ("other", 0.1))
                )
            )
        elif module == "match":
            found.append(
                Sample(
                    "match", *place, tuple(NAMES), scores=tuple(float(n == paint) for n in NAMES)
                )
            )
        else:
            for name in NAMES:
                boxes = (place[1],) if name == paint else ()
                found.append(Sample("locate", place[0], whole, (name,), boxes=boxes,
                                    scores=(1.0,) * len(boxes)))  # fmt: skip
    return found


@pytest.fixture
def students():
    return create_students(["what color is it"], NAMES, seed=1)


FAST = FitSettings(steps=8, batch_size=4, lr=2e-3, checkpoint_every=3, seed=4, precision="fp32")


def test_the_answer_loss_is_cross_entropy_and_kl_as_defined():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    hard, soft = torch.tensor([0, 2]), torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    expected = torch.nn.functional.cross_entropy(logits, hard)
    assert losses.answers(logits, hard, soft, 1.0, 2.0) == pytest.approx(float(expected))
    cooled = torch.sqrt(soft) / torch.sqrt(soft).sum(dim=1, keepdim=True)
    student = torch.softmax(logits / 2, dim=1)
    kl = 4 * (cooled * (cooled / student).log()).sum(dim=1).mean()
    assert losses.answers(logits, hard, soft, 0.0, 2.0) == pytest.approx(float(kl), rel=1e-5)
    assert losses.answers(soft.log(), hard, soft, 0.0, 2.0) == pytest.approx(0.0, abs=1e-6)
    half = losses.answers(logits, hard, soft, 0.5, 2.0)
    assert half == pytest.approx(float(expected + kl) / 2, rel=1e-5)


def test_what_stays_the_same_costs_nothing_and_what_moves_does():
    logits, asked = torch.randn(4, 5), torch.ones(4, 5)
    assert losses.answers_kept(logits, logits, 2.0) == pytest.approx(0.0, abs=1e-6)
    assert losses.answers_kept(logits + torch.randn(4, 5), logits, 2.0) > 0.01
    assert losses.matches_kept(logits, logits, asked, 2.0) == pytest.approx(0.0, abs=1e-6)
    assert losses.matches_kept(-logits, logits, asked, 2.0) > 0.01
    scores, boxes = torch.randn(1, 9, 2), torch.rand(1, 9, 4) * 0.2 + 0.4
    weights, asked = losses.BoxWeights(), torch.ones(1, 1, 2)
    same = losses.boxes_kept(scores, boxes, (scores, boxes), asked, 2.0, weights)
    assert same == pytest.approx(0.0, abs=1e-4)
    assert losses.boxes_kept(scores, boxes + 0.1, (scores, boxes), asked, 2.0, weights) > 0.5


def test_texts_that_were_not_asked_do_not_count():
    logits, scores = torch.randn(2, 3), torch.zeros(2, 3)
    asked = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    moved = logits + 5 * (1 - asked)
    for alpha in (1.0, 0.3):
        first = losses.matches(logits, scores, asked, alpha, 2.0)
        assert first == pytest.approx(float(losses.matches(moved, scores, asked, alpha, 2.0)))


def test_giou_of_known_boxes():
    first = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2]])
    second = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.8, 0.5, 0.2, 0.2]])
    found = losses.generalised_iou(first, second)
    assert found[0] == pytest.approx(1.0) and found[1] == pytest.approx(-0.1 / 0.5, abs=1e-5)


def test_a_guess_that_equals_its_target_leaves_the_slopes_finite():
    logits = torch.tensor([[[0.3], [-2.0]]], requires_grad=True)
    scores = logits.detach().sigmoid() * torch.tensor([[[1.0], [0.0]]])
    places, none = torch.rand(1, 2, 4), torch.zeros(0).long()
    loss = losses.boxes(
        logits, places, scores, torch.ones(1, 1, 1), (none, none), torch.zeros(0, 4),
        losses.BoxWeights(),
    )  # fmt: skip
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()


def test_a_training_that_left_the_numbers_stops_and_says_so(students, images):
    settings = FitSettings(**(vars(FAST) | {"lr": 1e30}))
    with pytest.raises(UserError, match="lower its `lr`"):
        fit(students["vqa"], _samples("vqa"), images, settings)


def test_slopes_that_are_no_numbers_reach_no_weight(students, images, monkeypatch):
    def steep(logits, *_):
        return (logits * 0).abs().sqrt().sum()  # 0, with an infinite slope

    monkeypatch.setattr(losses, "answers", steep)
    before = copy.deepcopy(students["vqa"].model.state_dict())
    with pytest.raises(UserError, match="diverged at step 0"):
        fit(students["vqa"], _samples("vqa"), images, FAST)
    after = students["vqa"].model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_params_say_how_views_are_seen_and_boxes_assigned():
    schedule = {"steps": 1}
    settings = Distill(
        mirror="all", assignment="hungarian", vqa=schedule, locate=schedule, match=schedule
    )
    chosen = fit_settings(settings, "locate", 0)
    assert (chosen.mirror, chosen.assignment) == ("all", "hungarian")
    assert fit_settings(settings, "vqa", 0).mirror == "none"


def test_boxes_that_want_one_patch_get_two():
    points = np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]])
    centers, none = np.array([[0.3, 0.3], [0.3, 0.25], [0.8, 0.9]]), np.zeros(3, bool)
    assert losses.nearest_patches(centers, points, none).tolist() == [0, 1, 3]
    found = np.array([[0.9, 0.9, 0.1, 0.1], [0.2, 0.2, 0.1, 0.1], [0.5, 0.5, 0.1, 0.1]])
    truth = np.array([[0.2, 0.2, 0.1, 0.1], [0.9, 0.9, 0.1, 0.1]])
    chosen = losses.hungarian_patches(found, truth, np.zeros((3, 2)), losses.BoxWeights())
    assert chosen.tolist() == [1, 0]


def test_a_box_that_fills_the_view_leaves_the_middle_to_what_stands_there():
    points = np.array([[0.2, 0.2], [0.5, 0.5], [0.8, 0.8]])
    middle = np.array([[0.5, 0.5], [0.5, 0.5]])
    assert losses.nearest_patches(middle, points, np.array([True, False])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("region", "box", "fills"),
    [
        ((0, 0, 100, 100), (0, 0, 100, 100), True),
        ((0, 0, 100, 60), (1, 1, 99, 59), True),  # of a region that is padded to a square, too
        ((0, 0, 100, 100), (40, 0, 60, 100), False),  # one side only
    ],
)
def test_what_fills_a_view_is_told_by_what_is_seen(students, images, region, box, fills):
    asked = Sample("locate", "0", tuple(map(float, region)), ("box",), boxes=(box,), scores=(1.0,))
    seen = box_examples.BoxExamples(students["locate"], [asked], images, examples.Recipe())
    assert seen.scenes[0].filling.tolist() == [fills]


def test_views_that_look_the_same_are_one_with_all_that_is_asked_of_them(students):
    def painted(color):
        image = Image.new("RGB", (100, 100), (200, 200, 200))
        image.paste(color, (20, 20, 40, 40))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()

    colors = {"a": PAINTS["red"], "b": PAINTS["red"], "c": PAINTS["blue"]}
    images = ImageStore({"image_id": i, "bytes": painted(c)} for i, c in colors.items())
    whole, box = (0.0, 0.0, 100.0, 100.0), (20.0, 20.0, 40.0, 40.0)

    def asked(image_id, text, *boxes):
        return Sample("locate", image_id, whole, (text,), boxes=boxes, scores=(0.9,) * len(boxes))

    samples = [
        *(asked("a", "red"), asked("b", "square", box), asked("b", "red", box)),
        *(asked("c", "red"), asked("c", "square", box)),
    ]
    recipe = examples.Recipe()
    seen = box_examples.BoxExamples(students["locate"], samples, images, recipe)
    assert len(seen) == 2
    for scene, scores in zip(seen.scenes, ([[0.9, 0.9]], [[0.0, 0.9]]), strict=True):
        assert len(scene.texts) == 2 and np.allclose(scene.scores, scores)
        assert np.allclose(scene.boxes, [[0.3, 0.3, 0.2, 0.2]])


@pytest.mark.parametrize(
    ("mirror", "text", "changes"),
    [
        ("none", "circle", (False, False)),
        ("sides", "circle", (True, False)),
        ("all", "circle", (True, True)),
        ("all", "circle on the left", (False, True)),
        ("all", "circle above the square", (True, False)),
        ("all", "top left circle", (False, False)),
        ("sides", "left-hand circle", (False, False)),
        ("sides", "the left, red circle", (False, False)),
    ],
)
def test_a_view_is_mirrored_with_its_boxes_unless_a_text_names_a_side(mirror, text, changes):
    pixels = np.zeros((100, 100, 3), dtype=np.uint8)
    pixels[10:20, 30:60] = 255  # x 30 to 60, y 10 to 20
    box = np.array([[0.45, 0.15, 0.3, 0.1]], dtype=np.float32)
    asked = box_examples._Asked(text, box, (1.0,), np.array([False]))
    scene = box_examples._scene([asked], {text: 0})
    places = set()
    for drawn in np.ndindex(2, 2, 2):
        seen, (found,) = box_examples._mirrored(pixels, scene, mirror, np.array(drawn) > 0)
        x0, y0, x1, y1 = (round(100 * float(c)) for c in (
            found[0] - found[2] / 2, found[1] - found[3] / 2,
            found[0] + found[2] / 2, found[1] + found[3] / 2,
        ))  # fmt: skip
        assert (seen[y0:y1, x0:x1] == 255).all() and (seen == 255).sum() == 3 * 300
        places.add((x0, y0, x1 - x0))
    sides, heights = changes
    assert len(places) == (1 + sides) * (1 + heights) * (1 + (sides and heights))
    assert any(x0 != 30 for x0, _, _ in places) == sides


def test_the_views_of_a_long_region_share_its_weight(students):
    image = Image.effect_noise((400, 100), 50).convert("RGB")  # so that no two views are alike
    stream = io.BytesIO()
    image.save(stream, "PNG")
    images = ImageStore([{"image_id": "i", "bytes": stream.getvalue()}])
    regions = ((0.0, 0.0, 400.0, 100.0), (0.0, 0.0, 100.0, 100.0))
    samples = [Sample("locate", "i", region, ("red",)) for region in regions]
    student = students["locate"]
    tiles = len(student.views(regions[0], (400, 100)))
    seen = box_examples.BoxExamples(student, samples, images, examples.Recipe())
    # The first box is seen whole and as the first tile of the image: one view, of the box's weight.
    assert tiles == 8 and sorted(seen.weights.round(4)) == [round(1 / 8, 4)] * 7 + [1.0]


def test_rows_come_as_often_as_their_weights_say_and_the_same_after_a_stop():
    order = Order(100, 10, seed=1, weights=np.array([1.0] * 90 + [5.0] * 10))
    drawn = np.concatenate([order[step] for step in range(10)])  # an epoch
    assert len(drawn) == 100 and 34 <= (drawn >= 90).sum() <= 38  # 50 of 140
    assert order[3].tolist() == Order(100, 10, 1, np.array([1.0] * 90 + [5.0] * 10))[3].tolist()
    even = Order(10, 10, seed=1, weights=np.ones(10))
    assert sorted(even[0].tolist()) == list(range(10))


def test_batches_are_shuffled_epochs_and_a_function_of_the_step():
    order = Order(10, 4, seed=1)
    rows = np.concatenate([order[step] for step in range(5)])
    assert sorted(rows[:10]) == list(range(10)) == sorted(rows[10:])
    assert list(rows[:10]) != list(rows[10:]) and list(rows[:10]) != list(range(10))
    assert order[3].tolist() == Order(10, 4, seed=1)[3].tolist()


def test_replay_is_kept_by_sample_and_of_searches_by_region():
    asked = [Sample("vqa", "i", (0, 0, 9, 9), (str(place),)) for place in range(6)]
    kept = keep(asked, 3, 0)
    assert len(kept) == 3 and kept != asked[:3] and kept == [s for s in asked if s in kept]
    searched = [
        Sample("locate", image_id, (0, 0, 9, 9), (name,))
        for name in ("square", "circle")
        for image_id in "abcdef"
    ]
    kept = keep(searched, 3, 0)
    images = {s.image_id for s in kept}
    assert len(images) == 3 and kept == [s for s in searched if s.image_id in images]
    assert keep(searched, 6, 0) == searched


def test_self_distillation_does_not_weigh_more_where_more_is_asked():
    """Equal answers to further names leave the loss of a view as it is."""
    torch.manual_seed(0)
    before, logits = torch.randn(2, 2, 9, 1)
    boxes = torch.rand(2, 9, 4) * 0.2 + 0.4
    places = torch.rand(2, 9, 4) * 0.2 + 0.4
    one, three = (
        losses.boxes_kept(
            logits.expand(2, 9, n), boxes, (before.expand(2, 9, n), places),
            torch.ones(2, 1, n), 2.0, losses.BoxWeights(),
        )
        for n in (1, 3)
    )  # fmt: skip
    assert one > 0 and torch.allclose(one, three)


@pytest.mark.parametrize("module", ["vqa", "locate", "match"])
def test_a_student_learns_its_samples(students, images, module):
    samples = [*_samples(module), *(_samples(module, 1)[:1])]
    student = students[module]
    steps, lr = (120, 1e-3) if module == "locate" else (60, 3e-3)
    settings = FitSettings(steps=steps, batch_size=8, lr=lr, alpha=1.0, seed=2)
    before = distance(student, samples, images, settings)
    found = fit(student, samples, images, settings, held_out=samples)
    # Boxes take longer than a test may: there it must only have begun.
    assert found["distance"] < (0.8 if module == "locate" else 0.5) * before
    if module != "locate":
        assert found["agreement"] > 0.9
    assert not student.model.training


@pytest.mark.parametrize(
    ("module", "lora"), [("vqa", None), ("locate", None), ("match", None), ("vqa", 4)]
)
def test_killed_and_resumed_gives_the_weights_of_an_uninterrupted_run(
    images, tmp_path, monkeypatch, module, lora
):
    settings = FitSettings(**(vars(FAST) | {"lora": lora, "mirror": "all", "shift": 0.1}))

    def run(folder):
        student = create_students(["what color is it"], NAMES, seed=1)[module]
        fit(
            student, _samples(module, 16), images, settings, frozen=copy.deepcopy(student),
            replay_samples=_samples(module, 8, first=16), checkpoint=folder,
        )  # fmt: skip
        return student.model.state_dict()

    class Killed(Exception):
        pass

    whole = run(tmp_path / "whole")
    advance, steps = fit_module._Run.advance, []

    def watched(self, log, stop=None):
        if self.step == stop:
            raise Killed
        steps.append(self.step)
        advance(self, log)

    monkeypatch.setattr(fit_module._Run, "advance", functools.partialmethod(watched, stop=5))
    with pytest.raises(Killed):
        run(tmp_path / "killed")
    steps.clear()
    monkeypatch.setattr(fit_module._Run, "advance", watched)
    resumed = run(tmp_path / "killed")
    assert steps == list(range(3, 8))  # from the last checkpoint, not from the start
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_checkpoint_of_other_data_is_not_gone_on_from(students, images, tmp_path):
    fit(students["vqa"], _samples("vqa"), images, FAST, checkpoint=tmp_path)
    other = create_students(["what color is it"], NAMES, seed=1)["vqa"]
    fit(other, _samples("vqa", 12), images, FAST, checkpoint=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_lora_is_folded_into_plain_weights(students, images):
    student = students["match"]
    before = {name: value.clone() for name, value in student.model.state_dict().items()}
    settings = FitSettings(steps=5, batch_size=8, lora=2, lr=1e-2)
    fit(student, _samples("match"), images, settings)
    after = student.model.state_dict()
    assert set(before) == set(after)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    linear = {name for name in before if name.endswith(".weight") and before[name].ndim == 2}
    assert moved and moved <= linear
    assert all(p.requires_grad for p in student.model.parameters())


def test_eight_bit_optimizer_trains(students, images):
    settings = FitSettings(steps=30, batch_size=8, lr=2e-3, optimizer="adamw8bit", alpha=1.0)
    found = fit(students["vqa"], _samples("vqa"), images, settings)
    assert found["loss"] < 1.0
    with pytest.raises(UserError, match="no optimizer"):
        fit(students["vqa"], _samples("vqa"), images, FitSettings(steps=1, optimizer="sgd"))


def test_self_distillation_holds_a_student_to_what_it_said(images):
    def moved(weight):
        student = create_students(["what color is it"], NAMES, seed=1)["vqa"]
        frozen = copy.deepcopy(student)
        earlier = [Sample("vqa", s.image_id, s.region, ("is it red?",)) for s in _samples("vqa")]
        settings = FitSettings(steps=30, batch_size=8, lr=1e-3, self_distillation=weight)
        fit(student, _samples("vqa"), images, settings, frozen=frozen, replay_samples=earlier)
        tokens = student.encode(["is it red?"])
        pixels = torch.from_numpy(student.crop(images.get("0"), (0, 0, 100, 100)))[None]
        with torch.inference_mode():
            pair = student.logits(pixels, tokens), frozen.logits(pixels, tokens)
        return float(losses.answers_kept(*pair, 1.0))

    assert moved(3.0) < 0.3 * moved(0.0)


def test_early_stopping_returns_the_best_weights(students, images):
    settings = FitSettings(steps=40, batch_size=8, lr=2e-3, alpha=1.0, eval_every=5, patience=2)
    rows = []
    samples = _samples("vqa")
    found = fit(students["vqa"], samples, images, settings, held_out=samples, log=rows.append)
    measured = [row["agreement"] for row in rows if "agreement" in row]
    assert found["agreement"] == pytest.approx(max(measured), abs=1e-4)
    assert found["steps"] < 40


def test_samples_that_cannot_be_learnt_are_left_out(students, images):
    good = _samples("vqa", 6)
    strange = Sample("vqa", "0", good[0].region, good[0].texts, answers=(("zebra", 1.0),))
    broken = Sample("vqa", "broken", good[0].region, good[0].texts, answers=(("red", 1.0),))
    found = fit(students["vqa"], [*good, strange, broken], images, FAST)
    assert found["samples"] == 6
    with pytest.raises(UserError, match="nothing to train"):
        fit(students["vqa"], [strange, broken], images, FAST)


def test_agreement_counts_boxes_once(students, images):
    class Twice:
        module = "locate"

        def answer(self, calls, images):
            from sdvp_core.modules.call import Output

            box = (10.0, 10.0, 30.0, 30.0)
            return [Output(boxes=(box, box), scores=(0.9, 0.8)) for _ in calls]

    sample = Sample(
        "locate", "0", (0, 0, 100, 100), ("red",), boxes=((10, 10, 30, 31),), scores=(1,)
    )
    assert agreement(Twice(), [sample], images) == pytest.approx(2 / 3)
