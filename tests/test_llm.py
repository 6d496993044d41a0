"""The `llm` provider against servers that misbehave in every way, and against a real one."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdvp_core.base.errors import UserError
from sdvp_core.base.images import ImageStore
from sdvp_core.base.records import PROGRAMS
from sdvp_core.base.tables import iterate_rows, write_table
from sdvp_core.interpreter.scheduler import Job, execute
from sdvp_core.llm import client as client_module
from sdvp_core.llm.batch import read_results, write_requests
from sdvp_core.llm.export import bank, write_bank
from sdvp_core.llm.extract import complaint, program
from sdvp_core.llm.generate import LEAST_OPEN, Statistics, programs
from sdvp_core.llm.prompt import FOLDER, Prompt, family
from sdvp_core.llm.settings import checked
from sdvp_core.llm.store import Store
from sdvp_core.llm.trials import Verdict
from sdvp_core.llm.wire import BadAnswer, read_answer
from sdvp_core.modules import stub
from sdvp_core.program.bank import Bank
from sdvp_core.program.generate import recorded

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("SDVP_SHARED_DATA", ROOT.parent / "shared" / "data"))
GOOD = "ANSWER0=VQA(image=IMAGE,question='What?')\nFINAL_RESULT=RESULT(var=ANSWER0)"
OTHER = "BOX0=LOC(image=IMAGE,object='dog')\nFINAL_RESULT=RESULT(var=BOX0)"
FAULTY = "FINAL_RESULT=RESULT(var=ANSWER0)"
VISPROG = {"visprog": Prompt.load("gqa", "visprog")}
SECRET = "sk-secret-0123456789abcdef"
PROMPTS = sorted(tuple(path.name.split(".")[:2]) for path in FOLDER.glob("*.md"))


# A server that does what each test says. An action is called with the request's handler.


def completion(text, **more):
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage} | more


def send(body, handler, status=200, headers=()):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in [*headers, ("Content-Length", str(len(data)))]:
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)


def say(text):
    return partial(send, completion(text))


def refuse(status, message="no", **headers):
    body = {"error": {"message": message, "code": None}}
    names = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return lambda handler: send(body, handler, status, names)


def drop(handler):
    handler.close_connection = True


def half(handler):
    data = json.dumps(completion(GOOD)).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])
    handler.close_connection = True


def half_a_stream(handler):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b'10\r\n{"choices": [{"m\r\n')
    handler.close_connection = True


def drip(handler):
    """A byte now and then: no single read takes long, the whole would take for ever."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.close_connection = True
    while not handler.server.over.wait(0.05):
        try:
            handler.wfile.write(b" ")
        except OSError:
            return


def silence(handler):
    handler.server.over.wait(30)
    handler.close_connection = True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.bodies)
            self.server.bodies.append(body)
            self.server.times.append(time.monotonic())
            self.server.keys.append(self.headers["Authorization"])
        self.server.action(number, body)(self)
        self.server.answered += 1

    def log_message(self, *_):
        pass


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """serve(action) starts a server; action(number of the request, body) gives what it does."""
    monkeypatch.setenv("SDVP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    running = []

    def start(action):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.action = action if callable(action) else lambda n, _: action[min(n, len(action) - 1)]
        server.bodies, server.times, server.keys, server.answered = [], [], [], 0
        server.lock, server.over = threading.Lock(), threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}/v1"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.over.set()
        server.shutdown()
        server.server_close()


def settings(server, **more):
    quick = {
        "timeout_s": 20.0,
        "backoff_s": 0.01,
        "longest_wait_s": 1.0,
        "retries": 2,
        "repairs": 0,
    }
    url = server if isinstance(server, str) else server.url
    return checked({"base_url": url, "model": "m"} | quick | more)


def questions(count, split="test", text="What is {}?"):
    return [
        {"question_id": f"q{n}", "question": text.format(n), "split": split, "image_ids": ["i"]}
        for n in range(count)
    ]


def run(server, count=1, prompts=VISPROG, split="test", text="What is {}?", **more):
    extra = {name: more.pop(name) for name in ("try_out", "statistics", "task") if name in more}
    return list(programs(questions(count, split, text), prompts, settings(server, **more), **extra))


# Asking.


