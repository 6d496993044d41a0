"""BLIP behind the module `vqa`: it writes its answer. For answering only; ViLT is what trains.

Real checkpoints: any `BlipForQuestionAnswering`, as "Salesforce/blip-vqa-base".
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sdvp_core.base.errors import UserError
from sdvp_core.base.images import ImageStore
from sdvp_core.modules import files
from sdvp_core.modules.call import Box, Call, Output
from sdvp_core.modules.view import Context, crop

LENGTH = 10  # tokens of an answer


class BlipStudent:
    """BLIP question answering: greedy decoding; the confidence is the answer's probability."""

    module = "vqa"

    def __init__(self, model, tokenizer, processor, device: str = "cpu"):
        self.model = model.to(device).eval()
        self.tokenizer = tokenizer
        self.device = device
        self.side = files.side_of(processor.size)
        self._mean, self._scale = files.mean_and_scale(processor, device)

    @classmethod
    def load(cls, source: str | Path, device: str = "cpu") -> "BlipStudent":
        """From a folder or a hub id."""
        from transformers import AutoTokenizer, BlipForQuestionAnswering, BlipImageProcessorPil

        return cls(
            files.from_pretrained(BlipForQuestionAnswering, source),
            files.from_pretrained(AutoTokenizer, source),
            files.from_pretrained(BlipImageProcessorPil, source),
            device,
        )

    def save(self, folder: Path) -> None:
        raise UserError(f"A BLIP student is not trained, so there is none to save in {folder}.")

    def answer(self, calls: Sequence[Call], images: ImageStore) -> list[Output]:
        """The written answer to each call's question; a region is encoded once for all of its."""
        keys = [(call.image_id, call.region) for call in calls]
        seen, failed = files.see(keys, images, self._crop)
        asked: dict[Any, dict[str, None]] = {}  # the questions of each region, once
        for key, call in zip(keys, calls, strict=True):
            asked.setdefault(key, {})[call.texts[0]] = None
        known: dict[tuple[Any, str], Output] = {}
        regions = list(seen)
        for rows in files.chunks(len(regions)):
            part = [regions[row] for row in rows]
            pictures = self._encode([seen[key] for key in part])
            pairs = [(place, text) for place, key in enumerate(part) for text in asked[key]]
            for (place, text), output in self._answers(pictures, pairs):
                known[part[place], text] = output
        return [failed.get(k) or known[k, c.texts[0]] for k, c in zip(keys, calls, strict=True)]

    def _answers(
        self, pictures: torch.Tensor, pairs: Sequence[tuple[int, str]]
    ) -> Iterable[tuple[tuple[int, str], Output]]:
        """Pairs of a row of ``pictures`` (B, P, H) and a question, each with its answer."""
        # Questions of one length go together: padding would reach the decoder, which has no mask.
        lengths: dict[int, list[tuple[int, str]]] = {}
        for pair in pairs:
            lengths.setdefault(len(self.tokenizer(pair[1])["input_ids"]), []).append(pair)
        for group in lengths.values():
            for rows in files.chunks(len(group)):
                part = [group[row] for row in rows]
                places = [place for place, _ in part]
                found = self._write(pictures[places], [text for _, text in part])
                yield from zip(part, found, strict=True)

    def _crop(self, image: Image.Image, region: Box) -> np.ndarray:
        return crop(image, region, Context(), self.side)

    def _encode(self, crops: list[np.ndarray]) -> torch.Tensor:
        """What the vision tower makes of each crop: (B, patches, H)."""
        pixels = torch.from_numpy(np.stack(crops)).to(self.device).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            return self.model.vision_model(pixel_values=(pixels - self._mean) * self._scale)[0]

    def _write(self, pictures: torch.Tensor, texts: list[str]) -> list[Output]:
        """As the library's `generate`, which would encode the picture anew for each question."""
        tokens = self.tokenizer(texts, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            questions = self.model.text_encoder(
                input_ids=tokens["input_ids"],
                attention_mask=tokens["attention_mask"],
                encoder_hidden_states=pictures,
                encoder_attention_mask=_all(pictures),
            )[0]
            made = self.model.text_decoder.generate(
                input_ids=_all(questions)[:, :1] * self.model.decoder_start_token_id,
                encoder_hidden_states=questions,
                encoder_attention_mask=_all(questions),
                eos_token_id=self.model.config.text_config.sep_token_id,
                pad_token_id=self.model.config.text_config.pad_token_id,
                max_new_tokens=LENGTH, do_sample=False, num_beams=1,
                return_dict_in_generate=True, output_logits=True,
            )  # fmt: skip
        chances = self._chances(made)
        written = self.tokenizer.batch_decode(made.sequences, skip_special_tokens=True)
        pairs = zip(written, chances.tolist(), strict=True)
        return [Output(" ".join(text.split()), confidence=round(p, 4)) for text, p in pairs]

    def _chances(self, made) -> torch.Tensor:
        """The product of the probabilities of the tokens written, up to the end mark: (B)."""
        new = made.sequences[:, -len(made.logits) :]
        steps = torch.stack(made.logits, dim=1).float().log_softmax(dim=-1)
        logs = steps.gather(2, new[:, :, None])[:, :, 0]
        ended = (new == self.model.config.text_config.sep_token_id).cumsum(dim=1)
        before = torch.cat([torch.zeros_like(ended[:, :1]), ended[:, :-1]], dim=1) == 0
        return (logs * before).sum(dim=1).exp()


def _all(states: torch.Tensor) -> torch.Tensor:
    """An attention mask (B, L) that hides nothing of states (B, L, H)."""
    return torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
