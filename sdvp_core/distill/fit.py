"""Training of one student on samples: by `pretrain` on ground truth, by `distill` on targets."""

import hashlib
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdvp_core.base.errors import UserError
from sdvp_core.base.images import ImageStore
from sdvp_core.base.records import to_json
from sdvp_core.base.sample import Sample
from sdvp_core.distill import lora
from sdvp_core.distill.agreement import agreement
from sdvp_core.distill.box_examples import BoxExamples
from sdvp_core.distill.examples import AnswerExamples, MatchExamples, Recipe, readable
from sdvp_core.distill.replay import Order
from sdvp_core.modules.files import autocast

EXAMPLES = {"vqa": AnswerExamples, "locate": BoxExamples, "match": MatchExamples}
Log = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class FitSettings:
    """How a student is trained. Lengths are steps, never seconds: a busy machine changes nothing.

    ``alpha`` weighs the hard target against the soft one; ``self_distillation`` is lambda;
    ``replay_batch`` the earlier inputs a step (0: half of ``batch_size``); ``lora`` a rank, or None
    to train all weights; ``eval_every`` and ``patience`` count steps and evaluations (0: never).
    """

    steps: int = 400
    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.01
    warmup: float = 0.05  # share of the steps
    alpha: float = 0.5
    temperature: float = 2.0
    self_distillation: float = 1.0
    replay_batch: int = 0
    lora: int | None = None
    optimizer: str = "adamw"  # adamw, adamw8bit
    precision: str = "auto"  # auto, bf16, fp32
    accumulate: int = 1  # forward passes a step: the batch is cut into so many parts
    assignment: str = "nearest"  # of boxes to patches: nearest, hungarian
    mirror: str = "none"  # views of `locate`: none, sides, all
    shift: float = 0.0
    eval_every: int = 0
    patience: int = 0
    checkpoint_every: int = 500
    seed: int = 0

    def recipe(self) -> Recipe:
        return Recipe(self.alpha, self.temperature, self.assignment, self.mirror, self.shift)


def fit(
    student: Any,
    samples: Sequence[Sample],
    images: ImageStore,
    settings: FitSettings,
    *,
    replay_samples: Sequence[Sample] | None = None,
    frozen: Any | None = None,
    held_out: Sequence[Sample] | None = None,
    checkpoint: Path | None = None,
    log: Log = lambda row: None,
) -> dict[str, Any]:
    """Train ``student`` in place and return what was measured.

    ``frozen`` is the student before this link: with ``replay_samples`` (inputs of earlier links) it
    gives the self-distillation term. ``held_out`` samples measure ``agreement`` (share of targets
    the student gives itself) and choose the best weights where ``patience`` is set. ``checkpoint``
    is a folder: a run stopped at any moment and started again ends with the same weights. ``log``
    gets a row with ``step``, ``loss``, ... now and then. Raises ``UserError`` without samples.
    """
    started = time.monotonic()
    run = _Run(student, samples, images, settings, replay_samples, frozen)
    saved = _Saved(checkpoint, run.fingerprint())
    best = saved.load(run)
    while run.step < settings.steps and not best.given_up(settings):
        run.advance(log)
        last = run.step == settings.steps
        if held_out and settings.eval_every and (last or run.step % settings.eval_every == 0):
            best.note(run, agreement(student, held_out, images), settings, log)
        if last or run.step % settings.checkpoint_every == 0:
            saved.save(run, best)
    if best.weights is not None:
        run.load_weights(best.weights)
    run.finish()
    found = {"samples": len(run.examples), "steps": run.step, "loss": round(run.loss, 5)}
    if held_out:
        found["agreement"] = round(agreement(student, held_out, images), 5)
        found["distance"] = round(distance(student, held_out, images, settings), 5)
    return found | {"seconds": round(time.monotonic() - started, 1)}


def distance(
    student: Any, samples: Sequence[Sample], images: ImageStore, settings: FitSettings
) -> float:
    """The fidelity of a student to targets: the training loss itself, averaged over samples."""
    recipe = Recipe(settings.alpha, settings.temperature, settings.assignment)
    examples = EXAMPLES[student.module](student, readable(samples, images), images, recipe)
    total, noise = 0.0, np.random.default_rng(0)
    with torch.inference_mode():
        for start in range(0, len(examples), settings.batch_size):
            rows = np.arange(start, min(start + settings.batch_size, len(examples)))
            batch = examples.batch(rows, noise)
            total += float(examples.loss(examples.outputs(student, batch), batch)) * len(rows)
    return total / max(len(examples), 1)