def test_answers_become_rows_of_the_programs_table(serve, tmp_path):
    viper = "def execute_command(image):\n    return ImagePatch(image).simple_query('What?')"
    server = serve(
        lambda _, body: say(viper if "Python function" in str(body) else f"```\n{GOOD}\n```")
    )
    prompts = {dialect: Prompt.load("gqa", dialect) for dialect in ("visprog", "viper")}
    rows = run(server, 3, prompts)
    assert [(r["question_id"], r["dialect"], r["program"]) for r in rows] == [
        (f"q{n}", dialect, text) for n in range(3) for dialect, text in
        (("visprog", GOOD), ("viper", viper))
    ]  # fmt: skip
    assert {(r["source"], r["model"], r["sample"], r["status"], r["message"]) for r in rows} == {
        ("llm", "m", 0, "ok", None)
    }
    assert rows[1]["prompt_sha256"] == prompts["viper"].sha256 != rows[0]["prompt_sha256"]
    assert write_table(tmp_path / "programs.parquet", rows, PROGRAMS) == 6
    assert list(iterate_rows(tmp_path / "programs.parquet", PROGRAMS)) == rows
    asked = server.bodies[0]["messages"]
    assert [m["role"] for m in asked[:2]] == ["user", "assistant"] and asked[-1]["role"] == "user"
    assert asked[-1]["content"].startswith("Question: What is ")


