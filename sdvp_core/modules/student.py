"""What the three trained modules have in common: a model with its tokenizer and its processor."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sdvp_core.modules import files
from sdvp_core.modules.call import Box
from sdvp_core.modules.view import Context, crop


@dataclass(frozen=True)
class CropSettings:
    """What sdvp.json keeps beside the checkpoint of a student that looks at crops."""

    context: dict[str, float] = field(default_factory=dict)  # of view.Context; none: real ones


class Student:
    """A model on a device, ready to answer; ``module`` is the name that programs call."""

    module: str

    def __init__(
        self, model: Any, tokenizer: Any, processor: Any, settings: Any, device: str = "cpu"
    ):
        self.model = model.to(device).eval()
        files.plain_attention(model, device)
        self.tokenizer = tokenizer
        self.processor = processor
        self.settings = settings
        self.device = device
        self.side = files.side_of(processor.size)
        self._mean, self._scale = files.mean_and_scale(processor, device)

    def save(self, folder: Path) -> None:
        """Everything `load` needs; equal weights give equal bytes."""
        files.save_parts(folder, self.model, self.tokenizer, self.processor, self.settings)


class CropStudent(Student):
    """A student that looks at a crop of the region, with a little of what is around it."""

    settings: CropSettings

    def crop(self, image: Image.Image, region: Box) -> np.ndarray:
        """uint8 (side, side, 3): what the student sees of a region."""
        return crop(image, region, Context(**self.settings.context), self.side)
