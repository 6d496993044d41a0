"""The box teacher: a fully convolutional detector whose words are heads.

Two maps of centres: cells of 4 px for things up to LARGE px, cells of 16 px for larger ones, so
that a frame and the thing in its middle do not share a cell. Every cell says how likely a centre
lies in it, how far the four sides are, and which words are true of the thing. Centre heat-map:
Zhou et al. 2019, arXiv 1904.07850.

Shapes: B images, H x W cells, K heads (words), M candidate boxes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sdvp_core.teacher.norm import ChannelNorm

STRIDES = (4, 16)  # px a cell
LARGE = 48.0  # px; a thing with a longer side is found on the coarse map


@dataclass(frozen=True)
class BoxConfig:
    """Sizes of the network, and the words that are its heads."""

    heads: tuple[str, ...]
    channels: int = 56
    longest: int = 512  # px; a larger image is shrunk to it


@dataclass(frozen=True)
class Candidates:
    """What was found in an image: boxes (M, 4) in its pixels, centre (M,) and words (M, K)."""

    boxes: np.ndarray
    centres: np.ndarray
    words: np.ndarray


class BoxTeacher(nn.Module):
    """Finds described things in images of any size; about 0.17M parameters."""

    def __init__(self, config: BoxConfig) -> None:
        super().__init__()
        self.config = config
        wide = config.channels
        self.stem = nn.Sequential(
            nn.Conv2d(5, 24, 5, 2, 2), nn.ReLU(), *_conv(24, wide, 3, stride=2)
        )
        self.body = nn.ModuleList(_Block(wide, dilation) for dilation in (1, 2, 1, 2))
        self.head = _Head(wide, len(config.heads))
        self.shrink = nn.Sequential(*_conv(wide, 32, 3, stride=2), *_conv(32, 32, 3, stride=2))
        self.coarse = nn.Sequential(*_conv(32, 32, 3), *_conv(32, 32, 3), *_conv(32, 32, 3))
        self.coarse_head = _Head(32, len(config.heads))

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Maps (B, 5 + K, H, W) of both strides, from images whose sides are multiples of 16.

        Channels: logit of a centre; left, top, right, bottom in cells; logits of the words.
        """
        x = torch.cat([images_BCHW, _coordinates(images_BCHW)], 1)
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        for block in self.body:
            x = block(x)
        return [self.head(x).float(), self.coarse_head(self.coarse(self.shrink(x))).float()]

    def settings(self) -> dict[str, Any]:
        """What :meth:`build` needs to make this network again."""
        return asdict(self.config)

    @classmethod
    def build(cls, settings: dict[str, Any]) -> "BoxTeacher":
        """A network with fresh weights from :meth:`settings`."""
        return cls(BoxConfig(**(settings | {"heads": tuple(settings["heads"])})))


class _Block(nn.Module):
    def __init__(self, wide: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(*_conv(wide, wide, 3, dilation=dilation))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class _Head(nn.Module):
    def __init__(self, wide: int, words: int) -> None:
        super().__init__()
        self.out = nn.Conv2d(wide, 5 + words, 1)
        # Centres are rare: start at 2% (arXiv 1708.02002, section 4.1); sides at three cells.
        nn.init.constant_(self.out.bias, 0.0)
        with torch.no_grad():
            self.out.bias[0] = -4.0
            self.out.bias[1:5] = 3.0

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x)


def _conv(
    wide_in: int, wide: int, size: int, stride: int = 1, dilation: int = 1
) -> list[nn.Module]:
    padding = dilation * (size // 2)
    conv = nn.Conv2d(wide_in, wide, size, stride, padding, dilation, bias=False)
    return [conv, ChannelNorm(wide), nn.ReLU()]


def _coordinates(images: Tensor) -> Tensor:
    """Where a pixel is, in hundreds of pixels: (B, 2, H, W)."""
    batch, _, height, width = images.shape
    x = torch.arange(width, device=images.device, dtype=images.dtype) / 100 - 0.5
    y = torch.arange(height, device=images.device, dtype=images.dtype) / 100 - 0.5
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)]).expand(
        batch, 2, height, width
    )


def stack(pictures: Sequence[np.ndarray]) -> Tensor:
    """Images (height, width, 3) of bytes as (B, 3, H, W), padded right and below to sixteens."""
    height = -(-max(p.shape[0] for p in pictures) // 16) * 16
    width = -(-max(p.shape[1] for p in pictures) // 16) * 16
    batch = torch.zeros(len(pictures), 3, height, width)
    for slot, picture in zip(batch, pictures, strict=True):
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        slot[:, : pixels.shape[1], : pixels.shape[2]] = pixels.float() / 64 - 2
    return batch


def candidates(maps: list[Tensor], index: int, scale: float, least: float) -> Candidates:
    """The peaks of image ``index`` of a batch with a centre of at least ``least``.

    ``scale`` is network pixels an image pixel. A peak is a cell no neighbour of which is higher.
    """
    boxes, centres, words = [], [], []
    for stride, cells in zip(STRIDES, maps, strict=True):
        heat = cells[index, :1].sigmoid()
        peak = (heat == functional.max_pool2d(heat, 3, 1, 1)) & (heat >= least)
        ys, xs = torch.nonzero(peak[0], as_tuple=True)
        found = cells[index][:, ys, xs].T
        middle = torch.stack([xs + 0.5, ys + 0.5, xs + 0.5, ys + 0.5], 1)
        sides = found[:, 1:5] * torch.tensor([-1.0, -1.0, 1.0, 1.0], device=found.device)
        boxes.append((middle + sides) * stride / scale)
        centres.append(heat[0, ys, xs])
        words.append(found[:, 5:].sigmoid())
    return Candidates(
        *(torch.cat(parts).cpu().double().numpy() for parts in (boxes, centres, words))
    )
