"""What the answer teacher is fitted on: views of the train split with questions and answers.

Beside the sub-questions every module is pre-trained on (tasks/subquestions.py) these are the forms
that the adapter gives to steps: named questions on crops, referring expressions and outlined
regions on whole images; and the task's own questions, for the bare teacher.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from sdvp_core.base import wording
from sdvp_core.base.ontology import attribute
from sdvp_core.base.sample import Box
from sdvp_core.tasks.descriptions import Phrase, Thing, Vocabulary, describe, twisted
from sdvp_core.tasks.regions import Scene, crop
from sdvp_core.tasks.subquestions import answer_samples
from sdvp_core.teacher.views import SCENE

NAMED = 0.85  # share of crop questions that name the thing
MISNAMED = 0.06  # share whose name is wrong, as a student's find can be: the middle counts
_WEIGHT = {"shape": 5, "name": 2, "pattern": 4, "color": 3, "size": 4, "material": 2}
_ASKED = 2  # questions a view
SIDES = ("to the left of", "to the right of", "above", "below")


@dataclass(frozen=True, slots=True)
class Ask:
    """Questions on one view. ``region`` None means all of the images."""

    image_ids: tuple[str, ...]
    region: Box | None
    drawn: Box | None
    pairs: tuple[tuple[str, str], ...]  # question, answer


class Examples:
    """Draws examples from the annotations of a split; all of them by the given generator."""

    def __init__(
        self,
        annotations: Sequence[Mapping[str, Any]],
        sizes: Mapping[str, tuple[int, int]],
        rng: Random,
    ) -> None:
        self.rows = [r for r in annotations if r["objects"] and r["image_id"] in sizes]
        self.sizes = sizes
        self.rng = rng
        self.places = [Scene(r["image_id"], sizes[r["image_id"]], r["objects"]) for r in self.rows]
        self.places = [scene for scene in self.places if scene.subjects]
        self.vocabulary = Vocabulary.of(thing for row in self.rows for thing in row["objects"])

    def crops(self, count: int, named: float = NAMED, misnamed: float = MISNAMED) -> list[Ask]:
        """Crops of things, half tight, half enlarged as VisProg's CROP does, with questions."""
        asks = []
        for _ in range(count if self.places else 0):
            scene = self.rng.choice(self.places)
            thing = self.rng.choice(scene.subjects)
            pairs = [self._about(thing, scene, named, misnamed) for _ in range(_ASKED)]
            region = crop(self.rng, scene, thing, 0.5)
            asks.append(Ask((scene.image_id,), region, None, tuple(pairs)))
        return asks

    def outlined(self, count: int) -> list[Ask]:
        """Whole images on which the thing asked about is outlined."""
        asks = []
        for _ in range(count if self.places else 0):
            scene = self.rng.choice(self.places)
            thing = self.rng.choice(scene.subjects)
            pairs = [self._about(thing, scene, 0.5, 0.0) for _ in range(_ASKED)]
            drawn = crop(self.rng, scene, thing, 0.5)
            asks.append(Ask((scene.image_id,), None, drawn, tuple(pairs)))
        return asks

    def related(self, count: int) -> list[Ask]:
        """Whole images with questions about "the square to the left of the red circle"."""
        asks = []
        for _ in range(4 * count if self.rows else 0):
            row = self.rng.choice(self.rows)
            pairs = [pair for _ in range(_ASKED) if (pair := self._related(row["objects"]))]
            if pairs and len(asks) < count:
                asks.append(Ask((row["image_id"],), None, None, tuple(pairs)))
        return asks

    def scenes(self, count: int) -> list[Ask]:
        """Whether and how many, and attributes of named things, on images and their parts."""
        samples = answer_samples(list(self.rows), self.sizes, 3 * count, self.rng)
        grouped: dict[tuple[str, Box], list[tuple[str, str]]] = {}
        for s in samples:
            width, height = self.sizes[s.image_id]
            if max(s.region[2] - s.region[0], s.region[3] - s.region[1]) > SCENE * min(
                width, height
            ):
                key = (s.image_id, s.region)
                grouped.setdefault(key, []).append((s.texts[0], s.answers[0][0]))
        return [Ask((i,), region, None, tuple(p)) for (i, region), p in grouped.items()][:count]

    def _about(self, thing: Thing, scene: Scene, named: float, misnamed: float) -> tuple[str, str]:
        rng = self.rng
        if rng.random() < 0.1:  # an option of `match` asked as it is: "Is it a red square?"
            phrase = describe(rng, thing)
            false = twisted(rng, phrase, self.vocabulary) if phrase else None
            if phrase and false and rng.random() < 0.5 and not false.holds(thing):
                return wording.verify(false.text, noun=True), "no"
            if phrase:
                return wording.verify(phrase.text, noun=True), "yes"
        kinds = self.vocabulary.kinds(thing)
        kind = rng.choices(kinds, [_WEIGHT.get(kind, 1) for kind in kinds])[0]
        phrase = describe(rng, thing, kind) if rng.random() < named else None
        if phrase and rng.random() < misnamed:
            phrase = self._wrong(phrase, scene) or phrase
        return self._worded(thing, kind, phrase.text if phrase else "it")

    def _wrong(self, phrase: Phrase, scene: Scene) -> Phrase | None:
        """A name that nothing in the image has: then only the thing in the middle can be meant."""
        wrong = twisted(self.rng, phrase, self.vocabulary)
        if wrong is None or any(wrong.holds(other) for other in scene.things):
            return None
        return wrong

    def _worded(self, thing: Thing, kind: str, subject: str) -> tuple[str, str]:
        """A question about one attribute and its answer: open, to verify, or to choose."""
        rng, noun = self.rng, kind in ("shape", "name")
        value, draw = attribute(thing, kind), self.rng.random()
        other = self.vocabulary.other(rng, kind, value)
        if other is None or draw < 0.45:
            return wording.query(kind, subject), value
        if draw < 0.85:
            true = rng.random() < 0.5
            return wording.verify(value if true else other, subject, noun), "yes" if true else "no"
        first, second = (value, other) if rng.random() < 0.5 else (other, value)
        return wording.choose(first, second, subject, noun), value

    def _related(self, things: Sequence[Thing]) -> tuple[str, str] | None:
        if len(things) < 2:
            return None
        thing, anchor = self.rng.sample(list(things), 2)
        sides = [s for s in SIDES if beside(thing["box"], anchor["box"], s)]
        if not sides:  # one stands in the middle of the other, as an item in a grey box can
            return None
        side = self.rng.choice(sides)
        kinds = self.vocabulary.kinds(thing)
        kind = self.rng.choice(kinds)
        mine, its = describe(self.rng, thing, kind), describe(self.rng, anchor)
        if mine is None or its is None or sum(its.holds(t) for t in things) != 1:
            return None
        meant = [t for t in things if mine.holds(t) and beside(t["box"], anchor["box"], side)]
        if len(meant) != 1:
            return None
        return self._worded(thing, kind, f"{mine.text} {side} the {its.text}")


def beside(box: Sequence[float], anchor: Sequence[float], side: str) -> bool:
    """Whether the middle of a box lies on that side of the middle of another."""
    axis = 0 if side in SIDES[:2] else 1
    away = (box[axis] + box[axis + 2]) - (anchor[axis] + anchor[axis + 2])
    return away < 0 if side in (SIDES[0], SIDES[2]) else away > 0


def own_questions(questions: Sequence[Mapping[str, Any]], answer_types: Sequence[str]) -> list[Ask]:
    """A task's own questions of some answer types, those on the same images together."""
    grouped: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for row in questions:
        if row["answer_type"] in answer_types:
            key = tuple(row["image_ids"][:2])
            grouped.setdefault(key, []).append((row["question"], row["answer"]))
    return [
        Ask(key, None, None, tuple(pairs[start : start + _ASKED]))
        for key, pairs in grouped.items()
        for start in range(0, len(pairs), _ASKED)
    ]
