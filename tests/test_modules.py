"""The students: real Hugging Face classes, what they see, how they are saved and asked."""

import io
import random

import numpy as np
import pytest
import torch
from PIL import Image

from sdvp_core.base.errors import UserError
from sdvp_core.base.images import ImageStore
from sdvp_core.distill import lora
from sdvp_core.modules import files, texts
from sdvp_core.modules.call import Call
from sdvp_core.modules.locate import LocateSettings
from sdvp_core.modules.students import (
    create_students,
    load_students,
    revision,
    save_checkpoints,
    save_students,
)
from sdvp_core.modules.texts import ROWS
from sdvp_core.modules.tokens import build_tokenizer
from sdvp_core.modules.view import Context, View, crop, iou, suppress, views

torch.set_num_threads(1)  # such small products are not worth waiting for a busy core
WORDS = ["what color is it", "red", "green", "square", "circle", "object", "is there a"]
REGION = (10.0, 12.0, 50.0, 44.5)


@pytest.fixture(scope="module")
def students():
    return create_students(WORDS, ["red", "green", "yes", "no"], seed=3)


@pytest.fixture(scope="module")
def images():
    rows = [_row(str(i), (100, 100), i) for i in range(4)] + [_row("wide", (400, 100), 9)]
    return ImageStore([*rows, {"image_id": "broken", "bytes": b"no image"}])


