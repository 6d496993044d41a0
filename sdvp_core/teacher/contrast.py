"""Contrasts: what else a searched region is asked, so that what is not there is learnt too.

A program searches a region for one thing. A detector trained on that alone need not read the name:
whatever stands in such a region is what it was asked for. So the teacher says of further names,
those that other steps of the task search for, what they find in the same region. (Pseudo-negatives
in the training of OWL-ViT, Minderer et al. 2022, serve the same end.) One look of the student
serves all names asked of a region, so that they cost next to nothing.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sdvp_core.base.images import ImageStore
from sdvp_core.base.records import stable_id, to_json
from sdvp_core.modules.call import Box, Call, Module, call_of
from sdvp_core.teacher.label import box_target
from sdvp_core.teacher.sight import Sight

Row = dict[str, Any]
ASKED = ("module", "image_id", "group_id", "region", "text", "kept")  # columns that are read


def searches(rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The rows of a supervision table that have a target for `locate`."""
    return (row for row in rows if row["kept"] and row["module"] == "locate")


class Contrasts:
    """Asks each region ``count`` of the names in ``names`` (how often each was searched for).

    Which ones depends on the region and ``seed`` alone: the often searched come more often, none
    twice, and all of them where there are no more than ``count``. ``least`` is the confidence a
    target needs to be kept.
    """

    def __init__(
        self, sight: Sight, names: Mapping[str, int], count: int, seed: int, least: float = 0.0
    ) -> None:
        self._sight, self._count, self._seed, self._least = sight, count, seed, least
        self._names, self._shares = sorted(names), [names[name] for name in sorted(names)]

    def rows(
        self, steps: Sequence[Mapping[str, Any]], images: ImageStore, oracle: Module | None = None
    ) -> Iterator[Row]:
        """Rows of the contrasts table for the regions of some searches, each region once."""
        regions: dict[tuple[str, Box], Row] = {}
        asked: dict[tuple[str, Box], set[str]] = {}
        for step in steps:
            call = call_of(step)
            regions.setdefault((call.image_id, call.region), step)
            asked.setdefault((call.image_id, call.region), set()).add(step["text"])
        for (image_id, region), step in regions.items():
            names = self._drawn(image_id, region)
            calls = [
                Call("locate", image_id, region, (name,))
                for name in names
                if name not in asked[image_id, region]
            ]
            true = oracle.answer(calls, images) if oracle else [None] * len(calls)
            for call, output in zip(calls, true, strict=True):
                yield self._row(step["group_id"], call, images, output)

    def _drawn(self, image_id: str, region: Box) -> list[str]:
        if self._count >= len(self._names):
            return self._names
        rng = random.Random(stable_id(self._seed, image_id, region))
        # The least of exponential waiting times: weighted, and without replacement.
        waits = {
            name: rng.expovariate(share)
            for name, share in zip(self._names, self._shares, strict=True)
        }
        return sorted(sorted(waits, key=waits.__getitem__)[: self._count])

    def _row(self, group_id: str, call: Call, images: ImageStore, true: Any) -> Row:
        target = box_target(self._sight, call, images)
        known = true is not None and true.error is None
        return {
            "module": call.module,
            "image_id": call.image_id,
            "group_id": group_id,
            "region": list(call.region),
            "text": call.texts[0],
            **target,
            "kept": target["target_confidence"] >= self._least,
            "oracle_answer": to_json(true.value("locate")) if known else None,
            "teacher_revision": self._sight.revision,
        }


def names_in(rows: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """How often each name was searched for, by the rows of a supervision table."""
    return Counter(row["text"] for row in searches(rows))
