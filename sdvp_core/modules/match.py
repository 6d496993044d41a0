"""The module `match`: how likely each of some texts is true of a region, by SigLIP.

SigLIP's sigmoid loss gives every pair its own probability ("Sigmoid Loss for Language Image
Pre-Training"). Real checkpoints: any `SiglipModel`, as "google/siglip-base-patch16-224".
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sdvp_core.base.images import ImageStore
from sdvp_core.modules import files
from sdvp_core.modules.call import Call, Output
from sdvp_core.modules.student import CropSettings, CropStudent
from sdvp_core.modules.texts import TextVectors
from sdvp_core.modules.tokens import build_tokenizer

TEXT_LENGTH = 12


class MatchStudent(CropStudent):
    """SigLIP behind the module `match`."""

    module = "match"

    def __init__(self, *parts: Any):
        super().__init__(*parts)
        self._texts = TextVectors.within(self.model)

    @classmethod
    def create(cls, words: Iterable[str], answers: Sequence[str], seed: int) -> "MatchStudent":
        """A tiny untrained student (48 px) that knows these words; ``answers`` are words too."""
        from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

        torch.manual_seed(seed)
        tokenizer = build_tokenizer([*words, *answers], TEXT_LENGTH, mask=False)
        text = {
            "vocab_size": len(tokenizer), "hidden_size": 64, "projection_size": 128,
            "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2,
            "max_position_embeddings": TEXT_LENGTH, "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        }  # fmt: skip
        vision = {
            "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4,
            "num_attention_heads": 4, "image_size": 48, "patch_size": 8,
        }  # fmt: skip
        model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
        files.share_keys(model)
        with torch.no_grad():
            files.mean_words(model.text_model, tokenizer.all_special_ids)
            model.vision_model.embeddings.position_embedding.weight.copy_(files.sine_grid(6, 128))
            model.logit_scale.fill_(2.3)  # log 10, as in the paper
        processor = SiglipImageProcessorPil(
            size={"height": 48, "width": 48}, resample=Image.Resampling.BILINEAR
        )
        return cls(model, tokenizer, processor, CropSettings({"pixels": 2.0, "share": 0.03}))

    @classmethod
    def load(cls, source: str | Path, device: str = "cpu") -> "MatchStudent":
        """From a folder or a hub id."""
        from transformers import AutoTokenizer, SiglipImageProcessorPil, SiglipModel

        return cls(
            files.from_pretrained(SiglipModel, source),
            files.from_pretrained(AutoTokenizer, source),
            files.from_pretrained(SiglipImageProcessorPil, source),
            files.read_settings(CropSettings, source) or CropSettings(),
            device,
        )

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Token ids (N, L), always of full length: SigLIP pools its text at the last position."""
        length = self.model.config.text_config.max_position_embeddings
        rows = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=length,
            return_tensors="pt",
        )  # fmt: skip
        return rows["input_ids"]

    def embed_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """8-bit pixels (B, side, side, 3) -> unit vectors (B, D), float32."""
        values = pixels.to(self.device).permute(0, 3, 1, 2).float()
        values = (values - self._mean) * self._scale
        found = self.model.get_image_features(pixel_values=values).pooler_output.float()
        return torch.nn.functional.normalize(found, dim=-1)

    def embed_texts(self, tokens: torch.Tensor) -> torch.Tensor:
        """Token ids (N, L) -> unit vectors (N, D), float32."""
        found = self.model.get_text_features(input_ids=tokens.to(self.device)).pooler_output
        return torch.nn.functional.normalize(found.float(), dim=-1)

    def logits(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Every crop with every text, (B, N): their sigmoid is the probability of the pair."""
        pairs = self.embed_images(pixels) @ self.embed_texts(tokens).T
        return pairs * self.model.logit_scale.exp() + self.model.logit_bias

    def answer(self, calls: Sequence[Call], images: ImageStore) -> list[Output]:
        """The probability of each text of each call; the likeliest one is the ``answer``."""
        keys = [(call.image_id, call.region) for call in calls]
        seen, failed = files.see(keys, images, self.crop)
        texts = list(dict.fromkeys(text for call in calls for text in call.texts))
        place = {text: index for index, text in enumerate(texts)}
        pictured = {key: index for index, key in enumerate(seen)}
        table = self._table(list(seen.values()), texts)
        return [
            failed.get(k) or _output(c, table[pictured[k], [place[t] for t in c.texts]])
            for k, c in zip(keys, calls, strict=True)
        ]

    def _table(self, crops: list[np.ndarray], texts: list[str]) -> np.ndarray:
        """Probabilities of all crops with all texts: each is encoded once."""
        if not crops or not texts:
            return np.zeros((len(crops), len(texts)))
        known = self._texts.of(self, texts)
        with torch.inference_mode():
            pictures = [
                self.embed_images(torch.from_numpy(files.padded([crops[i] for i in rows])))
                [: len(rows)] for rows in files.chunks(len(crops))
            ]  # fmt: skip
            pairs = torch.cat(pictures) @ torch.stack([known[text] for text in texts]).T
            logits = pairs * self.model.logit_scale.exp() + self.model.logit_bias
        return logits.sigmoid().cpu().numpy()


def _output(call: Call, scores: np.ndarray) -> Output:
    if not call.texts:
        return Output(error="match was asked without a text")
    best = int(np.argmax(scores))
    kept = tuple(round(float(score), 4) for score in scores)
    return Output(call.texts[best], scores=kept, confidence=kept[best])