def _row(image_id, size, seed):
    noise = np.random.default_rng(seed).integers(0, 255, (size[1] // 10, size[0] // 10, 3))
    stream = io.BytesIO()
    Image.fromarray(noise.astype(np.uint8)).resize(size, Image.Resampling.NEAREST).save(
        stream, "PNG"
    )
    return {"image_id": image_id, "bytes": stream.getvalue(), "width": size[0], "height": size[1]}


def _calls(name, image_id="0", region=REGION):
    asked = {"vqa": ("What color is it?",), "locate": ("red square",)}
    return Call(name, image_id, region, asked.get(name, ("red square", "green circle")))


def test_any_word_can_be_written_and_the_tokenizer_reloads(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = build_tokenizer(["What color is it?", "square"], 10)
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("Square, zebra?")["input_ids"])
    assert pieces[:3] == ["[CLS]", "square", ","]
    assert "[UNK]" not in pieces and "".join(pieces[3:8]).replace("##", "") == "zebra"
    ids = tokenizer(["what", "what color is it"], padding=True)["input_ids"]
    # OWL-ViT pools its text at argmax(ids) and takes a first id of 0 for a padded query.
    assert all(row.index(max(row)) == row.index(tokenizer.eos_token_id) for row in ids)
    assert all(row[0] > 0 for row in ids) and ids[0][-1] == 0
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again("a zebra is it")["input_ids"] == tokenizer("a zebra is it")["input_ids"]


@pytest.mark.parametrize("name", ["vqa", "locate", "match"])
def test_an_answer_does_not_depend_on_what_else_is_asked(students, images, name):
    calls = [_calls(name, str(i % 4), (float(i), 5.0, 60.0 + i, 70.0)) for i in range(9)]
    together = students[name].answer(calls, images)
    for call, output in zip(calls, together, strict=True):
        alone = students[name].answer([call], images)[0]
        assert np.allclose(alone.scores, output.scores, atol=1e-3)
        assert abs(alone.confidence - output.confidence) < 1e-3
        assert (alone.answer, len(alone.boxes)) == (output.answer, len(output.boxes))


@pytest.mark.parametrize("name", ["vqa", "locate", "match"])
def test_a_broken_image_is_an_error_of_its_call_alone(students, images, name):
    calls = [_calls(name, "0"), _calls(name, "broken"), _calls(name, "absent"), _calls(name, "0")]
    good, broken, absent, same = students[name].answer(calls, images)
    assert good.error is None and good == same
    assert "broken" in broken.error and "absent" in absent.error


def test_saving_loading_and_saving_again_gives_the_same_bytes(students, images, tmp_path):
    save_students(students, tmp_path / "one")
    again = load_students(tmp_path / "one")
    save_students(again, tmp_path / "two")
    assert revision(tmp_path / "one") == revision(tmp_path / "two")
    for name, student in students.items():
        assert again[name].answer([_calls(name)], images) == student.answer([_calls(name)], images)
    with torch.no_grad():
        next(again["vqa"].model.parameters()).add_(1.0)
    save_students(again, tmp_path / "two")
    assert revision(tmp_path / "one") != revision(tmp_path / "two")


def test_a_set_may_name_checkpoints_instead_of_holding_them(students, tmp_path):
    save_students(students, tmp_path / "weights")
    named = {name: str(tmp_path / "weights" / name) for name in students}
    save_checkpoints(named, tmp_path / "set")
    assert set(load_students(tmp_path / "set")) == {"vqa", "locate", "match"}
    with pytest.raises(UserError, match="no module with a student"):
        save_checkpoints({"depth": "x"}, tmp_path / "set")


def test_a_folder_without_students_is_a_mistake_of_the_user(tmp_path):
    with pytest.raises(UserError, match="no student set"):
        load_students(tmp_path)
    with pytest.raises(UserError, match="no student set"):
        revision(tmp_path / "missing")
    (tmp_path / "vqa").mkdir()
    with pytest.raises(UserError, match="cannot be loaded"):
        load_students(tmp_path)


def test_a_checkpoint_without_our_settings_gets_the_originals_defaults(students, tmp_path):
    save_students({"locate": students["locate"]}, tmp_path)
    (tmp_path / "locate" / files.SETTINGS).unlink()
    assert load_students(tmp_path)["locate"].settings == LocateSettings(0.1, 0.5, 0.0, 2.0)


@pytest.mark.parametrize("name", ["vqa", "match"])
def test_pixels_are_what_the_checkpoint_s_own_processor_makes(students, images, name):
    student = students[name]
    image = images.get("0")
    own = student.processor(image, return_tensors="np")["pixel_values"][0]
    ours = student.crop(image, (0.0, 0.0, 100.0, 100.0))
    scaled = (ours.transpose(2, 0, 1) / 255 - 0.5) / 0.5
    assert np.abs(own - scaled).max() < 0.02


def test_vilt_sees_the_same_through_the_shuffling_door_of_the_library(students):
    student = students["vqa"]
    pixels = torch.randint(0, 255, (3, 48, 48, 3), dtype=torch.uint8)
    tokens = student.encode(["what color is it"] * 3)
    with torch.inference_mode():
        ours = student.logits(pixels, tokens)
        values = (pixels.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        theirs = student.model(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            pixel_values=values,
            pixel_mask=torch.ones(3, 48, 48).long(),
        ).logits
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_owlvit_heads_agree_with_the_library_s_forward(students):
    student = students["locate"]
    pixels = torch.randint(0, 255, (2, 100, 100, 3), dtype=torch.uint8)
    tokens = student.encode(["red square", "green circle"])
    with torch.inference_mode():
        vectors = student.embed_texts(tokens)[None].expand(2, -1, -1)
        logits, boxes = student.heads(student.embed_images(pixels), vectors)
        values = (pixels.permute(0, 3, 1, 2).float() - student._mean) * student._scale
        whole = student.model(
            input_ids=tokens.repeat(2, 1),
            attention_mask=(tokens != 0).long().repeat(2, 1),
            pixel_values=values,
        )
    assert torch.allclose(logits, whole.logits, atol=1e-3)
    assert torch.allclose(boxes, whole.pred_boxes, atol=1e-5)


def test_a_crop_keeps_its_shape_on_grey_and_takes_in_its_context():
    image = Image.new("RGB", (100, 100), (255, 0, 0))
    image.paste((0, 0, 255), (40, 30, 80, 50))
    tight = crop(image, (40, 30, 80, 50), Context(), 48)
    assert tuple(tight[24, 24]) == (0, 0, 255) and tuple(tight[2, 24]) == (128, 128, 128)
    assert (tight[14:34, 2:46] == (0, 0, 255)).all()  # 40 x 20 px -> 48 x 24
    wider = crop(image, (40, 30, 80, 50), Context(pixels=4), 48)
    assert tuple(wider[24, 0]) == (255, 0, 0)
    assert crop(image, (99.9, 99.9, 99.9, 99.9), Context(), 48).shape == (48, 48, 3)


def test_a_small_region_keeps_its_scale_and_a_large_one_is_padded_to_a_square():
    (small,) = views((20.0, 30.0, 60.0, 50.0), (100, 100), 100.0, 2.0)
    assert small.box == (20, 30, 60, 50) and small.span == (100.0, 100.0)
    (large,) = views((0.0, 0.0, 300.0, 200.0), (300, 200), 100.0, 2.0)
    assert large.span == (300.0, 300.0)


def test_a_wide_region_is_seen_whole_and_in_tiles_that_overlap():
    whole, *tiles = views((0.0, 0.0, 400.0, 100.0), (400, 100), 100.0, 2.0)
    assert whole.span == (400.0, 100.0) and whole.smallest == 50
    assert [tile.box[0] for tile in tiles] == [0, 50, 100, 150, 200, 250, 300]
    assert tiles[0].cut == (False, False, True, False)
    assert tiles[3].cut == (True, False, True, False)
    # A box that a tile's inner side cuts is left to the next tile; one at the region's side stays.
    boxes = np.array([[80.0, 10, 100, 30], [0.0, 10, 20, 30], [60, 10, 80, 30]])
    assert tiles[0].believed(boxes).tolist() == [False, True, True]
    assert whole.believed(np.array([[0, 0, 20, 20], [150, 0, 250, 100.0]])).tolist() == [
        False,
        True,
    ]


def test_boxes_come_back_from_a_view_where_they_were():
    view = View((50, 20, 150, 120), (100.0, 100.0))
    corners = [(60.0, 30.0, 80.0, 70.0), (100.0, 40.0, 130.0, 60.0)]
    assert np.allclose(view.to_image(view.from_image(corners)), corners)
    assert np.allclose(view.from_image(corners)[0], [0.2, 0.3, 0.2, 0.4])


def test_of_overlapping_boxes_the_weaker_goes():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10.0]])
    assert suppress(boxes, np.array([0.6, 0.9, 0.7]), 0.3) == [1, 2]
    assert iou(boxes[:1], boxes[1:2])[0, 0] == pytest.approx(90 / 110)