MISBEHAVIOURS = {
    "429": refuse(429, Retry_After="0.2"),
    "429 with a date": refuse(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    "500": refuse(500),
    "503 without JSON": partial(send, b"<html>busy</html>", status=503),
    "dropped": drop,
    "half a body": half,
    "half a stream": half_a_stream,
    "silence": silence,
    "a byte now and then": drip,
    "malformed JSON": partial(send, b'{"choices": [{"message"'),
    "no choices": partial(send, {"choices": []}),
    "choices of a wrong type": partial(send, {"choices": {"message": "x"}}),
    "an error with status 200": partial(send, {"error": {"message": "overloaded"}}),
    "a number": partial(send, b"7"),
    "an event stream": partial(send, b'data: {"choices": []}\n\n'),
}


WORDLESS = ("silence", "a byte now and then")  # only a timeout ends these


@pytest.mark.parametrize("fault", MISBEHAVIOURS)
def test_a_fault_is_tried_again_and_nothing_after_success(serve, fault):
    server = serve([MISBEHAVIOURS[fault], say(GOOD)])
    rows = run(server, timeout_s=1.5 if fault in WORDLESS else 20.0)
    assert [(row["program"], row["status"]) for row in rows] == [(GOOD, "ok")]
    assert len(server.bodies) == 2 and server.bodies[0] == server.bodies[1]
    assert run(server) == rows and len(server.bodies) == 2


@pytest.mark.parametrize("fault", MISBEHAVIOURS)
def test_retries_are_finite_and_leave_a_row(serve, fault):
    server = serve([MISBEHAVIOURS[fault]])
    (row,) = run(server, timeout_s=1.0 if fault in WORDLESS else 20.0)
    assert row["status"] == "missing" and row["program"] is None
    assert row["message"].startswith(f"The server at {server.url}")
    assert len(server.bodies) == 3


def test_retry_after_is_honoured_by_all_who_wait(serve):
    server = serve(lambda n, _: refuse(429, Retry_After="0.6") if n == 0 else say(GOOD))
    rows = run(server, 5, concurrency=1)
    assert [row["status"] for row in rows] == ["ok"] * 5
    assert server.times[1] - server.times[0] >= 0.59


def test_a_longer_pause_than_allowed_gives_the_question_up(serve):
    server = serve([refuse(429, Retry_After="3600")])
    (row,) = run(server)
    assert row["status"] == "missing" and "a pause of 3600 s" in row["message"]
    assert len(server.bodies) == 1


def test_a_refused_question_is_not_asked_again_and_the_others_go_on(serve):
    def action(_, body):
        return refuse(400, "too long") if "is 1?" in str(body) else say(GOOD)

    server = serve(action)
    rows = run(server, 3)
    assert [row["status"] for row in rows] == ["ok", "missing", "ok"]
    assert "400 (" in rows[1]["message"] and "too long" in rows[1]["message"]
    assert len(server.bodies) == 3


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_refused_key_or_model_ends_the_run_with_one_sentence(serve, status):
    server = serve([refuse(status, "not you")])
    with pytest.raises(UserError, match=r"not you.*check `base_url`, `model` and .*OPENAI_API_KEY"):
        run(server, 100, concurrency=4)
    assert len(server.bodies) <= 4


def test_an_account_without_quota_is_not_asked_for_ever(serve):
    body = {"error": {"message": "no money", "code": "insufficient_quota"}}
    server = serve([partial(send, body, status=429)])
    with pytest.raises(UserError, match="quota is used up"):
        run(server, concurrency=1)
    assert len(server.bodies) == 1


def test_a_server_that_is_not_there_is_one_sentence():
    with pytest.raises(UserError, match="cannot be reached"):
        run("http://127.0.0.1:9/v1", 20)


def test_a_server_that_goes_away_ends_the_run_and_what_it_said_is_kept(serve, monkeypatch):
    monkeypatch.setattr(client_module, "FAILURES_IN_A_ROW", 4)
    server = serve(lambda n, _: say(GOOD) if n < 10 else refuse(500))
    with pytest.raises(UserError, match="every answer so far is kept"):
        run(server, 200, concurrency=2)
    assert len(server.bodies) < 30
    server.action = lambda *_: say(GOOD)
    asked = len(server.bodies)
    assert {row["status"] for row in run(server, 200)} == {"ok"}
    assert len(server.bodies) == asked + 190


def test_answers_under_way_are_kept_when_the_run_ends(serve):
    def action(number, _):
        return refuse(401) if number == 3 else lambda h: (time.sleep(0.2), say(GOOD)(h))

    server = serve(action)
    with pytest.raises(UserError):
        run(server, 50, concurrency=4)
    with Store() as store:
        assert len(store) == 3


def test_a_repaired_connection_needs_no_new_pause(serve):
    server = serve(lambda n, _: drop if n % 2 == 0 else say(GOOD))
    assert {row["status"] for row in run(server, 20, concurrency=1)} == {"ok"}
    assert len(server.bodies) == 40


# Once and never again.


def test_equal_questions_are_asked_once(serve):
    server = serve(lambda *_: lambda h: (time.sleep(0.05), say(GOOD)(h)))
    rows = run(server, 40, text="What is it?")
    assert len(server.bodies) == 1 and len({row["program_id"] for row in rows}) == 40
    assert run(server, 40, text="What is it?") == rows and len(server.bodies) == 1


def test_another_model_prompt_or_sampling_is_another_answer(serve):
    server = serve([say(GOOD)])
    run(server)
    for number, change in enumerate(
        ({"model": "n"}, {"temperature": 0.5}, {"extra": {"top_p": 1}}), 2
    ):
        run(server, **change)
        assert len(server.bodies) == number
    run(server, concurrency=3, retries=9, timeout_s=9.0)
    assert len(server.bodies) == 4


def test_rows_keep_the_order_of_the_questions(serve):
    def action(_, body):
        late = body["messages"][-1]["content"].endswith("is 0?")
        return lambda h: (time.sleep(0.3 * late), say(GOOD)(h))

    assert [row["question_id"] for row in run(serve(action), 30)] == [f"q{n}" for n in range(30)]


def test_a_bounded_number_of_questions_is_open(serve):
    server, taken = serve([say(GOOD)]), []

    def endless():
        for number in range(10**9):
            taken.append(number)
            yield {"question_id": str(number), "question": f"What is {number}?", "split": "test"}

    rows = programs(endless(), VISPROG, settings(server))
    for row, _ in zip(rows, range(50), strict=False):
        assert len(taken) - int(row["question_id"]) <= 2 * LEAST_OPEN
    rows.close()
    assert len(server.bodies) <= len(taken) < 50 + 2 * LEAST_OPEN


KILLED = """
import sys
from sdvp_core.llm.generate import programs
from sdvp_core.llm.prompt import Prompt
from sdvp_core.llm.settings import checked
settings = checked({"base_url": sys.argv[1], "model": "m", "concurrency": 8})
questions = ({"question_id": str(n), "question": f"Q{n}?", "split": "test"} for n in range(300))
for row in programs(questions, {"visprog": Prompt.load("gqa", "visprog")}, settings):
    print(row["question_id"], row["status"], row["program"].count("VQA"))
"""


def test_a_killed_run_repeats_no_answer(serve):
    server = serve(lambda *_: lambda h: (time.sleep(0.01), say(GOOD)(h)))
    command = [sys.executable, "-c", KILLED, server.url]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    while server.answered < 100 and first.poll() is None:
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    time.sleep(0.1)  # what was under way reaches the server's list
    asked = len(server.bodies)
    with Store() as store:
        kept = len(store)
    assert 0 <= asked - kept <= 2 * 8 and kept < 300  # only what was under way is lost
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert again.stdout == "".join(f"{n} ok 1\n" for n in range(300))
    assert len(server.bodies) - asked == 300 - kept
    times = Counter(json.dumps(body) for body in server.bodies)
    assert max(times.values()) <= 2 and sum(n == 2 for n in times.values()) == asked - kept


# Samples, repairs, the filter by answer.


def test_samples_differ_by_their_seed(serve):
    server = serve(lambda _, body: say([GOOD, OTHER][body["seed"] % 2]))
    rows = run(server, 2, samples=3, seed=10, temperature=0.7)
    assert [row["sample"] for row in rows] == [0, 1, 2] * 2
    assert [row["program"] for row in rows] == [GOOD, OTHER, GOOD] * 2
    assert sorted(body["seed"] for body in server.bodies) == [10, 10, 11, 11, 12, 12]
    assert len({row["program_id"] for row in rows}) == 6


def test_the_parsers_complaint_is_sent_back(serve):
    server, counts = serve([say(FAULTY), say(GOOD)]), Statistics()
    (row,) = run(server, repairs=2, statistics=counts)
    assert (row["program"], row["status"], row["message"]) == (GOOD, "ok", None)
    first, second = (body["messages"] for body in server.bodies)
    assert second[: len(first)] == first
    assert second[-2] == {"role": "assistant", "content": FAULTY}
    assert "ANSWER0 is not defined" in second[-1]["content"]
    assert counts.metrics()["repaired"] == 1
    assert run(server, repairs=2) == [row] and len(server.bodies) == 2


@pytest.mark.parametrize(
    ("answer", "message", "text"),
    [
        (FAULTY, "line 1: ANSWER0 is not defined", FAULTY),
        ("I cannot help with that.", "there is no program in the answer", None),
        ("", "there is no program in the answer", None),
        ("X=LOC(image=IMAGE", "line 1: '(' was never closed", "X=LOC(image=IMAGE"),
    ],
)
def test_what_stays_faulty_stays_a_row(serve, answer, message, text):
    server = serve([say(answer)])
    (row,) = run(server, repairs=2)
    assert (row["status"], row["message"], row["program"]) == ("invalid", message, text)
    assert len(server.bodies) == 3


def test_an_answer_cut_off_says_so(serve):
    cut = completion("Let me think")
    cut["choices"][0]["finish_reason"] = "length"
    (row,) = run(serve([partial(send, cut)]))
    assert row["status"] == "invalid" and "cut off at max_tokens" in row["message"]


def test_the_sandboxs_complaint_is_sent_back_in_batches(serve):
    server, batches = serve(lambda n, body: say(GOOD if len(body["messages"]) > 13 else OTHER)), []

    def try_out(candidates):
        batches.append(len(candidates))
        return [Verdict("no dog" if c.program == OTHER else None) for c in candidates]

    rows = run(server, 30, repairs=1, try_out=try_out)
    assert {(row["program"], row["status"], row["message"]) for row in rows} == {(GOOD, "ok", None)}
    assert sum(batches) == 60
    (row,) = run(server, 1, try_out=try_out)  # not repaired: it stands, for it parses
    assert (row["status"], row["message"]) == ("ok", "no dog")


def test_a_fault_of_the_trial_is_ours_and_raises(serve):
    def try_out(candidates):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(serve([say(GOOD)]), try_out=try_out)


def test_keep_first_asks_until_one_is_sound(serve):
    server = serve(lambda _, body: say([FAULTY, GOOD, OTHER][body["seed"]]))
    rows = run(server, 2, samples=3, keep="first")
    assert [(r["sample"], r["program"], r["status"]) for r in rows] == [(1, GOOD, "ok")] * 2
    assert len(server.bodies) == 4


def test_keep_answer_chooses_on_training_splits_and_tells_its_yield(serve):
    def action(_, body):
        never = body["messages"][-1]["content"].endswith("is 1?")
        return say(GOOD if body["seed"] == 0 or never else OTHER)

    def try_out(candidates):
        return [Verdict(correct=c.program == OTHER) for c in candidates]

    counts = Statistics()
    more = {"samples": 2, "keep": "answer", "try_out": try_out}
    rows = run(serve(action), 2, split="distill", statistics=counts, **more)
    assert [(r["question_id"], r["sample"], r["status"]) for r in rows] == [
        ("q0", 0, "invalid"), ("q0", 1, "ok"), ("q1", 0, "invalid"), ("q1", 1, "invalid"),
    ]  # fmt: skip
    assert "not the training answer" in rows[0]["message"] and rows[0]["program"] == GOOD
    assert counts.metrics()["filter"] == {"questions": 2, "kept": 1, "yield": 0.5}
    counts = Statistics()
    rows = run(serve(action), 2, split="test", statistics=counts, **more)
    # An answer of an evaluation split must choose nothing: the first sound sample stays.
    assert [(r["sample"], r["program"], r["status"]) for r in rows] == [(0, GOOD, "ok")] * 2
    assert counts.metrics()["filter"]["yield"] is None


# Budgets.


def statuses(rows):
    return Counter(row["status"] for row in rows)


def test_the_budget_of_requests_counts_over_runs(serve):
    server = serve([say(GOOD)])
    rows = run(server, 20, budget={"requests": 5}, concurrency=4)
    assert statuses(rows) == {"ok": 5, "missing": 15} and len(server.bodies) == 5
    assert {r["message"] for r in rows if r["status"] == "missing"} == {
        "the budget of requests is spent"
    }
    assert run(server, 20, budget={"requests": 5}) == rows and len(server.bodies) == 5
    assert statuses(run(server, 20, budget={"requests": 12})) == {"ok": 12, "missing": 8}
    assert statuses(run(server, 20, task="another", budget={"requests": 0})) == {
        "ok": 12, "missing": 8
    }  # fmt: skip
    assert statuses(run(server, 20)) == {"ok": 20} and len(server.bodies) == 20


def test_failed_attempts_count_as_requests(serve):
    server = serve([refuse(500)])
    rows = run(server, 5, retries=3, budget={"requests": 6}, concurrency=1)
    assert len(server.bodies) == 6 and statuses(rows) == {"missing": 5}


@pytest.mark.parametrize(
    "budget",
    [
        {"tokens": 11_000},
        {"cost": 1.1, "input_price": 100.0, "output_price": 100.0},
    ],
)
def test_tokens_and_money_are_never_passed(serve, budget):
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    server = serve([partial(send, completion(GOOD, usage=usage))])
    counts = Statistics()
    rows = run(server, 30, budget=budget, max_tokens=200, concurrency=8, statistics=counts)
    spent = counts.metrics()
    assert 5_500 <= spent["tokens"]["input"] + spent["tokens"]["output"] <= 11_000
    assert spent["cost"] <= budget.get("cost", 0)
    assert statuses(rows)["ok"] == len(server.bodies) and statuses(rows)["missing"] > 0


def test_a_server_that_counts_no_tokens_is_counted_for(serve):
    server, counts = serve([partial(send, completion(GOOD, usage=None))]), Statistics()
    run(server, statistics=counts)
    assert counts.tokens_in > 500 and counts.tokens_out > 10


# The key.


def test_the_key_goes_to_the_server_and_nowhere_else(serve, tmp_path, monkeypatch, caplog, capfd):
    monkeypatch.setenv("MY_KEY", SECRET)
    caplog.set_level(logging.DEBUG)

    def action(number, body):
        if "is 1?" in str(body):
            return refuse(400, f"you said {SECRET}")
        return say(f"{GOOD}\n# {SECRET}") if "is 2?" in str(body) else say(GOOD)

    server = serve(action)
    rows = run(server, 4, api_key_env="MY_KEY")
    assert set(server.keys) == {f"Bearer {SECRET}"}
    write_table(tmp_path / "programs.parquet", rows, PROGRAMS)
    server.action = lambda *_: refuse(401, f"Incorrect API key provided: {SECRET}")
    with pytest.raises(UserError) as ended:
        run(server, 9, api_key_env="MY_KEY")
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    output = "".join(capfd.readouterr())
    for text in (written, repr(rows).encode(), str(ended.value).encode(), caplog.text.encode(),
                 output.encode(), repr(ended.getrepr(chain=True)).encode()):  # fmt: skip
        assert SECRET.encode() not in text
    assert len(written) > 1000 and "***" in rows[1]["message"]


def test_the_answers_do_not_depend_on_the_key(serve, monkeypatch):
    server = serve([say(GOOD)])
    run(server)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    run(server)
    assert server.keys == ["Bearer none"]


def test_a_remote_server_needs_a_key(tmp_path, monkeypatch):
    monkeypatch.setenv("SDVP_CACHE", str(tmp_path))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UserError, match="set the environment variable OPENAI_API_KEY"):
        run("https://llm.example/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "two words")
    with pytest.raises(UserError, match="odd characters") as ended:
        run("https://llm.example/v1")
    assert "two words" not in str(ended.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "model: "),
        ({"modle": "m"}, "modle: this name is unknown"),
        ({"base_url": "localhost:8000"}, "base_url: give an address"),
        ({"base_url": "https://me:secret@host/v1"}, "base_url: keep keys"),
        ({"api_key_env": "sk-abc123"}, "api_key_env: give the NAME"),
        ({"budget": {"cost": 1.0}}, "budget: `cost` needs"),
        ({"extra": {"messages": []}}, "extra: `messages` cannot be set"),
        ({"samples": 0}, "samples: "),
    ],
)
def test_a_mistake_in_the_settings_is_one_sentence(change, message):
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        checked({"model": "m"} | change)
    assert "\n" not in str(raised.value)
    assert not any(secret in str(raised.value) for secret in ("me:secret", "sk-abc123"))


