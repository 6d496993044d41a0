"""A trace made ready to be shown: pictures with marks, and what each module was asked and said."""

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from sdvp_core.evaluate.score import step_correct
from sdvp_core.report.text import clean

Box = tuple[float, float, float, float]
# Told apart by the commonest kinds of colour blindness too; steps are numbered besides.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7b5ea7", "#5b6770")
_LONGEST_SIDE = 640
_PNG_PIXELS = 200 * 200
_BOXES_SHOWN = 12


@dataclass(frozen=True)
class Picture:
    """One image of a trace: the encoded file inline, its size in original pixels, marks."""

    identity: str
    uri: str
    width: int
    height: int
    marks: tuple["Mark", ...] = ()


@dataclass(frozen=True)
class Mark:
    """A region drawn on a picture, with the numbers of the steps that looked at it."""

    box: Box
    numbers: str
    colour: str


@dataclass(frozen=True)
class Answer:
    """What one of the three says: student, teacher, oracle. ``right`` None where nobody knows."""

    text: str
    boxes: tuple[Box, ...] = ()
    right: bool | None = None


@dataclass(frozen=True)
class StepView:
    """One step, ready to be shown."""

    number: int
    colour: str
    module: str
    asked: str
    picture: Picture | None
    view: Box | None
    student: Answer
    teacher: Answer | None
    oracle: Answer | None
    agree: bool | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TraceView:
    """One execution, ready to be shown. ``right`` None where the expected answer is unknown."""

    title: str
    question: str
    program: str
    answer: str
    status: str
    expected: str | None = None
    right: bool | None = None
    pictures: tuple[Picture, ...] = ()
    steps: tuple[StepView, ...] = ()


def trace_view(
    identity: str,
    images: Mapping[str, Image.Image],
    question: str,
    program: str,
    rows: Sequence[Mapping[str, Any]],
    answer: Any,
    title: str = "",
    expected: str | None = None,
    right: bool | None = None,
    status: str = "ok",
) -> TraceView:
    """Prepare a trace. ``identity`` (a plain word) must be unique on the page."""
    pictures = {
        image_id: _picture(f"{identity}-{place}", image, _marks(image_id, image, rows))
        for place, (image_id, image) in enumerate(images.items())
    }
    return TraceView(
        title=clean(title, 120),
        question=clean(question, 500),
        program=clean(program, 6000),
        answer=_say(answer),
        status=clean(status, 200),
        expected=None if expected is None else clean(expected),
        right=right,
        pictures=tuple(pictures.values()),
        steps=tuple(_step_view(place, row, pictures) for place, row in enumerate(rows)),
    )


def _step_view(place: int, row: Mapping[str, Any], pictures: Mapping[str, Picture]) -> StepView:
    module, picture = row["module"], pictures.get(row["image_id"])
    student = _decoded(row.get("output"))
    oracle, target = _decoded(row.get("oracle_answer")), _target(row)
    known = oracle is not None

    def answer(value: Any, judged: bool) -> Answer:
        right = _right(module, value, oracle) if known and judged else None
        return Answer(_say(value, module, row["text"]), _boxes(value, module), right)

    error = row.get("error")
    shown = Answer(f"no answer: {clean(error, 120)}") if error else answer(student, True)
    return StepView(
        number=place + 1,
        colour=PALETTE[place % len(PALETTE)],
        module=clean(module, 40),
        asked=clean(row["text"]),
        picture=picture,
        view=_view(row.get("region"), picture),
        student=shown,
        teacher=None if target is None else answer(target, True),
        oracle=answer(oracle, False) if known else None,
        agree=row.get("agree") if target is not None else None,
        notes=_notes(row),
    )


def _notes(row: Mapping[str, Any]) -> tuple[str, ...]:
    notes = []
    if row.get("teacher_text") and row["teacher_text"] != row["text"]:
        notes.append(f"the teacher was asked: {clean(row['teacher_text'], 160)}")
    if row.get("kept") is False:
        notes.append(f"not trained on: {clean(row.get('drop_reason') or 'no reason given', 80)}")
    return tuple(notes)


