"""Perfect perception: the modules `locate`, `vqa` and `match` answered from annotations.

With it a program's answer shows what the program is worth: the ceiling of any student.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sdvp_core.base.images import ImageStore
from sdvp_core.base.ontology import holds
from sdvp_core.base.scene_annotated import Relation
from sdvp_core.base.scene_answer import question_answer, thing_meant, things_inside
from sdvp_core.modules.call import Box, Call, Module, Output

Things = Sequence[Mapping[str, Any]]


def load(annotations: Iterable[Mapping[str, Any]]) -> dict[str, Module]:
    """Modules by name, over rows of the annotations table (base/records.ANNOTATIONS).

    An image without annotations gives outputs with ``error`` set.
    """
    scenes = {
        row["image_id"]: Scene(row["objects"], row.get("relations") or ()) for row in annotations
    }
    return {
        name: Oracle(scenes, answer)
        for name, answer in (("locate", locate), ("vqa", vqa), ("match", match))
    }


@dataclass(frozen=True)
class Scene:
    """What is annotated of one image."""

    objects: Things
    relations: Sequence[Relation]


@dataclass(frozen=True)
class Oracle:
    """One module; ``one`` answers a call from the annotations of its image."""

    scenes: Mapping[str, Scene]
    one: Callable[[Scene, Call], Output]

    def answer(self, calls: Sequence[Call], images: ImageStore) -> list[Output]:
        """One output per call, in order; the images themselves are not looked at."""
        return [self._answer(call) for call in calls]

    def _answer(self, call: Call) -> Output:
        if call.image_id not in self.scenes:
            return Output(error=f"oracle cannot answer: {call.image_id!r} has no annotations")
        return self.one(self.scenes[call.image_id], call)


def locate(scene: Scene, call: Call) -> Output:
    """The objects a description is true of whose centre is inside the region, left to right."""
    found = [t for t in things_inside(scene.objects, call.region) if holds(t, call.texts[0])]
    boxes = tuple(_clipped(thing["box"], call.region) for thing in found)
    return Output(boxes=boxes, scores=(1.0,) * len(boxes), confidence=float(bool(boxes)))


def vqa(scene: Scene, call: Call) -> Output:
    """The answer of scene_answer.py, or an output with ``error`` where it has none."""
    answer = question_answer(scene.objects, call.region, call.texts[0], scene.relations)
    if answer is None:
        return Output(error=f"oracle cannot answer: {call.texts[0]}")
    return Output(answer=answer, confidence=1.0)


def match(scene: Scene, call: Call) -> Output:
    """1.0 for each text that is true of the object the region shows, else 0.0."""
    thing = thing_meant(scene.objects, call.region)
    scores = tuple(float(thing is not None and holds(thing, text)) for text in call.texts)
    best = max(range(len(scores)), key=scores.__getitem__)
    return Output(answer=call.texts[best], scores=scores, confidence=scores[best])


def _clipped(box: Sequence[float], region: Box) -> Box:
    x0, y0, x1, y1 = (float(c) for c in box)
    return max(x0, region[0]), max(y0, region[1]), min(x1, region[2]), min(y1, region[3])
