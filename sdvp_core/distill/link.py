"""One link: every student learns the targets of its own steps, held to what it said before."""

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from sdvp_core.base.errors import UserError
from sdvp_core.base.images import ImageStore
from sdvp_core.base.parallel import Job, Tell, side_by_side
from sdvp_core.base.params import Distill
from sdvp_core.base.runtime import log
from sdvp_core.base.sample import Sample
from sdvp_core.distill.fit import FitSettings, fit
from sdvp_core.teacher.label import to_samples

Row = dict[str, Any]
HELD_OUT = 0.05  # share of groups whose targets measure agreement and are not learnt


def distill(
    students: Mapping[str, Any],
    frozen: Mapping[str, Any],
    rows: Iterable[Row],
    contrasts: Iterable[Row],
    replay: Sequence[Sample],
    images: ImageStore,
    settings: Distill,
    seed: int,
    live: Path,
    checkpoint: Path,
) -> tuple[dict[str, Any], dict[str, list[Sample]], dict[str, Any]]:
    """Train ``students`` on the kept rows of a supervision table, all modules at once on a CPU.

    ``contrasts`` are rows of the contrasts table, learnt beside them and not held out.
    ``frozen`` are the same students once more, unchanged (none where self-distillation is off);
    ``replay`` the inputs of pre-training and of earlier links. Metrics are written to ``live`` by
    DVCLive. Returns the students, the samples each learnt and what was measured. Raises
    ``UserError`` where no row was kept.
    """
    from dvclive import Live

    learnt, held = _samples(rows, contrasts, settings, seed)
    if not any(learnt.values()):
        raise UserError("No target was kept: lower `supervise.min_confidence` in params.yaml.")
    jobs: dict[str, Job] = {}
    for place, (module, student) in enumerate(students.items()):
        if not learnt[module]:
            log.info("%s took no step that has a target: it stays as it is", module)
            continue
        lesson = learnt[module], held[module], [s for s in replay if s.module == module]
        seen = images.only({s.image_id for samples in lesson for s in samples})
        chosen = fit_settings(settings, module, seed + place)
        kept = frozen.get(module) if chosen.self_distillation else None
        jobs[module] = _learn, (student, kept, *lesson, seen, chosen, checkpoint / module)
    with Live(str(live), dvcyaml=False, save_dvc_exp=False, report=None) as metrics:
        done = side_by_side(
            jobs, lambda module, row: _note(metrics, module, row), _device(students)
        )
    taught = {module: student for module, (student, _) in done.items()}
    return {**students, **taught}, learnt, {module: found for module, (_, found) in done.items()}


def _learn(
    student: Any,
    frozen: Any,
    learnt: Sequence[Sample],
    held: Sequence[Sample],
    replay: Sequence[Sample],
    images: ImageStore,
    settings: FitSettings,
    checkpoint: Path,
    tell: Tell,
) -> tuple[Any, dict[str, Any]]:
    found = fit(
        student, learnt, images, settings, replay_samples=replay, frozen=frozen, held_out=held,
        checkpoint=checkpoint, log=tell,
    )  # fmt: skip
    return student, found


def _device(students: Mapping[str, Any]) -> str:
    return next((student.device for student in students.values()), "cpu")


def fit_settings(settings: Distill, module: str, seed: int) -> FitSettings:
    """What params.yaml says of one module's training."""
    schedule = getattr(settings, module)
    return FitSettings(
        steps=schedule.steps,
        batch_size=schedule.batch_size,
        lr=schedule.lr,
        alpha=settings.alpha,
        temperature=settings.temperature,
        self_distillation=settings.self_distillation_of(module),
        lora=settings.lora,
        optimizer=settings.optimizer,
        assignment=settings.assignment,
        mirror=settings.mirror if module == "locate" else "none",
        shift=0.06 if module == "locate" else 0.0,
        eval_every=max(1, schedule.steps // 5),
        seed=seed,
    )


def _samples(
    rows: Iterable[Row], contrasts: Iterable[Row], settings: Distill, seed: int
) -> tuple[dict[str, list[Sample]], dict[str, list[Sample]]]:
    """Training and held-out samples by module; held out by group, so that no image is in both."""
    kept = list(_usable(rows, settings))
    groups = sorted({row["group_id"] for row in kept})
    held_groups = set(random.Random(seed).sample(groups, round(HELD_OUT * len(groups))))
    parts = (
        (r for r in chain(kept, _usable(contrasts, settings)) if r["group_id"] not in held_groups),
        (r for r in kept if r["group_id"] in held_groups),
    )
    learnt, held = (
        {m: [s for s in samples if s.module == m] for m in ("vqa", "locate", "match")}
        for samples in map(to_samples, parts)
    )
    if settings.control == "shuffled":
        learnt = {m: _shuffled(group, random.Random(seed)) for m, group in learnt.items()}
    return learnt, held


def _usable(rows: Iterable[Row], settings: Distill) -> Iterator[Row]:
    """The kept rows, with true targets in place of the teacher's where the control asks for it."""
    kept = (row for row in rows if row["kept"])
    if settings.control == "oracle":
        return (_true(row) for row in kept if row["oracle_answer"] is not None)
    return kept


def _shuffled(samples: list[Sample], rng: random.Random) -> list[Sample]:
    """The control: every sample gets another one's target, which must not help.

    Targets are exchanged among samples with equally many texts, or a score would have no text.
    """
    by_texts: dict[int, list[Sample]] = {}
    for sample in samples:
        by_texts.setdefault(len(sample.texts), []).append(sample)
    return [
        replace(sample, answers=other.answers, boxes=other.boxes, scores=other.scores)
        for group in by_texts.values()
        for sample, other in zip(group, rng.sample(group, len(group)), strict=True)
    ]


def _true(row: Row) -> Row:
    """The upper bound: the row with what the annotations say in place of the teacher's target."""
    truth = json.loads(row["oracle_answer"])
    if row["module"] == "locate":
        return row | {"target_boxes": [{"box": box, "score": 1.0} for box in truth]}
    if row["module"] == "match":
        options = zip(row["text"].split(" | "), truth, strict=True)
        return row | {"target_topk": [{"answer": o, "probability": p} for o, p in options]}
    return row | {"target_topk": [{"answer": truth, "probability": 1.0}]}


def _note(metrics: Any, module: str, row: Mapping[str, float]) -> None:
    metrics.step = int(row["step"])
    for name, value in row.items():
        if name != "step":
            metrics.log_metric(f"{module}/{name}", float(value))
    if int(row["step"]) % 200 == 0:
        log.info("%s %s", module, dict(row))