class _Run:
    """The state of one training: weights, optimizer, step."""

    def __init__(self, student, samples, images, settings, replay_samples, frozen):
        kind = EXAMPLES[student.module]
        self.student, self.settings, self.frozen = student, settings, frozen
        self.examples = kind(student, readable(samples, images), images, settings.recipe())
        if not len(self.examples):
            raise UserError(
                f"There is nothing to train `{student.module}` on: no target was kept, or none is "
                "an answer the student knows."
            )
        wanted = replay_samples if frozen is not None and settings.self_distillation > 0 else None
        self.earlier = (
            kind(student, readable(wanted, images), images, settings.recipe()) if wanted else None
        )
        many = len(self.examples), settings.batch_size, settings.seed
        self.order = Order(*many, self.examples.weights)
        half = settings.replay_batch or max(1, settings.batch_size // 2)
        weights = self.earlier.weights if self.earlier else None
        self.earlier_order = Order(len(self.earlier or [0]), half, settings.seed + 1, weights)
        if settings.lora:
            lora.add(student.model, settings.lora, settings.seed)
        self.weights = [p for p in student.model.parameters() if p.requires_grad]
        self.optimizer = _optimizer(student.model, settings)
        self.step, self.loss = 0, 0.0
        student.model.train()

    def advance(self, log: Log) -> None:
        """One step of the optimizer."""
        rate = _rate(self.step, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        noise = np.random.default_rng([self.settings.seed, 2, self.step])
        torch.manual_seed(self.settings.seed * 1_000_003 + self.step)  # dropout, after a resume too
        loss = sum(
            self._backward(rows, noise)
            for rows in np.array_split(self.order[self.step], self.settings.accumulate)
        )
        kept = self._backward_kept(noise) if self.earlier is not None else 0.0
        slope = torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        if not math.isfinite(loss + kept + float(slope)):
            raise UserError(
                f"The training of `{self.student.module}` diverged at step {self.step}: lower "
                "its `lr` in params.yaml and run the same command again."
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.loss = loss if self.step == 1 else 0.95 * self.loss + 0.05 * loss
        if self.step % 50 == 0 or self.step == self.settings.steps:
            log({"step": self.step, "loss": self.loss, "kept": kept, "lr": rate})

    def _backward(self, rows: np.ndarray, noise: np.random.Generator) -> float:
        batch = self.examples.batch(rows, noise)
        with autocast(self.student.device, self.settings.precision):
            outputs = self.examples.outputs(self.student, batch)
        loss = self.examples.loss(outputs, batch) / self.settings.accumulate
        loss.backward()
        return float(loss.detach())

    def _backward_kept(self, noise: np.random.Generator) -> float:
        batch = self.earlier.batch(self.earlier_order[self.step], noise)
        with autocast(self.student.device, self.settings.precision):
            with torch.no_grad():
                before = self.earlier.outputs(self.frozen, batch)
            outputs = self.earlier.outputs(self.student, batch)
        loss = self.settings.self_distillation * self.earlier.kept(outputs, before, batch)
        loss.backward()
        return float(loss.detach())

    def finish(self) -> None:
        """Fold adapters into the weights; the student is ready to answer and to be saved."""
        if self.settings.lora:
            lora.merge(self.student.model)
        self.student.model.requires_grad_(True)
        self.student.model.eval()

    def snapshot(self) -> dict[str, torch.Tensor]:
        state = self.student.model.state_dict()
        return {name: value.detach().clone() for name, value in state.items()}

    def load_weights(self, state: dict[str, torch.Tensor]) -> None:
        self.student.model.load_state_dict(state)

    def fingerprint(self) -> str:
        """What a checkpoint must agree with to be gone on from: settings, data, start weights."""
        digest = hashlib.sha256(to_json(asdict(self.settings)).encode())
        for examples in (self.examples, self.earlier):
            if examples is not None:
                examples.sign(digest)
        for value in self.student.model.state_dict().values():
            digest.update(value.detach().cpu().float().numpy().tobytes())
        return digest.hexdigest()[:16]


class _Best:
    """The weights that agreed most with held-out targets, and how long ago that was."""

    def __init__(self) -> None:
        self.agreement, self.weights, self.since = -1.0, None, 0

    def note(self, run: _Run, value: float, settings: FitSettings, log: Log) -> None:
        run.student.model.train()
        log({"step": run.step, "agreement": value})
        self.since += 1
        if value > self.agreement:
            self.agreement, self.since = value, 0
            self.weights = run.snapshot() if settings.patience else None

    def given_up(self, settings: FitSettings) -> bool:
        return bool(settings.patience) and self.since >= settings.patience


class _Saved:
    """The checkpoint of a run: one file, replaced whole."""

    def __init__(self, folder: Path | None, fingerprint: str):
        self.path = folder / f"{fingerprint}.pt" if folder else None

    def load(self, run: _Run) -> _Best:
        best = _Best()
        if self.path is None or not self.path.is_file():
            return best
        state = torch.load(self.path, map_location=run.student.device, weights_only=True)
        run.load_weights(state["weights"])
        run.optimizer.load_state_dict(state["optimizer"])
        run.step, run.loss = state["step"], state["loss"]
        best.agreement, best.weights, best.since = state["best"]
        return best

    def save(self, run: _Run, best: _Best) -> None:
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "weights": run.snapshot(),
            "optimizer": run.optimizer.state_dict(),
            "step": run.step,
            "loss": run.loss,
            "best": (best.agreement, best.weights, best.since),
        }
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        torch.save(state, temporary)
        os.replace(temporary, self.path)


def _optimizer(model: torch.nn.Module, settings: FitSettings) -> torch.optim.Optimizer:
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "adamw8bit":
        from bitsandbytes.optim import AdamW8bit

        return AdamW8bit(groups, lr=settings.lr, betas=(0.9, 0.98))
    if settings.optimizer != "adamw":
        raise UserError(f"{settings.optimizer!r} is no optimizer: use adamw or adamw8bit.")
    return torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.98), fused=True)


def _rate(step: int, settings: FitSettings) -> float:
    """Linear warm-up, then a cosine to zero."""
    warm = settings.warmup * settings.steps
    if step < warm:
        return settings.lr * (step + 1) / (warm + 1)
    done = (step - warm) / max(settings.steps - warm, 1)
    return settings.lr * 0.5 * (1 + float(np.cos(np.pi * done)))
