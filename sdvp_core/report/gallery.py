"""Traces to look at: what the program did, what each module saw, said and should have said."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from sdvp_core.base.folder import TaskFolder
from sdvp_core.base.images import ImageError, ImageStore
from sdvp_core.base.records import EXECUTIONS, SUPERVISION
from sdvp_core.base.tables import iterate_rows
from sdvp_core.report.page import anchor, render
from sdvp_core.report.text import clean
from sdvp_core.report.views import TraceView, trace_view

Row = Mapping[str, Any]
_FEW_STEPS = 4  # a trace of about so many steps is read at a glance


def trace_html(
    image: Image.Image | Mapping[str, Image.Image],
    question: str,
    program: str,
    steps: Iterable[Any],
    answer: Any,
    targets: Mapping[int, Mapping[str, Any]] | None = None,
    status: str = "ok",
) -> str:
    """A self-contained page of one trace.

    ``image``: the image, or several by image id. ``steps``: steps of a trace, or rows of the steps
    or supervision table. ``targets``: per index of a step, the supervision columns that a teacher
    and an oracle would fill. ``answer``: a JSON value; ``status`` other than ok is printed.
    """
    rows = [as_row(step) | dict((targets or {}).get(_index(step), {})) for step in steps]
    images = image if isinstance(image, Mapping) else _one_image(image, rows)
    view = trace_view("t", images, question, program, rows, answer, status=status)
    return render("trace_page.html.j2", trace=view, title=clean(question, 80))


@dataclass(frozen=True)
class LinkTables:
    """What the traces of one link are chosen from. ``programs``: program text by program id."""

    link: str
    supervision: Path
    executions: Path
    questions: Mapping[str, Row]
    programs: Mapping[str, str]
    images: ImageStore

    @classmethod
    def of(
        cls,
        link: str,
        supervision: Path,
        executions: Path,
        task: TaskFolder,
        dialects: Collection[str],
    ) -> "LinkTables":
        """The tables of a link that distills this task in these dialects."""
        questions = task.questions("distill")
        programs = task.programs(questions, dialects)
        texts = {row["program_id"]: row["program"] for row in programs}
        images = ImageStore.from_table(task.path / "images.parquet")
        return cls(link, supervision, executions, questions, texts, images)


def collect(tables: LinkTables, count: int = 4) -> list[TraceView]:
    """``count`` traces of a link, spread over its dialects, no question twice.

    Programs that ended in a wrong answer and whose steps the teacher would have answered otherwise
    come first: they show what the link learns from. The same tables give the same traces.
    """
    chosen = _choose(tables, count)
    rows: dict[str, list[Row]] = {execution["execution_id"]: [] for execution in chosen}
    for row in iterate_rows(tables.supervision, SUPERVISION):
        if row["execution_id"] in rows:
            rows[row["execution_id"]].append(row)
    return [
        _view(tables, place, execution, sorted(rows[execution["execution_id"]], key=_index))
        for place, execution in enumerate(chosen)
    ]


def _choose(tables: LinkTables, count: int) -> list[Row]:
    differ: dict[str, int] = {}
    columns = ["execution_id", "agree"]
    for row in iterate_rows(tables.supervision, SUPERVISION, columns):
        differ[row["execution_id"]] = differ.get(row["execution_id"], 0) + (row["agree"] is False)
    ranked: dict[str, list[tuple[Any, Row]]] = {}
    for row in iterate_rows(tables.executions, EXECUTIONS):
        name = row["execution_id"]
        if name in differ and row["question_id"] in tables.questions:
            odd = abs(row["steps"] - _FEW_STEPS)
            rank = (bool(row["correct"]), differ[name] == 0, odd, name)
            ranked.setdefault(row["dialect"], []).append((rank, row))
    queues = [iter(sorted(ranked[d], key=lambda item: item[0])) for d in sorted(ranked)]
    chosen: list[Row] = []
    asked: set[str] = set()
    while queues and len(chosen) < count:
        queue = queues.pop(0)
        row = next((row for _, row in queue if row["question_id"] not in asked), None)
        if row is not None:
            chosen.append(row)
            asked.add(row["question_id"])
            queues.append(queue)
    return chosen


def _view(tables: LinkTables, place: int, execution: Row, rows: list[Row]) -> TraceView:
    question = tables.questions[execution["question_id"]]
    images: dict[str, Image.Image] = {}
    for image_id in question["image_ids"]:
        try:
            images[image_id] = tables.images.get(image_id)
        except ImageError:
            continue
    ok = execution["status"] == "ok"
    return trace_view(
        f"{anchor(tables.link)}-{place}",
        images,
        question["question"],
        tables.programs.get(execution["program_id"], ""),
        rows,
        json.loads(execution["answer"]) if ok else None,
        title=f"{tables.link}, {execution['dialect']}",
        expected=question["answer"],
        right=execution["correct"],
        status=execution["status"] if ok else f"{execution['status']}: {execution['error']}",
    )


def as_row(step: Any) -> dict[str, Any]:
    """A step of a trace in the form of a row of the steps table; a row is copied as it is."""
    if isinstance(step, Mapping):
        return dict(step)
    call, output = step.call, step.output
    return {
        "index": step.index,
        "module": call.module,
        "text": " | ".join(call.texts),
        "image_id": call.image_id,
        "region": call.region,
        "output": None if output.error else json.dumps(output.value(call.module)),
        "error": output.error,
        "confidence": output.confidence,
    }


def _index(step: Any) -> int:
    return step["index"] if isinstance(step, Mapping) else step.index


def _one_image(image: Image.Image, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Image.Image]:
    return {image_id: image for image_id in dict.fromkeys(r["image_id"] for r in rows)} or {
        "image": image
    }
