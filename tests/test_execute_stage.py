"""The stage `execute`: tables streamed and joined, counts kept with the shards, passes together."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from sdvp_core.base.errors import UserError
from sdvp_core.base.folder import TaskFolder
from sdvp_core.base.images import ImageStore
from sdvp_core.base.records import EXECUTIONS, IMAGES, PROGRAMS, QUESTIONS, STEPS
from sdvp_core.base.tables import iterate_rows, write_table
from sdvp_core.interpreter import rows
from sdvp_core.interpreter.scheduler import Limits
from sdvp_core.interpreter.trace import Statistics
from sdvp_core.modules import stub
from sdvp_core.modules.call import Call
from sdvp_core.teacher.forcing import passes
from sdvp_core.teacher.traces import read_traces

ROOT = Path(__file__).parent.parent
COUNT = 30
TEXT = """def execute_command(image):
    found = image.find('ring')
    return found[0].simple_query('What color is the {}?') if found else 'none'"""
# The stage over stub modules: students that take their time, and a teacher that says otherwise.
RUN = """
import sys, time
from dataclasses import replace
from sdvp_core.interpreter import rows
from sdvp_core.modules import stub, students
from sdvp_core.teacher import swap

class Slow(stub.Stub):
    def answer(self, calls, images):
        time.sleep(float(sys.argv[1]))
        assert all(call.image_id in images for call in calls)
        return super().answer(calls, images)

class Other(stub.Stub):
    def answer(self, calls, images):
        return super().answer([replace(c, texts=('Which ' + c.texts[0],)) for c in calls], images)

rows.SHARD_PROGRAMS = 16
students.load_students = lambda folder, device: {n: Slow(n) for n in stub.NAMES}
students.revision = swap.revision = str
swap.load_modules = lambda folder: {'vqa': Other('vqa')}
import stages.execute
stages.execute.main('link')
"""


@pytest.fixture
def project(tmp_path):
    """A folder with params and a task of thirty questions, in both splits, two programs each."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["tasks"] = {"t": {"reader": "gqa", "world": {"distill": 20}}}
    params["sequence"] = {"link": {"after": "base", "task": "t"}}
    params["teachers"] = {"t": params["teachers"]["shapes_gqa"]}
    params["pretrain"]["task"], params["evaluate"]["skills"] = "t", {}
    params["generate"]["dialects"], params["run"]["held"] = ["viper"], 4
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    questions = [
        {"question_id": f"q{n}", "split": "distill" if n % 3 else "val", "group_id": f"i{n}",
         "image_ids": [f"i{n // 2}"], "answer": "red", "answer_type": "word"}
        for n in range(COUNT)
    ]  # fmt: skip
    programs = [
        {"program_id": f"p{n}.{k}", "question_id": f"q{n}", "dialect": dialect,
         "program": TEXT.format("ring" if n % 2 else "star"), "status": "ok"}
        for n in range(COUNT) for k, dialect in enumerate(("visprog", "viper"))
    ]  # fmt: skip
    size = {"width": 90, "height": 80, "status": "ok"}
    folder = tmp_path / "data" / "t"
    write_table(folder / "questions.parquet", questions, QUESTIONS)
    write_table(folder / "programs.parquet", programs, PROGRAMS)
    images = [{"image_id": f"i{n}"} | size for n in range(COUNT)]
    write_table(folder / "images.parquet", images, IMAGES)
    return tmp_path


