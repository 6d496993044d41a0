"""command: run, explain and dataset, as a user types them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from sdvp_core.base.errors import UserError
from sdvp_core.command import run
from sdvp_core.command.dataset import validate_release
from sdvp_core.command.explain import explain_question
from sdvp_core.command.run import run_file

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("SDVP_SHARED_DATA", ROOT.parent / "shared" / "data"))
COUNT = (
    "BOX0=LOC(image=IMAGE,object='red square')\nANSWER0=COUNT(box=BOX0)\n"
    "FINAL_RESULT=RESULT(var=ANSWER0)\n"
)
VIPER = (
    "def execute_command(image):\n"
    "    patches = ImagePatch(image).find('square')\n"
    "    return patches[0].simple_query('What color is it?')\n"
)
SQUARE = {"name": "square", "attributes": ["red"], "box": [10, 10, 30, 30]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SDVP_CACHE", str(tmp_path / "cache"))
    Image.new("RGB", (100, 80), "white").save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    return tmp_path


def _run(folder, rows, students="oracle"):
    file, out = folder / "in.jsonl", folder / "out.jsonl"
    file.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    run_file(file, folder, students, out)
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_both_dialects_answer_from_annotations(folder):
    row = {"image": "a.png", "annotations": [SQUARE]}
    found = _run(
        folder,
        [
            {"id": 1, "dialect": "visprog", "program": COUNT, **row},
            {"id": 2, "dialect": "viper", "program": VIPER, **row},
        ],
    )
    assert [(f["id"], f["status"], f["answer"]) for f in found] == [(1, "ok", 1), (2, "ok", "red")]
    assert found[1]["steps"][1]["region"] == [10, 10, 30, 30]
    assert found[1]["steps"][1]["parents"] == [0]


def test_every_faulty_row_has_a_status_and_stops_nothing(folder):
    good = {"dialect": "viper", "program": VIPER, "image": "a.png", "annotations": [SQUARE]}
    found = _run(
        folder,
        [
            good | {"id": "a", "dialect": "prolog"},
            '{"id": "b", "dialect": ',
            good | {"id": "c", "image": "gone.png"},
            good | {"id": "d", "image": "cut.png"},
            good | {"id": "e", "program": "import os\ndef execute_command(image):\n return 1"},
            good | {"id": "f", "program": "def execute_command(image) return 1"},
            good | {"id": "g", "program": "def execute_command(image):\n while True: pass"},
            good | {"id": "h"},
        ],
        students="oracle",
    )
    statuses = [row["status"] for row in found]
    assert statuses[0] == statuses[1] == "invalid_row"
    assert statuses[2] == statuses[3] == "module_error"
    assert statuses[4] == "forbidden"
    assert statuses[5] == "program_error" and statuses[6] == "limit"
    assert statuses[7] == "ok" and found[7]["answer"] == "red"
    assert all(row["error"] for row in found[:7])


def test_other_forms_of_annotations_are_read(folder):
    graph = {"objects": {"7": {"name": "square", "attributes": ["red"], "relations": [],
                               "x": 10, "y": 10, "w": 20, "h": 20}}}  # fmt: skip
    row = {"dialect": "visprog", "program": COUNT, "image": "a.png"}
    found = _run(
        folder,
        [row | {"id": 1, "annotations": graph}, row | {"id": 2, "annotations": {"a.png": graph}}],
    )
    assert [f["answer"] for f in found] == [1, 1]


def test_rows_may_annotate_one_image_each_in_its_own_way(folder):
    row = {"dialect": "visprog", "program": COUNT, "image": "a.png"}
    told = [[SQUARE], None, [], [SQUARE, SQUARE | {"box": [50, 50, 70, 70]}], [SQUARE]]
    found = _run(folder, [row | {"id": n, "annotations": a} for n, a in enumerate(told)])
    assert [(f["status"], f["answer"]) for f in found] == [
        ("ok", 1), ("module_error", None), ("ok", 0), ("ok", 2), ("ok", 1),
    ]  # fmt: skip
    assert {step["image"] for f in found for step in f["steps"]} == {"a.png"}


def test_an_image_may_be_called_like_the_second_way_to_annotate_another(folder):
    (folder / "a.png#1").write_bytes((folder / "cut.png").read_bytes())
    row = {"dialect": "visprog", "program": COUNT}
    told = [("a.png", [SQUARE]), ("a.png", []), ("a.png#1", [SQUARE])]
    found = _run(folder, [row | {"image": name, "annotations": a} for name, a in told])
    assert [f["answer"] for f in found[:2]] == [1, 0] and found[2]["status"] == "module_error"


def test_a_stopped_run_goes_on_from_its_last_shard(folder, monkeypatch):
    row = {"dialect": "visprog", "program": COUNT, "image": "a.png", "annotations": [SQUARE]}
    rows = [row | {"id": n} for n in range(5)] + ["no JSON"]
    whole = _run(folder, rows)
    monkeypatch.setattr(run, "SHARD", 2)
    asked, execute = [], run.execute

    def stopping(jobs, **given):
        asked.append(len(jobs))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return execute(jobs, **given)

    monkeypatch.setattr(run, "execute", stopping)
    (folder / "out.jsonl").unlink()
    with pytest.raises(KeyboardInterrupt):
        _run(folder, rows)
    assert not (folder / "out.jsonl").exists()
    assert _run(folder, rows) == whole and asked == [2, 2, 2, 1]
    assert _run(folder, rows) == whole and len(asked) == 7  # a finished one leaves nothing behind


@pytest.mark.parametrize("told", ["oops", 3, [{"name": "square", "bbox": [1, 2, 3, 4]}], {"b": 1}])
def test_annotations_of_another_form_are_a_fault_of_their_row(folder, told):
    row = {"dialect": "visprog", "program": COUNT, "image": "a.png"}
    bad, good = _run(folder, [row | {"annotations": told}, row | {"annotations": [SQUARE]}])
    assert bad["status"] == "invalid_row" and "annotations" in bad["error"]
    assert good["answer"] == 1


def test_the_nlvr_bank_on_real_images(tmp_path):
    if not (SHARED / "nlvr").is_dir():
        pytest.skip(f"the NLVR files are not at {SHARED}")
    bank = [json.loads(line) for line in (SHARED / "programs/nlvr_bank.jsonl").open()]
    by_sentence = {entry["sentence"]: entry for entry in bank}
    records = [json.loads(line) for line in (SHARED / "nlvr/dev/dev.json").open()][:200]
    rows = [
        {
            "id": f"{record['identifier']}-{dialect}",
            "dialect": dialect,
            "program": by_sentence[record["sentence"]][dialect],
            "image": f"{record['directory']}/dev-{record['identifier']}-0.png",
            "annotations": record["structured_rep"],
        }
        for record in records
        for dialect in ("viper", "visprog")
    ]
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    counts = run_file(file, SHARED / "nlvr/dev/images", "oracle", out)
    assert counts == {"ok": 400}
    answers = [json.loads(line)["answer"] for line in out.open()]
    truths = [record["label"] == "true" for record in records for _ in range(2)]
    said = [str(answer).lower() in ("true", "yes") for answer in answers]
    assert sum(a == b for a, b in zip(said, truths, strict=True)) >= 380


def test_explain_writes_a_trace_and_escapes_what_it_shows(folder):
    program = folder / "p.py"
    program.write_text(VIPER)
    question = "What <script>alert(1)</script> is it?"
    out = folder / "trace.html"
    text = explain_question(folder / "a.png", question, "stub", program, None, out)
    assert "locate('square')" in text and "answer:" in text
    assert "<script>alert" not in out.read_text() and "What" in out.read_text()
    direct = explain_question(folder / "a.png", "What's it?", "stub", None, None, out)
    assert "vqa" in direct
    lines = explain_question(folder / "a.png", "What is\nit?", "stub", None, None, out)
    assert "program_error" not in lines
    with pytest.raises(UserError, match="annotations"):
        explain_question(folder / "a.png", "What is it?", "oracle", None, None, out)


def test_an_image_that_will_not_decode_is_one_sentence(folder):
    with pytest.raises(UserError, match=r"cut\.png"):
        explain_question(folder / "cut.png", "What is it?", "stub", None, None, folder / "t.html")


def test_a_mistake_on_the_command_line_is_one_line_and_exit_code_1(folder):
    command = [sys.executable, "-m", "sdvp_core", "run", "absent.jsonl", "--images", str(folder),
               "--students", "stub", "--out", str(folder / "o.jsonl")]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: absent.jsonl does not exist")


def test_a_folder_that_is_no_release_is_named(tmp_path):
    with pytest.raises(UserError, match="SHA256SUMS is missing"):
        validate_release(tmp_path)