def test_a_foreign_cache_file_is_one_sentence(tmp_path):
    (tmp_path / "answers.sqlite").write_text("no database at all, but long enough to look at" * 9)
    with pytest.raises(UserError, match="move it away"):
        Store(tmp_path / "answers.sqlite")


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (completion(None), ""),
        (completion([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "ab"),
        (completion("x", usage={"prompt_tokens": "many"}), None),
        ({"choices": [{}]}, None),
        (b"\xff\xfe", None),
        (b"[" * 100_000, None),
    ],
)
def test_odd_responses_are_answers_or_bad_answers(body, content):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    if content is None:
        with pytest.raises(BadAnswer):
            read_answer(data)
    else:
        assert read_answer(data).content == content


# Programs out of answers.

NEXT = "Question: Is it red?\nProgram:\n" + OTHER
LOOSE = "1. `" + GOOD.replace("\n", "`\n2. `") + "`"
VIPER = "def execute_command(image) -> str:\n    patch = ImagePatch(image)\n    return 'yes'"
HELPED = f"import math\nLIMIT = 3\ndef helper(x):\n    return x + LIMIT\n{VIPER}"


@pytest.mark.parametrize(
    ("answer", "dialect", "wanted"),
    [
        (GOOD, "visprog", GOOD),
        (f"Program:\n{GOOD}", "visprog", GOOD),
        (f"Sure, here is it:\n\n```\n{GOOD}\n```\nIt asks one thing.", "visprog", GOOD),
        (f"```visprog\n{GOOD}", "visprog", GOOD),
        (f"```{GOOD}```", "visprog", GOOD),
        (f"~~~\n{GOOD}\n~~~", "visprog", GOOD),
        (f"Question: What?\nProgram: {GOOD}\n\n{NEXT}", "visprog", GOOD),
        (f"```\n{GOOD}\n```\n\n**Question:** Is it red?\n```\n{OTHER}\n```", "visprog", GOOD),
        (f"```\n{FAULTY}\n```\nOops, corrected:\n```\n{GOOD}\n```", "visprog", GOOD),
        (f"```\n{GOOD}\n```\nor, wrongly,\n```\n{FAULTY}\n```", "visprog", GOOD),
        (f"<think>\n{OTHER}\nhm</think>\n{GOOD}", "visprog", GOOD),
        (f"{OTHER}\nhm</think>\n{GOOD}", "visprog", GOOD),
        (f"Steps:\n{LOOSE}\nDone.", "visprog", GOOD),
        (textwrap.indent(GOOD, "    "), "visprog", GOOD),
        (GOOD.replace("\n", "\n\n# the answer\n"), "visprog", GOOD),
        (GOOD.replace("\n", ";\r\n") + ";", "visprog", GOOD),
        (GOOD.replace("(image=IMAGE,", "(\n  image=IMAGE,\n  "), "visprog",
         GOOD.replace("(image=IMAGE,", "( image=IMAGE, ")),
        ("I would look at the dog.", "visprog", None),
        (VIPER, "viper", VIPER),
        (f"```python\n{HELPED}\n\nprint(execute_command(img))\n```", "viper", HELPED),
        (f"Here:\n{VIPER}\n\nThis function looks at the image.", "viper", VIPER),
        (f"def execute_command(image) -> str:\n{VIPER}", "viper", VIPER),
        (f"class ImagePatch:\n    def find(self):\n        return []\n\n{VIPER}", "viper", VIPER),
        (f"Code:\n\n{textwrap.indent(VIPER, '    ')}\n\nDone.", "viper", VIPER),
        (VIPER.partition("\n")[2], "viper", VIPER),
        ("    left_patch = ImagePatch(left)\n    return 'true'", "viper",
         "def execute_command(left, right) -> str:\n    left_patch = ImagePatch(left)\n"
         "    return 'true'"),
        (f"{VIPER}\n\nQuestion: next?\n{VIPER.replace('yes', 'no')}", "viper", VIPER),
        (VIPER.replace("(image)", "(\n    image,\n)", 1), "viper",
         VIPER.replace("(image)", "(\n    image,\n)", 1)),
        ("```python\ndef answer(image):\n    return 1\n```", "viper", None),
    ],
)  # fmt: skip
def test_programs_are_found_as_models_write_them(answer, dialect, wanted):
    assert program(answer, dialect) == wanted


