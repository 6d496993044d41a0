"""The stage `supervise`: its tables streamed, its shards resumed, its bytes always the same."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
import yaml

from sdvp_core.base.errors import UserError
from sdvp_core.base.folder import TaskFolder
from sdvp_core.base.params import Supervise
from sdvp_core.base.records import (
    ANNOTATIONS,
    EXECUTIONS,
    FORCED,
    IMAGES,
    QUESTIONS,
    STEPS,
    SUPERVISION,
)
from sdvp_core.base.tables import iterate_rows, write_table
from sdvp_core.modules import oracle
from sdvp_core.tasks.shapes import scene
from sdvp_core.teacher import supervise
from sdvp_core.teacher.label import label
from sdvp_core.teacher.traces import read_traces, trace_lengths

ROOT = Path(__file__).parent.parent
WORDS = ["what color is it", "square circle triangle star ring cross red green blue"]
HEADS = ("square", "circle", "triangle", "red", "green", "blue")
SMALL_SHARDS = "from sdvp_core.teacher import supervise\nsupervise.SHARD_TRACES = 8\n"
RUN = SMALL_SHARDS + "import stages.supervise\nstages.supervise.main('link')\n"
SLOW = "import sdvp_core.teacher.label as l, time\nask = l._Labeller._consult\n" \
    "l._Labeller._consult = lambda *a: (time.sleep(0.3), ask(*a))\n"  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a task of 12 images, executions and steps, a student set and a teacher."""
    folder = tmp_path_factory.mktemp("project")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["tasks"] = {"t": {"reader": "gqa", "world": {"distill": 12}}}
    params["sequence"] = {"link": {"after": "base", "task": "t"}}
    params["teachers"] = {"t": params["teachers"]["shapes_gqa"]}
    params["pretrain"]["task"], params["evaluate"]["skills"] = "t", {}
    params["supervise"] |= {"measured_steps": 20, "min_confidence": {}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    scenes = _task(folder / "data" / "t")
    _traces(folder / "data" / "links" / "link", scenes)
    _models(folder / "models")
    return folder


def _task(folder: Path) -> list:
    rng, images, annotations, questions = Random(0), [], [], []
    for n in range(12):
        picture, objects = scene(rng, "flat")
        file = io.BytesIO()
        picture.save(file, "PNG")
        size = {"width": picture.width, "height": picture.height, "status": "ok"}
        images.append({"image_id": f"i{n}", "bytes": file.getvalue()} | size)
        annotations.append({"image_id": f"i{n}", "objects": objects, "relations": []})
        questions.append({"question_id": f"q{n}", "group_id": f"i{n}", "split": "distill",
                          "image_ids": [f"i{n}"], "answer": "red",
                          "answer_type": "word"})  # fmt: skip
    write_table(folder / "images.parquet", images, IMAGES)
    write_table(folder / "annotations.parquet", annotations, ANNOTATIONS)
    write_table(folder / "questions.parquet", questions, QUESTIONS)
    return annotations


def _traces(folder: Path, scenes: list) -> None:
    """Sixty executions: every third takes no step, the others three."""
    executions, steps = [], []
    for n in range(60):
        row, taken = scenes[n % 12], 3 * bool(n % 3)
        executions.append({"execution_id": f"e{n}", "program_id": f"p{n}", "status": "ok",
                           "question_id": f"q{n % 12}", "dialect": "viper",
                           "steps": taken})  # fmt: skip
        thing = row["objects"][n % len(row["objects"])]
        whole, box = [0.0, 0.0, 100.0, 100.0], [float(c) for c in thing["box"]]
        calls = [("locate", thing["name"], whole, [box]), ("vqa", "What color is it?", box, "red"),
                 ("match", f"red {thing['name']}", box, [0.7])]  # fmt: skip
        steps += [
            {"step_id": f"s{n}.{i}", "execution_id": f"e{n}", "index": i, "module": module,
             "parents": [0] if i else [], "arguments": "{}", "text": text, "region": region,
             "image_id": row["image_id"], "output": json.dumps(output), "confidence": 0.5}
            for i, (module, text, region, output) in enumerate(calls[:taken])
        ]  # fmt: skip
    write_table(folder / "executions.parquet", executions, EXECUTIONS)
    write_table(folder / "steps.parquet", steps, STEPS)


def _models(folder: Path) -> None:
    """Untrained: what they say is nonsense, and always the same nonsense."""
    import torch

    from sdvp_core.modules.students import create_students, save_students
    from sdvp_core.teacher.answers import AnswerConfig, AnswerTeacher
    from sdvp_core.teacher.boxes import BoxConfig, BoxTeacher
    from sdvp_core.teacher.model import Teacher, save
    from sdvp_core.teacher.words import Words

    torch.manual_seed(0)
    save_students(create_students(WORDS, ["red", "green", "yes", "no"], 1), folder / "base")
    words = Words.of([f"{w} Is the a of" for w in WORDS] * 2).words
    answers = AnswerConfig(words, ("red", "green", "blue", "yes", "no"), HEADS)
    boxes = BoxTeacher(BoxConfig(HEADS))
    with torch.no_grad():
        boxes.head.out.bias[0], boxes.head.out.bias[5:] = -1.0, 1.0
    save(Teacher(AnswerTeacher(answers), boxes), folder / "teacher" / "t")


def _start(project: Path, code: str = RUN) -> subprocess.Popen:
    """The stage in a process of its own, with a torch that does not crowd the machine."""
    settings = {"SDVP_CACHE": str(project / "cache"), "OMP_NUM_THREADS": "1"}
    environment = os.environ | settings | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code], cwd=project, env=environment)


