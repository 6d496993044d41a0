"""BLIP behind the module `vqa`: it writes its answer. For answering only; ViLT is what trains.

Real checkpoints: any `BlipForQuestionAnswering`, as "Salesforce/blip-vqa-base".
"""

from collections.abc import Sequence
from pathlib import Path

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
        """The written answer to each call's question."""
        keys = [(call.image_id, call.region) for call in calls]
        seen, failed = files.see(keys, images, self._crop)
        asked = dict.fromkeys((k, c.texts[0]) for k, c in zip(keys, calls, strict=True))
        # Questions of one length go together: padding would reach the decoder, which has no mask.
        lengths: dict[int, list] = {}
        for key, text in asked:
            if key in seen:
                lengths.setdefault(len(self.tokenizer(text)["input_ids"]), []).append((key, text))
        known = {}
        for group in lengths.values():
            for rows in files.chunks(len(group)):
                part = [group[row] for row in rows]
                found = self._write([seen[key] for key, _ in part], [text for _, text in part])
                known |= dict(zip(part, found, strict=True))
        return [failed.get(k) or known[k, c.texts[0]] for k, c in zip(keys, calls, strict=True)]

    def _crop(self, image: Image.Image, region: Box) -> np.ndarray:
        return crop(image, region, Context(), self.side)

    def _write(self, crops: list[np.ndarray], texts: list[str]) -> list[Output]:
        pixels = torch.from_numpy(np.stack(crops)).to(self.device).permute(0, 3, 1, 2).float()
        tokens = self.tokenizer(texts, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            made = self.model.generate(
                input_ids=tokens["input_ids"],
                attention_mask=tokens["attention_mask"],
                pixel_values=(pixels - self._mean) * self._scale,
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
