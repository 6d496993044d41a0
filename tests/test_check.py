"""command: check, on folders with everything that goes wrong with a download."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image
from test_readers import SHARED, real

from sdvp_core.__main__ import main
from sdvp_core.base.params import Link, Task, Teacher
from sdvp_core.command import check

SCHEDULE = {"steps": 1}
TEACHER = {"answers": SCHEDULE, "boxes": SCHEDULE}


@pytest.fixture
def checked(tmp_path, monkeypatch, capsys):
    """checked(task's entry) runs `check t`: exit code, lines of stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    # The folders here hold a few records: they are not measured against the official numbers.
    monkeypatch.setattr(check, "COUNTS", {("nlvr2", "dev.json"): 2})

    def run(learned=False, **entry):
        values = {
            "tasks": {"t": entry, "world": {"reader": "gqa", "world": {"test": 1}}},
            "pretrain": {"task": "world", "vqa": SCHEDULE, "locate": SCHEDULE, "match": SCHEDULE},
            "teachers": {"t": TEACHER} if learned else {},
            "distill": {"vqa": SCHEDULE, "locate": SCHEDULE, "match": SCHEDULE},
            "sequence": {},
        }
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
        monkeypatch.setattr(sys, "argv", ["sdvp_core", "check", "t"])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return ended.value.code or 0, told.out.splitlines(), told.err

    return run


@pytest.fixture
def photos(tmp_path):
    """NLVR2's dev split with two statements on one pair of photos."""
    folder = tmp_path / "nlvr2"
    (folder / "images").mkdir(parents=True)
    rows = [{"identifier": f"dev-1-0-{n}", "sentence": "Dogs.", "label": "True"} for n in range(2)]
    (folder / "dev.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for side in range(2):
        Image.effect_noise((200, 150), 9).save(folder / "images" / f"dev-1-0-img{side}.png")
    return folder


def test_a_whole_folder_is_usable(checked, photos):
    code, lines, error = checked(reader="nlvr2", source="nlvr2", programs="llm")
    assert (code, error) == (0, "")
    assert lines == ["present  nlvr2/dev.json: 2 records", "present  images: 2 of 2; 2 opened"]


def test_what_a_link_learns_from_is_needed_too(checked, photos):
    code, lines, error = checked(learned=True, reader="nlvr2", source="nlvr2", programs="llm")
    assert code == 1 and "missing  nlvr2/train.json" in lines
    assert error.startswith("error: t cannot be used") and error.count("\n") == 1


@pytest.mark.parametrize(
    "kept, line",
    [
        (1.0, "present  nlvr2/dev.json: 2 records"),
        (0.7, "damaged  nlvr2/dev.json: nlvr2/dev.json:2 is not valid JSON"),
        (0.5, "damaged  nlvr2/dev.json: 1 records, the official file has 2"),  # cut at a line's end
    ],
)
def test_half_a_file_is_damaged(checked, photos, kept, line):
    text = (photos / "dev.json").read_text()
    (photos / "dev.json").write_text(text[: int(len(text) * kept)])
    code, lines, _ = checked(reader="nlvr2", source="nlvr2", programs="llm")
    assert code == (kept < 1) and lines[0].startswith(line)


def test_broken_and_missing_photos_are_counted(checked, photos):
    path = photos / "images" / "dev-1-0-img0.png"
    path.write_bytes(path.read_bytes()[:3000])
    code, lines, _ = checked(reader="nlvr2", source="nlvr2", programs="llm")
    assert code == 1 and "1 of 2 opened are broken, such as dev-1-0-img0.png" in lines[1]
    path.unlink()  # the authors' addresses lose photos: the rest can be used
    code, lines, _ = checked(reader="nlvr2", source="nlvr2", programs="llm")
    assert code == 0
    assert (
        lines[1] == "present  images: 1 of 2, 0.0 % of the questions have all of theirs; 1 opened"
    )
    (photos / "images" / "dev-1-0-img1.png").unlink()
    code, lines, _ = checked(reader="nlvr2", source="nlvr2", programs="llm")
    assert code == 1 and lines[1].startswith("missing  images: none of 2")


def test_gqa_in_its_folders(checked, tmp_path):
    record = {"imageId": "1", "question": "Is it?", "answer": "yes", "semantic": []}
    for place in ("images", "questions1.2", "sceneGraphs"):
        (tmp_path / "gqa" / place).mkdir(parents=True)
    Image.new("RGB", (300, 200)).save(tmp_path / "gqa/images/1.jpg")
    folder = tmp_path / "gqa/questions1.2"
    (folder / "testdev_balanced_questions.json").write_text(json.dumps({"7": record}))
    graphs = tmp_path / "gqa/sceneGraphs/train_sceneGraphs.json"
    graphs.write_text(json.dumps({"1": {"objects": {}}})[:-1])
    code, lines, _ = checked(learned=True, reader="gqa", source="gqa")
    assert code == 1 and [line.split()[0] for line in lines] == ["present", "damaged", "missing"]
    assert "cut short" in lines[1] and "train_balanced_questions.json" in lines[2]
    graphs.write_text("{}")
    (folder / "train_balanced_questions.json").write_text(json.dumps({"8": record}))
    code, lines, _ = checked(learned=True, reader="gqa", source="gqa")
    assert code == 0 and lines[-1] == "present  images: 1 of 1; 1 opened"
    (folder / "train_balanced_questions.json").write_text('{"8": {"answer": "yes"}}')
    code, lines, _ = checked(learned=True, reader="gqa", source="gqa")
    assert code == 1 and "is not in its official form" in lines[-1]


def test_an_absent_folder_and_the_embedded_world(checked, tmp_path):
    code, lines, _ = checked(reader="gqa", source="nowhere")
    assert code == 1 and lines == [
        "missing  nowhere: nowhere does not exist: put the official GQA folder there."
    ]
    code, lines, _ = checked(reader="gqa", world={"test": 2})
    assert code == 0 and lines == ["t: `prepare` renders it, it needs no files"]


def test_a_bank_is_needed_where_programs_are_recorded(checked, photos):
    code, lines, _ = checked(reader="nlvr2", source="nlvr2", programs="recorded")
    assert code == 1 and lines[-1].startswith("missing  nlvr2/programs.jsonl")
    (photos / "programs.jsonl").write_text('{"sentence": 3}')
    code, lines, _ = checked(reader="nlvr2", source="nlvr2", programs="recorded")
    assert code == 1 and lines[-1].startswith("damaged  nlvr2/programs.jsonl")


def test_real_nlvr_is_whole(checked, monkeypatch):
    counts = {("nlvr", "dev.json"): 989, ("nlvr", "test.json"): 990}
    monkeypatch.setattr(check, "COUNTS", counts)
    bank = str(SHARED / "programs" / "nlvr_bank.jsonl")
    entry = {"reader": "nlvr", "source": str(real("nlvr")), "bank": bank, "programs": "recorded"}
    code, lines, _ = checked(learned=True, scene="boxes", **entry)
    assert code == 0 and lines[0].endswith("989 records") and lines[1].endswith("990 records")
    assert lines[2].startswith("present  images: 11059 of 11059")


def test_the_entries_of_the_page_on_data_are_ones_that_params_take():
    page = (Path(__file__).parent.parent / "docs" / "data.md").read_text()
    blocks = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    assert len(blocks) == 3
    for block in blocks:
        assert all(Task.model_validate(entry).source for entry in block["tasks"].values())
        assert all(Teacher.model_validate(entry) for entry in block["teachers"].values())
        links = [Link.model_validate(entry) for entry in block["sequence"].values()]
        assert all(link.task in block["tasks"] for link in links)
