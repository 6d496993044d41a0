"""From prediction rows to the numbers of one link: what it gained, what it forgot, how surely."""

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sdvp_core.evaluate.intervals import (
    RESAMPLES,
    bounds,
    mcnemar,
    mean_interval,
    paired_interval,
    resample,
)
from sdvp_core.evaluate.predictions import (
    BARE_STUDENT,
    BARE_TEACHER,
    ORACLE,
    TEACHER,
    Predictions,
    Scores,
    accuracy,
    joined,
    only,
    share,
    shared,
    whole_groups,
)


def evaluate_link(
    link: str,
    task: str | None,
    chain: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    roles: Mapping[str, str],
    revision: str | None = None,
    subsets: Mapping[str, Mapping[str, Collection[str]]] | None = None,
    steps: Iterable[Mapping[str, Any]] = (),
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """The JSON of one student set (`results/evaluate/<link>.json`): numbers only, no rows.

    ``chain``: student sets from "base" to this one (for the base itself: just its name). ``rows``:
    predictions of the sets of the chain, of "oracle" and "teacher"; others are not looked at.
    ``roles``: target, previous or unseen for each task. ``subsets``: per task, named sets of
    question ids to print apart. ``steps``: rows of student_set, task, module, correct (each step
    against the oracle). Accuracies are fractions of 1; gain, points, low and high are percentage
    points with 95% intervals (groups resampled). Forgetting is Chaudhry's: best earlier accuracy
    minus accuracy now, averaged over previous tasks.
    Raises ``ValueError`` where ``chain`` does not end in ``link``.
    """
    if not chain or chain[-1] != link:
        raise ValueError(f"the chain {list(chain)} does not end in {link!r}")
    predictions = Predictions(rows)
    comparison = _Comparison(predictions, tuple(chain), seed, resamples)
    modules = _module_accuracies(steps, chain)
    tasks = {
        name: {
            "role": roles.get(name, "unseen"),
            "chance": predictions.chance(name),
            **comparison.task(name, None),
            "subsets": {
                subset: comparison.task(name, ids)
                for subset, ids in sorted((subsets or {}).get(name, {}).items())
            },
            "modules": modules.get(name, {}),
        }
        for name in predictions.tasks(link)
    }
    previous = [name for name, result in tasks.items() if result["role"] == "previous"]
    result = {
        "link": link,
        "task": task,
        "after": chain[-2] if len(chain) > 1 else None,
        "chain": list(chain),
        "student_set": revision,
        "tasks": tasks,
        "forgetting": comparison.forgetting(previous),
        "modules": modules.get(task, {}) if task else {},
    }
    return _rounded(result)


class _Comparison:
    """The comparisons of one student set with those before it."""

    def __init__(
        self, predictions: Predictions, chain: tuple[str, ...], seed: int, resamples: int
    ) -> None:
        self.predictions, self.chain = predictions, chain
        self.seed, self.resamples = seed, resamples

    def task(self, task: str, keep: Collection[str] | None) -> dict[str, Any]:
        """Numbers of one task (or of the questions in ``keep``) by dialect and pooled."""
        now = self.predictions.programs(self.chain[-1], task, keep)
        parent = self.predictions.programs(self.chain[-2], task, keep) if self._linked else {}
        base = self.predictions.programs(self.chain[0], task, keep) if self._linked else {}
        return {
            "dialects": {d: self._dialect(task, d, now[d], parent.get(d)) for d in now},
            "pooled": self._paired(task, joined(parent), joined(now)),
            "since_base": self._paired(task, joined(base), joined(now)),
        }

    def forgetting(self, tasks: Sequence[str]) -> dict[str, Any] | None:
        """Mean over tasks of best earlier accuracy minus accuracy now, dialects pooled."""
        draws, points = [], {}
        for task in tasks if self._linked else ():
            now = joined(self.predictions.programs(self.chain[-1], task))
            best = self._best(task, now)
            if best is None:
                continue
            name, scores = best
            keys = sorted(now.keys() & scores.keys())
            losses = [100.0 * (scores[k].correct - now[k].correct) for k in keys]
            groups = [now[k].group for k in keys]
            draws.append(resample(losses, groups, self._rng("forgetting", task), self.resamples))
            low, high = bounds(draws[-1]) if len(set(groups)) > 1 else (None, None)
            points[task] = {
                "points": float(np.mean(losses)),
                "low": low,
                "high": high,
                "best_set": name,
                "n": len(keys),
            }
        if not points:
            return None
        low, high = bounds(np.mean(draws, axis=0))
        if any(of_task["low"] is None for of_task in points.values()):
            low = high = None
        mean = float(np.mean([of_task["points"] for of_task in points.values()]))
        return {"points": mean, "low": low, "high": high, "tasks": points}

    @property
    def _linked(self) -> bool:
        return len(self.chain) > 1

    def _dialect(
        self, task: str, dialect: str, now: Scores, parent: Scores | None
    ) -> dict[str, Any]:
        asked = {key[1] for key in now}
        earlier = [self.predictions.get(name, task, dialect) for name in self.chain[:-1]]
        best = [accuracy(shared(scores, now)) for scores in earlier]
        other = self.predictions
        before, after = self.chain[-2] if self._linked else "", self.chain[-1]
        return {
            **self._paired(f"{task}/{dialect}", parent or {}, now),
            "executed": share([score.executed for score in now.values()]),
            "base": best[0] if best else None,
            "best_before": max((b for b in best if b is not None), default=None),
            "ceiling": accuracy(shared(other.get(ORACLE, task, dialect), now)),
            "teacher_swap": accuracy(shared(other.get(TEACHER, task, dialect), now)),
            "bare_student_before": accuracy(only(other.get(before, task, BARE_STUDENT), asked)),
            "bare_student_after": accuracy(only(other.get(after, task, BARE_STUDENT), asked)),
            "bare_teacher": accuracy(only(other.get(TEACHER, task, BARE_TEACHER), asked)),
        }

    def _paired(self, name: str, before: Scores, after: Scores) -> dict[str, Any]:
        """Both accuracies on the questions both sets answered; of ``after`` alone where none."""
        keys = sorted(before.keys() & after.keys()) or sorted(after)
        groups = [after[key].group for key in keys]
        right = [after[key].correct for key in keys]
        result = {
            "before": None,
            "after": share(right),
            "gain": None,
            "low": None,
            "high": None,
            "p": None,
            "n": len(keys),
            "groups": len(set(groups)),
            "groups_all_right": whole_groups(groups, right),
        }
        if keys:
            own = mean_interval(right, groups, self._rng("accuracy", name), self.resamples)
            result |= {"after_low": own.low, "after_high": own.high}
        if not before.keys() & after.keys():
            return result
        was = [before[key].correct for key in keys]
        gain = paired_interval(was, right, groups, self._rng("gain", name), self.resamples)
        return result | {
            "before": share(was),
            "gain": 100.0 * gain.value,
            "low": None if gain.low is None else 100.0 * gain.low,
            "high": None if gain.high is None else 100.0 * gain.high,
            "p": mcnemar(was, right),
            "gained": sum(not a and b for a, b in zip(was, right, strict=True)),
            "lost": sum(a and not b for a, b in zip(was, right, strict=True)),
        }

    def _best(self, task: str, now: Scores) -> tuple[str, Scores] | None:
        """The earlier student set that was best at a task, the first of equals."""
        found = []
        for name in self.chain[:-1]:
            scores = shared(joined(self.predictions.programs(name, task)), now)
            if scores:
                found.append((name, scores))
        return max(found, key=lambda item: accuracy(item[1]) or 0.0) if found else None

    def _rng(self, *parts: str) -> np.random.Generator:
        # Of its own for each figure, so that another task or dialect changes no interval.
        return np.random.default_rng([self.seed, zlib.crc32("/".join(parts).encode())])


def _module_accuracies(
    steps: Iterable[Mapping[str, Any]], chain: Sequence[str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Share of right steps by task and module, in the parent set and in this one."""
    right: dict[tuple[str, str, str], list[int]] = {}
    for row in steps:
        if row["correct"] is None:  # no annotation to compare with
            continue
        tally = right.setdefault((row["task"], row["module"], row["student_set"]), [0, 0])
        tally[0] += bool(row["correct"])
        tally[1] += 1
    parent = chain[-2] if len(chain) > 1 else None
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for task, module, name in sorted(right):
        if name != chain[-1]:
            continue
        hits, count = right[task, module, name]
        was = right.get((task, module, parent)) if parent else None
        result.setdefault(task, {})[module] = {
            "before": was[0] / was[1] if was else None,
            "after": hits / count,
            "n": count,
        }
    return result


def _rounded(value: Any) -> Any:
    """Six significant digits: the last bits of a sum differ between machines."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