def test_what_is_found_lies_inside_the_region(students, images):
    student = students["locate"]
    loose = LocateSettings(0.0, 0.9, 100.0, 2.0)
    rng = random.Random(0)
    student.settings, kept = loose, student.settings
    try:
        for _ in range(4):
            x, y = rng.uniform(0, 60), rng.uniform(0, 60)
            region = (x, y, x + 30, y + 25)
            (output,) = student.answer([_calls("locate", "1", region)], images)
            boxes = np.array(output.boxes)
            assert len(boxes) and (boxes[:, :2] >= np.array(region[:2]) - 0.01).all()
            assert (boxes[:, 2:] <= np.array(region[2:]) + 0.01).all()
            assert list(output.scores) == sorted(output.scores, reverse=True)
        (wide,) = student.answer([_calls("locate", "wide", (0.0, 0.0, 400.0, 100.0))], images)
        assert np.array(wide.boxes)[:, 2].max() > 300
    finally:
        student.settings = kept


@pytest.fixture(scope="module")
def blip(tmp_path_factory):
    """A tiny BLIP, loaded as the student of `vqa` that a folder of its kind gives."""
    from transformers import BlipConfig, BlipForQuestionAnswering, BlipImageProcessorPil

    from sdvp_core.modules.vqa import VqaStudent

    folder = tmp_path_factory.mktemp("blip")
    tokenizer = build_tokenizer(["what color is it", "red"], 16)
    part = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "initializer_range": 0.5}  # fmt: skip
    ids = {"bos_token_id": tokenizer.bos_token_id, "sep_token_id": tokenizer.sep_token_id,
           "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}  # fmt: skip
    config = BlipConfig(
        text_config=part | ids | {"vocab_size": len(tokenizer), "encoder_hidden_size": 32},
        vision_config=part | {"image_size": 32, "patch_size": 16},
    )
    torch.manual_seed(0)
    BlipForQuestionAnswering(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return VqaStudent.load(folder)


def test_a_blip_checkpoint_answers_too(blip, images):
    calls = [
        _calls("vqa"),
        Call("vqa", "1", REGION, ("is it red or not?",)),
        _calls("vqa", "broken"),
    ]
    first, second, broken = blip.answer(calls, images)
    assert isinstance(first.answer, str) and 0 <= first.confidence <= 1
    assert blip.answer(calls[1:2], images) == [second]
    assert broken.error and broken.answer is None


def _generated(student, call, images):
    """Answer and probability by the library's own `generate`, one question at a time."""
    pixels = torch.from_numpy(student._crop(images.get(call.image_id), call.region)[None])
    values = (pixels.permute(0, 3, 1, 2).float() - student._mean) * student._scale
    made = student.model.generate(
        **student.tokenizer([call.texts[0]], return_tensors="pt"), pixel_values=values,
        max_new_tokens=10, do_sample=False, num_beams=1,
        return_dict_in_generate=True, output_logits=True,
    )  # fmt: skip
    [text] = student.tokenizer.batch_decode(made.sequences, skip_special_tokens=True)
    return " ".join(text.split()), student._chances(made).item()


def test_blip_encodes_a_region_once_for_all_of_its_questions(blip, images):
    questions = ["what color is it?", "is it red?", "red or red, is it?", "is it?"]
    regions = [REGION, (0.0, 0.0, 100.0, 100.0)]
    calls = [
        Call("vqa", str(number), region, (question,))
        for question in questions
        for number, region in enumerate(regions * 2)
    ]
    expected = [_generated(blip, call, images) for call in calls]
    assert len(set(expected)) > 4  # it tells regions and questions apart
    seen = []
    hook = blip.model.vision_model.register_forward_pre_hook(
        lambda tower, given, named: seen.append(len(named["pixel_values"])), with_kwargs=True
    )
    for call, output, (answer, chance) in zip(
        calls, blip.answer([*calls, *calls[:3]], images), expected, strict=False
    ):
        assert output.answer == answer, call
        assert output.confidence == pytest.approx(chance, abs=1e-4)
    assert sum(seen) == 4
    hook.remove()


TEXTS = [f"{a} {b}" for a in ("red", "green", "zebra") for b in ("square", "circle", "object")]


@pytest.fixture
def counted(students, monkeypatch):
    """How many texts each student's tower encodes, by module; nothing is known at the start."""
    rows = {"locate": 0, "match": 0}
    for name in rows:
        students[name].model.eval()

        def embed(tokens, name=name, own=students[name].embed_texts):
            rows[name] += len(tokens)
            return own(tokens)

        monkeypatch.setattr(students[name], "embed_texts", embed)
    return rows


@pytest.mark.parametrize("name", ["locate", "match"])
def test_a_text_is_encoded_once_over_all_batches(students, images, counted, name):
    first = students[name].answer([_calls(name)], images)
    assert counted[name] == ROWS
    other = (0.0, 0.0, 90.0, 90.0)
    students[name].answer([_calls(name, "1"), _calls(name, region=other)], images)
    assert students[name].answer([_calls(name)], images) == first
    assert counted[name] == ROWS


@pytest.mark.parametrize("name", ["locate", "match"])
def test_a_text_s_vector_is_the_same_to_the_last_bit_in_any_company(students, name):
    student = students[name]
    alone = {}
    for text in TEXTS:
        student.model.eval()  # forgets
        alone |= student._texts.of(student, [text])
    student.model.eval()
    part_by_part = student._texts.of(student, TEXTS[4:6]) | student._texts.of(student, TEXTS[::-1])
    student.model.eval()
    together = student._texts.of(student, [*TEXTS, "something else", *TEXTS])
    for text in TEXTS:
        assert torch.equal(alone[text], together[text])
        assert torch.equal(alone[text], part_by_part[text])


def test_only_the_last_texts_are_kept(students, counted, monkeypatch):
    monkeypatch.setattr(texts, "TEXTS", 4)
    student = students["match"]
    found = student._texts.of(student, TEXTS)  # more than fit are answered all the same
    assert len(found) == len(TEXTS) and counted["match"] == 2 * ROWS
    student._texts.of(student, TEXTS[-4:])
    assert counted["match"] == 2 * ROWS
    student._texts.of(student, [TEXTS[-4], TEXTS[0]])
    assert counted["match"] == 3 * ROWS
    student._texts.of(student, [TEXTS[-4]])  # was asked again, so it stayed
    assert counted["match"] == 3 * ROWS


def _by_optimizer(student):
    tower = getattr(student.model, "owlvit", student.model).text_model
    optimizer = torch.optim.AdamW(tower.parameters(), lr=0.05)
    student.embed_texts(student.encode(["red square"]))[0, 0].backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _by_training(student):
    student.model.train()
    _by_optimizer(student)
    student.model.eval()


def _by_adapter(student):
    lora.add(student.model, 2, 0)
    student.model.train()
    with torch.no_grad():
        for weight_name, weight in student.model.named_parameters():
            if "lora_B" in weight_name:
                weight.fill_(0.05)
    lora.merge(student.model)
    student.model.requires_grad_(True)
    student.model.eval()


def _by_loading(student):
    state = {key: value * 1.1 + 0.01 for key, value in student.model.state_dict().items()}
    student.model.load_state_dict(state)


def _by_assigning(student):
    state = {key: value * 1.1 + 0.01 for key, value in student.model.state_dict().items()}
    student.model.load_state_dict(state, assign=True)


@pytest.mark.parametrize("name", ["locate", "match"])
@pytest.mark.parametrize(
    "change", [_by_optimizer, _by_training, _by_adapter, _by_loading, _by_assigning]
)
def test_new_weights_forget_the_old_weights_texts(images, name, change):
    student = create_students(WORDS, ["red", "green"], seed=5)[name]
    before = student._texts.of(student, ["red square"])["red square"]
    change(student)
    after = student._texts.of(student, ["red square"])["red square"]
    with torch.inference_mode():
        direct = student.embed_texts(student.encode(["red square"]))[0]
    assert torch.allclose(after, direct, atol=1e-5)
    assert not torch.allclose(after, before, atol=1e-3)


def test_training_neither_reads_nor_fills_the_known_texts(students, images, counted):
    student = students["match"]
    student.answer([_calls("match")], images)
    student.model.train()
    tokens = student.encode(["red square", "green circle"])
    assert student.embed_texts(tokens).requires_grad
    student._texts.of(student, TEXTS)
    assert not student._texts._known
    student.model.eval()
    assert not any("text_vectors" in key for key in student.model.state_dict())


def _one_by_one(student, calls, images):
    """The heads of `locate` asked one region and one text at a time."""
    outputs = []
    for call in calls:
        parts = []
        for view, pixels in student._look(images.get(call.image_id), call.region):
            with torch.inference_mode():
                vectors = student.embed_texts(student.encode([call.texts[0]]))[None]
                features = student.embed_images(torch.from_numpy(pixels[None]))
                logits, boxes = student.heads(features, vectors)
            scores = logits[0, :, 0].sigmoid().numpy()
            parts.append(student._kept(view, boxes[0].numpy(), scores))
        outputs.append(student._joined(call.region, parts))
    return outputs


def test_the_heads_of_a_batch_give_what_they_give_one_by_one(students, images, monkeypatch):
    student = students["locate"]
    monkeypatch.setattr(student, "settings", LocateSettings(0.0, 0.9, 100.0, 2.0))
    regions = [(0.0, 0.0, 100.0, 100.0), REGION, (5.0, 30.0, 80.0, 60.0)]
    asked = {0: TEXTS[:5], 1: TEXTS[2:3], 2: TEXTS[1:4]}  # more texts of one region than of another
    calls = [Call("locate", str(k), regions[k], (text,)) for k in asked for text in asked[k]]
    calls.append(Call("locate", "wide", (0.0, 0.0, 400.0, 100.0), (TEXTS[0],)))
    passes = []
    own = student.heads
    monkeypatch.setattr(student, "heads", lambda *given: passes.append(1) or own(*given))
    together = student.answer(calls, images)
    assert len(passes) == 1
    for call, mine, its in zip(calls, together, _one_by_one(student, calls, images), strict=True):
        assert len(mine.boxes) == len(its.boxes) > 5, call
        assert np.allclose(sorted(mine.scores), sorted(its.scores), atol=1.5e-4)
        # Two boxes of equal score may come in either order.
        assert np.allclose(sorted(mine.boxes), sorted(its.boxes), atol=0.015)
