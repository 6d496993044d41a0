"""Draws the shapes of a scene: each on a mask of four times its size, so that edges are clean."""

import math
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from sdvp_core.tasks.shapes import looks
from sdvp_core.tasks.shapes.world import Thing, annotate, outline, sample_things

_FINE = 4  # mask pixels a pixel
_HOLE = 0.42  # inner radius of a ring, of its outer one: far from a hollow circle's thin line


def scene(rng: Random, look: str) -> tuple[Image.Image, list[dict[str, Any]]]:
    """One scene of a look ("flat", "tinted", "dusk"): an RGB image and its annotation objects.

    Equal states of ``rng`` give equal pixels. ``UserError`` for an unknown look.
    """
    style = looks.look(look)
    things = sample_things(rng, style.sizes, style.turn)
    return draw(things, style, np.random.default_rng(rng.getrandbits(63))), annotate(things)


def draw(things: Sequence[Thing], look: looks.Look, noise: np.random.Generator) -> Image.Image:
    """The picture of some things in a look; ``noise`` moves textures and coats of paint only."""
    image = looks.background(look, noise)
    for thing in things:
        _put(image, thing, look, noise)
    return looks.finish(look, image, noise)


def _put(image: Image.Image, thing: Thing, look: looks.Look, noise: np.random.Generator) -> None:
    x0, y0 = math.floor(thing.box[0]), math.floor(thing.box[1])
    x1, y1 = math.ceil(thing.box[2]), math.ceil(thing.box[3])
    mask = _mask(thing, look, ((x1 - x0) * _FINE, (y1 - y0) * _FINE), (x0, y0), noise)
    color = looks.paint(look, thing.color, noise)
    image.paste(color, (x0, y0, x1, y1), mask.reduce(_FINE))


def _mask(
    thing: Thing,
    look: looks.Look,
    size: tuple[int, int],
    corner: tuple[int, int],
    noise: np.random.Generator,
) -> Image.Image:
    """Where there is paint: 8-bit, _FINE times as fine as the image."""
    box = [(c - corner[i % 2]) * _FINE for i, c in enumerate(thing.box)]
    body = _body(thing, size, box)
    if thing.pattern == "plain":
        return body
    line = look.outline if thing.pattern == "hollow" else look.outline * 0.6
    edge = _edge(thing, body, box, line * _FINE)
    if thing.pattern == "hollow":
        return edge
    gaps = body.point(lambda level: int(level * (1 - look.contrast)))
    striped = ImageChops.darker(body, _stripes(look, size, noise))
    return ImageChops.lighter(ImageChops.lighter(striped, gaps), edge)


def _body(thing: Thing, size: tuple[int, int], box: list[float]) -> Image.Image:
    mask = Image.new("L", size, 0)
    pen = ImageDraw.Draw(mask)
    if thing.name in ("circle", "ring"):
        pen.ellipse(box, fill=255)
        if thing.name == "ring":
            pen.ellipse(_shrunk(box, (1 - _HOLE) * (box[2] - box[0]) / 2), fill=0)
    else:
        pen.polygon(_corners(thing, box), fill=255)
    return mask


def _edge(thing: Thing, body: Image.Image, box: list[float], width: float) -> Image.Image:
    mask = Image.new("L", body.size, 0)
    pen = ImageDraw.Draw(mask)
    if thing.name in ("circle", "ring"):
        pen.ellipse(box, outline=255, width=round(width))
        if thing.name == "ring":
            hole = _shrunk(box, (1 - _HOLE) * (box[2] - box[0]) / 2 - width)
            pen.ellipse(hole, outline=255, width=round(width))
    else:
        corners = _corners(thing, box)
        # A line of twice the width along the border, of which the outer half falls off the body.
        pen.line([*corners, *corners[:2]], fill=255, width=round(2 * width))
    return ImageChops.darker(mask, body)


def _stripes(look: looks.Look, size: tuple[int, int], noise: np.random.Generator) -> Image.Image:
    angle, shift = noise.uniform(*look.slant), noise.uniform(0, 1)
    period = look.stripe * _FINE
    along = np.arange(size[0], dtype=np.float32) * (math.sin(angle) / period) + shift
    down = np.arange(size[1], dtype=np.float32) * (math.cos(angle) / period)
    phase = along[None, :] + down[:, None]
    return Image.fromarray(((phase - np.floor(phase)) < 0.5).astype(np.uint8) * 255)


def _corners(thing: Thing, box: list[float]) -> list[tuple[float, float]]:
    side = max(box[2] - box[0], box[3] - box[1])
    return [(box[0] + x * side, box[1] + y * side) for x, y in outline(thing.name, thing.angle)]


def _shrunk(box: list[float], by: float) -> list[float]:
    return [box[0] + by, box[1] + by, box[2] - by, box[3] - by]
