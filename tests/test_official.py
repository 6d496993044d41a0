"""GQA and NLVR2 as they are downloaded: size, subsets, and photos that are not there."""

import json
import tracemalloc
from collections import Counter

import pyarrow as pa
import pytest
from PIL import Image
from test_readers import real, tables

from sdvp_core.base.images import ImageStore
from sdvp_core.base.records import QUESTIONS
from sdvp_core.interpreter.scheduler import Job, execute
from sdvp_core.modules import stub
from sdvp_core.tasks import gqa, nlvr2
from sdvp_core.tasks.source import split_of

PAIR = (
    "ANSWER0=VQA(image=LEFT,question='Is there a dog?')\n"
    "ANSWER1=VQA(image=RIGHT,question='Is there a dog?')\n"
    "ANSWER2=EVAL(expr='{ANSWER0} and {ANSWER1}')\nFINAL_RESULT=RESULT(var=ANSWER2)"
)
MB = 2**20


def write_gqa(path, megabytes, images=40):
    """A question file in the official form, with all of its fields; returns how many questions."""
    record = {
        "semantic": [
            {"operation": "select", "dependencies": [], "argument": "fence (329782)"},
            {"operation": "filter hposition", "dependencies": [0], "argument": "left"},
            {"operation": "query", "dependencies": [1], "argument": "color"},
        ],
        "semanticStr": "select: fence (329782)->filter hposition: left [0]->query: color [1]",
        "entailed": ["05515822"] * 6,
        "equivalent": ["05515823"] * 4,
        "question": 'What is the colour of the fence on the left of the picture? \u00e9\\"}',
        "isBalanced": True,
        "groups": {"global": "color", "local": "04-fence_color"},
        "answer": "white",
        "annotations": {"answer": {}, "question": {"6": "329782"}, "fullAnswer": {"2": "329782"}},
        "types": {"detailed": "categoryAttr", "semantic": "attr", "structural": "query"},
        "fullAnswer": "The fence is white.",
    }
    line = json.dumps(record)
    with path.open("w", encoding="utf-8") as file:
        number = 0
        while file.tell() < megabytes * MB:
            head = f'{{"imageId": "{number % images}", '
            file.write(f'{", " if number else "{"}"{number:08d}": {head}{line[1:]}')
            number += 1
        file.write("}")
    return number


def peak_of_reading(folder):
    """Questions by split, and the most memory that Python held while all three tables were read."""
    tracemalloc.start()
    try:
        found = gqa.read(folder, "gqa")
        counts = Counter(row["split"] for row in found.questions)
        for rows in (found.images, found.annotations):
            for _ in rows:
                pass
        return counts, tracemalloc.get_traced_memory()[1] / MB
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_a_gqa_file(tmp_path):
    peaks = []
    for name, size in (("small", 4), ("large", 20)):
        (tmp_path / name).mkdir()
        written = write_gqa(tmp_path / name / "train_balanced_questions.json", size)
        counts, peak = peak_of_reading(tmp_path / name)
        assert counts.total() == written and set(counts) == {"train", "distill", "val"}
        # Twice: Python's table of interned names may be due to grow, which counts 2 MB once.
        peaks.append(min(peak, peak_of_reading(tmp_path / name)[1]))
    assert peaks[1] < 1.1 * peaks[0] and peaks[1] < 15, peaks  # the file itself has 20 MB


def test_gqa_splits_are_by_image(tmp_path):
    write_gqa(tmp_path / "train_balanced_questions.json", 1)
    rows = list(gqa.read(tmp_path, "gqa", seed=3).questions)
    assert {(r["group_id"], r["split"]) for r in rows} == {
        (str(i), split_of(str(i), None, 3)) for i in range(40)
    }
    pa.Table.from_pylist(rows, schema=QUESTIONS)


# --- photos


