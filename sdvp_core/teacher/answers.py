"""The answer teacher: a CNN whose features a question modulates (FiLM), and two looks at them.

Shapes on tensors: B views, N questions (several may ask of one view), L words, C channels,
H x W cells of 8 px, A answers. FiLM: Perez et al. 2018, arXiv 1709.07871.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sdvp_core.teacher.norm import ChannelNorm
from sdvp_core.teacher.words import PAD, Words

LENGTH = 32  # words of a question at the most
CELL = 8  # px of a view a cell
_MIXED = 64


@dataclass(frozen=True)
class AnswerConfig:
    """Sizes of the network, and the words and answers it knows."""

    words: tuple[str, ...]
    answers: tuple[str, ...]
    heads: tuple[str, ...]  # words of things, told of every cell while it is fitted
    channels: int = 64
    hidden: int = 64
    embedding: int = 32


class AnswerTeacher(nn.Module):
    """Answers questions about views; about 0.22M parameters."""

    def __init__(self, config: AnswerConfig) -> None:
        super().__init__()
        self.config = config
        self.words = Words(config.words)
        wide, hidden = config.channels, config.hidden
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 5, 2, 2),  # a norm here costs more than it gives
            nn.ReLU(),
            *_conv(16, 48, 2),
            *_conv(48, 48, 1),
            *_conv(48, wide, 2),
        )
        self.body = nn.ModuleList(nn.Sequential(*_conv(wide, wide, 1)) for _ in range(3))
        self.tell = nn.Conv2d(wide, len(config.heads), 1)
        self.embed = nn.Embedding(len(self.words), config.embedding, padding_idx=PAD)
        self.read = nn.GRU(config.embedding, hidden, batch_first=True)
        self.first = _Look(wide + 2, wide, hidden)
        self.second = _Look(wide + 4, wide, hidden + wide)
        self.tally = nn.Conv2d(wide, 16, 1)
        # "Is it red?" compares what is asked with what is seen: products do that, sums do not.
        self.ask = nn.Linear(hidden, _MIXED)
        self.answer = nn.Linear(wide + len(config.heads), _MIXED)
        self.head = nn.Sequential(
            nn.Linear(2 * wide + hidden + 16 + _MIXED, 96),
            nn.ReLU(),
            nn.Linear(96, len(config.answers)),
        )

    def see(self, views_BHWC: Tensor) -> Tensor:
        """Features (B, C, H, W) of views given as bytes, a cell for every 8 x 8 px."""
        pixels = views_BHWC.permute(0, 3, 1, 2).float() / 64 - 2
        x = self.stem(pixels.contiguous(memory_format=torch.channels_last))
        for block in self.body:
            x = x + block(x)
        return x

    def forward(self, seen_BCHW: Tensor, owner_N: Tensor, tokens_NL: Tensor) -> Tensor:
        """Logits (N, A). ``seen`` is from :meth:`see`; ``owner_N`` is each question's view."""
        seen = seen_BCHW[owner_N]
        asked_NC = self._read(tokens_NL)
        place = _grid(seen)
        first, chosen_NP = self.first(torch.cat([seen, place], 1), asked_NC)
        middle = _pooled(place, chosen_NP)
        away = place - middle[..., None, None]  # where a cell lies from what was found first
        both = torch.cat([first, place, away], 1)
        reminded_NC = torch.cat([asked_NC, _pooled(first, chosen_NP)], 1)
        second, chosen_NP = self.second(both, reminded_NC)
        found_NC = _pooled(seen, chosen_NP)
        # A softmax look cannot count; a sum of sigmoids can.
        tally = torch.log1p(self.tally(second).float().sigmoid().sum((2, 3)))
        told = functional.linear(found_NC, self.tell.weight.flatten(1), self.tell.bias)
        mixed = self.ask(asked_NC) * self.answer(torch.cat([found_NC, told.sigmoid()], 1))
        features = [_pooled(second, chosen_NP), mixed, second.amax((2, 3)), asked_NC, tally]
        return self.head(torch.cat([f.float() for f in features], 1)).float()

    def unknown(self, question: str) -> list[str]:
        """Words of a question that it was not fitted on."""
        return self.words.unknown(question)

    @torch.inference_mode()
    def scores(self, looks: Sequence[np.ndarray], questions: Sequence[str]) -> np.ndarray:
        """Probabilities (N, A) of N questions on N views of one size; equal views are seen once."""
        device = self.tell.weight.device
        places: dict[int, int] = {}
        owner = [places.setdefault(id(look), len(places)) for look in looks]
        unique = {id(look): look for look in looks}
        seen = self.see(torch.from_numpy(np.stack(list(unique.values()))).to(device))
        tokens = self.encode(questions).to(device)
        return self(seen, torch.tensor(owner, device=device), tokens).softmax(1).cpu().numpy()

    def _read(self, tokens_NL: Tensor) -> Tensor:
        unique, back = torch.unique(tokens_NL, dim=0, return_inverse=True)
        lengths = (unique != PAD).sum(1)
        states, _ = self.read(self.embed(unique[:, : int(lengths.max())]))
        return states[torch.arange(len(unique), device=unique.device), lengths - 1][back]

    def encode(self, questions: Sequence[str]) -> Tensor:
        """Tokens (N, L) of some questions."""
        return torch.tensor([self.words.encode(question, LENGTH) for question in questions])

    def settings(self) -> dict[str, Any]:
        """What :meth:`build` needs to make this network again."""
        return asdict(self.config)

    @classmethod
    def build(cls, settings: dict[str, Any]) -> "AnswerTeacher":
        """A network with fresh weights from :meth:`settings`."""
        return cls(AnswerConfig(**{k: tuple(v) if isinstance(v, list) else v
                                   for k, v in settings.items()}))  # fmt: skip


class _Look(nn.Module):
    """A FiLM block, then a soft choice of the cells that matter."""

    def __init__(self, wide_in: int, wide: int, asked: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(wide_in, wide, 1)
        self.conv = nn.Conv2d(wide, wide, 1, bias=False)
        self.norm = ChannelNorm(wide)
        self.film = nn.Linear(asked, 2 * wide)
        self.choose = nn.Conv2d(wide, 1, 1)

    def forward(self, x: Tensor, asked_NC: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.relu(self.enter(x))
        scale, shift = self.film(asked_NC)[..., None, None].chunk(2, 1)
        x = x + functional.relu(self.norm(self.conv(x)) * (1 + scale) + shift)
        return x, self.choose(x).float().flatten(1).softmax(1)


def _pooled(cells_NCHW: Tensor, weight_NP: Tensor) -> Tensor:
    """The mean (N, C) over cells, weighted."""
    return torch.einsum("ncp,np->nc", cells_NCHW.float().flatten(2), weight_NP)


def _conv(wide_in: int, wide: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(wide_in, wide, 3, stride=stride, padding=1, bias=False)
    return [conv, ChannelNorm(wide), nn.ReLU()]


def _grid(cells: Tensor) -> Tensor:
    """Coordinates in -1 .. 1 of every cell: (N, 2, H, W)."""
    n, _, height, width = cells.shape
    x = torch.linspace(-1, 1, width, device=cells.device, dtype=cells.dtype)
    y = torch.linspace(-1, 1, height, device=cells.device, dtype=cells.dtype)
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)]).expand(
        n, 2, height, width
    )
