"""Everything one link is judged by, run: predictions handed on, steps checked."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sdvp_core.base.images import ImageStore
from sdvp_core.base.records import stable_id
from sdvp_core.base.runtime import code_revision, log
from sdvp_core.base.shards import forget
from sdvp_core.evaluate.compare import BARE_STUDENT, BARE_TEACHER, ORACLE, TEACHER
from sdvp_core.evaluate.predict import AskedTask, ask_whole, run_programs
from sdvp_core.evaluate.score import step_correct
from sdvp_core.interpreter.scheduler import Limits
from sdvp_core.modules import oracle
from sdvp_core.modules.call import Module, call_of

Row = dict[str, Any]
Run = Callable[[], Iterator[tuple[Row, list[Row]]]]
CHECKED = ("vqa", "locate", "match")
CHECKED_STEPS = 2000  # a module; enough for +- 2 points


@dataclass
class Runs:
    """Hands the prediction rows of all runs to ``write`` as they come, and checks a few steps.

    ``cache``: where finished shards wait for a killed run.
    """

    limits: Limits
    held: int
    cache: Path
    write: Callable[[Iterable[Row]], None]
    device: str = "cpu"  # of the modules
    checks: list[Row] = field(default_factory=list)  # student_set, task, module, correct
    shards: list[Path] = field(default_factory=list)

    def students(
        self, task: AskedTask, modules: Mapping[str, Module], name: str, revision: str
    ) -> None:
        """A student set over the task's programs, and its VQA student asked the bare questions."""
        run, counts = self._programs(task, modules, name, revision)
        self.write(ask_whole(task, modules["vqa"], name, BARE_STUDENT))
        self._check(task, name, run, counts)

    def oracle(self, task: AskedTask) -> None:
        """Perfect modules over the task's programs: their ceiling. Needs annotations."""
        if any(row["objects"] for row in task.annotations):
            perfect = oracle.load(task.annotations)
            self._programs(task, perfect, ORACLE, task.folder.revision("annotations"))

    def teacher(self, task: AskedTask, modules: Mapping[str, Module], revision: str) -> None:
        """The teacher in the modules' place, and asked the bare questions."""
        self._programs(task, modules, TEACHER, revision)
        self.write(ask_whole(task, modules["vqa"], TEACHER, BARE_TEACHER))

    def forget(self) -> None:
        """Delete the shards of all runs, once their rows are safe."""
        for shards in self.shards:
            forget(shards)

    def _programs(
        self, task: AskedTask, modules: Mapping[str, Module], name: str, revision: str
    ) -> tuple[Run, Counter[str]]:
        """Write the predictions; the run, to be read once more, and its steps by module."""
        key = stable_id(
            code_revision("base", "program", "modules", "interpreter", "evaluate", "teacher"),
            revision,
            name,
            task.name,
            task.revision,
        )
        self.shards.append(self.cache / key)
        run = partial(
            run_programs,
            task,
            modules,
            name,
            self.limits,
            self.held,
            self.shards[-1],
            self.device,
        )
        counts: Counter[str] = Counter()
        right = 0
        for prediction, steps in run():
            self.write([prediction])
            right += prediction["correct"]
            counts.update(step["module"] for step in steps if step["output"])
        log.info("%s on %s: %d of %d programs right", name, task.name, right, task.programs)
        return run, counts

    def _check(self, task: AskedTask, name: str, run: Run, counts: Counter[str]) -> None:
        steps = _some_steps(run, counts)
        image_ids = {step["image_id"] for chosen in steps.values() for step in chosen}
        perfect = oracle.load(task.folder.annotations(image_ids))
        no_pixels = ImageStore([])  # perfect modules look at annotations alone
        for module, chosen in steps.items():
            truths = perfect[module].answer([call_of(step) for step in chosen], no_pixels)
            for step, truth in zip(chosen, truths, strict=True):
                known = truth.error is None
                output, value = json.loads(step["output"]), truth.value(module)
                right = step_correct(module, output, value) if known else None
                self.checks.append(
                    {"student_set": name, "task": task.name, "module": module, "correct": right}
                )


def _some_steps(run: Run, counts: Counter[str]) -> dict[str, list[Row]]:
    """By module, steps with an output at even distances: no more than twice CHECKED_STEPS."""
    apart = {module: max(1, counts[module] // CHECKED_STEPS) for module in CHECKED}
    chosen: dict[str, list[Row]] = {module: [] for module in CHECKED}
    seen: Counter[str] = Counter()
    for _, steps in run():
        for step in steps:
            module = step["module"]
            if step["output"] and module in chosen:
                if seen[module] % apart[module] == 0:
                    chosen[module].append(step)
                seen[module] += 1
    return chosen
