"""Where everything lies: the only place, with dvc.yaml, that knows paths."""

from pathlib import Path

DATA = Path("data")
MODELS = Path("models")
RESULTS = Path("results")
RELEASE = Path("release")
BASE = MODELS / "base"
EVALUATIONS = RESULTS / "evaluate"
EXECUTED = RESULTS / "execute"
LIVE = RESULTS / "live"
SUPERVISED = RESULTS / "supervise"
CONTRAST = Path("docs/results/without_self_distillation.json")  # a run with lambda = 0


def task(name: str) -> Path:
    """Tables of a task."""
    return DATA / name


def link(name: str) -> Path:
    """Tables of a link."""
    return DATA / "links" / name


def students(name: str) -> Path:
    """A student set: `base` or the name of a link."""
    return MODELS / name


def teacher(task_name: str) -> Path:
    """The teacher of a task."""
    return MODELS / "teacher" / task_name