@given(st.text(alphabet="ABC=()'\"`\n RESULT{}defxcut_omand:#<think>/", max_size=300))
def test_gibberish_never_raises(text):
    for dialect in ("visprog", "viper"):
        found = program(text, dialect)
        assert found is None or complaint(found, dialect) is None or found.strip()


# Prompts.


def test_there_is_a_prompt_for_every_family_and_dialect():
    families = ("gqa", "nlvr", "nlvr2", "shapes", "shapes_pair")
    assert sorted((f, d) for f in families for d in ("viper", "visprog")) == PROMPTS
    assert family("gqa", False, "image") == "gqa" and family("nlvr2", True, "pair") == "shapes_pair"
    assert family("tallyqa", True, "image") == "shapes"
    with pytest.raises(UserError, match=r"no prompt cake\.viper\.md"):
        Prompt.load("cake", "viper")


@pytest.mark.parametrize(("name", "dialect"), PROMPTS)
def test_prompts_are_short_and_their_examples_are_found_and_run(name, dialect):
    prompt = Prompt.load(name, dialect)
    assert len(prompt.examples) >= 4
    assert sum(len(m["content"]) for m in prompt.messages("What?")) < 4000
    scene = {"nlvr": "boxes", "nlvr2": "pair", "shapes_pair": "pair"}.get(name, "image")
    ids = [str(n) for n in range(5)]
    picture = Image.new("RGB", (400, 100), "white")
    images = ImageStore([{"image_id": i, "width": 400, "height": 100} for i in ids])
    images._decoded.update(dict.fromkeys(ids, picture))
    jobs = [
        Job(question, dialect, text, (image, ids[0]) if scene == "pair" else (image,), scene)
        for question, text in prompt.examples
        for image in ids
    ]
    for trace in execute(jobs, stub.load(), images, held=8):
        assert trace.status == "ok", (trace.key, trace.error)
        assert trace.answer is not None and trace.steps
    for _, text in prompt.examples:
        assert program(prompt.messages("?")[1]["content"], dialect) == prompt.examples[0][1]
        assert complaint(text, dialect) is None