def _start(project: Path, seconds: float = 0.0) -> subprocess.Popen:
    environment = os.environ | {"SDVP_CACHE": str(project / "cache"), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", RUN, str(seconds)], cwd=project, env=environment)


def _outputs(project: Path) -> list[Path]:
    tables = [project / f"data/links/link/{name}.parquet" for name in ("executions", "steps")]
    return [*tables, project / "results/execute/link.json"]


def test_a_killed_run_ends_with_equal_tables_and_equal_counts(project):
    assert _start(project).wait() == 0
    whole = [path.read_bytes() for path in _outputs(project)]
    counts = json.loads(whole[2])
    assert counts["plain"]["programs"] == counts["forced"]["programs"] == 20
    assert counts["plain"]["calls"] > counts["plain"]["forwards"] > 0
    for path in _outputs(project):
        path.unlink()
    process = _start(project, 0.04)
    while process.poll() is None and not list((project / "cache").rglob("000000.jsonl")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    shard = next((project / "cache").rglob("000000.jsonl"))
    assert not any(path.exists() for path in _outputs(project))
    assert _start(project).wait() == 0
    assert [path.read_bytes() for path in _outputs(project)] == whole
    assert not shard.exists()  # forgotten once its rows are in the tables


def test_programs_go_through_both_passes_shard_by_shard_and_traces_follow(project):
    assert _start(project).wait() == 0
    executions, steps, _ = _outputs(project)
    found = list(iterate_rows(executions, EXECUTIONS))
    order = [(row["program_id"], row["student_set"]) for row in found]
    asked = [f"p{n}.1" for n in range(COUNT) if n % 3]
    sets = ("base", "base forced")
    parts = [asked[:16], asked[16:]]
    assert order == [(name, made) for part in parts for made in sets for name in part]
    groups = TaskFolder(project / "data/t").groups("distill")
    traces = list(read_traces(executions, steps, "t", groups))
    assert [trace[0]["execution_id"] for trace in traces] == [
        row["execution_id"] for row in found if row["steps"]
    ]
    assert any("handed" in step["arguments"] for step in iterate_rows(steps, STEPS))


def test_programs_come_with_their_questions_and_one_row_of_each_is_held(project):
    task = TaskFolder(project / "data/t")
    asked = list(task.asked("distill", ["viper"]))
    assert [program["program_id"] for program, _ in asked] == [
        f"p{n}.1" for n in range(COUNT) if n % 3
    ]
    assert all(program["question_id"] == question["question_id"] for program, question in asked)
    assert task.count_asked("distill", ["viper"]) == len(asked) == 20
    assert task.count_asked("val", ["viper", "visprog"]) == 20


@pytest.mark.parametrize("change", [lambda rows: rows[::-1], lambda rows: rows[:10]])
def test_programs_in_another_order_than_their_questions_end_in_one_sentence(project, change):
    path = project / "data/t/questions.parquet"
    write_table(path, change(list(iterate_rows(path))), QUESTIONS)
    with pytest.raises(UserError, match=r"same order: run the stage `generate`"):
        list(TaskFolder(project / "data/t").asked("distill", ["viper"]))


def test_another_device_or_batch_or_pass_reuses_no_shard():
    one = rows.Execution(stub.load(), "base", ImageStore([]), "image", Limits(), 8)
    others = [[replace(one, device="cuda")], [replace(one, held=16)], [replace(one, scene="pair")],
              [one, replace(one, student_set="base forced")]]  # fmt: skip
    assert len({rows._kind([one]), *map(rows._kind, others)}) == 5


class Counted:
    """A module that remembers what it was asked."""

    def __init__(self, name: str) -> None:
        self.name, self.asked = name, []

    def answer(self, calls, images):
        self.asked += calls
        return stub.Stub(self.name).answer(calls, images)


def test_the_forced_pass_asks_no_student_twice():
    students = {name: Counted(name) for name in ("vqa", "locate")}
    plain = rows.Execution(students, "base", ImageStore([]), "image", Limits())
    both = passes(plain, {"vqa": stub.Stub("vqa")})
    calls = [Call("vqa", "i", (0.0, 0.0, 9.0, 9.0), (text,)) for text in ("a", "b", "c")]
    first = both[0].modules["vqa"].answer(calls[:2], None)
    again = both[1].modules["vqa"].answer(calls, None)
    assert students["vqa"].asked == calls
    assert [output.answer for output in again[:2]] == [output.answer for output in first]
    assert all(output.handed is not None for output in again)
    assert both[1].modules["locate"] is both[0].modules["locate"]
    assert [made.student_set for made in both] == ["base", "base forced"]
    assert passes(plain, {}) == [plain]
    fresh = passes(plain, {"vqa": stub.Stub("vqa")})  # the next shard remembers nothing
    fresh[0].modules["vqa"].answer(calls[:1], None)
    assert students["vqa"].asked == [*calls, calls[0]]


def test_counts_of_shards_are_added_and_the_largest_batch_stays_the_largest():
    total = Statistics(programs=1, largest_batch=8)
    rows._add(total, {"programs": 2, "forwards": 3, "largest_batch": 4})
    assert total == Statistics(programs=3, forwards=3) and total.largest_batch == 8
