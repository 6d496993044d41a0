"""The three visual domains of the embedded world: how paint, background and camera differ.

``flat`` is what the students see first; ``tinted`` and ``dusk`` are the domains of later tasks.
The names, sizes and patterns of the shapes are the same in all: only their looks move.
"""

import colorsys
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from sdvp_core.base.errors import UserError
from sdvp_core.tasks.shapes.world import SIDE

_HUES = {"red": 0.0, "green": 0.33, "blue": 0.62, "yellow": 0.14, "purple": 0.79, "black": 0.0}
# Pixels are drawn in this type: half the time of float64, and 8 bits are all that is kept.
_FLOAT = np.float32


@dataclass(frozen=True, slots=True)
class Look:
    """Numbers of one visual domain: sizes and outline in pixels, hues in turns of the circle."""

    name: str
    sizes: tuple[float, float]
    turn: float  # the largest rotation of a shape, radians
    outline: float  # width of a hollow shape's line, px
    stripe: float  # period of a striped shape, px
    slant: tuple[float, float]  # angle of the stripes from .. to, radians
    contrast: float  # how far the gaps of a striped shape are from its paint: 1 = see-through
    hue: float
    saturation: float
    value: float
    black: float  # the value (brightness) of black paint
    noise: float  # standard deviation, of 255
    blur: float  # radius, px


LOOKS = {
    "flat": Look(
        *("flat", (22, 36), 0.12, 2.6, 5.5, (0.7, 0.9), 0.75),
        *(0.0, 0.88, 0.88, 0.10, 2.0, 0.0),
    ),
    "tinted": Look(
        *("tinted", (20, 34), 0.30, 1.8, 5.0, (-1.0, -0.6), 0.45),
        *(0.035, 0.56, 0.70, 0.20, 9.0, 0.0),
    ),
    "dusk": Look(
        *("dusk", (20, 34), 0.22, 2.2, 6.0, (0.0, 0.2), 0.6),
        *(-0.045, 0.80, 0.62, 0.03, 5.0, 0.8),
    ),
}


def look(name: str) -> Look:
    """The look of that name; ``UserError`` where there is none."""
    if name not in LOOKS:
        raise UserError(f"There is no look {name!r}: use one of {', '.join(LOOKS)}.")
    return LOOKS[name]


def paint(look: Look, color: str, noise: np.random.Generator) -> tuple[int, int, int]:
    """One coat of a colour in this look, with a little variation, as 8-bit RGB."""
    jitter = noise.uniform(-1, 1, 3)
    hue = (_HUES[color] + look.hue + 0.015 * jitter[0]) % 1.0
    saturation = look.saturation * (1 + 0.1 * jitter[1])
    value = look.value * (1 + 0.08 * jitter[2])
    if color == "black":
        saturation, value = 0.15, look.black * (1 + 0.2 * jitter[2])
    rgb = colorsys.hsv_to_rgb(hue, min(saturation, 1.0), min(value, 1.0))
    return tuple(int(255 * c) for c in rgb)  # type: ignore[return-value]


def background(look: Look, noise: np.random.Generator) -> Image.Image:
    """An empty scene, RGB, SIDE x SIDE."""
    pixels = {"flat": _paper, "tinted": _tint, "dusk": _evening}[look.name](noise)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def finish(look: Look, image: Image.Image, noise: np.random.Generator) -> Image.Image:
    """What the camera adds once the shapes are drawn: blur, then noise."""
    if look.blur:
        image = image.filter(ImageFilter.GaussianBlur(look.blur))
    pixels = np.asarray(image, dtype=_FLOAT)
    grain = noise.standard_normal((SIDE, SIDE, 1 if look.noise < 4 else 3), dtype=_FLOAT)
    return Image.fromarray((pixels + look.noise * grain).clip(0, 255).astype(np.uint8))


def _paper(noise: np.random.Generator) -> np.ndarray:
    # Paper of many greys: students that saw white alone find nothing in any other domain.
    base = noise.uniform(125, 240) + noise.uniform(-15, 15, 3)
    return base.astype(_FLOAT) + noise.uniform(2, 12) * _clouds(noise, 1)


def _tint(noise: np.random.Generator) -> np.ndarray:
    base = np.array([138, 138, 152]) + noise.uniform(-18, 18, 3)
    pixels = base.astype(_FLOAT) + 15 * _clouds(noise, 3)
    angle, period = noise.uniform(0.3, 1.2), noise.uniform(9, 15)
    wave = np.cos(2 * np.pi * (np.cos(angle) * _X + np.sin(angle) * _Y) / period)
    return pixels + noise.uniform(8, 15) * (wave > 0.6)[..., None]


def _evening(noise: np.random.Generator) -> np.ndarray:
    base = np.array([92, 100, 122]) + noise.uniform(-14, 14, 3)
    if noise.random() < 0.5:
        cell, shift = noise.uniform(9, 17), noise.uniform(0, 10, 2)
        board = ((_X + shift[0]) // cell + (_Y + shift[1]) // cell) % 2
        return base.astype(_FLOAT) + (noise.uniform(12, 24) * (board - 0.5)[..., None])
    angle = noise.uniform(0, 2 * np.pi)
    ramp = (np.cos(angle) * (_X - SIDE / 2) + np.sin(angle) * (_Y - SIDE / 2)) / SIDE
    return base.astype(_FLOAT) + 45 * ramp[..., None] + 5 * _clouds(noise, 1)


def _clouds(noise: np.random.Generator, channels: int) -> np.ndarray:
    """Smooth noise in about [-1, 1]: (SIDE, SIDE, channels)."""
    coarse = noise.uniform(-1, 1, (channels, 6, 6)).astype(_FLOAT)
    planes = [Image.fromarray(p).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for p in coarse]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


_Y, _X = np.mgrid[0:SIDE, 0:SIDE].astype(_FLOAT)
