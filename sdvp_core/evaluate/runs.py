"""Everything one link is judged by, run and collected: predictions and checked steps."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdvp_core.base.records import stable_id
from sdvp_core.base.runtime import code_revision, log
from sdvp_core.evaluate.compare import BARE_STUDENT, BARE_TEACHER, ORACLE, TEACHER
from sdvp_core.evaluate.predict import AskedTask, ask_whole, run_programs
from sdvp_core.evaluate.score import step_correct
from sdvp_core.interpreter.scheduler import Limits
from sdvp_core.modules import oracle
from sdvp_core.modules.call import Module, call_of

Row = dict[str, Any]
CHECKED_STEPS = 2000  # a module; enough for +- 2 points


@dataclass
class Runs:
    """Collects the rows of all runs. ``cache``: where finished shards wait for a killed run."""

    limits: Limits
    held: int
    cache: Path
    predictions: list[Row] = field(default_factory=list)
    checks: list[Row] = field(default_factory=list)  # student_set, task, module, correct
    shards: list[Path] = field(default_factory=list)

    def students(
        self, task: AskedTask, modules: Mapping[str, Module], name: str, revision: str
    ) -> None:
        """A student set over the task's programs, and its VQA student asked the bare questions."""
        steps = self._programs(task, modules, name, revision)
        self.predictions += ask_whole(task, modules["vqa"], name, BARE_STUDENT)
        self._check(task, name, steps)

    def oracle(self, task: AskedTask) -> None:
        """Perfect modules over the task's programs: their ceiling. Needs annotations."""
        if any(row["objects"] for row in task.annotations):
            self._programs(task, oracle.load(task.annotations), ORACLE, stable_id(task.annotations))

    def teacher(self, task: AskedTask, modules: Mapping[str, Module], revision: str) -> None:
        """The teacher in the modules' place, and asked the bare questions."""
        self._programs(task, modules, TEACHER, revision)
        self.predictions += ask_whole(task, modules["vqa"], TEACHER, BARE_TEACHER)

    def _programs(
        self, task: AskedTask, modules: Mapping[str, Module], name: str, revision: str
    ) -> list[Row]:
        key = stable_id(
            code_revision("base", "program", "modules", "interpreter", "evaluate", "teacher"),
            revision,
            name,
            task.name,
            [row["program_id"] + row["program"] for row in task.programs],
        )
        self.shards.append(self.cache / key)
        outcome = run_programs(task, modules, name, self.limits, self.held, self.shards[-1])
        self.predictions += outcome.predictions
        right = sum(row["correct"] for row in outcome.predictions)
        log.info("%s on %s: %d of %d programs right", name, task.name, right,
                 len(outcome.predictions))  # fmt: skip
        return outcome.steps

    def _check(self, task: AskedTask, name: str, steps: list[Row]) -> None:
        perfect = oracle.load(task.annotations)
        for module in ("vqa", "locate", "match"):
            chosen = [step for step in steps if step["module"] == module and step["output"]]
            chosen = chosen[:: max(1, len(chosen) // CHECKED_STEPS)]
            truths = perfect[module].answer([call_of(step) for step in chosen], task.images)
            for step, truth in zip(chosen, truths, strict=True):
                known = truth.error is None
                output, value = json.loads(step["output"]), truth.value(module)
                right = step_correct(module, output, value) if known else None
                self.checks.append(
                    {"student_set": name, "task": task.name, "module": module, "correct": right}
                )
