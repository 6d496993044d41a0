"""command: bank, batch-write and batch-read, with the stage `generate` behind them."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from PIL import Image

from sdvp_core.__main__ import main
from sdvp_core.base.records import ANNOTATIONS, IMAGES, PROGRAMS, QUESTIONS
from sdvp_core.base.tables import iterate_rows, write_table
from sdvp_core.llm.store import Store
from sdvp_core.program.bank import Bank
from stages import generate

VISPROG = "ANSWER0=VQA(image=IMAGE,question='What?')\nFINAL_RESULT=RESULT(var=ANSWER0)"
VIPER = 'def execute_command(image):\n    return ImagePatch(image).simple_query("What?")'
# It parses, and the sandbox complains: the step reads what is no number.
FAULTY = (
    "ANSWER0=VQA(image=IMAGE,question='What?')\n"
    "ANSWER1=EVAL(expr='{ANSWER0} / 0')\nFINAL_RESULT=RESULT(var=ANSWER1)"
)
SCHEDULE = {"steps": 1}
PARAMS = {
    "tasks": {
        "asked": {"reader": "gqa", "source": "nowhere", "programs": "llm"},
        "compiled": {"reader": "gqa", "source": "nowhere"},
    },
    "pretrain": {"task": "asked", "vqa": SCHEDULE, "locate": SCHEDULE, "match": SCHEDULE},
    "teachers": {},
    "distill": {"vqa": SCHEDULE, "locate": SCHEDULE, "match": SCHEDULE},
    "sequence": {},
}


class Refusal(BaseHTTPRequestHandler):
    """A server that refuses everything, and counts what it refused."""

    def do_POST(self):
        self.server.refused += 1
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    server.refused = 0
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def project(tmp_path, monkeypatch, server):
    """A project's folder with a prepared task of three questions, one of them the teacher's."""
    monkeypatch.setenv("SDVP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    url = f"http://127.0.0.1:{server.server_port}/v1"
    llm = {"base_url": url, "model": "m", "repairs": 1, "retries": 0}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS | {"generate": {"llm": llm}}))
    Image.new("RGB", (20, 20)).save(tmp_path / "i.png")
    folder = tmp_path / "data" / "asked"
    splits = {"a": "distill", "b": "test", "c": "train"}
    rows = [
        {"question_id": key, "task": "asked", "split": split, "group_id": "i", "image_ids": ["i"],
         "question": f"What is {key}?", "answer": "cat"}
        for key, split in splits.items()
    ]  # fmt: skip
    write_table(folder / "questions.parquet", rows, QUESTIONS)
    image = {"image_id": "i", "path": "i.png", "width": 20, "height": 20, "status": "ok"}
    write_table(folder / "images.parquet", [image], IMAGES)
    write_table(folder / "annotations.parquet", [], ANNOTATIONS)
    return tmp_path


def command(monkeypatch, capsys, *words):
    """Exit code, stdout and stderr of a command."""
    monkeypatch.setattr(sys, "argv", ["sdvp_core", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0, *capsys.readouterr()


def requests(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def answer(path, out, texts):
    """A result file in the service's form, its lines in another order than the requests."""
    lines = [
        {"id": f"batch_req_{n}", "custom_id": request["custom_id"], "error": None,
         "response": {"status_code": 200, "body": {
             "choices": [{"message": {"role": "assistant", "content": text}}],
             "usage": {"prompt_tokens": 9, "completion_tokens": 3}}}}
        for n, (request, text) in enumerate(zip(requests(path), texts, strict=True))
    ]  # fmt: skip
    out.write_text("".join(json.dumps(line) + "\n" for line in lines[::-1]))


def rows_of(project):
    return list(iterate_rows(project / "data/asked/programs.parquet", PROGRAMS))


