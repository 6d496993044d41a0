"""What the three students share of loading, saving and running: folders, precision, starts."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.utils import logging

from sdvp_core.base.errors import UserError
from sdvp_core.base.images import ImageError, ImageStore
from sdvp_core.base.tables import write_json
from sdvp_core.modules.call import Box, Output

SETTINGS = "sdvp.json"
ROWS = 64  # of one forward pass when answering
logging.disable_progress_bar()


def autocast(device: str, precision: str = "auto") -> AbstractContextManager:
    """bf16 where the hardware multiplies it ("auto"), always ("bf16") or never ("fp32")."""
    kind = torch.device(device).type
    fast = kind == "cuda" or (kind == "cpu" and torch.cpu._is_avx512_bf16_supported())
    if precision == "fp32" or (precision == "auto" and not fast):
        return nullcontext()
    return torch.autocast(kind, dtype=torch.bfloat16)


def from_pretrained(kind: Any, source: str | Path, **options: Any) -> Any:
    """``kind.from_pretrained(source)``; a missing or broken checkpoint raises ``UserError``."""
    try:
        return kind.from_pretrained(str(source), **options)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{source} cannot be loaded as a {kind.__name__} ({reason}): give the folder or the "
            "hub id of a checkpoint of that kind."
        ) from error


def read_settings(kind: type, source: str | Path) -> Any | None:
    """The dataclass ``kind`` from a student's sdvp.json; None where there is no such file."""
    path = Path(source) / SETTINGS
    if not path.is_file():
        return None
    try:
        return kind(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} does not hold the settings of a student ({error}).") from error


def save_parts(folder: Path, model: Any, tokenizer: Any, processor: Any, settings: Any) -> None:
    """Weights, tokenizer, image processor and settings; equal weights give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    # Loading and use leave marks that saving would keep; a new student has none of them.
    for part in model.config.sub_configs:
        getattr(model.config, part).dtype = model.dtype
    for mark in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(mark, None)
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
    write_json(folder / SETTINGS, asdict(settings))


def mean_and_scale(processor: Any, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What turns 8-bit pixels into the model's input: (x - mean) * scale, each (3, 1, 1)."""
    mean = torch.tensor(processor.image_mean, device=device).view(3, 1, 1)
    deviation = torch.tensor(processor.image_std, device=device).view(3, 1, 1)
    return mean * 255, 1 / (deviation * 255)


def side_of(size: Any) -> int:
    """The side of an image processor's square input, from its `size`."""
    values = dict(size) if not isinstance(size, int) else {"height": size}
    side = values.get("height") or values.get("shortest_edge")
    if not side:
        raise UserError(f"The image processor's size {values} has no height or shortest edge.")
    return int(side)


def see(
    wanted: Iterable[tuple[str, Box]], images: ImageStore, draw: Any
) -> tuple[dict[tuple[str, Box], Any], dict[tuple[str, Box], Output]]:
    """``draw(image, region)`` for each different (image id, region), and outputs for bad images."""
    seen: dict[tuple[str, Box], Any] = {}
    failed: dict[tuple[str, Box], Output] = {}
    for key in dict.fromkeys(wanted):
        try:
            seen[key] = draw(images.get(key[0]), key[1])
        except ImageError as error:
            failed[key] = Output(error=str(error))
    return seen, failed


def chunks(count: int, size: int = ROWS) -> Iterable[range]:
    """range(count) in pieces."""
    return (range(start, min(start + size, count)) for start in range(0, count, size))


def padded(rows: Sequence[np.ndarray], size: int = ROWS) -> np.ndarray:
    """Rows stacked and filled up with zeros to a power of two, at most ``size``.

    Matrix products are blocked by shape: with few different shapes, what else is in the batch
    changes an answer as little as can be.
    """
    count = min(size, 1 << (len(rows) - 1).bit_length())
    stacked = np.zeros((max(count, len(rows)), *rows[0].shape), dtype=rows[0].dtype)
    stacked[: len(rows)] = rows
    return stacked


def plain_attention(model: Any, device: str) -> None:
    """On a CPU, products and a softmax beat the fused kernel: its bf16 backward is slow there."""
    if torch.device(device).type == "cpu":
        model.set_attn_implementation("eager")


def fan_in(model: nn.Module) -> None:
    """Start linear and convolution weights at std 1 / sqrt(inputs), biases at 0.

    The stock std of 0.02 is meant for a width of 768; a width of 128 learns slowly from it.
    """
    for part in model.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.normal_(part.weight, std=part.weight[0].numel() ** -0.5)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def share_keys(model: nn.Module) -> None:
    """Start every key projection as a copy of its query projection: like attends to like."""
    for part in model.modules():
        for key, query in (("k_proj", "q_proj"), ("key", "query")):
            if hasattr(part, key) and hasattr(part, query):
                getattr(part, key).load_state_dict(getattr(part, query).state_dict())


def mean_words(text_model: nn.Module, silent: Sequence[int]) -> None:
    """Start a text tower as a sum of word vectors, read at whichever position is pooled.

    Stock start values give all short texts nearly the same vector (cosine 0.97), and telling them
    apart is then what takes longest to learn. ``silent`` are tokens that mean nothing (start, end,
    padding): their vectors are 0, which the layer norm leaves at 0.
    """
    embeddings = text_model.embeddings
    nn.init.normal_(embeddings.token_embedding.weight)
    nn.init.zeros_(embeddings.position_embedding.weight)
    embeddings.token_embedding.weight[list(silent)] = 0.0
    for number, layer in enumerate(text_model.encoder.layers):
        attention = layer.self_attn
        nn.init.zeros_(attention.q_proj.weight)  # every token attends to all alike
        if number == 0:
            nn.init.eye_(attention.v_proj.weight)
            nn.init.eye_(attention.out_proj.weight)
            attention.out_proj.weight *= 4.0  # of about four words: their sum


def sine_grid(rows: int, width: int) -> torch.Tensor:
    """Sine-cosine positions of a square grid, (rows * rows, width), of unit root mean square.

    As in "An Image is Worth 16x16 Words", appendix D.4, in two dimensions.
    """
    quarter = width // 4
    speed = 1.0 / 100 ** (torch.arange(quarter) / quarter)
    place = torch.arange(rows, dtype=torch.float32)[:, None] * speed
    wave = torch.cat([place.sin(), place.cos()], dim=1)
    down, across = wave.repeat_interleave(rows, dim=0), wave.repeat(rows, 1)
    return torch.cat([down, across], dim=1) * 2**0.5


def folder_revision(folder: Path) -> str:
    """16 hex digits of the contents and the relative names of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
