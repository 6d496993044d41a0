"""Readers of official files: on files made here, and on the real ones where they are."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from sdvp_core.base.errors import UserError
from sdvp_core.base.images import ImageStore
from sdvp_core.base.records import ANNOTATIONS, IMAGES, QUESTIONS
from sdvp_core.tasks import gqa, nlvr, nlvr2, refcoco, tallyqa
from sdvp_core.tasks.source import json_entries, split_of

SHARED = Path(
    os.environ.get("SDVP_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)


def real(name: str) -> Path:
    folder = SHARED / name
    if not folder.exists():
        pytest.skip(f"the real files of {name} are not at {folder} (set SDVP_SHARED_DATA)")
    return folder


def tables(reader, *args, **kwargs):
    found = reader.read(*args, **kwargs)
    rows = [list(found.questions), list(found.images), list(found.annotations)]
    for part, schema in zip(rows, (QUESTIONS, IMAGES, ANNOTATIONS), strict=True):
        pa.Table.from_pylist(part, schema=schema)  # every row fits its schema
    return rows


def question(image, answer="yes"):
    semantic = [{"operation": "select", "dependencies": [], "argument": "wall (1)"}]
    return {
        "imageId": image,
        "question": "Is there a wall?",
        "answer": answer,
        "semantic": semantic,
    }


@pytest.fixture
def small_gqa(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (60, 40), "red").save(images / "1.jpg")
    noise = np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(images / "2.jpg")
    whole = (images / "2.jpg").read_bytes()
    (images / "2.jpg").write_bytes(whole[: len(whole) * 2 // 3])  # its header is sound
    (images / "3.jpg").write_text("no picture")
    questions = {str(i): question(str(i)) for i in range(1, 5)}
    (tmp_path / "train_balanced_questions.json").write_text(json.dumps(questions))
    graph = {"width": 60, "height": 40, "objects": {"7": {
        "name": "wall", "attributes": ["white"], "x": 1, "y": 2, "w": 10, "h": 20,
        "relations": [{"object": "8", "name": "behind"}]}}}  # fmt: skip
    (tmp_path / "train_sceneGraphs.json").write_text(json.dumps({"1": graph, "99": graph}))
    return tmp_path


# --- one bad image, one bad file


def test_broken_and_missing_images_are_rows(small_gqa):
    _, images, _ = tables(gqa, small_gqa, "gqa")
    by_id = {row["image_id"]: row for row in images}
    statuses = {i: row["status"] for i, row in by_id.items()}
    assert statuses == {"1": "ok", "2": "corrupt", "3": "corrupt", "4": "missing"}
    assert (by_id["1"]["width"], by_id["1"]["height"]) == (60, 40)
    assert all(by_id[i]["width"] == 0 and by_id[i]["message"] for i in "234")
    assert ImageStore(images).get("1").size == (60, 40)


def test_large_photos_stay_where_they_are(small_gqa):
    Image.new("RGB", (640, 480)).save(small_gqa / "images" / "1.jpg")
    row = tables(gqa, small_gqa, "gqa")[1][0]
    assert row["bytes"] is None and ImageStore([row]).get("1").size == (640, 480)


def test_scene_graphs_become_annotations_of_asked_images(small_gqa):
    _, _, annotations = tables(gqa, small_gqa, "gqa")
    assert [row["image_id"] for row in annotations] == ["1"]
    (thing,) = annotations[0]["objects"]
    assert thing["box"] == [1, 2, 11, 22] and thing["categories"] == ["object"]
    assert annotations[0]["relations"] == [{"subject": "7", "name": "behind", "object": "8"}]


@pytest.mark.parametrize("reader", [gqa, nlvr2, nlvr, tallyqa, refcoco])
def test_a_missing_folder_or_file_is_told(reader, tmp_path):
    with pytest.raises(UserError, match="put"):
        reader.read(tmp_path / "nowhere", "t")
    with pytest.raises(UserError, match="put"):
        reader.read(tmp_path, "t")


def test_a_half_downloaded_file_is_told(small_gqa):
    path = small_gqa / "train_balanced_questions.json"
    path.write_text(path.read_text()[:-40])
    with pytest.raises(UserError, match="cut short"):
        list(gqa.read(small_gqa, "gqa").questions)


def test_a_record_without_its_fields_is_told(small_gqa):
    (small_gqa / "train_balanced_questions.json").write_text('{"1": {"answer": "yes"}}')
    with pytest.raises(UserError, match=r"questions\.json is not in its official"):
        list(gqa.read(small_gqa, "gqa").questions)


def test_a_question_without_an_answer_is_left_out(small_gqa):
    records = {"1": question("1"), "2": {"imageId": "1", "question": "Who?"}}
    (small_gqa / "challenge_questions.json").write_text(json.dumps(records))
    questions, _, _ = tables(gqa, small_gqa, "gqa")
    assert [q["question_id"] for q in questions if "challenge" in q["question_id"]] == [
        "gqa:challenge:1"
    ]


def test_json_entries_stream_through_small_chunks(tmp_path, monkeypatch):
    from sdvp_core.tasks import source

    value = {"a": [1, 2, {"b": '}]\u00e9\\"'}], "c": 12345, "d": None, "e": {}}
    path = tmp_path / "x.json"
    for chunk in (1, 2, 3, 7, 1000):
        monkeypatch.setattr(source, "_CHUNK", chunk)
        path.write_text(json.dumps(value, indent=1))
        assert dict(json_entries(path)) == value
        path.write_text(json.dumps([5, 67, "x"]))
        assert list(json_entries(path)) == [("0", 5), ("1", 67), ("2", "x")]
    path.write_text("[]")
    assert list(json_entries(path)) == []


# --- splits and limits


def test_splits_depend_on_the_group_alone_and_keep_their_shares():
    shares = {"distill": 0.3, "val": 0.1}
    found = Counter(split_of(str(i), shares, 0) for i in range(4000))
    assert 0.27 < found["distill"] / 4000 < 0.33 and 0.08 < found["val"] / 4000 < 0.12
    assert split_of("x", {}, 0) == "train"
    moved = sum(split_of(str(i), shares, 0) != split_of(str(i), shares, 1) for i in range(500))
    assert moved > 50


def test_limits_count_questions_of_a_split(small_gqa):
    shares = {"distill": 0.0, "val": 0.0}
    questions, images, _ = tables(gqa, small_gqa, "gqa", shares=shares, limits={"train": 2})
    assert [q["image_ids"] for q in questions] == [["1"], ["2"]]
    assert [row["image_id"] for row in images] == ["1", "2"]


# --- the other formats


def test_nlvr2_pairs_splits_and_nested_images(tmp_path):
    folder = tmp_path / "images" / "train" / "12"
    folder.mkdir(parents=True)
    for side in range(2):
        Image.new("RGB", (9, 9)).save(folder / f"train-4-1-img{side}.png")
    for name in ("train", "dev", "test1"):
        row = {"identifier": f"{name}-4-1-0", "sentence": "Two dogs.", "label": "True"}
        (tmp_path / f"{name}.json").write_text(json.dumps(row) + "\n")
    questions, images, _ = tables(nlvr2, tmp_path, "nlvr2", shares={"distill": 1.0})
    assert [q["split"] for q in questions] == ["distill", "val", "test"]
    assert questions[0]["image_ids"] == ["train-4-1-img0", "train-4-1-img1"]
    assert questions[0]["answer"] == "true" and questions[0]["answer_type"] == "truth"
    assert [row["status"] for row in images[:3]] == ["ok", "ok", "missing"]


def test_nlvr2_broken_records_are_told(tmp_path):
    (tmp_path / "dev.json").write_text(
        '{"identifier": "dev-1", "sentence": "x", "label": "True"}\n'
    )
    with pytest.raises(UserError, match=r"dev.json:1"):
        list(nlvr2.read(tmp_path, "nlvr2").questions)


def test_tallyqa_ids_are_paths(tmp_path):
    (tmp_path / "VG_100K").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "VG_100K" / "5.jpg")
    row = {"image": "VG_100K/5.jpg", "question": "How many dogs?", "answer": 3, "question_id": 8}
    (tmp_path / "test.json").write_text(json.dumps([row]))
    (asked,), (image,), _ = tables(tallyqa, tmp_path, "tallyqa")
    assert asked["answer"] == "3" and asked["split"] == "test" and image["status"] == "ok"
    assert asked["image_ids"] == [image["image_id"]] == ["VG_100K/5"]


def test_refcoco_takes_annotations_from_coco(tmp_path):
    coco = {
        "images": [{"id": 1, "file_name": "COCO_1.jpg", "width": 90, "height": 90}],
        "annotations": [{"id": 5, "image_id": 1, "bbox": [1, 2, 30, 40], "category_id": 3}],
        "categories": [{"id": 3, "name": "dog", "supercategory": "animal"}],
    }
    sentences = [{"sent": "the dog", "sent_id": 0}, {"sent": "pet", "sent_id": 1}]
    ref = {"ref_id": 2, "image_id": 1, "ann_id": 5, "split": "testB", "sentences": sentences}
    (tmp_path / "instances.json").write_text(json.dumps(coco))
    (tmp_path / "refs.json").write_text(json.dumps([ref]))
    questions, images, annotations = tables(refcoco, tmp_path, "refcoco")
    assert [q["question"] for q in questions] == ["the dog", "pet"]
    assert json.loads(questions[0]["answer"]) == [1, 2, 31, 42]
    assert questions[0]["split"] == "test" and images[0]["status"] == "missing"
    assert annotations[0]["objects"][0]["categories"] == ["animal"]


# --- real files


def test_real_gqa_questions_without_their_photos():
    folder = real("gqa")
    questions, images, _ = tables(gqa, folder, "gqa")
    assert len(questions) == 1733 + 17
    statuses = Counter(row["status"] for row in images)
    assert statuses["ok"] == 4 and statuses["missing"] == len(images) - 4
    assert {q["split"] for q in questions} == {"test"}
    assert all(json.loads(q["semantic"])[0]["operation"] == "select" for q in questions)
    assert {"yesno", "word"} == {q["answer_type"] for q in questions}


def test_real_nlvr2_dev_has_no_photos():
    questions, images, _ = tables(nlvr2, real("nlvr2"), "nlvr2")
    assert len(questions) == 6982 and {row["status"] for row in images} == {"missing"}
    assert {q["split"] for q in questions} == {"test"}
    assert Counter(q["answer"] for q in questions).keys() == {"true", "false"}


def test_real_nlvr_splits_and_rows():
    source = nlvr.read(real("nlvr"), "nlvr")
    questions = list(source.questions)
    count = Counter(q["split"] for q in questions)
    assert count["test"] == 990 * 6
    assert count["train"] + count["distill"] // 6 + count["val"] == 989
    assert count["train"] == 165 + 165 and count["val"] == 163
    groups = Counter(q["group_id"] for q in questions if q["split"] == "test")
    assert len(groups) == 990 and set(groups.values()) == {6}
    kinds = Counter(
        json.loads(q["semantic"])["kind"] for q in questions if q["image_ids"][0].endswith("-0")
        if q["split"] == "test"
    )  # fmt: skip
    assert kinds == {"tower": 712, "scatter": 278}
    things = Counter(row["image_id"].split("-")[0] for row in source.annotations)
    assert things == {"dev": 330 * 6 + 496 * 6 + 163, "test": 990 * 6}


def test_real_nlvr_images_of_a_few_records():
    source = nlvr.read(real("nlvr"), "nlvr", limits={"train": 5, "distill": 6, "val": 0, "test": 6})
    images = list(source.images)
    assert len(images) == 5 * 6 + 6 + 6
    assert {(row["status"], row["width"], row["height"]) for row in images} == {("ok", 400, 100)}


def test_real_nlvr_orders_agree_with_the_pixels():
    folder = real("nlvr")
    colors = {"black": (0, 0, 0), "yellow": (255, 255, 0), "blue": (0, 153, 255)}
    lines = (folder / "dev" / "dev.json").read_text().splitlines()
    checked = 0
    for record in map(json.loads, lines[:60]):
        for order in range(6):
            name = f"dev-{record['identifier']}-{order}.png"
            path = folder / "dev" / "images" / record["directory"] / name
            pixels = np.asarray(Image.open(path).convert("RGB"), int)
            for thing in nlvr.objects(record["structured_rep"], order):
                if thing["name"] == "box":
                    continue
                x, y = (int((thing["box"][i] + thing["box"][i + 2]) / 2) for i in range(2))
                if x % 150 < 100 and y < 100:
                    expected = colors[thing["attributes"][0]]
                    assert np.abs(pixels[y, x] - expected).max() < 40, (name, thing)
                    checked += 1
    assert checked > 2000
