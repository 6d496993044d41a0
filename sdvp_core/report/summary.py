"""The summary of all results, and the matrix R of the chain of links."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sdvp_core.evaluate.forgetting import Matrix

Row = Mapping[str, Any]
_TARGET_KEYS = ("before", "after", "gain", "low", "high", "n", "ceiling")
# Where the pooled accuracy stands that a dialect has under this key.
_POOLED = {
    "after": ("pooled", "after"),
    "before": ("pooled", "before"),
    "base": ("since_base", "before"),
}


@dataclass(frozen=True)
class Results:
    """All that the report is made from.

    ``evaluations``: what `evaluate_link` returned for each link, in the order of the sequence.
    ``targets``: per link {MODULE: {STRATEGY: accuracy, or {"accuracy", "n"}}}, on held-out steps.
    ``without_self_distillation``: {LINK: {"points", "low", "high"}} of the run with it switched
    off. ``minutes``: of the whole pipeline.
    """

    evaluations: Sequence[Row]
    targets: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    without_self_distillation: Mapping[str, Row] = field(default_factory=dict)
    minutes: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


def summarise(results: Results) -> dict[str, Any]:
    """The value of `results/summary.json`.

    Accuracies are fractions of 1; gain, low, high and points are percentage points. `unseen`
    compares the base with the last link, dialects pooled; `targets` weighs links by their steps,
    and so does `targets_meant`: ambiguous steps, held against the thing meant.
    """
    links = {e["link"]: e for e in results.evaluations if e["task"]}
    unseen: dict[str, Any] = {}
    for evaluation in links.values():
        for task, of_task in evaluation["tasks"].items():
            if of_task["role"] == "unseen":
                unseen[task] = _pick(of_task["since_base"], ("before", "after", "low", "high"))
    return {
        "links": {
            name: {"task": evaluation["task"], "dialects": _target_dialects(evaluation)}
            for name, evaluation in links.items()
        },
        "forgetting": _forgetting({name: e["forgetting"] for name, e in links.items()}),
        "forgetting_without_self_distillation": _forgetting(results.without_self_distillation),
        "unseen": unseen,
        "targets": pooled_targets(results.targets),
        "targets_meant": pooled_targets(results.targets, "meant_"),
        "minutes": results.minutes,
        "versions": dict(results.versions),
    }


def pooled_targets(
    by_link: Mapping[str, Mapping[str, Mapping[str, Any]]], prefix: str = ""
) -> dict[str, dict[str, float]]:
    """{MODULE: {STRATEGY: accuracy}} over all links, each weighed by its number of steps.

    ``prefix``: of the keys that are pooled ("meant_": of the steps with a thing meant alone).
    """
    tallies: dict[str, dict[str, list[float]]] = {}
    for of_link in by_link.values():
        for module, strategies in of_link.items():
            for strategy, value in strategies.items():
                accuracy, n = measured(value, prefix)
                if accuracy is None:
                    continue
                tally = tallies.setdefault(module, {}).setdefault(strategy, [0.0, 0.0])
                tally[0] += accuracy * n
                tally[1] += n
    return {
        module: {strategy: hits / n for strategy, (hits, n) in sorted(strategies.items()) if n}
        for module, strategies in sorted(tallies.items())
    }


def targets(links: Sequence[Row]) -> list[tuple[str, str, Row]]:
    """(link, dialect, numbers) of every link on its own task."""
    return [
        (e["link"], dialect, values)
        for e in links
        if e["task"]
        for dialect, values in e["tasks"].get(e["task"], {}).get("dialects", {}).items()
    ]


def matrices(evaluations: Sequence[Row]) -> dict[str, Matrix]:
    """R by dialect, and "both" with dialects pooled, along the longest chain of links.

    An entry comes from the link's own evaluation, else from a later link that measured the same
    student set as its base or as the set it started from.
    """
    by_name = {e["link"]: e for e in evaluations}
    chain = max((e["chain"] for e in evaluations), key=len, default=[])
    if len(chain) < 2 or any(name not in by_name for name in chain[1:]):
        return {}
    learnt = tuple(by_name[name]["task"] for name in chain[1:])
    every = [task for name in chain[1:] for task in by_name[name]["tasks"]]
    tasks = tuple(dict.fromkeys([*_with_role(by_name, chain, "previous"), *learnt, *every]))
    found = {}
    for dialect in ("visprog", "viper", "both"):
        values = tuple(
            tuple(_entry(by_name, chain, row, task, dialect) for task in tasks)
            for row in range(len(chain))
        )
        if any(value is not None for row in values for value in row):
            found[dialect] = Matrix(tuple(chain), tasks, learnt, values)
    return found


def measured(value: Any, prefix: str = "") -> tuple[float | None, float]:
    """Accuracy and number of steps, of the keys with a prefix; a bare accuracy weighs one."""
    if isinstance(value, Mapping):
        return value.get(f"{prefix}accuracy"), float(value.get(f"{prefix}n") or 0)
    return (None, 0.0) if prefix else (value, 1.0)


def _target_dialects(evaluation: Row) -> dict[str, Any]:
    dialects = evaluation["tasks"].get(evaluation["task"], {}).get("dialects", {})
    return {
        dialect: _pick(values, _TARGET_KEYS)
        | {
            "bare_student": values.get("bare_student_after"),
            "bare_teacher": values.get("bare_teacher"),
        }
        for dialect, values in dialects.items()
    }


def _forgetting(by_link: Mapping[str, Row | None]) -> dict[str, Any]:
    return {
        link: _pick(value, ("points", "low", "high"))
        for link, value in by_link.items()
        if value is not None
    }


def _pick(values: Row, keys: Iterable[str]) -> dict[str, Any]:
    return {key: values.get(key) for key in keys}


def _with_role(by_name: Mapping[str, Row], chain: Sequence[str], role: str) -> list[str]:
    learnt = {by_name[name]["task"] for name in chain[1:]}
    tasks = by_name[chain[-1]]["tasks"]
    return [task for task, of in tasks.items() if of["role"] == role and task not in learnt]


def _entry(
    by_name: Mapping[str, Row], chain: Sequence[str], row: int, task: str, dialect: str
) -> float | None:
    """R[row, task]: where the set is "after", "before" a later link, or "base" of any link."""

    def read(name: str, key: str) -> float | None:
        of_task = by_name[name]["tasks"].get(task)
        if of_task is None:
            return None
        if dialect != "both":
            return of_task["dialects"].get(dialect, {}).get(key)
        section, side = _POOLED[key]
        return of_task[section][side]

    candidates = [read(chain[row], "after")] if row else []
    candidates += [read(chain[row + 1], "before")] if row + 1 < len(chain) else []
    candidates += [read(name, "base") for name in chain[1:]] if row == 0 else []
    return next((value for value in candidates if value is not None), None)
