"""The vectors of texts, each encoded once for as long as the weights stay the same."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

TEXTS = 10_000  # the names in all of GQA are fewer; at a real student's 768 numbers a text: 31 MB
ROWS = 8  # of a forward pass, always: eight small texts take little longer than one


class TextVectors(nn.Module):
    """The last ``TEXTS`` vectors of a student whose ``encode`` gives token ids of fixed length.

    It has no weights. It is a module, a part of the student's model, so that whatever walks over
    the model to change it (``train``, ``eval``, ``to``, ``load_state_dict``) empties it: a folded
    LoRA adapter leaves no other trace. Weights changed in place in between show in their versions.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._seen = -1  # the sum of the weights' versions that the vectors belong to

    @classmethod
    def within(cls, model: nn.Module) -> "TextVectors":
        """A new one, made a part of the model."""
        model.add_module("text_vectors", cls())
        return model.text_vectors

    def of(self, student: Any, texts: Iterable[str]) -> dict[str, torch.Tensor]:
        """The vector (D) of each text, on the student's device.

        Every forward pass has the same shape, so that a vector is the same to the last bit whatever
        else is encoded with it: what stands here from earlier batches changes no answer.
        """
        self._compare(student.model)
        asked = list(dict.fromkeys(texts))
        found = {text: self._known[text] for text in asked if text in self._known}
        missing = [text for text in asked if text not in found]
        for start in range(0, len(missing), ROWS):
            part = missing[start : start + ROWS]
            with torch.inference_mode():
                vectors = student.embed_texts(student.encode(part + [""] * (ROWS - len(part))))
            found |= {text: vector.clone() for text, vector in zip(part, vectors, strict=False)}
        if not student.model.training:  # dropout would be kept with the vectors
            self._keep({text: found[text] for text in asked})
        return found

    def _keep(self, found: dict[str, torch.Tensor]) -> None:
        for text, vector in found.items():
            self._known[text] = vector
            self._known.move_to_end(text)
        while len(self._known) > TEXTS:
            self._known.popitem(last=False)

    def _compare(self, model: nn.Module) -> None:
        version = sum(weight._version for weight in model.parameters())
        if version != self._seen:
            self._known.clear()
        self._seen = version

    def train(self, mode: bool = True) -> "TextVectors":
        self._known.clear()
        return super().train(mode)

    def _apply(self, *arguments: Any, **options: Any) -> "TextVectors":
        self._known.clear()
        return super()._apply(*arguments, **options)

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        self._known.clear()
        super()._load_from_state_dict(*arguments, **options)