def _outputs(project: Path) -> list[Path]:
    return [
        project / "data/links/link/supervision.parquet",
        project / "results/supervise/link.json",
    ]


@pytest.fixture(scope="module")
def whole(project):
    """The bytes of an uninterrupted run."""
    assert _start(project).wait() == 0
    found = [path.read_bytes() for path in _outputs(project)]
    for path in _outputs(project):
        path.unlink()
    assert list((project / "cache" / "supervise").iterdir()) == []  # nothing is left behind
    return found


def test_a_killed_run_goes_on_with_its_shards_and_ends_with_equal_bytes(project, whole):
    process = _start(project, SLOW + RUN)
    cache = project / "cache" / "supervise"
    while process.poll() is None and not list(cache.glob("*/*/000001.jsonl")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    finished = {path: path.stat().st_mtime_ns for path in cache.glob("*/*/0*.jsonl")}
    assert 2 <= len(finished) < 5
    assert not any(path.exists() for path in _outputs(project))
    # Shards are forgotten at the end, so the second run ends at a full disk for them to be seen.
    full = "import sdvp_core.base.shards as s, os\nreplace = os.replace\n" \
        "def fail(a, b):\n    if '000004' in str(b): raise OSError(28, 'No space left')\n" \
        "    replace(a, b)\ns.os.replace = fail\n"  # fmt: skip
    assert _start(project, full + RUN).wait() == 1
    for path, written in finished.items():  # nothing finished was done again
        assert path.stat().st_mtime_ns == written
    assert _start(project).wait() == 0
    assert [path.read_bytes() for path in _outputs(project)] == whole


def test_the_tables_are_what_one_pass_over_everything_in_memory_gives(
    project, whole, tmp_path, monkeypatch
):
    """Shards, streamed joins and images by shard change nothing: not one byte."""
    import torch

    from sdvp_core.modules.students import load_students, revision
    from sdvp_core.teacher.model import load

    torch.set_num_threads(1)
    monkeypatch.chdir(project)
    task, links, models = TaskFolder(Path("data/t")), Path("data/links/link"), Path("models")
    questions = task.questions("distill")
    origins = {
        row["execution_id"]: {key: row[key] for key in ("question_id", "program_id", "dialect")}
        | {"task": "t", "group_id": questions[row["question_id"]]["group_id"]}
        | {"forced": (row["student_set"] or "").endswith(FORCED)}
        for row in iterate_rows(links / "executions.parquet")
    }
    traces: dict[str, list] = {}
    for step in iterate_rows(links / "steps.parquet"):
        traces.setdefault(step["execution_id"], []).append(step | origins[step["execution_id"]])
    students, settings = load_students(models / "base"), Supervise(min_confidence={})
    rows = label(
        list(traces.values()), load(models / "teacher/t"), task.images(), settings,
        students["vqa"].answers, oracle.load(task.annotations()), revision(models / "base"),
    )  # fmt: skip
    write_table(tmp_path / "supervision.parquet", rows, SUPERVISION)
    assert (tmp_path / "supervision.parquet").read_bytes() == whole[0]
    found = json.loads(whole[1])
    assert found["steps"] == 120 and set(found["strategies"]["locate"]) == {"none"}
    assert set(found["accuracy"]) == {"locate", "match", "vqa"}


def test_traces_are_streamed_and_named_after_their_execution(project):
    tables = [project / f"data/links/link/{name}.parquet" for name in ("executions", "steps")]
    groups = TaskFolder(project / "data/t").groups("distill")
    traces = list(read_traces(*tables, "t", groups))
    assert list(trace_lengths(tables[0])) == [len(trace) for trace in traces] == [3] * 40
    assert traces[0][0]["program_id"] == "p1" and traces[0][0]["group_id"] == "i1"


def test_steps_without_their_execution_end_in_one_sentence(project, tmp_path):
    tables = [project / f"data/links/link/{name}.parquet" for name in ("executions", "steps")]
    rows = list(iterate_rows(tables[0]))
    write_table(tmp_path / "executions.parquet", rows[::-1], EXECUTIONS)
    groups = TaskFolder(project / "data/t").groups("distill")
    with pytest.raises(UserError, match=r"same order.*`execute`"):
        list(read_traces(tmp_path / "executions.parquet", tables[1], "t", groups))


def test_another_teacher_student_setting_or_image_reuses_no_shard(project, monkeypatch, tmp_path):
    from dataclasses import replace

    from sdvp_core.teacher.model import load

    monkeypatch.chdir(project)
    task, teacher = TaskFolder(Path("data/t")), load(Path("models/teacher/t"))
    one = supervise.Supervision(task, "distill", teacher, Supervise(), ["red"], "r")
    others = [replace(one, answers=None), replace(one, module_revision="s"),
              replace(one, settings=Supervise(min_confidence={"vqa": 0.9}))]  # fmt: skip
    for name in ("questions", "images", "annotations"):
        (tmp_path / f"{name}.parquet").write_bytes((task.path / f"{name}.parquet").read_bytes())
    assert one._key() == replace(one, task=TaskFolder(tmp_path))._key()
    rows = [row | {"sha256": "x"} for row in iterate_rows(task.path / "images.parquet")]
    write_table(tmp_path / "images.parquet", rows, IMAGES)
    others.append(replace(one, task=TaskFolder(tmp_path)))
    assert len({one._key(), *(other._key() for other in others)}) == 1 + len(others)


def test_no_more_than_one_shard_of_traces_is_held(project, monkeypatch, tmp_path):
    from sdvp_core.teacher.model import load

    monkeypatch.setattr(supervise, "SHARD_TRACES", 8)
    task, drawn = TaskFolder(project / "data/t"), []
    tables = [project / f"data/links/link/{name}.parquet" for name in ("executions", "steps")]
    teacher = load(project / "models/teacher/t")
    labels = supervise.Supervision(task, "distill", teacher, Supervise(), None, None)

    def traces():
        for trace in read_traces(*tables, "t", task.groups("distill")):
            drawn.append(trace)
            yield trace

    for n, _ in enumerate(labels.rows(traces(), tmp_path)):
        assert len(drawn) <= n // 3 + 8
    assert n == 119