def write_nlvr2(path, identifiers, label="True"):
    rows = [
        {"identifier": i, "sentence": f"Dogs {i}.", "label": label, "left_url": "", "right_url": ""}
        for i in identifiers
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def nlvr2_clone(tmp_path):
    """The official repository with photos beside it: 240 px, two of eight not there, one cut."""
    data = tmp_path / "nlvr2" / "data"
    write_nlvr2(data / "train.json", ["train-1-0-0", "train-1-1-0", "train-2-0-0"])
    write_nlvr2(data / "dev.json", ["dev-3-0-0", "dev-3-0-1", "dev-4-0-0"])
    write_nlvr2(data / "test1.json", ["test1-5-0-0", "test1-5-1-0", "test1-6-0-0", "test1-7-0-0"])
    write_nlvr2(data / "balanced" / "balanced_dev.json", ["dev-3-0-0"])
    write_nlvr2(data / "balanced" / "balanced_test1.json", ["test1-5-0-0", "test1-6-0-0"])
    write_nlvr2(data / "unbalanced" / "unbalanced_test1.json", ["test1-5-1-0", "test1-7-0-0"])
    photos = tmp_path / "nlvr2" / "images" / "test1"
    photos.mkdir(parents=True)
    for pair in ("5-0", "5-1", "6-0", "7-0"):
        for side in range(2):
            Image.effect_noise((240, 200), 9).save(photos / f"test1-{pair}-img{side}.png")
    (photos / "test1-6-0-img1.png").unlink()
    cut = photos / "test1-7-0-img0.png"
    cut.write_bytes(cut.read_bytes()[:3000])
    return tmp_path / "nlvr2"


def test_both_official_splits_of_nlvr2_and_their_sets(nlvr2_clone):
    questions, images, _ = tables(nlvr2, nlvr2_clone, "nlvr2", shares={})
    assert Counter(q["split"] for q in questions) == {"train": 3, "val": 3, "test": 4}
    # A set is the unit of the bootstrap: its pairs share photos and sentences.
    groups = [q["group_id"] for q in questions]
    assert groups[:2] == ["train-1"] * 2 and groups[3:5] == ["dev-3"] * 2
    assert questions[0]["image_ids"] == ["train-1-0-img0", "train-1-0-img1"]
    stored = [row for row in images if row["status"] == "ok"]
    assert stored and all(row["bytes"] is None and row["path"] for row in stored)


@pytest.mark.parametrize(
    "part, expected",
    [
        ("balanced", ["dev-3-0-0", "test1-5-0-0", "test1-6-0-0"]),
        ("unbalanced", ["test1-5-1-0", "test1-7-0-0"]),
    ],
)
def test_the_balanced_splits_are_a_folder_of_their_own(nlvr2_clone, part, expected):
    source = nlvr2_clone / "data" / part
    questions, images, _ = tables(nlvr2, source, "nlvr2", shares={})
    asked = [q["question_id"].removeprefix("nlvr2:") for q in questions]
    assert asked[:3] == ["train-1-0-0", "train-1-1-0", "train-2-0-0"] and asked[3:] == expected
    splits = {"balanced": {"train", "val", "test"}, "unbalanced": {"train", "test"}}
    assert {q["split"] for q in questions} == splits[part]
    assert any(row["status"] == "ok" for row in images)  # found two folders above


def test_missing_photos_are_told_once_with_the_share_of_statements(nlvr2_clone, caplog):
    limits = {"train": 0, "val": 0}
    with caplog.at_level("WARNING", "sdvp"):
        _, images, _ = tables(nlvr2, nlvr2_clone, "nlvr2", shares={}, limits=limits)
    assert Counter(row["status"] for row in images) == {"ok": 6, "missing": 1, "corrupt": 1}
    (told,) = caplog.messages
    assert "2 of 8 images cannot be used (1 corrupt, 1 missing)" in told
    assert "test 2 of 4 (50.0 %)" in told


def test_a_statement_without_its_photo_is_a_row_with_a_status(nlvr2_clone):
    limits = {"train": 0, "val": 0}
    questions, images, _ = tables(nlvr2, nlvr2_clone, "nlvr2", shares={}, limits=limits)
    jobs = [
        Job(q["question_id"], "visprog", PAIR, tuple(q["image_ids"]), "pair") for q in questions
    ]
    traces = list(execute(jobs, stub.load(), ImageStore(images)))
    assert [trace.status for trace in traces] == ["ok", "ok", "module_error", "module_error"]
    assert "missing" in traces[2].error and "corrupt" in traces[3].error


def test_all_photos_there_is_nothing_to_tell(nlvr2_clone, caplog):
    limits = {"train": 0, "val": 0, "test": 2}
    with caplog.at_level("WARNING", "sdvp"):
        tables(nlvr2, nlvr2_clone, "nlvr2", shares={}, limits=limits)
    assert caplog.messages == []


def test_real_nlvr2_says_that_no_statement_can_be_evaluated(caplog):
    with caplog.at_level("WARNING", "sdvp"):
        questions, images, _ = tables(nlvr2, real("nlvr2"), "nlvr2")
    (told,) = caplog.messages
    assert f"{len(images)} of {len(images)} images cannot be used" in told
    assert "test 0 of 6982 (0.0 %)" in told
    sets = {q["group_id"] for q in questions}
    assert len(sets) < len({i for q in questions for i in q["image_ids"]})
