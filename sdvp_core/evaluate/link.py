"""A link's evaluation from tasks, student sets and teacher in their folders."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sdvp_core.base.folder import TaskFolder
from sdvp_core.base.params import Params
from sdvp_core.base.records import PREDICTIONS
from sdvp_core.base.runtime import pick_device
from sdvp_core.base.tables import TableWriter, iterate_rows
from sdvp_core.evaluate.compare import evaluate_link
from sdvp_core.evaluate.predict import AskedTask, kinds
from sdvp_core.evaluate.runs import Runs
from sdvp_core.interpreter.rows import limits_of
from sdvp_core.modules.call import Module
from sdvp_core.modules.students import load_students
from sdvp_core.modules.students import revision as students_revision
from sdvp_core.teacher.swap import load_modules
from sdvp_core.teacher.swap import revision as teacher_revision

Find = Callable[[str], Path]


@dataclass(frozen=True)
class Places:
    """Where the tables of a task, a student set and the teacher of a task lie, by their names."""

    task: Find
    students: Find
    teacher: Find


class Evaluation:
    """Runs what a student set is judged by; of sets and tasks, the one asked last is held.

    ``cache``: where finished shards wait for a run that is killed.
    """

    def __init__(self, params: Params, places: Places, cache: Path) -> None:
        self._params, self._places, self._cache = params, places, cache
        self._load_students = lru_cache(maxsize=1)(self._students)
        self._load_task = lru_cache(maxsize=1)(self._task)

    def base(self, task: str, out: Path) -> None:
        """Write the predictions of the base students on one task, and the ceiling of it."""
        with TableWriter(out, PREDICTIONS) as table:
            runs = self._runs(table)
            self._run(runs, "base", task)
            runs.oracle(self._load_task(task))
        runs.forget()

    def link(self, name: str, earlier: Iterable[Path], out: Path) -> dict[str, Any]:
        """Write the predictions of a link and of what came before; its JSON (compare.py).

        ``earlier`` are the predictions of the set it started from. Tasks: target, those of earlier
        links, skills from before any link, and what is never trained.
        """
        params, link, roles = self._params, self._params.link(name), _roles(self._params, name)
        with TableWriter(out, PREDICTIONS) as table:
            runs = self._runs(table)
            for task in roles:
                self._run(runs, name, task)
            for student_set in sorted({"base", link.after}):
                self._run(runs, student_set, link.task)
            asked = self._load_task(link.task)
            runs.oracle(asked)
            teacher = self._places.teacher(link.task)
            runs.teacher(asked, load_modules(teacher), teacher_revision(teacher))
            for path in earlier:
                table.write(iterate_rows(path, PREDICTIONS))
        result = evaluate_link(
            name,
            link.task,
            ["base", *params.chain(name)],
            iterate_rows(out, PREDICTIONS),
            roles,
            students_revision(self._places.students(name)),
            subsets={asked.name: kinds(asked.questions)},
            steps=runs.checks,
            seed=params.seed,
            resamples=params.evaluate.resamples,
        )
        runs.forget()
        return result

    def _runs(self, table: TableWriter) -> Runs:
        run, limits = self._params.run, limits_of(self._params.execute)
        return Runs(limits, run.held, self._cache, table.write, pick_device(run.device))

    def _run(self, runs: Runs, student_set: str, task: str) -> None:
        modules, revision = self._load_students(student_set)
        runs.students(self._load_task(task), modules, student_set, revision)

    def _students(self, name: str) -> tuple[dict[str, Module], str]:
        folder = self._places.students(name)
        device = pick_device(self._params.run.device)
        return load_students(folder, device), students_revision(folder)

    def _task(self, name: str) -> AskedTask:
        folder, params = TaskFolder(self._places.task(name)), self._params
        return AskedTask.load(name, folder, params.task(name).scene, params.generate.dialects)


def _roles(params: Params, name: str) -> dict[str, str]:
    """By task: its role. The link's own task comes last, for other student sets follow on it."""
    link = params.link(name)
    earlier = {params.link(other).task: "previous" for other in params.chain(link.after)}
    return {**params.evaluate.skills, **earlier, link.task: "target"}
