"""`score`: a student set on one split of a task, so that choices can be made without the test."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from sdvp_core.base.errors import UserError
from sdvp_core.base.folder import TaskFolder
from sdvp_core.base.parallel import leave_a_core
from sdvp_core.base.params import load_params
from sdvp_core.base.runtime import pick_device
from sdvp_core.evaluate.predict import AskedTask, kinds, run_programs
from sdvp_core.interpreter.rows import limits_of
from sdvp_core.modules import oracle
from sdvp_core.modules.students import load_students


def score(name: str, students: str, split: str, data: Path, perfect: Sequence[str] = ()) -> str:
    """Accuracy by dialect, and by kind where the task has kinds; what the terminal shows.

    ``students`` is a folder, or `oracle` for perfect modules; ``perfect`` names modules of a folder
    that are perfect all the same, which tells whose fault a wrong answer is. Raises ``UserError``
    where the split has no program, or for an unknown module.
    """
    leave_a_core()
    params = load_params()
    scene = params.task(name).scene
    task = AskedTask.load(name, TaskFolder(data / name), scene, params.generate.dialects, split)
    if not task.programs:
        raise UserError(f"{name} has no programs for the split {split!r}: use distill, val, test.")
    modules = oracle.load(task.annotations)
    if unknown := set(perfect) - modules.keys():
        raise UserError(
            f"{sorted(unknown)[0]!r} is no module: --perfect takes {', '.join(modules)}."
        )
    if students != "oracle":
        learnt = load_students(students, pick_device(params.run.device))
        modules = {**learnt, **{module: modules[module] for module in perfect}}
    kind_of = {q: kind for kind, group in kinds(task.questions).items() for q in group}
    right: dict[tuple[str, str], list[bool]] = {}
    with tempfile.TemporaryDirectory() as shards:
        rows = run_programs(
            task, modules, students, limits_of(params.execute), params.run.held, Path(shards)
        )
        for row, _ in rows:
            for kind in {"all", kind_of.get(row["question_id"], "all")}:
                right.setdefault((row["dialect"], kind), []).append(bool(row["correct"]))
    return "\n".join(_line(*place, values) for place, values in sorted(right.items()))


def _line(dialect: str, kind: str, right: list[bool]) -> str:
    share = 100 * sum(right) / len(right)
    return f"{dialect:<8}{kind:<9}{sum(right)} of {len(right)}  {share:.1f} %"
