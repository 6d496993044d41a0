"""A task's teacher: one small network for answers, one for boxes, saved in one folder.

``models/teacher/<task>/answers`` and ``.../boxes`` hold `config.json` and `model.safetensors`.
Either may be missing: then the steps it would label have no target. `answers` may also be a VQA
checkpoint of others (third_party.py).
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sdvp_core.base import wording
from sdvp_core.base.compare import overlap
from sdvp_core.base.errors import UserError
from sdvp_core.base.ontology import KIND_OF
from sdvp_core.base.sample import Box
from sdvp_core.base.tables import write_json
from sdvp_core.teacher.answers import AnswerTeacher
from sdvp_core.teacher.boxes import BoxTeacher, Candidates, candidates, stack
from sdvp_core.teacher.views import view
from sdvp_core.teacher.words import heads_of, words_of

LEAST = 0.1  # probability of a centre below which a cell is no candidate
# Score from which a box is there. The heat of a centre between two cells stays low, so 0.5 would
# lose 5 boxes of 100 to gain 1 in 1000.
PRESENT = 0.35
OVERLAP = 0.6  # IoU above which the less likely of two boxes is a double of the other
_PARTS = {"answers": AnswerTeacher, "boxes": BoxTeacher}


class Teacher:
    """Answers questions about views and finds described things; see :func:`load` and fit.py."""

    def __init__(
        self,
        answers: AnswerTeacher | None,
        boxes: BoxTeacher | None,
        device: str = "cpu",
    ) -> None:
        self.answers = _ready(answers, device)
        self.detector = _ready(boxes, device)
        self.device = device

    @property
    def answer_words(self) -> tuple[str, ...]:
        """The answers it knows, in the order of the columns of :meth:`answer`."""
        return self.answers.config.answers if self.answers is not None else ()

    @property
    def revision(self) -> str:
        """16 hex digits that depend on sizes, words and weights alone."""
        digest = hashlib.sha256()
        for model in (self.answers, self.detector):
            if model is None:
                digest.update(b"none")
                continue
            digest.update(json.dumps(model.settings(), sort_keys=True).encode())
            for name, tensor in sorted(model.state_dict().items()):
                digest.update(name.encode() + tensor.detach().cpu().float().numpy().tobytes())
        return digest.hexdigest()[:16]

    def parameters(self) -> dict[str, int]:
        """Number of weights of each part: to be smaller than the student it teaches."""
        parts = {"answers": self.answers, "boxes": self.detector}
        return {k: sum(p.numel() for p in m.parameters()) for k, m in parts.items() if m}

    def unknown(self, module: str, text: str) -> list[str]:
        """Words of a question (vqa, match) or description (locate) it was never taught."""
        if module == "locate":
            heads = self.detector.config.heads if self.detector is not None else ()
            return heads_of(text, heads)[1]
        return self.answers.unknown(text) if self.answers is not None else words_of(text)

    def answer(
        self,
        pictures: Sequence[Image.Image | np.ndarray],
        questions: Sequence[str],
        batch: int = 128,
    ) -> np.ndarray:
        """Probabilities (N, answers) of N questions on N pictures.

        A picture is an image or a view (views.py). One object given several times is looked at
        once. Raises ``ValueError`` where there is no teacher of answers.
        """
        if self.answers is None:
            raise ValueError("this teacher has no part that answers")
        looks = {id(p): view(p) if isinstance(p, Image.Image) else p for p in pictures}
        shapes: dict[tuple[int, ...], list[int]] = {}
        for index, picture in enumerate(pictures):
            shapes.setdefault(looks[id(picture)].shape, []).append(index)
        result = np.zeros((len(questions), len(self.answer_words)), np.float32)
        for members in shapes.values():
            members = _by_picture(members, pictures)
            for start in range(0, len(members), batch):
                chunk = members[start : start + batch]
                seen = [looks[id(pictures[i])] for i in chunk]
                result[chunk] = self.answers.scores(seen, [questions[i] for i in chunk])
        return result

    def find(self, images: Sequence[Image.Image], batch: int = 32) -> list[Candidates]:
        """Everything it sees in each image, with its words; images of one size go together."""
        if self.detector is None:
            raise ValueError("this teacher has no part that finds boxes")
        found: list[Candidates | None] = [None] * len(images)
        sizes: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(images):
            sizes.setdefault(image.size, []).append(index)
        for members in sizes.values():
            for start in range(0, len(members), batch):
                chunk = members[start : start + batch]
                for index, seen in zip(chunk, self._find([images[i] for i in chunk]), strict=True):
                    found[index] = seen
        return found  # type: ignore[return-value]

    def boxes(
        self, image: Image.Image, descriptions: Sequence[str], least: float = PRESENT
    ) -> list[list[tuple[Box, float]]]:
        """For each description its boxes in pixels of the image, by falling score."""
        seen = self.find([image])[0]
        return [self.described(seen, text, least) for text in descriptions]

    def described(
        self, seen: Candidates, description: str, least: float = PRESENT
    ) -> list[tuple[Box, float]]:
        """Which candidates fit a description; score = P(centre) x the least P of its words.

        A description with a word that is no head fits nothing: ask :meth:`unknown` first.
        """
        places, missing = heads_of(description, self.detector.config.heads)
        if missing or not len(seen.boxes):
            return []
        scores = seen.centres * (seen.words[:, places].min(1) if places else 1.0)
        order = [i for i in np.argsort(-scores, kind="stable") if scores[i] >= least]
        kept: list[int] = []
        for index in order:
            if all(overlap(seen.boxes[index], seen.boxes[other]) < OVERLAP for other in kept):
                kept.append(index)
        return [(tuple(map(float, seen.boxes[i])), float(scores[i])) for i in kept]

    def inside(
        self, seen: Candidates, description: str, region: Box, least: float = PRESENT
    ) -> list[tuple[Box, float]]:
        """:meth:`described`, of those whose centre is in a region, clipped to it."""
        found = []
        for (x0, y0, x1, y1), score in self.described(seen, description, least):
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            if region[0] < x < region[2] and region[1] < y < region[3]:
                corners = max(x0, region[0]), max(y0, region[1])
                found.append(((*corners, min(x1, region[2]), min(y1, region[3])), score))
        return found

    def yes(self, scores: np.ndarray) -> np.ndarray:
        """Probability of "yes" against "no" (N,) from the rows of :meth:`answer`."""
        columns = {word: place for place, word in enumerate(self.answer_words)}
        yes, no = (
            scores[:, columns[word]] if word in columns else np.zeros(len(scores), np.float32)
            for word in ("yes", "no")
        )
        return yes / np.maximum(1e-9, yes + no)

    def truths(
        self, pictures: Sequence[Image.Image | np.ndarray], questions: Sequence[str]
    ) -> np.ndarray:
        """Probability (N,) that each of N yes/no questions is to be answered yes.

        "Is the square red?" is read off the answers to "What color is the square?" where the
        teacher knows the word: open questions are what a small teacher answers best.
        """
        open_questions = [self._opened(question) for question in questions]
        scores = self.answer(
            [p for p, asked in zip(pictures, open_questions, strict=True) for _ in asked],
            [question for asked in open_questions for question, _ in asked],
        )
        columns = {word: place for place, word in enumerate(self.answer_words)}
        sure, row = np.zeros(len(questions), np.float32), 0
        for place, asked in enumerate(open_questions):
            rows = scores[row : row + len(asked)]
            row += len(asked)
            sure[place] = min(
                float(self.yes(line[None])[0]) if word == "yes" else float(line[columns[word]])
                for line, (_, word) in zip(rows, asked, strict=True)
            )
        return sure

    def _opened(self, question: str) -> list[tuple[str, str]]:
        """Open questions with the answers that together mean yes; else the question itself."""
        asked = wording.parse(question)
        words = asked.value.split() if asked and asked.kind == "is" else []
        known = [w for w in words if w in KIND_OF and w in self.answer_words]
        opened = [(wording.query(KIND_OF[w], asked.subject), w) for w in known]
        vague = set(words) - set(known) - {"object", "item", "thing"}
        if not opened or vague or any(self.unknown("vqa", q) for q, _ in opened):
            return [(question, "yes")]
        return opened

    @torch.inference_mode()
    def _find(self, images: list[Image.Image]) -> list[Candidates]:
        width, height = images[0].size
        scale = min(1.0, self.detector.config.longest / max(width, height))
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            images = [image.resize(size, Image.Resampling.BILINEAR) for image in images]
        maps = self.detector(stack([np.asarray(image) for image in images]).to(self.device))
        clip = np.array([width, height, width, height], float)
        seen = [candidates(maps, index, scale, LEAST) for index in range(len(images))]
        return [Candidates(np.clip(s.boxes, 0, clip), s.centres, s.words) for s in seen]


def save(teacher: Teacher, folder: Path) -> None:
    """Write the parts of a teacher below a folder; equal weights give equal bytes."""
    for name, model in (("answers", teacher.answers), ("boxes", teacher.detector)):
        if model is None:
            continue
        (folder / name).mkdir(parents=True, exist_ok=True)
        write_json(folder / name / "config.json", model.settings())
        tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
        save_file(tensors, folder / name / "model.safetensors")


def load(folder: Path | str, device: str = "cpu") -> Teacher:
    """A teacher from a folder that :func:`save` wrote; ``UserError`` where it is none."""
    folder = Path(folder)
    parts = {name: _load_part(folder / name, kind) for name, kind in _PARTS.items()}
    if not any(parts.values()):
        raise UserError(
            f"{folder} holds no teacher: it needs `answers` or `boxes` with config.json and "
            "model.safetensors; run the stage `teacher`, or name another folder in params.yaml."
        )
    return Teacher(parts["answers"], parts["boxes"], device)


def _ready(model: Any, device: str) -> Any:
    """For use: always in one memory format, for another one rounds differently."""
    if model is None:
        return None
    return model.to(device).to(memory_format=torch.channels_last).eval()


def _load_part(folder: Path, kind: Any) -> Any:
    if not (folder / "config.json").is_file():
        return None
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if "model_type" in settings and kind is AnswerTeacher:
            from sdvp_core.teacher.third_party import VqaCheckpoint

            return VqaCheckpoint(folder)
        model = kind.build(settings)
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder} is no teacher that can be loaded ({reason}).") from error
    return model


def _by_picture(members: list[int], pictures: Sequence[Any]) -> list[int]:
    """Indices so ordered that questions on one picture stand together, first asked first."""
    first: dict[int, int] = {}
    for index in sorted(members):
        first.setdefault(id(pictures[index]), index)
    return sorted(members, key=lambda index: (first[id(pictures[index])], index))