def _target(row: Mapping[str, Any]) -> Any:
    """The teacher's target in the form of `output`, None where there is none."""
    if row["module"] == "locate":
        boxes = row.get("target_boxes")
        return None if boxes is None else [scored["box"] for scored in boxes]
    if row["module"] == "match" and row.get("target_topk"):
        likely = {pair["answer"]: pair["probability"] for pair in row["target_topk"]}
        options = row["text"].split(" | ")
        if all(option in likely for option in options):
            return [likely[option] for option in options]
    return row.get("target_answer")


def _right(module: str, value: Any, oracle: Any) -> bool | None:
    if isinstance(value, str) and isinstance(oracle, list):  # an option's name beside scores
        return None
    try:
        return step_correct(module, value, oracle)
    except (TypeError, ValueError, IndexError):
        return None


def _say(value: Any, module: str = "", text: str = "") -> str:
    """A value in words: boxes are counted, scores get their option's name."""
    if module == "locate" and isinstance(value, list):
        return f"{len(value)} box{'' if len(value) == 1 else 'es'}" if value else "nothing"
    if module == "match" and isinstance(value, list):
        options = text.split(" | ")
        pairs = zip(options, value, strict=False)
        return "\n".join(f"{clean(option, 60)} {_two(score)}" for option, score in pairs)
    if value is None:
        return "no answer"
    return clean(value if isinstance(value, str) else json.dumps(value, default=str))


def _two(score: Any) -> str:
    return f"{score:.2f}" if isinstance(score, int | float) else clean(score, 20)


def _boxes(value: Any, module: str) -> tuple[Box, ...]:
    if module != "locate" or not isinstance(value, list):
        return ()
    found = [_box(item) for item in value[:_BOXES_SHOWN]]
    return tuple(box for box in found if box is not None)


def _box(value: Any) -> Box | None:
    """Four finite numbers, rounded; None for anything else."""
    try:
        x0, y0, x1, y1 = (round(float(c), 2) for c in value)
    except (TypeError, ValueError, OverflowError):
        return None
    return (x0, y0, x1, y1) if all(map(math.isfinite, (x0, y0, x1, y1))) else None


def _view(region: Any, picture: Picture | None) -> Box | None:
    """x, y, width, height of what a step saw, with a little margin so that borders show."""
    box = _box(region) if region is not None else None
    if box is None or picture is None:
        return None
    margin = 0.04 * max(box[2] - box[0], box[3] - box[1], 1.0)
    x0, y0 = max(0.0, box[0] - margin), max(0.0, box[1] - margin)
    x1, y1 = min(picture.width, box[2] + margin), min(picture.height, box[3] + margin)
    return (x0, y0, round(max(x1 - x0, 1.0), 2), round(max(y1 - y0, 1.0), 2))


def _marks(
    image_id: str, image: Image.Image, rows: Sequence[Mapping[str, Any]]
) -> tuple[Mark, ...]:
    """Regions of an image smaller than the whole, equal ones once with all their numbers."""
    numbers: dict[Box, list[int]] = {}
    for place, row in enumerate(rows):
        box = _box(row["region"]) if row.get("region") is not None else None
        if row["image_id"] != image_id or box is None:
            continue
        if (box[2] - box[0]) * (box[3] - box[1]) < 0.98 * image.width * image.height:
            numbers.setdefault(box, []).append(place)
    return tuple(
        Mark(box, ",".join(str(p + 1) for p in places), PALETTE[places[0] % len(PALETTE)])
        for box, places in numbers.items()
    )


def _picture(identity: str, image: Image.Image, marks: tuple[Mark, ...]) -> Picture:
    width, height = image.size
    small = image.convert("RGB")
    small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    stream = io.BytesIO()
    kind = "png" if small.width * small.height <= _PNG_PIXELS else "jpeg"
    small.save(stream, kind, **({"optimize": True} if kind == "png" else {"quality": 85}))
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return Picture(identity, f"data:image/{kind};base64,{data}", width, height, marks)


def _decoded(text: Any) -> Any:
    if not isinstance(text, str):
        return None
    try:
        return json.loads(text)
    except (json.JSONDecodeError, ValueError):
        return text
