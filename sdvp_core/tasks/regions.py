"""The regions of an image that programs ask about: crops around a thing, halves, the whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from sdvp_core.base.sample import Box
from sdvp_core.tasks.descriptions import Thing

JITTER = 1.5  # px: how far a side of a crop may be from the annotated box, as a detector's is
ENLARGED = 1.5  # VisProg's CROP enlarges a box so many times around its centre


@dataclass(frozen=True)
class Scene:
    """An annotated image; ``size`` is (width, height) in pixels."""

    image_id: str
    size: tuple[int, int]
    things: Sequence[Thing]

    @property
    def whole(self) -> Box:
        """The whole image."""
        return (0.0, 0.0, float(self.size[0]), float(self.size[1]))

    @cached_property
    def frames(self) -> list[Thing]:
        """Things that hold others, like NLVR's grey boxes: a region to look in, not an "it"."""
        return [t for t in self.things if any(_holds_box(t["box"], o["box"]) for o in self.things)]

    @cached_property
    def subjects(self) -> list[Thing]:
        """Things that can be "it": all but the frames."""
        return [thing for thing in self.things if thing not in self.frames]

    def inside(self, region: Box) -> list[Thing]:
        """Things whose centre is strictly inside a region: what a module can be asked to see."""
        return [thing for thing in self.things if _center_in(thing["box"], region)]

    def any_inside(self, rng: Random, region: Box) -> Thing:
        """A thing inside a region, seldom a frame; any of the scene where the region is empty."""
        inside = self.inside(region)
        if self.frames and rng.random() < 0.85:
            inside = [thing for thing in inside if thing not in self.frames] or inside
        return rng.choice(inside or self.things)

    @cached_property
    def variety(self) -> int:
        """How many of its things differ by name or attributes."""
        return len({(thing["name"], *thing["attributes"]) for thing in self.things})

    def area(self, rng: Random) -> Box:
        """The whole image, or mostly one of its frames where it has some."""
        if self.frames and rng.random() < 0.7:
            return _clip(rng.choice(self.frames)["box"], self.size)
        return self.whole


def search_region(rng: Random, scene: Scene) -> Box:
    """Where something may be looked for: an image or a half of it mostly, else some part."""
    draw = rng.random()
    if draw < 0.5:
        return scene.area(rng)
    if draw < 0.8:
        return half(rng, scene)
    if draw < 0.9:
        return crop(rng, scene, rng.choice(scene.things), 0.0)
    width, height = scene.size
    w, h = rng.uniform(0.4, 1) * width, rng.uniform(0.4, 1) * height
    x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
    return (x, y, x + w, y + h)


def half(rng: Random, scene: Scene) -> Box:
    """What is left or right of, above or below a thing's centre: VisProg's CROP_LEFTOF etc."""
    area = scene.area(rng)
    box = rng.choice(scene.inside(area) or scene.things)["box"]
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    halves = (
        *((area[0], area[1], x, area[3]), (x, area[1], area[2], area[3])),
        *((area[0], area[1], area[2], y), (area[0], y, area[2], area[3])),
    )
    wide = [h for h in halves if h[2] - h[0] >= 4 and h[3] - h[1] >= 4]
    return rng.choice(wide) if wide else area


def crop(rng: Random, scene: Scene, thing: Thing, tight: float) -> Box:
    """Around a thing: its box, a share ``tight`` of the time, else enlarged as CROP does it."""
    x0, y0, x1, y1 = (c + rng.uniform(-JITTER, JITTER) for c in thing["box"])
    if rng.random() >= tight:
        dx, dy = (x1 - x0) * (ENLARGED - 1) / 2, (y1 - y0) * (ENLARGED - 1) / 2
        x0, y0, x1, y1 = x0 - dx, y0 - dy, x1 + dx, y1 + dy
    return _clip((x0, y0, max(x1, x0 + 2), max(y1, y0 + 2)), scene.size)


def _clip(box: Sequence[float], size: tuple[int, int]) -> Box:
    return clip_to(box, (0.0, 0.0, float(size[0]), float(size[1])))


def clip_to(box: Sequence[float], region: Box) -> Box:
    """The part of a box that lies in a region."""
    return (
        *(max(float(box[0]), region[0]), max(float(box[1]), region[1])),
        *(min(float(box[2]), region[2]), min(float(box[3]), region[3])),
    )


def _center_in(box: Sequence[float], region: Box) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return region[0] < x < region[2] and region[1] < y < region[3]


def _holds_box(outer: Sequence[float], inner: Sequence[float]) -> bool:
    if outer is inner or (outer[2] - outer[0]) <= 1.5 * (inner[2] - inner[0]):
        return False
    return _center_in(inner, tuple(outer))