def _words(text):
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


def _examples(*names):
    return {_words(q) for n, d in PROMPTS if n in names for q, _ in Prompt.load(n, d).examples}


EVALUATED = {
    "gqa": ["gqa/testdev_head_questions.json", "gqa/questions_with_photos.json"],
    "nlvr2": ["nlvr2/dev.json"],
    "nlvr": ["nlvr/dev/dev.json", "nlvr/test/test.json"],
}


@pytest.mark.parametrize("name", EVALUATED)
def test_no_example_stands_in_an_evaluation_split(name):
    texts = set()
    for file in EVALUATED[name]:
        if not (SHARED / file).is_file():
            pytest.skip(f"{SHARED / file} is absent: set SDVP_SHARED_DATA")
        content = (SHARED / file).read_text(encoding="utf-8")
        found = re.findall(r'"(?:question|sentence)": ?("(?:[^"\\]|\\.)*")', content)
        texts |= {_words(json.loads(text)) for text in found}
    assert len(texts) > 200 and len(_examples(name)) >= 4
    assert not _examples(name) & texts


def test_examples_of_the_embedded_world_name_what_it_has_not(tmp_path):
    from sdvp_core.tasks import shapes

    words = set()
    for task in shapes.TASKS:
        scenes = (
            {"test": 60} if task in ("shapes_count", "shapes_refer") else {"train": 5, "test": 60}
        )
        shapes.write(task, tmp_path / task, scenes, 0)
        for path in [*(tmp_path / task).glob("*.json"), *(tmp_path / task).glob("*.jsonl")]:
            found = re.findall(
                r'"(?:question|sentence|sent|raw)": ?"([^"]*)"', path.read_text(encoding="utf-8")
            )
            words |= {word for text in found for word in _words(text).split()}
    assert {"square", "striped", "purple"} <= words
    for example in _examples("shapes", "shapes_pair"):
        assert set(example.split()) - words, example  # one word no question of the world has


