"""Targets for steps: the adapter and the teacher on every step, and which targets are kept.

A row whose target is not kept stays in the table with its reason.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from sdvp_core.base.compare import same
from sdvp_core.base.images import ImageError, ImageStore
from sdvp_core.base.params import Supervise
from sdvp_core.base.records import SUPERVISION, to_json
from sdvp_core.base.sample import Box, Sample
from sdvp_core.modules.call import Call, Module, call_of
from sdvp_core.teacher.adapter import TeacherInput, adapt, refers
from sdvp_core.teacher.model import PRESENT, Teacher
from sdvp_core.teacher.sight import Sight
from sdvp_core.teacher.views import view

Row = dict[str, Any]
TOP = 5  # answers of the soft target
FAINT = 0.05  # score from which a box makes a detection target less certain
THERE = 0.3  # probability of a centre from which something is taken to stand in a region
LABELLED_TOGETHER = 256  # traces


def label(
    traces: Iterable[Sequence[Row]],
    teacher: Teacher,
    images: ImageStore,
    settings: Supervise,
    answers: Collection[str] | None = None,
    oracle: Mapping[str, Module] | None = None,
    module_revision: str | None = None,
) -> Iterator[Row]:
    """Rows of the supervision table, in the order of the steps.

    A trace is all the steps of one execution: rows of the steps table, which may already hold
    further columns of the supervision table (question_id, task, forced, ...); columns they lack
    are null. ``answers`` are those the student can give (None: any), ``oracle`` modules that answer
    from annotations.
    """
    labeller = _Labeller(teacher, images, settings, answers, oracle or {}, module_revision)
    waiting = iter(traces)
    while chunk := list(islice(waiting, LABELLED_TOGETHER)):
        yield from labeller.rows(chunk)


def to_samples(rows: Iterable[Mapping[str, Any]]) -> list[Sample]:
    """Training examples from the kept rows of supervision or contrasts tables, in their order.

    Of rows that ask a module the same (image, region and text) the most certain one is taken.
    """
    best: dict[Call, tuple[float, Sample]] = {}
    for row in rows:
        if row["kept"]:
            call, sure = call_of(row), row["target_confidence"]
            if call not in best or sure > best[call][0]:
                best[call] = sure, _sample(call, row)
    return [sample for _, sample in best.values()]


def _sample(call: Call, row: Mapping[str, Any]) -> Sample:
    topk = [(top["answer"], float(top["probability"])) for top in row.get("target_topk") or ()]
    boxes = row.get("target_boxes") or ()
    return Sample(
        *(call.module, call.image_id, call.region, call.texts),
        answers=tuple(topk) if call.module == "vqa" else (),
        boxes=tuple(tuple(map(float, box["box"])) for box in boxes),
        scores=tuple(p for _, p in topk)
        if call.module == "match"
        else tuple(float(box["score"]) for box in boxes),
    )


def box_target(sight: Sight, call: Call, images: ImageStore) -> Row:
    """What the teacher finds by the text of a call of `locate`: the boxes and how sure it is."""
    found = sight.inside(call.image_id, images, call.texts[0], call.region, FAINT)
    return {
        "target_boxes": [
            {"box": [round(c, 2) for c in box], "score": round(score, 4)}
            for box, score in found
            if score >= PRESENT
        ],
        "target_confidence": round(min((_sure(score) for _, score in found), default=1.0), 4),
    }


class _Labeller:
    def __init__(
        self,
        teacher: Teacher,
        images: ImageStore,
        settings: Supervise,
        answers: Collection[str] | None,
        oracle: Mapping[str, Module],
        module_revision: str | None,
    ) -> None:
        self._teacher, self._images, self._settings = teacher, images, settings
        self._oracle = oracle
        self._revisions = {
            "module_revision": module_revision,
            "teacher_revision": teacher.revision,
        }
        self._columns = {answer: i for i, answer in enumerate(teacher.answer_words)}
        known = self._columns if answers is None else set(answers)
        self._known = np.array([answer in known for answer in teacher.answer_words], bool)
        self._sight = Sight(teacher)

    def rows(self, traces: Sequence[Sequence[Row]]) -> list[Row]:
        rows = [self._begun(step, trace) for trace in traces for step in trace]
        open_rows = [(r, self._grounded(r, given)) for r, given in rows if given is not None]
        scores = self._ask([(r, g) for r, g in open_rows if r["module"] == "vqa"], "answer")
        sure = self._ask([(r, g) for r, g in open_rows if r["module"] == "match"], "truths")
        for row, given in open_rows:
            if row["module"] == "locate":
                self._locate(row)
            elif row["module"] == "vqa":
                self._answer(row, scores[_key(row, given, given.questions[0][0])])
            else:
                self._match(row, given, sure)
            self._judge(row, given)
        self._consult([row for row, _ in rows])
        return [row for row, _ in rows]

    def _begun(self, step: Row, trace: Sequence[Row]) -> tuple[Row, TeacherInput | None]:
        """The row as far as the step tells it, and the teacher's input unless it has none."""
        row = {name: step.get(name) for name in SUPERVISION.names} | self._revisions
        row["kept"] = False
        reason = self._refusal(step)
        if reason is not None:
            return row | {"drop_reason": reason}, None
        strategy = self._settings.adapter.get(step["module"], "none")
        others = {other["index"]: other for other in trace}
        given = adapt(step, others, self._images.size(step["image_id"]), strategy)
        row |= {
            "adapter": given.adapter,
            "pointer": given.pointer,
            "teacher_text": given.text,
            "teacher_region": list(given.region),
        }
        asked = [question for option in given.questions for question in option]
        unknown = [w for q in asked for w in self._teacher.unknown(step["module"], q)]
        if unknown:
            return row | {"drop_reason": f"the teacher does not know {unknown[0]!r}"}, None
        return row, given

    def _refusal(self, step: Row) -> str | None:
        if step["output"] is None:
            return "the step failed"
        if step["module"] not in ("vqa", "locate", "match"):
            return f"no teacher for {step['module']}"
        part = self._teacher.detector if step["module"] == "locate" else self._teacher.answers
        if part is None:
            return f"no teacher for {step['module']}"
        try:
            self._images.get(step["image_id"])
        except ImageError:
            return "the image cannot be read"
        return None

    def _grounded(self, row: Row, given: TeacherInput) -> TeacherInput:
        """After a search in vain a name is all that points: the teacher finds the thing itself.

        A question that names its own subject is about all that was searched.
        """
        about_it = row["module"] == "match" or refers(row["text"])
        if not (given.searched and about_it) or self._teacher.detector is None:
            return given
        found = self._sight.inside(
            row["image_id"], self._images, given.pointer, call_of(row).region, PRESENT
        )
        if not found:
            return given
        row["teacher_region"] = [round(c, 2) for c in found[0][0]]
        return replace(given, region=tuple(row["teacher_region"]))

    def _ask(self, rows: Sequence[tuple[Row, TeacherInput]], how: str) -> dict[tuple, Any]:
        """What the teacher's `answer` or `truths` says to every question of some rows."""
        keys = {
            _key(row, given, question)
            for row, given in rows
            for option in given.questions
            for question in option
        }
        if not keys:
            return {}
        order = sorted(keys, key=repr)
        views = {k[:3]: view(self._images.get(k[0]), k[1], k[2]) for k in order}
        ask = getattr(self._teacher, how)
        scores = ask([views[k[:3]] for k in order], [k[3] for k in order])
        return dict(zip(order, scores, strict=True))

    def _answer(self, row: Row, scores: np.ndarray) -> None:
        best = int(scores.argmax())
        ranked = [int(i) for i in np.argsort(-scores, kind="stable") if self._known[i]][:TOP]
        words = self._teacher.answer_words
        row["target_answer"] = words[best]
        row["target_topk"] = [
            {"answer": words[i], "probability": round(float(scores[i]), 4)} for i in ranked
        ]
        row["target_confidence"] = round(float(scores[best]), 4)
        row["agree"] = same("vqa", json.loads(row["output"]), words[best])
        if not self._known[best]:
            row["drop_reason"] = "the student cannot give this answer"

    def _match(self, row: Row, given: TeacherInput, sure: Mapping[tuple, float]) -> None:
        options = row["text"].split(" | ")
        true = [
            min(float(sure[_key(row, given, question)]) for question in asked)
            for asked in given.questions
        ]
        best = int(np.argmax(true))
        single = "yes" if true[0] >= 0.5 else "no"
        row["target_answer"] = single if len(options) == 1 else options[best]
        row["target_topk"] = [
            {"answer": option, "probability": round(p, 4)}
            for option, p in zip(options, true, strict=True)
        ]
        row["target_confidence"] = round(min(max(p, 1 - p) for p in true), 4)
        row["agree"] = same("match", json.loads(row["output"]), true)

    def _locate(self, row: Row) -> None:
        row |= box_target(self._sight, call_of(row), self._images)
        boxes = [target["box"] for target in row["target_boxes"]]
        row["agree"] = same("locate", json.loads(row["output"]), boxes)

    def _judge(self, row: Row, given: TeacherInput) -> None:
        """Keep the row, or say why not."""
        least = self._settings.min_confidence.get(row["module"], 0.0)
        if row["drop_reason"] is None and row["module"] != "locate":
            # The student gets no pointer: of a wide view it cannot tell which thing "it" is.
            asks_of_it = row["module"] == "match" or refers(row["text"])
            if asks_of_it and not self._small(row):
                row["drop_reason"] = "nothing in the view says what is asked about"
            elif given.pointer is not None and not self._something(row):
                row["drop_reason"] = "the teacher sees nothing there"
        if row["drop_reason"] is None and row["target_confidence"] < least:
            row["drop_reason"] = f"confidence below {least}"
        row["kept"] = row["drop_reason"] is None

    def _small(self, row: Row) -> bool:
        width, height = self._images.size(row["image_id"])
        x0, y0, x1, y1 = row["region"]
        return (x1 - x0) * (y1 - y0) < 0.5 * width * height

    def _something(self, row: Row) -> bool:
        if self._teacher.detector is None:
            return True
        seen = self._sight.of(row["image_id"], self._images)
        region = call_of(row).region
        return any(
            centre >= THERE and _middle_in(box, region)
            for box, centre in zip(seen.boxes, seen.centres, strict=True)
        )

    def _consult(self, rows: Sequence[Row]) -> None:
        for name, module in sorted(self._oracle.items()):
            mine = [row for row in rows if row["module"] == name]
            outputs = module.answer([call_of(row) for row in mine], self._images) if mine else []
            for row, output in zip(mine, outputs, strict=True):
                if output.error is None:
                    row["oracle_answer"] = to_json(output.value(name))


def _sure(score: float) -> float:
    """How sure it is that a box is there, or is not: 0.5 at the threshold, 1 at either end."""
    if score >= PRESENT:
        return 0.5 + 0.5 * (score - PRESENT) / (1 - PRESENT)
    return 1 - 0.5 * score / PRESENT


def _key(row: Row, given: TeacherInput, question: str) -> tuple[str, Box, Box | None, str]:
    return row["image_id"], given.region, given.drawn, question


def _middle_in(box: Sequence[float], region: Box) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return region[0] < x < region[2] and region[1] < y < region[3]
