"""Programs of a task as jobs, and the memory that running them takes."""

import threading
from pathlib import Path
from types import TracebackType

from sdvp_core.base.errors import UserError
from sdvp_core.base.folder import TaskFolder
from sdvp_core.base.images import ImageStore
from sdvp_core.interpreter.scheduler import Job

SAMPLED_EVERY = 0.05  # seconds


def jobs_of(folder: Path, count: int, scene: str | None = None) -> list[Job]:
    """The programs, in every dialect, of the first ``count`` questions of a prepared task.

    Without a ``scene``, two images make a pair and a task named `nlvr` has its three boxes.
    """
    task = TaskFolder(folder)
    questions = task.questions()
    rows = list(task.programs(questions, ("visprog", "viper")))
    chosen = dict.fromkeys(row["question_id"] for row in rows if row["status"] == "ok")
    chosen = set(list(chosen)[:count])
    if not chosen:
        raise UserError(f"{folder} holds no programs: run `dvc repro` first.")
    jobs = []
    for row in rows:
        if row["status"] == "ok" and row["question_id"] in chosen:
            image_ids = tuple(questions[row["question_id"]]["image_ids"])
            bound = scene or _scene(folder.name, len(image_ids))
            jobs.append(Job(row["program_id"], row["dialect"], row["program"], image_ids, bound))
    return jobs


def images_of(folder: Path) -> ImageStore:
    """The task's images, none of them decoded yet."""
    return TaskFolder(folder).images()


def _scene(task: str, images: int) -> str:
    return "boxes" if task == "nlvr" else "pair" if images == 2 else "image"


class Memory:
    """A context that samples memory: ``host`` and ``workers`` are peaks in MB above nothing.

    The workers count with what is theirs alone, for they share the interpreter's code. Linux only.
    """

    host = workers = 0.0

    def __enter__(self) -> "Memory":
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLED_EVERY):
            self.host = max(self.host, _private("self"))
            self.workers = max(self.workers, sum(map(_private, filter(_is_other, _children()))))


def _children() -> list[str]:
    try:
        return Path("/proc/self/task/self/children").read_text().split()
    except OSError:
        pids: list[str] = []
        for task in Path("/proc/self/task").iterdir():
            try:
                pids += (task / "children").read_text().split()
            except OSError:
                continue
        return pids


def _is_other(pid: str) -> bool:
    """Not this very program, which a child is for a moment before it becomes a worker."""
    try:
        return Path(f"/proc/{pid}/exe").readlink() != Path("/proc/self/exe").readlink()
    except OSError:
        return False


def _private(pid: str) -> float:
    """Resident pages that no other process shares, in MB: resident less file-backed."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0.0
    return (int(fields[1]) - int(fields[2])) * 4096 / 2**20
