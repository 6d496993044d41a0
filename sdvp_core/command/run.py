"""`run`: programs from a JSON-lines file over images of a folder, one row out for each row in."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sdvp_core.base.errors import UserError
from sdvp_core.base.images import ImageError, ImageStore
from sdvp_core.base.records import stable_id
from sdvp_core.base.runtime import (
    cache_folder,
    code_revision,
    file_sha256,
    pick_device,
    progress,
)
from sdvp_core.base.shards import forget, in_shards
from sdvp_core.base.tables import write_text
from sdvp_core.command.annotations import annotation_rows
from sdvp_core.interpreter.sandbox import Limits, Sandbox
from sdvp_core.interpreter.scheduler import Job, execute
from sdvp_core.interpreter.trace import Trace
from sdvp_core.modules.call import Module
from sdvp_core.modules.students import revision

Row = dict[str, Any]
Item = tuple[Row, str | None, tuple[str, ...]]  # a row, its fault, the ids of its images
DIALECTS = ("visprog", "viper")
SHARD = 1024  # rows


def run_file(
    file: Path, folder: Path, students: str, out: Path, device: str = "auto", held: int = 64
) -> dict[str, int]:
    """Run every row of ``file`` and write ``out``; returns the number of rows by status.

    A row in: ``id``, ``dialect``, ``program``, ``image`` (name in ``folder``) or ``images`` (two:
    LEFT and RIGHT), optional ``annotations`` (needed by `oracle`). A row out: ``id``, ``status``,
    ``answer``, ``error``, ``steps``. A faulty row gets status `invalid_row` and stops nothing.
    Finished shards wait in the user cache: a run that is stopped goes on from there.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: --images names the folder of the images.")
    items, names, annotations = _checked(_read(file))
    images = ImageStore({"image_id": i, "path": str(folder / name)} for i, name in names.items())
    modules = load_modules(students, annotations, device)
    made_of = sorted(set(names.values())), students, pick_device(device), held
    shards = cache_folder("run", _key(file, folder, *made_of))
    with Sandbox(Limits(), held) as sandbox:
        traces = partial(execute, modules=modules, images=images, held=held, sandbox=sandbox)
        compute = partial(_computed, traces=traces, images=images, names=names)
        found = progress(in_shards(items, shards, compute, SHARD), "programs", len(items))
        lines = list(found)
    write_text(out, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    forget(shards)
    return dict(sorted(Counter(line["status"] for line in lines).items()))


def _key(file: Path, folder: Path, names: list[str], students: str, device: str, held: int) -> str:
    """What the rows depend on; images count with their size and time, for reading them is slow."""
    looks = [(name, _stamp(folder / name)) for name in names]
    made_by = revision(students) if Path(students).is_dir() else students
    code = code_revision("base", "program", "modules", "interpreter", "command")
    place = str(folder.resolve())
    return stable_id(file_sha256(file), place, looks, made_by, device, held, SHARD, code)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns


def _computed(
    shard: list[Item],
    traces: Callable[[list[Job]], Iterator[Trace]],
    images: ImageStore,
    names: Mapping[str, str],
) -> Iterator[Row]:
    jobs = [
        Job(str(number), row["dialect"], row["program"], ids, scene_of(images, ids))
        for number, (row, fault, ids) in enumerate(shard)
        if fault is None
    ]
    done = traces(jobs)
    for row, fault, _ in shard:
        yield _faulty(row, fault) if fault is not None else _result(row, next(done), names)


def load_modules(students: str, annotations: list[Row], device: str) -> Mapping[str, Module]:
    """The modules that ``--students`` names: `stub`, `oracle`, or a student set's folder."""
    if students == "stub":
        from sdvp_core.modules import stub

        return stub.load()
    if students == "oracle":
        from sdvp_core.modules import oracle

        return oracle.load(annotations)
    from sdvp_core.modules.students import load_students

    if not Path(students).is_dir():
        raise UserError(
            f"{students} is no folder: give `stub`, `oracle` or a student set's folder."
        )
    return load_students(Path(students), pick_device(device))


def scene_of(images: ImageStore, names: tuple[str, ...]) -> str:
    """Which variables are bound: two photos LEFT and RIGHT, an image of NLVR's shape (4:1) its
    three boxes as well, any other image IMAGE alone."""
    if len(names) == 2:
        return "pair"
    try:
        width, height = images.size(names[0])
    except ImageError:
        return "image"  # the program's first call reports the image
    return "boxes" if width == 4 * height else "image"


def _read(file: Path) -> Iterator[Row]:
    if not file.is_file():
        raise UserError(f"{file} does not exist: give a JSON-lines file of programs.")
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                row = {"fault": f"not valid JSON: {error.msg}"}
            yield row if isinstance(row, dict) else {"fault": "not a JSON object"}


def _checked(rows: Iterable[Row]) -> tuple[list[Item], dict[str, str], list[Row]]:
    """The rows with their faults, the name of the image with each id, and all annotations.

    Rows may annotate one image each in its own way: then it has an id for each way.
    """
    ways: dict[str, dict[str, str]] = {}  # by name: its annotations as JSON, and the id
    items, names, annotations = [], {}, {}
    for row in rows:
        fault, given = _annotated(row)
        asked = () if fault is not None else _names(row)
        ids = tuple(_image_id(name, given.get(name), ways) for name in asked)
        items.append((row, fault, ids))
        for name, image_id in zip(asked, ids, strict=True):
            names[image_id] = name
            if name in given:
                annotations[image_id] = given[name] | {"image_id": image_id}
    return items, names, list(annotations.values())


def _annotated(row: Row) -> tuple[str | None, dict[str, Row]]:
    """What is wrong with a row, if anything, and its annotations by the image's name."""
    fault = _fault(row)
    if fault is not None:
        return fault, {}
    try:
        return None, {one["image_id"]: one for one in annotation_rows(row, _names(row))}
    except ValueError as error:
        return str(error), {}


def _image_id(name: str, annotation: Row | None, ways: dict[str, dict[str, str]]) -> str:
    known = ways.setdefault(name, {})
    # No file can be called so: the name before the slash is a file, not a folder.
    place = f"{name}/#{len(known)}" if known else name
    return known.setdefault(json.dumps(annotation, sort_keys=True), place)


def _fault(row: Row) -> str | None:
    if "fault" in row:
        return row["fault"]
    if row.get("dialect") not in DIALECTS:
        return f"dialect is {row.get('dialect')!r}, not visprog or viper"
    if not isinstance(row.get("program"), str):
        return "program is not a text"
    names = row.get("images", [row["image"]] if "image" in row else [])
    if not isinstance(names, list) or not 1 <= len(names) <= 2:
        return "give `image`, or `images` with one or two names"
    if not all(isinstance(name, str) and name for name in names):
        return "an image name is not a text"
    return None


def _names(row: Row) -> tuple[str, ...]:
    return tuple(row["images"]) if "images" in row else (row["image"],)


def _result(row: Row, trace: Trace, names: Mapping[str, str]) -> Row:
    return {
        "id": row.get("id"),
        "status": trace.status,
        "answer": trace.answer,
        "error": trace.error,
        "steps": [
            step_summary(step) | {"image": names[step.call.image_id]} for step in trace.steps
        ],
    }


def _faulty(row: Row, fault: str) -> Row:
    return {
        "id": row.get("id"),
        "status": "invalid_row",
        "answer": None,
        "error": fault,
        "steps": [],
    }


def step_summary(step: Any) -> Row:
    """A step as JSON: what was asked of which region, and what came back."""
    return {
        "index": step.index,
        "module": step.call.module,
        "text": " | ".join(step.call.texts),
        "image": step.call.image_id,
        "region": [round(float(c), 2) for c in step.call.region],
        "parents": list(step.parents),
        "output": step.output.value(step.call.module),
        "confidence": round(float(step.output.confidence), 4),
        "error": step.output.error,
    }