def test_after_a_batch_generate_asks_nothing(project, server, monkeypatch, capsys):
    code, out, _ = command(monkeypatch, capsys, "batch-write", "asked", "ask.jsonl")
    assert code == 0 and "wrote ask.jsonl (requests: 4)" in out  # two dialects; not the teacher's
    answer(project / "ask.jsonl", project / "said.jsonl", [VISPROG, VIPER, FAULTY, VIPER])
    code, out, _ = command(monkeypatch, capsys, "batch-read", "said.jsonl", "--task", "asked")
    assert code == 0 and "stored 4 answers, 0 failed" in out
    # The sandbox's complaint about one program is the only request of a second batch.
    code, out, _ = command(monkeypatch, capsys, "batch-write", "asked", "again.jsonl")
    assert code == 0 and "wrote again.jsonl (requests: 1)" in out
    (repair,) = requests(project / "again.jsonl")
    assert "cannot run" in repair["body"]["messages"][-1]["content"]
    answer(project / "again.jsonl", project / "mended.jsonl", [VISPROG])
    assert command(monkeypatch, capsys, "batch-read", "mended.jsonl", "--task", "asked")[0] == 0
    _, out, _ = command(monkeypatch, capsys, "batch-write", "asked", "none.jsonl")
    assert "every request has its answer" in out and not (project / "none.jsonl").exists()

    generate.main("asked")
    found = [(row["question_id"], row["program"], row["status"]) for row in rows_of(project)]
    assert found == [(key, text, "ok") for key in "ab" for text in (VISPROG, VIPER)]
    assert server.refused == 0
    with Store() as store:
        jobs = store._run("SELECT * FROM spent").fetchall()
        assert len(store) == 5 and len(jobs) == 1 and jobs[0][2:] == (45, 15)


def test_without_the_batch_the_server_would_have_been_asked(project, server):
    from sdvp_core.base.errors import UserError

    with pytest.raises(UserError, match="refuses the key"):
        generate.main("asked")
    assert server.refused


def test_a_bank_replays_the_programs(project, monkeypatch, capsys):
    command(monkeypatch, capsys, "batch-write", "asked", "ask.jsonl")
    answer(project / "ask.jsonl", project / "said.jsonl", [VISPROG, VIPER] * 2)
    command(monkeypatch, capsys, "batch-read", "said.jsonl")
    generate.main("asked")
    code, out, _ = command(monkeypatch, capsys, "bank", "made/bank.jsonl", "--task", "asked")
    assert code == 0 and "programs of 2 questions" in out
    bank = Bank.load(project / "made/bank.jsonl")
    assert bank.programs("What is b?", "viper") == [VIPER]
    assert bank.programs("What is a?", "visprog") == [VISPROG]

    values = yaml.safe_load((project / "params.yaml").read_text())
    values["tasks"]["asked"]["programs"] = "recorded"
    (project / "params.yaml").write_text(yaml.safe_dump(values))
    before = rows_of(project)
    (project / "made/bank.jsonl").rename(project / "data/asked/bank.jsonl")
    generate.main("asked")
    columns = ("question_id", "dialect", "program", "status")
    assert [[r[c] for c in columns] for r in rows_of(project)] == [
        [r[c] for c in columns] for r in before
    ]


@pytest.mark.parametrize(
    "words, message",
    [
        (("bank", "b.jsonl", "--task", "asked"), "programs.parquet does not exist"),
        (("bank", "b.jsonl", "--task", "other"), "programs.parquet does not exist"),
        (("batch-write", "other", "o.jsonl"), "'other' is no task"),
        (("batch-write", "compiled", "o.jsonl"), "set `programs: llm`"),
        (("batch-write", "asked", "there.jsonl"), "there.jsonl exists"),
        (("batch-write", "asked", "o.jsonl", "--data", "gone"), "does not exist"),
        (("batch-read", "gone.jsonl"), "gone.jsonl does not exist"),
        (("batch-read", "half.jsonl"), "half.jsonl:1 is not valid JSON"),
        (("batch-read", "bytes.jsonl"), "bytes.jsonl cannot be read"),
        (("batch-read", "there.jsonl"), "holds no answer (1 failed, 1 lines"),
    ],
)
def test_a_mistake_is_one_sentence(project, monkeypatch, capsys, words, message):
    failed = {"custom_id": "0" * 64, "response": {"status_code": 200, "body": 5}}
    lines = [json.dumps(failed), json.dumps({"custom_id": "mine", "response": None})]
    (project / "there.jsonl").write_text("\n".join(lines))
    (project / "half.jsonl").write_text('{"custom_id": "')
    (project / "bytes.jsonl").write_bytes(b"\xff\xfe{}\n")
    code, _, said = command(monkeypatch, capsys, *words)
    assert code == 1 and message in said
    assert said.startswith("error: ") and said.count("\n") == 1
