"""How often a student gives its targets, asked as a program asks it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sdvp_core.base.images import ImageStore
from sdvp_core.base.sample import Sample
from sdvp_core.modules.call import Call
from sdvp_core.modules.view import iou


def agreement(student: Any, samples: Sequence[Sample], images: ImageStore) -> float:
    """vqa: share of equal answers. match: share of texts on the right side of 0.5.

    locate: F1 of boxes at IoU 0.5, over all samples together (1 where nothing is to be found and
    nothing is). Samples whose image does not decode count as wrong.
    """
    calls = [Call(s.module, s.image_id, s.region, s.texts) for s in samples]
    outputs = student.answer(calls, images)
    pairs = list(zip(samples, outputs, strict=True))
    if student.module == "vqa":
        return float(np.mean([s.answers[0][0] == o.answer for s, o in pairs]))
    if student.module == "match":
        right = [
            (score >= 0.5) == (given >= 0.5)
            for s, o in pairs
            for score, given in zip(s.scores, o.scores or (np.nan,) * len(s.scores), strict=True)
        ]
        return float(np.mean(right))
    hits, found, wanted = np.sum([_hits(s.boxes, o.boxes) for s, o in pairs], axis=0)
    return float(2 * hits / (found + wanted)) if found + wanted else 1.0


def _hits(wanted: Sequence, found: Sequence) -> tuple[int, int, int]:
    """Boxes found that are wanted (each wanted one once), boxes found, boxes wanted."""
    if not wanted or not found:
        return 0, len(found), len(wanted)
    overlap = iou(np.array(found), np.array(wanted))
    left, hits = set(range(len(wanted))), 0
    for row in overlap:  # found boxes come best first
        best = max(left, key=lambda place: row[place], default=None)
        if best is not None and row[best] >= 0.5:
            left.discard(best)
            hits += 1
    return hits, len(found), len(wanted)
