"""Fit a task's teacher on its train split: `fit`; measure it on another split: `measure`.

Step-based schedules: a busy machine changes the time, never the result.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sdvp_core.base.errors import UserError
from sdvp_core.base.images import ImageError, ImageStore
from sdvp_core.base.parallel import Tell, side_by_side
from sdvp_core.base.params import Schedule
from sdvp_core.base.params import Teacher as TeacherParams
from sdvp_core.modules.files import autocast
from sdvp_core.teacher.answers import AnswerConfig, AnswerTeacher
from sdvp_core.teacher.boxes import BoxConfig, BoxTeacher, stack
from sdvp_core.teacher.examples import Ask, Examples, own_questions
from sdvp_core.teacher.learning import Pictures, Told, box_loss, heads_in, measure_boxes, targets
from sdvp_core.teacher.model import Teacher
from sdvp_core.teacher.views import pair_view, view
from sdvp_core.teacher.words import Words

Log = Callable[[str, int, float], None]  # what, step, loss
_ROUND = (*["crop"] * 3, "scene", *["crop"] * 3, "own")  # what the steps look at, in turn
_SCENE_VIEWS = 4  # a view of a scene costs four crops; a pair eight


def fit(
    annotations: Sequence[Mapping[str, Any]],
    images: ImageStore,
    questions: Sequence[Mapping[str, Any]],
    settings: TeacherParams,
    seed: int,
    log: Log = lambda what, step, loss: None,
) -> Teacher:
    """Fit both parts on annotations and questions of the train split.

    ``settings.answers.samples`` views are drawn from the annotations; ``batch_size`` counts views
    of things (answers) or images (boxes). ``UserError`` where nothing is annotated.
    """
    rows = [row for row in annotations if row["objects"] and row["image_id"] in images]
    rows = [row for row in rows if _opens(images, row["image_id"])]
    if not rows:
        raise UserError("The train split has no annotated images: a teacher cannot be fitted.")
    jobs = {
        "answers": (fit_answers, (rows, images, questions, settings.answers, seed)),
        "boxes": (fit_boxes, (rows, images, settings.boxes, seed)),
    }
    return Teacher(**side_by_side(jobs, lambda part, told: log(part, *told)))


def fit_answers(
    rows: Sequence[Mapping[str, Any]],
    images: ImageStore,
    questions: Sequence[Mapping[str, Any]],
    schedule: Schedule,
    seed: int,
    tell: Tell,
) -> AnswerTeacher:
    """The answer teacher: cross-entropy on crops, scenes and the task's own questions in turn.

    ``tell`` is given (step, loss) now and then.
    """
    rng = Random(seed)
    sizes = {row["image_id"]: images.size(row["image_id"]) for row in rows}
    pools = _pools(Examples(rows, sizes, rng), questions, images, schedule.samples)
    pairs = [pair for pool in pools.values() for ask in pool for pair in ask.pairs]
    torch.manual_seed(seed)
    model = AnswerTeacher(
        AnswerConfig(
            Words.of(question for question, _ in pairs).words,
            tuple(sorted({answer for _, answer in pairs})),
            heads_in(rows),
        )
    )
    columns = {answer: column for column, answer in enumerate(model.config.answers)}
    told = Told(rows, model.config.heads)
    batches = _ask_batches(pools, schedule, rng)
    for step, loss in enumerate(_training(model, schedule)):
        asks = next(batches)
        value = _answer_loss(model, asks, images, columns, told)
        loss(value)
        if step % 100 == 0 or step == schedule.steps - 1:
            tell((step, float(value.detach())))
    return model.eval()


def fit_boxes(
    rows: Sequence[Mapping[str, Any]],
    images: ImageStore,
    schedule: Schedule,
    seed: int,
    tell: Tell,
) -> BoxTeacher:
    """The box teacher: a heat-map of centres, sides and words, from whole images."""
    rng = Random(seed)
    torch.manual_seed(seed)
    model = BoxTeacher(BoxConfig(heads_in(rows)))
    pictures = Pictures(rows, images, model.config)
    order = _shuffled(range(len(rows)), rng)
    for step, loss in enumerate(_training(model, schedule)):
        chosen = [pictures.get(next(order), rng) for _ in range(schedule.batch_size)]
        batch = stack([pixels for pixels, _ in chosen])
        with autocast("cpu"):
            maps = model(batch)
        shapes = [m.shape[2:] for m in maps]
        value = box_loss(maps, targets([things for _, things in chosen], shapes, model.config))
        loss(value)
        if step % 100 == 0 or step == schedule.steps - 1:
            tell((step, float(value.detach())))
    return model.eval()


def _training(model: nn.Module, schedule: Schedule) -> Iterator[Callable[[Tensor], None]]:
    """Yield, ``schedule.steps`` times, a function that takes a loss and makes one step of it."""
    model.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        model.parameters(), schedule.lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    warm = max(1, round(0.05 * schedule.steps))

    def rate(step: int) -> float:
        done = max(0.0, step - warm) / max(1, schedule.steps - warm)
        return min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * done)))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)

    def step(loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()

    for _ in range(schedule.steps):
        yield step


def _pools(
    examples: Examples, questions: Sequence[Mapping[str, Any]], images: ImageStore, count: int
) -> dict[str, list[Ask]]:
    """Examples by what the steps look at."""
    third = max(1, count // 12)
    scenes = examples.outlined(third) + examples.related(third) + examples.scenes(third)
    own = own_questions(questions, ("word", "yesno", "truth", "number"))
    own = [ask for ask in own if all(_opens(images, image_id) for image_id in ask.image_ids)]
    return {"crop": examples.crops(count), "scene": scenes, "own": own or scenes}


def _ask_batches(
    pools: Mapping[str, list[Ask]], schedule: Schedule, rng: Random
) -> Iterator[list[Ask]]:
    orders = {kind: _shuffled(pool, rng) for kind, pool in pools.items()}
    step = 0
    while True:
        kind = _ROUND[step % len(_ROUND)]
        size = schedule.batch_size
        if kind != "crop":
            pair = len(pools[kind][0].image_ids) > 1
            size = max(1, size // (_SCENE_VIEWS * (2 if pair else 1)))
        yield [next(orders[kind]) for _ in range(size)]
        step += 1


def _answer_loss(
    model: AnswerTeacher,
    asks: Sequence[Ask],
    images: ImageStore,
    columns: Mapping[str, int],
    told: Told,
) -> Tensor:
    """Cross-entropy of the answers, and of the words of what stands in the cells of the views."""
    shapes: dict[tuple[int, ...], list[tuple[np.ndarray, Ask]]] = {}
    for ask in asks:
        look = picture_of(ask, images)
        shapes.setdefault(look.shape, []).append((look, ask))
    losses, count = [], sum(len(ask.pairs) for ask in asks)
    for members in shapes.values():
        owner = [place for place, (_, ask) in enumerate(members) for _ in ask.pairs]
        pairs = [pair for _, ask in members for pair in ask.pairs]
        views = torch.from_numpy(np.stack([look for look, _ in members]))
        with autocast("cpu"):
            seen = model.see(views)
            logits = model(seen, torch.tensor(owner), model.encode([q for q, _ in pairs]))
            words = model.tell(seen).float()
        wanted = torch.tensor([columns[answer] for _, answer in pairs])
        losses.append(functional.cross_entropy(logits, wanted, reduction="sum") / count)
        losses.append(told.loss(words, [ask for _, ask in members], images))
    return torch.stack(losses).sum()


def picture_of(ask: Ask, images: ImageStore) -> np.ndarray:
    """The view an example looks at."""
    if len(ask.image_ids) > 1:
        return pair_view(*(images.get(image_id) for image_id in ask.image_ids[:2]))
    return view(images.get(ask.image_ids[0]), ask.region, ask.drawn)


def _opens(images: ImageStore, image_id: str) -> bool:
    try:
        images.get(image_id)
    except ImageError:
        return False
    return True


def _shuffled(items: Sequence[Any], rng: Random) -> Iterator[Any]:
    """The items for ever, every round in a new order."""
    items = list(items)
    while True:
        rng.shuffle(items)
        yield from items


def measure(
    teacher: Teacher,
    annotations: Sequence[Mapping[str, Any]],
    images: ImageStore,
    questions: Sequence[Mapping[str, Any]],
    seed: int,
    count: int = 1500,
) -> dict[str, dict[str, float]]:
    """Held-out accuracy: {"named" | "it" | "outlined" | "related" | "scene" | "own" | "boxes"}.

    Each holds ``accuracy`` and ``n``; ``boxes`` holds ``precision`` and ``recall`` at IoU 0.5.
    """
    rows = [row for row in annotations if row["objects"] and _opens(images, row["image_id"])]
    sizes = {row["image_id"]: images.size(row["image_id"]) for row in rows}
    examples = Examples(rows, sizes, Random(seed))
    result: dict[str, dict[str, float]] = {}
    if teacher.answers is not None:
        own = own_questions(questions, ("word", "yesno", "truth", "number"))
        kinds = {
            "named": examples.crops(count, 1.0, 0.0),
            "it": examples.crops(count, 0.0, 0.0),
            "outlined": examples.outlined(count),
            "related": examples.related(count),
            "scene": examples.scenes(count),
            "own": Random(seed).sample(own, min(count, len(own))),
        }
        for kind, asks in kinds.items():
            result[kind] = _accuracy(teacher, asks, images)
    if teacher.detector is not None:
        result["boxes"] = measure_boxes(teacher, rows, images, count, Random(seed))
    return result


def _accuracy(teacher: Teacher, asks: Sequence[Ask], images: ImageStore) -> dict[str, float]:
    looks = [(picture_of(ask, images), pair) for ask in asks for pair in ask.pairs[:1]]
    if not looks:
        return {"accuracy": 0.0, "n": 0}
    scores = teacher.answer([look for look, _ in looks], [pair[0] for _, pair in looks])
    said = [teacher.answer_words[best] for best in scores.argmax(1)]
    right = sum(a == pair[1] for a, (_, pair) in zip(said, looks, strict=True))
    return {"accuracy": round(right / len(looks), 4), "n": len(looks)}