def test_a_broken_prompt_file_is_one_sentence(tmp_path):
    for text in (
        "no examples",
        "### Question: x\nno fence\n",
        "### Question: x\n```\nA\n```\n### B\n",
    ):
        (tmp_path / "gqa.viper.md").write_text(text)
        with pytest.raises(UserError, match="every example is a line"):
            Prompt.load("gqa", "viper", tmp_path)


# Banks and batches.


def test_the_bank_replays_what_the_model_wrote(serve, tmp_path):
    server = serve(
        lambda n, body: say(FAULTY if "is 1?" in str(body) else [GOOD, OTHER][body["seed"]])
    )
    asked = [*questions(3), questions(1)[0] | {"question_id": "again"}]
    rows = list(programs(asked, VISPROG, settings(server, samples=2)))
    path = tmp_path / "bank.jsonl"
    assert write_bank(path, asked, rows) == 2
    replayed = list(recorded(asked, Bank.load(path), ["visprog"]))
    assert [(r["question_id"], r["program"], r["status"]) for r in replayed] == [
        ("q0", GOOD, "ok"), ("q0", OTHER, "ok"), ("q1", None, "missing"), ("q2", GOOD, "ok"),
        ("q2", OTHER, "ok"), ("again", GOOD, "ok"), ("again", OTHER, "ok"),
    ]  # fmt: skip
    with pytest.raises(UserError, match="not those of the questions"):
        list(bank(asked[::-1], rows))


