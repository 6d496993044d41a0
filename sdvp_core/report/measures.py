"""The matrix R and the continual-learning measures of the whole chain, as tables."""

from collections.abc import Mapping, Sequence

from sdvp_core.evaluate.forgetting import (
    Matrix,
    average_accuracy,
    average_forgetting,
    backward_transfer,
    forgetting,
    forward_transfer,
    normalised_forgetting,
    since_base,
)
from sdvp_core.report.summary import Row, matrices
from sdvp_core.report.table import Table, table
from sdvp_core.report.text import MISSING, percent, points


def matrix_table(dialect: str, matrix: Matrix) -> Table:
    """R of one dialect in percent."""
    rows = [
        (name, *(percent(value) for value in values))
        for name, values in zip(matrix.sets, matrix.values, strict=True)
    ]
    title = "both dialects pooled" if dialect == "both" else dialect
    note = "Rows: the student set after each link; columns: tasks. Accuracy in %."
    return Table(f"Matrix R, {title}", ("after", *matrix.tasks), tuple(rows), note, drawn=True)


def measure_table(links: Sequence[Row]) -> Table:
    """ACC, BWT, forgetting, FWT and normalised forgetting, by dialect."""
    found = matrices(links)
    chances = {t: of.get("chance") for e in links for t, of in e["tasks"].items()}
    rows = [(label, *(value(m, chances) for m in found.values())) for label, value in _MEASURES]
    return table(
        "Measures of the whole chain",
        ", ".join(["measure", *found]),
        rows if found else [],
        "R[i, j]: accuracy on task j after link i, row 0 the base, T links. ACC, BWT, FWT: "
        "Lopez-Paz and Ranzato 2017; forgetting: Chaudhry et al. 2018; normalised forgetting: "
        "100 (own - later) / (own - chance), CLiMB 2022, chance being the commonest answer. "
        "BWT is printed with both divisors in use. All in percentage points but the last, in %.",
    )


def skill_table(links: Sequence[Row]) -> Table:
    """Chaudhry's f_j and R[T, j] - R[0, j] of what no link taught."""
    rows = [
        (
            task,
            dialect,
            points(_hundred(since_base(m, task))),
            points(_hundred(forgetting(m, task))),
        )
        for dialect, m in matrices(links).items()
        for task in m.tasks
        if task not in m.learnt and m.at(m.links, task) is not None
    ]
    return table(
        "Tasks no link taught, over the whole chain",
        "task, dialect, last minus base, forgetting f",
        rows,
        "R[T, j] - R[0, j]: what the chain did to the task, negative is loss; f: best earlier "
        "accuracy minus the last, positive is loss. Percentage points.",
    )


def _normalised(matrix: Matrix, chances: Mapping[str, float | None]) -> str:
    values = []
    for task in matrix.learnt[:-1]:
        own, later = matrix.at(matrix.row_of(task) or 0, task), matrix.at(matrix.links, task)
        chance = chances.get(task)
        if own is None or later is None or chance is None:
            return MISSING
        values.append(normalised_forgetting(own, later, chance))
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.1f}" if known else MISSING


def _base_row(matrix: Matrix) -> dict[str, float]:
    row = dict(zip(matrix.tasks, matrix.values[0], strict=True))
    return {task: value for task, value in row.items() if value is not None}


_MEASURES = (
    ("ACC = mean over learnt tasks of R[T, j]", lambda m, _: percent(average_accuracy(m))),
    ("BWT, mean over the T - 1 earlier tasks", lambda m, _: points(_hundred(backward_transfer(m)))),
    ("BWT, divided by T", lambda m, _: points(_hundred(backward_transfer(m, "T")))),
    ("forgetting, mean over earlier tasks", lambda m, _: points(_hundred(average_forgetting(m)))),
    (
        "FWT with b_j = R[0, j]",
        lambda m, _: points(_hundred(forward_transfer(m, _base_row(m)))),
    ),
    ("normalised forgetting of earlier tasks, %", _normalised),
)


def _hundred(value: float | None) -> float | None:
    return None if value is None else 100.0 * value
