"""A VQA checkpoint of others as the teacher of answers: any that the module `vqa` can load."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sdvp_core.modules.vqa import VqaStudent


@dataclass(frozen=True)
class _Answers:
    answers: tuple[str, ...]


class VqaCheckpoint:
    """Asked as an `AnswerTeacher` is. Its tokenizer knows every word, so none is refused."""

    def __init__(self, folder: Path) -> None:
        self._student = VqaStudent.load(folder)
        self.config = _Answers(tuple(self._student.answers))

    def unknown(self, question: str) -> list[str]:
        """No word: subwords cover them all."""
        return []

    @torch.inference_mode()
    def scores(self, looks: Sequence[np.ndarray], questions: Sequence[str]) -> np.ndarray:
        """Probabilities (N, answers) of N questions on N views."""
        student = self._student
        pixels = [
            student.crop(Image.fromarray(look), (0.0, 0.0, look.shape[1], look.shape[0]))
            for look in looks
        ]
        logits = student.logits(torch.from_numpy(np.stack(pixels)), student.encode(questions))
        return logits.softmax(1).cpu().numpy()

    def settings(self) -> dict[str, Any]:
        """What tells it from other checkpoints, beside its weights."""
        return {"answers": list(self.config.answers)}

    def parameters(self) -> Any:
        return self._student.model.parameters()

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self._student.model.state_dict()

    def to(self, *where: Any, **how: Any) -> "VqaCheckpoint":
        """Moves to a device; the memory format is the checkpoint's own."""
        if where:
            self._student.model.to(where[0])
            self._student.device = where[0]
        return self

    def eval(self) -> "VqaCheckpoint":
        self._student.model.eval()
        return self
