"""The module `locate`: boxes of a named thing in a region, by OWL-ViT.

Real checkpoints: any `OwlViTForObjectDetection`, as "google/owlvit-base-patch32". What is seen of a
region is not kept for later batches (nor by `match`): its last digits follow the shape of the batch
it was encoded in, and a run that was killed and started again must write the bytes of one that was
not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sdvp_core.base.images import ImageStore
from sdvp_core.modules import files
from sdvp_core.modules.call import Box, Call, Output
from sdvp_core.modules.student import Student
from sdvp_core.modules.texts import TextVectors
from sdvp_core.modules.tokens import build_tokenizer
from sdvp_core.modules.view import View, suppress, views

TEXT_LENGTH = 12


@dataclass(frozen=True)
class LocateSettings:
    """What sdvp.json keeps beside the checkpoint. The defaults, VisProg's, are for real ones."""

    threshold: float = 0.1  # of a box's score
    nms: float = 0.5  # overlap (IoU) above which the weaker of two boxes goes
    min_side: float = 0.0  # px: smaller regions keep their scale, on grey
    tile_aspect: float = 2.0  # longer regions are seen in tiles


class LocateStudent(Student):
    """OWL-ViT behind the module `locate`."""

    module = "locate"

    def __init__(self, *parts: Any):
        super().__init__(*parts)
        self._texts = TextVectors.within(self.model)

    @classmethod
    def create(cls, words: Iterable[str], answers: Sequence[str], seed: int) -> "LocateStudent":
        """A tiny untrained student (1M parameters, 100 px); ``answers`` are words too."""
        from transformers import OwlViTConfig, OwlViTForObjectDetection, OwlViTImageProcessorPil

        torch.manual_seed(seed)
        tokenizer = build_tokenizer([*words, *answers], TEXT_LENGTH)
        # gelu is one kernel on a CPU; OWL-ViT's own quick_gelu takes a quarter of a training step.
        text = {
            "hidden_act": "gelu", "vocab_size": len(tokenizer), "hidden_size": 64,
            "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2,
            "max_position_embeddings": TEXT_LENGTH, "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        }  # fmt: skip
        vision = {
            "hidden_act": "gelu", "hidden_size": 128, "intermediate_size": 512,
            "num_hidden_layers": 4, "num_attention_heads": 4, "image_size": 100, "patch_size": 10,
        }  # fmt: skip
        # The text vectors are compared with heads of the text's width: projection = text hidden.
        config = OwlViTConfig(text_config=text, vision_config=vision, projection_dim=64)
        model = OwlViTForObjectDetection(config)
        _start(model, tokenizer.all_special_ids)
        side = {"height": 100, "width": 100}
        processor = OwlViTImageProcessorPil(
            size=side, crop_size=side, resample=Image.Resampling.BILINEAR,
            image_mean=[0.7] * 3, image_std=[0.3] * 3,
        )  # fmt: skip
        return cls(model, tokenizer, processor, LocateSettings(0.5, 0.3, 100.0, 2.0))

    @classmethod
    def load(cls, source: str | Path, device: str = "cpu") -> "LocateStudent":
        """From a folder or a hub id."""
        from transformers import AutoTokenizer, OwlViTForObjectDetection, OwlViTImageProcessorPil

        return cls(
            files.from_pretrained(OwlViTForObjectDetection, source),
            files.from_pretrained(AutoTokenizer, source),
            files.from_pretrained(OwlViTImageProcessorPil, source),
            files.read_settings(LocateSettings, source) or LocateSettings(),
            device,
        )

    def views(self, region: Box, size: tuple[int, int]) -> list[View]:
        """The views of a region of an image of that size."""
        return views(region, size, self.settings.min_side, self.settings.tile_aspect)

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Token ids (N, L)."""
        length = self.model.config.text_config.max_position_embeddings
        rows = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=length,
            return_tensors="pt",
        )  # fmt: skip
        return rows["input_ids"]

    def embed_texts(self, tokens: torch.Tensor) -> torch.Tensor:
        """Token ids (N, L) -> query vectors (N, D), float32."""
        tokens = tokens.to(self.device)
        mask = (tokens != self.tokenizer.pad_token_id).long()
        found = self.model.owlvit.get_text_features(input_ids=tokens, attention_mask=mask)
        return torch.nn.functional.normalize(found.pooler_output.float(), dim=-1)

    def embed_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """8-bit pixels (B, side, side, 3) -> patch features (B, P, H), float32."""
        values = pixels.to(self.device).permute(0, 3, 1, 2).float()
        values = (values - self._mean) * self._scale
        seen, _ = self.model.image_embedder(pixel_values=values)
        return seen.flatten(1, 2).float()

    def heads(self, seen: torch.Tensor, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Patch features (B, P, H), query vectors (B, Q, D) -> logits (B, P, Q), boxes (B, P, 4).

        Boxes are centre x, centre y, width, height in [0, 1]. In float32 even under autocast: half
        precision would move a box by a fifth of a pixel.
        """
        with torch.autocast(torch.device(self.device).type, enabled=False):
            logits, _ = self.model.class_predictor(seen, queries)
            boxes = self.model.box_head(seen) + self.model.box_bias.to(seen.device)
        return logits, boxes.sigmoid()

    def answer(self, calls: Sequence[Call], images: ImageStore) -> list[Output]:
        """The boxes of each call's one text, in pixels of the image, by falling score."""
        keys = [(call.image_id, call.region) for call in calls]
        seen, failed = files.see(keys, images, self._look)
        texts: dict[Any, dict[str, None]] = {}  # what is asked of each region, once
        for key, call in zip(keys, calls, strict=True):
            texts.setdefault(key, {})[call.texts[0]] = None
        found = self._detect(seen, {key: list(asked) for key, asked in texts.items()})
        return [failed.get(k) or found[k, c.texts[0]] for k, c in zip(keys, calls, strict=True)]

    def _look(self, image: Image.Image, region: Box) -> list[tuple[View, np.ndarray]]:
        return [(v, v.pixels(image, self.side)) for v in self.views(region, image.size)]

    def _detect(self, seen: dict, asked: dict) -> dict[tuple[Any, str], Output]:
        queries = self._texts.of(self, (text for key in seen for text in asked[key]))
        rows = [(key, view, pixels) for key, pairs in seen.items() for view, pixels in pairs]
        raw: dict[tuple[Any, str], list[tuple[np.ndarray, np.ndarray]]] = {}
        for chunk in files.chunks(len(rows)):
            part = [rows[i] for i in chunk]
            vectors = [[queries[text] for text in asked[key]] for key, _, _ in part]
            scores, places = self._forward([pixels for _, _, pixels in part], vectors)
            for row, (key, view, _) in enumerate(part):
                for column, text in enumerate(asked[key]):
                    kept = self._kept(view, places[row], scores[row, :, column])
                    raw.setdefault((key, text), []).append(kept)
        return {place: self._joined(place[0][1], parts) for place, parts in raw.items()}

    def _forward(
        self, pixels: list[np.ndarray], vectors: list[list[torch.Tensor]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Views and the query vectors asked of each -> scores (B, P, Q), boxes (B, P, 4).

        B and Q are filled up to powers of two; what stands in the rows and columns that nobody
        asked for means nothing.
        """
        seen = torch.from_numpy(files.padded(pixels))
        most = 1 << (max(map(len, vectors)) - 1).bit_length()
        queries = vectors[0][0].new_zeros(len(seen), most, len(vectors[0][0]))
        for row, asked in enumerate(vectors):
            queries[row, : len(asked)] = torch.stack(asked)
        with torch.inference_mode():
            logits, boxes = self.heads(self.embed_images(seen), queries)
            return logits.sigmoid().cpu().numpy(), boxes.cpu().numpy()

    def _kept(
        self, view: View, boxes: np.ndarray, scores: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        strong = scores >= self.settings.threshold
        corners, scores = view.to_image(boxes[strong]), scores[strong]
        believed = view.believed(corners)
        return corners[believed], scores[believed]

    def _joined(self, region: Box, parts: list[tuple[np.ndarray, np.ndarray]]) -> Output:
        boxes = np.concatenate([boxes for boxes, _ in parts])
        scores = np.concatenate([scores for _, scores in parts])
        boxes[:, 0::2] = boxes[:, 0::2].clip(region[0], region[2])
        boxes[:, 1::2] = boxes[:, 1::2].clip(region[1], region[3])
        real = ((boxes[:, 2:] - boxes[:, :2]) >= 1.0).all(axis=1)
        boxes, scores = boxes[real], scores[real]
        kept = suppress(boxes, scores, self.settings.nms)
        return Output(
            boxes=tuple(tuple(round(float(c), 2) for c in boxes[i]) for i in kept),
            scores=tuple(round(float(scores[i]), 4) for i in kept),
            confidence=round(float(scores[kept[0]]), 4) if kept else 0.0,
        )


@torch.no_grad()
def _start(model: Any, silent: Sequence[int]) -> None:
    """Start values that let a small detector learn in minutes rather than hours."""
    files.share_keys(model)
    files.mean_words(model.owlvit.text_model, silent)
    torch.nn.init.normal_(
        model.owlvit.text_projection.weight, std=model.owlvit.text_embed_dim**-0.5
    )
    vision = model.owlvit.vision_model.embeddings
    patch = vision.patch_embedding.weight
    torch.nn.init.normal_(patch, std=patch[0].numel() ** -0.5)
    side = round((vision.num_positions - 1) ** 0.5)
    vision.position_embedding.weight[1:] = files.sine_grid(side, vision.embed_dim)
    for head in (model.class_head.dense0, model.box_head.dense0, model.box_head.dense1):
        torch.nn.init.normal_(head.weight, std=head.in_features**-0.5)
    # Cosines lie in [-1, 1]: with this scale and shift a match starts near sigmoid(5). Stock
    # weights make both differ by tens from patch to patch, and the queries collapse under that.
    torch.nn.init.zeros_(model.class_head.logit_scale.weight)
    torch.nn.init.zeros_(model.class_head.logit_shift.weight)
    model.class_head.logit_scale.bias.fill_(9.0)
    model.class_head.logit_shift.bias.fill_(-0.4)
    model.box_head.dense2.bias[2:] = 1.1  # boxes start at about two and a half patches
