"""How right the targets are, where annotations tell: by module, by adapter strategy."""

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from sdvp_core.base.compare import same
from sdvp_core.base.images import ImageStore
from sdvp_core.base.params import Supervise
from sdvp_core.modules.call import Module, call_of
from sdvp_core.teacher.adapter import STRATEGIES
from sdvp_core.teacher.label import label
from sdvp_core.teacher.model import Teacher

Row = Mapping[str, Any]
OVERLAPPED = 0.3  # share of a thing's area inside a region from which it is in the picture
_CONTEXT = (2.0, 0.03)  # what a student adds to a region: pixels, and a share of the longer side


def target_of(row: Row) -> Any:
    """A row's target in the form of the `output` column; None where the teacher gave none."""
    if row["target_confidence"] is None:
        return None
    if row["module"] == "locate":
        return [list(box["box"]) for box in row["target_boxes"] or ()]
    if row["module"] == "match":
        return [top["probability"] for top in row["target_topk"]]
    return row["target_answer"]


class Tally:
    """Counts labelled rows as they stream by: ``steps`` of them, ``kept`` of those."""

    def __init__(self) -> None:
        self.steps = self.kept = 0
        self._right: Counter[tuple[str, bool]] = Counter()  # by module and whether it was kept
        self._judged: Counter[tuple[str, bool]] = Counter()

    def watch(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The rows as they come, counted."""
        for row in rows:
            self.steps += 1
            self.kept += bool(row["kept"])
            right = _right(row)
            if right is not None:
                where = row["module"], bool(row["kept"])
                self._right[where] += right
                self._judged[where] += 1
            yield row

    def accuracy(self, kept_only: bool = False) -> dict[str, float]:
        """By module: the share of targets that say what the oracle says."""
        found = {}
        for module in sorted({module for module, kept in self._judged if kept or not kept_only}):
            places = [(module, True)] if kept_only else [(module, True), (module, False)]
            judged = sum(self._judged[place] for place in places)
            found[module] = round(sum(self._right[place] for place in places) / judged, 4)
        return found


def measure_strategies(
    traces: Sequence[Sequence[Row]],
    teacher: Teacher,
    images: ImageStore,
    settings: Supervise,
    oracle: Mapping[str, Module],
    annotations: Iterable[Row],
) -> dict[str, dict[str, dict[str, float]]]:
    """{module: {strategy: {accuracy, n, and the same with ambiguous_ and meant_}}} on some traces.

    A step is ambiguous where its region, as a student sees it, shows two annotated things or more.
    What is true of it is what the oracle says of the region as the question stands ("it" is what
    fills it best). ``meant`` are the ambiguous steps on something that was found by a name, held
    against what is true of the thing of that name in the region: what the program wants to know.
    All strategies are measured on the same steps: those the teacher answers under each of them.
    `locate` has the strategy `none` alone, for its input is the same under every one.
    """
    things = {row["image_id"]: row["objects"] for row in annotations}
    by_strategy = {}
    for strategy in STRATEGIES:
        adapter = dict.fromkeys(("vqa", "locate", "match"), strategy)
        asked = settings.model_copy(update={"adapter": adapter})
        by_strategy[strategy] = list(label(traces, teacher, images, asked, oracle=oracle))
    meant = _meant(by_strategy["name"], oracle, images)
    return _compared(by_strategy, meant, things, images)


def draw(lengths: Sequence[int], steps: int) -> set[int]:
    """Places of traces, of these many steps each, that hold about ``steps`` steps together.

    Drawn by chance: every second trace may be of one and the same dialect.
    """
    order = array("L", range(len(lengths)))
    Random(0).shuffle(order)
    chosen: set[int] = set()
    total = 0
    for place in order:
        if total >= steps:
            break
        chosen.add(place)
        total += lengths[place]
    return chosen


def ambiguous(row: Row, things: Iterable[Mapping[str, Any]], size: tuple[int, int]) -> bool:
    """Whether a step's region, with a student's context, shows two things or more."""
    x0, y0, x1, y1 = row["region"]
    margin = _CONTEXT[0] + _CONTEXT[1] * max(x1 - x0, y1 - y0)
    x0, y0 = max(0.0, x0 - margin), max(0.0, y0 - margin)
    x1, y1 = min(size[0], x1 + margin), min(size[1], y1 + margin)
    shown = 0
    for thing in things:
        a, b, c, d = thing["box"]
        width, height = min(c, x1) - max(a, x0), min(d, y1) - max(b, y0)
        if width > 0 and height > 0:
            shown += width * height >= OVERLAPPED * (c - a) * (d - b)
    return shown >= 2


def _meant(named: Sequence[Row], oracle: Mapping[str, Module], images: ImageStore) -> list[Any]:
    """For each row, labelled with its pointer, the oracle's answer about what the pointer names.

    None where no pointer was used, or nothing in the region has that name.
    """
    pointed = [row for row in named if row["module"] == "vqa" and row["pointer"] is not None]
    if not pointed or "vqa" not in oracle:
        return [None] * len(named)
    calls = [replace(call_of(row), texts=(row["teacher_text"],)) for row in pointed]
    outputs = oracle["vqa"].answer(calls, images)
    answers = {id(row): out.answer for row, out in zip(pointed, outputs, strict=True)}
    return [answers.get(id(row)) for row in named]


def _compared(
    by_strategy: Mapping[str, Sequence[Row]],
    meant: Sequence[Any],
    things: Mapping[str, Sequence[Mapping[str, Any]]],
    images: ImageStore,
) -> dict[str, dict[str, dict[str, float]]]:
    tallies: dict[tuple[str, str, str], list[bool]] = {}
    for *rows, truth in zip(*by_strategy.values(), meant, strict=True):
        right = [_right(row) for row in rows]
        if None in right:
            continue
        row = rows[0]
        crowded = row["module"] != "locate" and ambiguous(
            row, things.get(row["image_id"], ()), images.size(row["image_id"])
        )
        for strategy, each, value in zip(by_strategy, rows, right, strict=True):
            if row["module"] == "locate" and strategy != "none":
                continue
            place = row["module"], strategy
            tallies.setdefault((*place, ""), []).append(bool(value))
            if crowded:
                tallies.setdefault((*place, "ambiguous_"), []).append(bool(value))
            if crowded and truth is not None:
                said = same(row["module"], target_of(each), truth)
                tallies.setdefault((*place, "meant_"), []).append(said)
    result: dict[str, dict[str, dict[str, float]]] = {}
    for module, strategy, _ in sorted(tallies):
        result.setdefault(module, {})[strategy] = {
            key: value
            for prefix in ("", "ambiguous_", "meant_")
            for key, value in _share(tallies.get((module, strategy, prefix), []), prefix).items()
        }
    return result


def _share(right: Sequence[bool], prefix: str) -> dict[str, float | None]:
    accuracy = round(sum(right) / len(right), 4) if right else None
    return {f"{prefix}accuracy": accuracy, f"{prefix}n": len(right)}


def _right(row: Row) -> bool | None:
    """None where the oracle or the teacher is silent."""
    target = target_of(row)
    if row["oracle_answer"] is None or target is None:
        return None
    return same(row["module"], target, json.loads(row["oracle_answer"]))