def test_a_batch_is_written_answered_and_read_without_a_key(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    asked, how = questions(4), settings("https://llm.example/v1", repairs=1)
    with Store(tmp_path / "answers.sqlite") as store:
        path = tmp_path / "one" / "ask.jsonl"
        assert write_requests(asked, VISPROG, how, path, store) == {path: 4}
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(lines) == 4
        assert {(line["method"], line["url"]) for line in lines} == {
            ("POST", "/v1/chat/completions")
        }
        assert lines[2]["body"]["messages"][-1]["content"] == "Question: What is 2?"
        with pytest.raises(UserError, match=r"ask\.jsonl exists"):
            write_requests(asked, VISPROG, how, path, store)

        texts = [GOOD, FAULTY, OTHER]
        results = [
            {"custom_id": line["custom_id"], "error": None,
             "response": {"status_code": 200, "body": completion(text)}}
            for line, text in zip(lines, texts, strict=False)
        ]  # fmt: skip
        results.append({"custom_id": lines[3]["custom_id"], "response": None, "error": {"code": 1}})
        results.append({"custom_id": "foreign", "response": {"status_code": 200, "body": {}}})
        (tmp_path / "results.jsonl").write_text(
            "".join(json.dumps(r) + "\n" for r in results[::-1])
        )
        done = read_results(tmp_path / "results.jsonl", store)
        assert (done.stored, done.failed, done.foreign) == (3, 1, 1)

        (path,) = write_requests(asked, VISPROG, how, tmp_path / "again.jsonl", store)
        again = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(again) == 2  # the repair, and the request that failed
        assert "ANSWER0 is not defined" in again[0]["body"]["messages"][-1]["content"]
        offline = how.model_copy(update={"budget": how.budget.model_copy(update={"requests": 0})})
        rows = list(programs(asked, VISPROG, offline, store=store))
    assert [row["status"] for row in rows] == ["ok", "invalid", "ok", "missing"]
    assert "not repaired: the budget of requests is spent" in rows[1]["message"]


# A real server.

TINY = """
import sys, torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
torch.manual_seed(0)
vocabulary = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
bytes_ = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(vocabulary)}, merges=[]))
bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
bytes_.decoder = decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=bytes_, bos_token="<s>", eos_token="</s>", pad_token="</s>")
tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} {% endfor %}"
tokenizer.save_pretrained(sys.argv[1])
LlamaForCausalLM(LlamaConfig(
    vocab_size=len(vocabulary), hidden_size=32, intermediate_size=32, num_hidden_layers=1,
    num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=8192,
    bos_token_id=0, eos_token_id=1, pad_token_id=1)).save_pretrained(sys.argv[1])
from transformers.cli.transformers import main
sys.argv = ["transformers", "serve", sys.argv[1], "--host", "127.0.0.1", "--port", sys.argv[2],
            "--device", "cpu"]
main()
"""


@pytest.fixture
def real_server(tmp_path):
    """`transformers serve` with a random model of 0.02M parameters; yields its address."""
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        pytest.skip("`transformers serve` needs fastapi and uvicorn: see requirements.txt")
    import socket
    import urllib.request

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path / "serve.log").open("wb")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    command = [sys.executable, "-c", TINY, "tiny", str(port)]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(3000):  # a busy machine takes its time to import torch
            assert process.poll() is None, (tmp_path / "serve.log").read_text()[-2000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()
        log.close()


def test_gibberish_of_a_real_model_becomes_rows(real_server, tmp_path, monkeypatch):
    monkeypatch.setenv("SDVP_CACHE", str(tmp_path / "cache"))
    more = {"timeout_s": 60.0, "max_tokens": 24, "repairs": 1, "concurrency": 2, "model": "tiny"}
    counts = Statistics()
    rows = run(real_server, 3, statistics=counts, **more)
    assert [row["status"] for row in rows] == ["invalid"] * 3
    assert {row["model"] for row in rows} == {"tiny"}
    assert counts.tokens_in > 3 * 2000 and 0 < counts.tokens_out <= 2 * 3 * 24
    # Everything is in the cache: the same rows without a server.
    assert run(real_server, 3, budget={"requests": 0}, **more) == rows
