"""The module `vqa`: a question about a region, answered by ViLT over a fixed list of answers.

Real checkpoints: any `ViltForQuestionAnswering`, as "dandelin/vilt-b32-finetuned-vqa".
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from sdvp_core.base.images import ImageStore
from sdvp_core.modules import files
from sdvp_core.modules.call import Call, Output
from sdvp_core.modules.student import CropSettings, CropStudent
from sdvp_core.modules.tokens import build_tokenizer

TEXT_LENGTH = 24  # tokens of a question of the tiny student


class VqaStudent(CropStudent):
    """ViLT behind the module `vqa`. ``answers`` are its classes, in the order of the logits."""

    module = "vqa"

    def __init__(self, *parts: Any):
        super().__init__(*parts)
        labels = self.model.config.id2label
        self.answers = [labels[index] for index in range(len(labels))]

    @classmethod
    def create(cls, words: Iterable[str], answers: Sequence[str], seed: int) -> "VqaStudent":
        """A tiny untrained student (0.9M parameters, 48 px) that knows these words and answers."""
        from transformers import ViltConfig, ViltForQuestionAnswering, ViltImageProcessorPil

        torch.manual_seed(seed)
        tokenizer = build_tokenizer(words, TEXT_LENGTH)
        answers = list(dict.fromkeys(answers))
        config = ViltConfig(
            vocab_size=len(tokenizer),
            max_position_embeddings=TEXT_LENGTH,
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=512,
            image_size=48,
            patch_size=8,
            pad_token_id=tokenizer.pad_token_id,
            id2label=dict(enumerate(answers)),
            label2id={answer: index for index, answer in enumerate(answers)},
        )
        model = ViltForQuestionAnswering(config)
        files.fan_in(model)
        files.share_keys(model)
        with torch.no_grad():
            model.vilt.embeddings.position_embeddings[0, 1:] = files.sine_grid(6, 128)
        processor = ViltImageProcessorPil(
            size={"shortest_edge": 48}, size_divisor=8, resample=Image.Resampling.BILINEAR
        )
        return cls(model, tokenizer, processor, CropSettings({"pixels": 2.0, "share": 0.03}))

    @classmethod
    def load(cls, source: str | Path, device: str = "cpu"):
        """From a folder or a hub id; a BLIP checkpoint gives a `BlipStudent` (answers only)."""
        from transformers import (
            AutoConfig,
            AutoTokenizer,
            ViltForQuestionAnswering,
            ViltImageProcessorPil,
        )

        config = files.from_pretrained(AutoConfig, source)
        if config.model_type == "blip":
            from sdvp_core.modules.blip import BlipStudent

            return BlipStudent.load(source, device)
        return cls(
            files.from_pretrained(ViltForQuestionAnswering, source),
            files.from_pretrained(AutoTokenizer, source),
            files.from_pretrained(ViltImageProcessorPil, source),
            files.read_settings(CropSettings, source) or CropSettings(),
            device,
        )

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Token ids (N, L), padded with the pad token to the longest."""
        rows = self.tokenizer(
            list(texts), padding=True, truncation=True,
            max_length=self.model.config.max_position_embeddings, return_tensors="pt",
        )  # fmt: skip
        return rows["input_ids"]

    def logits(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """8-bit pixels (B, side, side, 3) and token ids (B, L) -> logits (B, answers), float32."""
        pixels, tokens = pixels.to(self.device), tokens.to(self.device)
        values = (pixels.permute(0, 3, 1, 2).float() - self._mean) * self._scale
        seen = _embed(self.model.vilt.embeddings, values)
        return self.model(
            input_ids=tokens,
            attention_mask=(tokens != self.tokenizer.pad_token_id).long(),
            image_embeds=seen,
            pixel_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=self.device),
        ).logits.float()

    def answer(self, calls: Sequence[Call], images: ImageStore) -> list[Output]:
        """The likeliest answer and its probability for each call."""
        keys = [(call.image_id, call.region) for call in calls]
        seen, failed = files.see(keys, images, self.crop)
        asked = [(k, c.texts) for k, c in zip(keys, calls, strict=True) if k in seen]
        asked = list(dict.fromkeys(asked))
        known = dict(zip(asked, self._answer([seen[k] for k, _ in asked], asked), strict=True))
        return [failed.get(k) or known[k, call.texts] for k, call in zip(keys, calls, strict=True)]

    def _answer(self, crops: list[np.ndarray], asked: list) -> list[Output]:
        outputs: list[Output] = []
        for rows in files.chunks(len(asked)):
            tokens = self.encode([asked[i][1][0] for i in rows])
            pixels = torch.from_numpy(files.padded([crops[i] for i in rows]))
            filled = tokens[:1].expand(len(pixels), -1).clone()
            filled[: len(rows)] = tokens
            with torch.inference_mode():
                found = self.logits(pixels, filled)[: len(rows)].softmax(dim=-1).max(dim=-1)
            pairs = zip(found.indices.tolist(), found.values.tolist(), strict=True)
            outputs += [Output(self.answers[i], confidence=round(p, 4)) for i, p in pairs]
        return outputs


def _embed(embeddings: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """ViLT's image tokens of full squares, (B, 1 + patches, width).

    The model's own way shuffles the patches with the global random state and loops over the batch.
    For images without padding it computes this.
    """
    patches = embeddings.patch_embeddings(values)
    rows = patches.shape[-1]
    places = embeddings.position_embeddings
    grid = places[:, 1:].transpose(1, 2)
    side = round(grid.shape[-1] ** 0.5)
    grid = grid.reshape(1, -1, side, side)
    if side != rows:
        grid = nn.functional.interpolate(
            grid, size=(rows, rows), mode="bilinear", align_corners=True
        )
    tokens = (patches + grid).flatten(2).transpose(1, 2)
    first = (embeddings.cls_token + places[:, :1]).expand(len(tokens), -1, -1)
    return torch.cat([first, tokens], dim=1)
