"""Training examples of the modules from annotations: to pre-train students and to fit teachers.

What is asked, and of which regions, follows what programs ask: attributes of the thing in the
middle of a crop, descriptions looked for in an image or in a part of it, texts matched with a crop.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from random import Random
from typing import Any

from sdvp_core.base import wording
from sdvp_core.base.ontology import attribute
from sdvp_core.base.sample import Box, Sample
from sdvp_core.tasks.descriptions import Phrase, Thing, Vocabulary, describe, twisted, unique
from sdvp_core.tasks.regions import Scene, clip_to, crop, half, search_region

# Shape is the slowest to learn, so it is asked most.
_WEIGHT = {"shape": 5, "name": 2, "pattern": 4, "color": 4, "size": 4, "material": 2}


def answer_samples(
    annotations: list[dict[str, Any]],
    sizes: Mapping[str, tuple[int, int]],
    count: int,
    rng: Random,
) -> list[Sample]:
    """``count`` questions for `vqa` with their one true answer.

    ``annotations`` are rows of the annotations table, ``sizes`` (width, height) in pixels by image
    id. 15% ask whether or how many on an image (or a frame of it), 15% ask an attribute of a
    described thing of the image, the rest ask one of a crop, tight or enlarged, 60% of them of
    "it". Yes and no are balanced. Fewer samples only where the annotations have nothing to ask.
    """
    scenes, vocabulary = _scenes(annotations, sizes)

    def one(scene: Scene) -> Sample | None:
        if rng.random() < 0.15:
            return _scene_question(rng, scene, vocabulary)
        return _attribute_question(rng, scene, vocabulary)

    return _several(rng, scenes, count, one)


def box_samples(
    annotations: list[dict[str, Any]],
    sizes: Mapping[str, tuple[int, int]],
    count: int,
    rng: Random,
    texts: int = 6,
) -> list[Sample]:
    """``count`` descriptions for `locate`, about 3 in 4 present, with all boxes that fit.

    ``texts`` of them at a time ask of one region, which a detector looks at once for all of them.
    Boxes are in pixels of the image, those whose centre is strictly inside the region, clipped to
    it. Other arguments as in :func:`answer_samples`.
    """
    scenes, vocabulary = _scenes(annotations, sizes)
    looked: list[tuple[Scene, Box]] = []

    def one(scene: Scene) -> Sample | None:
        if len(looked) % texts:
            scene, region = looked[-1]
        else:
            region = search_region(rng, scene)
        looked.append((scene, region))
        phrase = describe(rng, scene.any_inside(rng, region))
        if phrase and rng.random() < 0.3:
            phrase = twisted(rng, phrase, vocabulary)
        if phrase is None:
            return None
        found = [clip_to(t["box"], region) for t in scene.inside(region) if phrase.holds(t)]
        return Sample(
            *("locate", scene.image_id, region, (phrase.text,)),
            boxes=tuple(found),
            scores=(1.0,) * len(found),
        )

    return _several(rng, scenes, count, one)


def match_samples(
    annotations: list[dict[str, Any]],
    sizes: Mapping[str, tuple[int, int]],
    count: int,
    rng: Random,
    texts: int = 4,
) -> list[Sample]:
    """``count`` crops for `match` with ``texts`` texts each, about half of them true of the crop.

    A false text differs from a true one in one word. Scores are 1.0 or 0.0. Arguments as in
    :func:`answer_samples`.
    """
    scenes, vocabulary = _scenes(annotations, sizes)

    def one(scene: Scene) -> Sample | None:
        if not scene.subjects:
            return None
        thing = rng.choice(scene.subjects)
        phrases = [p for _ in range(2 * texts) if (p := _text(rng, thing, vocabulary))]
        phrases = phrases[:texts]
        if len(phrases) < texts:
            return None
        return Sample(
            *("match", scene.image_id, crop(rng, scene, thing, 0.8)),
            tuple(phrase.text for phrase in phrases),
            scores=tuple(float(phrase.holds(thing)) for phrase in phrases),
        )

    return _several(rng, scenes, count, one)


def _scenes(
    annotations: Sequence[dict[str, Any]], sizes: Mapping[str, tuple[int, int]]
) -> tuple[list[Scene], Vocabulary]:
    rows = [row for row in annotations if row["objects"] and row["image_id"] in sizes]
    scenes = [Scene(r["image_id"], tuple(sizes[r["image_id"]]), r["objects"]) for r in rows]
    return scenes, Vocabulary.of(thing for row in rows for thing in row["objects"])


def _several(
    rng: Random, scenes: Sequence[Scene], count: int, one: Callable[[Scene], Sample | None]
) -> list[Sample]:
    """Ask random scenes until there are enough; a scene may have no question of the kind drawn.

    A scene is drawn the oftener the more different things it holds: one tower of equal blocks is
    soon learnt.
    """
    samples: list[Sample] = []
    weights = list(accumulate(scene.variety for scene in scenes))
    for _ in range(20 * count if scenes else 0):
        if len(samples) == count:
            break
        sample = one(rng.choices(scenes, cum_weights=weights)[0])
        if sample is not None:
            samples.append(sample)
    return samples


def _scene_question(rng: Random, scene: Scene, vocabulary: Vocabulary) -> Sample | None:
    region = scene.area(rng) if rng.random() < 0.8 else half(rng, scene)
    inside = scene.inside(region)
    phrase = describe(rng, scene.any_inside(rng, region))
    asks_count, wants_no = rng.random() < 0.5, rng.random() < 0.5
    for _ in range(5):
        # A count is of something that is there, mostly; "is there" is no as often as yes.
        if phrase and (rng.random() < 0.3 if asks_count else wants_no):
            phrase = twisted(rng, phrase, vocabulary)
        if phrase is None:
            return None
        number = sum(phrase.holds(thing) for thing in inside)
        if asks_count:
            return _asked(scene, region, wording.count(phrase.text), str(number))
        if (number == 0) == wants_no:
            return _asked(scene, region, wording.exists(phrase.text), "no" if wants_no else "yes")
    return None


def _attribute_question(rng: Random, scene: Scene, vocabulary: Vocabulary) -> Sample | None:
    if not scene.subjects:
        return None
    described = rng.random() < 0.18
    region = scene.area(rng) if described else scene.whole
    thing = scene.any_inside(rng, region) if described else rng.choice(scene.subjects)
    kinds = vocabulary.kinds(thing)
    kind = rng.choices(kinds, [_WEIGHT.get(kind, 1) for kind in kinds])[0]
    subject = "it"
    if described:
        phrase = unique(rng, thing, scene.inside(region), kind)
        if phrase is None:
            return None
        subject = phrase.text
    else:
        region = crop(rng, scene, thing, 0.5)
        if rng.random() < 0.4:
            phrase = describe(rng, thing, kind)
            subject = phrase.text if phrase else "it"
    return _asked(scene, region, *_worded(rng, thing, kind, subject, vocabulary))


def _worded(
    rng: Random, thing: Thing, kind: str, subject: str, vocabulary: Vocabulary
) -> tuple[str, str]:
    """A question about one attribute, and its answer: asked openly, or to verify, or to choose."""
    value = attribute(thing, kind)
    noun = kind in ("shape", "name")
    other = vocabulary.other(rng, kind, value)
    draw = rng.random()
    if other is None or draw < 0.65:
        return wording.query(kind, subject), value
    if draw < 0.8:
        yes = rng.random() < 0.5
        return wording.verify(value if yes else other, subject, noun), "yes" if yes else "no"
    pair = (value, other) if rng.random() < 0.5 else (other, value)
    return wording.choose(*pair, subject, noun), value


def _asked(scene: Scene, region: Box, question: str, answer: str) -> Sample:
    return Sample("vqa", scene.image_id, region, (question,), answers=((answer, 1.0),))


def _text(rng: Random, thing: Thing, vocabulary: Vocabulary) -> Phrase | None:
    # verify_property("square", "red") asks of "red square": one attribute and a noun, mostly.
    phrase = describe(rng, thing)
    if phrase and not phrase.attributes and thing["attributes"] and rng.random() < 0.6:
        phrase = Phrase(phrase.noun, (rng.choice(thing["attributes"]),))
    return twisted(rng, phrase, vocabulary) if phrase and rng.random() < 0.5 else phrase
