"""The teacher put in the modules' place: what the students' teacher could do by itself.

A module call has no ancestry, so it is asked as it is (strategy `none`); this is also how the bare
teacher is asked a task's own question about the whole image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdvp_core.base.images import ImageError, ImageStore
from sdvp_core.base.wording import verify
from sdvp_core.modules.call import Call, Module, Output
from sdvp_core.teacher.model import Teacher, load
from sdvp_core.teacher.sight import Sight
from sdvp_core.teacher.views import view


def load_modules(folder: Path | str, device: str = "cpu") -> dict[str, Module]:
    """The teacher of a folder behind the names locate, vqa and match."""
    teacher = load(folder, device)
    sight = Sight(teacher)
    return {name: TeacherModule(teacher, name, sight) for name in ("locate", "vqa", "match")}


def revision(folder: Path | str) -> str:
    """16 hex digits that change with the teacher's weights."""
    return load(folder).revision


@dataclass(frozen=True)
class TeacherModule:
    """One module answered by a teacher."""

    teacher: Teacher
    module: str
    sight: Sight

    def answer(self, calls: Sequence[Call], images: ImageStore) -> list[Output]:
        """One output per call, in order; what it cannot answer has ``error`` set."""
        failed = {call: reason for call in calls if (reason := self._refusal(call, images))}
        asked = [call for call in dict.fromkeys(calls) if call not in failed]
        done = dict(zip(asked, self._answered(asked, images), strict=True))
        return [done[call] if call in done else Output(error=failed[call]) for call in calls]

    def _refusal(self, call: Call, images: ImageStore) -> str | None:
        part = self.teacher.detector if self.module == "locate" else self.teacher.answers
        if part is None:
            return f"the teacher has no part for {self.module}"
        try:
            images.get(call.image_id)
        except ImageError as error:
            return str(error)
        return None

    def _answered(self, calls: Sequence[Call], images: ImageStore) -> list[Output]:
        if not calls:
            return []
        if self.module == "locate":
            return self._located(calls, images)
        questions = [
            (call, text if self.module == "vqa" else verify(text, noun=True))
            for call in calls
            for text in call.texts
        ]
        views = {
            key: view(images.get(key[0]), key[1])
            for key in dict.fromkeys((call.image_id, call.region) for call in calls)
        }
        looks = [views[call.image_id, call.region] for call, _ in questions]
        texts = [question for _, question in questions]
        if self.module == "vqa":
            scores = self.teacher.answer(looks, texts)
            best = scores.argmax(1)
            words = self.teacher.answer_words
            return [
                Output(words[i], confidence=round(float(row[i]), 4))
                for i, row in zip(best, scores, strict=True)
            ]
        return self._matched(calls, self.teacher.truths(looks, texts))

    def _matched(self, calls: Sequence[Call], yes: np.ndarray) -> list[Output]:
        outputs, start = [], 0
        for call in calls:
            mine = [round(float(p), 4) for p in yes[start : start + len(call.texts)]]
            start += len(call.texts)
            best = int(np.argmax(mine))
            outputs.append(Output(call.texts[best], scores=tuple(mine), confidence=mine[best]))
        return outputs

    def _located(self, calls: Sequence[Call], images: ImageStore) -> list[Output]:
        outputs = []
        for call in calls:
            seen = self.sight.of(call.image_id, images)
            boxes = self.teacher.inside(seen, call.texts[0], call.region)
            scores = tuple(round(score, 4) for _, score in boxes)
            outputs.append(
                Output(
                    boxes=tuple(box for box, _ in boxes),
                    scores=scores,
                    confidence=max(scores, default=0.0),
                )
            )
        return outputs
