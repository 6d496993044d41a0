"""The distances between a student's output and its targets: losses when training, and, averaged
over held-out targets, the fidelity that is reported. One function a module.

Shapes: B rows of a batch, A answers, P patches of a view, Q texts asked of it, N positives.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

FOCAL_BALANCE = 0.75  # few patches are positive: they weigh three times as much
# RetinaNet's power of 2 makes a short training timid: it lets go of things once they have a score
# of 0.4, and a threshold of 0.5 never sees them.
FOCAL_POWER = 0.5
SURE = 1e-4  # so far soft targets keep from 0 and 1, and errors from 0, where slopes are infinite


@dataclass(frozen=True)
class BoxWeights:
    """Weights of the four terms of :func:`boxes`."""

    score: float = 3.0
    corner: float = 10.0
    overlap: float = 2.0


def answers(
    logits: torch.Tensor, hard: torch.Tensor, soft: torch.Tensor, alpha: float, temperature: float
) -> torch.Tensor:
    """alpha CE(hard) + (1 - alpha) T^2 KL(soft || student), a mean over the batch.

    ``logits`` (B, A); ``hard`` (B) class indices; ``soft`` (B, A) probabilities, rows sum to 1.
    "Distilling the Knowledge in a Neural Network", section 2.
    """
    loss = alpha * F.cross_entropy(logits, hard) if alpha > 0 else logits.new_zeros(())
    if alpha < 1:
        cooled = tempered(soft, temperature)
        student = F.log_softmax(logits / temperature, dim=-1)
        loss = loss + (1 - alpha) * temperature**2 * F.kl_div(
            student, cooled, reduction="batchmean"
        )
    return loss


def answers_kept(logits: torch.Tensor, before: torch.Tensor, temperature: float) -> torch.Tensor:
    """Self-distillation: T^2 KL(student before || student), logits (B, A) each."""
    earlier = F.log_softmax(before / temperature, dim=-1)
    student = F.log_softmax(logits / temperature, dim=-1)
    return temperature**2 * F.kl_div(student, earlier, reduction="batchmean", log_target=True)


def matches(
    logits: torch.Tensor,
    scores: torch.Tensor,
    asked: torch.Tensor,
    alpha: float,
    temperature: float,
) -> torch.Tensor:
    """The two terms of :func:`answers` for yes/no pairs, a mean over the pairs asked.

    ``logits``, ``scores`` (probabilities) and ``asked`` (0 or 1) are (B, Q).
    """
    loss = F.binary_cross_entropy_with_logits(logits, (scores >= 0.5).float(), reduction="none")
    if alpha < 1:
        soft = temperature**2 * bernoulli_kl(torch.logit(scores, eps=SURE), logits, temperature)
        loss = alpha * loss + (1 - alpha) * soft
    return (loss * asked).sum() / asked.sum().clamp(min=1)


def matches_kept(
    logits: torch.Tensor, before: torch.Tensor, asked: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Self-distillation of yes/no pairs: T^2 KL(before || student), (B, Q) each."""
    loss = temperature**2 * bernoulli_kl(before, logits, temperature)
    return (loss * asked).sum() / asked.sum().clamp(min=1)


def boxes(
    logits: torch.Tensor,
    found: torch.Tensor,
    scores: torch.Tensor,
    asked: torch.Tensor,
    positives: tuple[torch.Tensor, torch.Tensor],
    truth: torch.Tensor,
    weights: BoxWeights,
) -> torch.Tensor:
    """Focal loss of the scores, L1 and GIoU of the positives' boxes, each a mean over positives.

    ``logits``, ``scores`` (target probabilities) (B, P, Q), ``asked`` (B, 1, Q); ``found``
    (B, P, 4) and ``truth`` (N, 4) as centre and size in [0, 1]; ``positives``: row and patch of
    each truth, (N) each. Focal loss with soft targets as in "Generalized Focal Loss", equation 4.
    """
    count = max(len(truth), 1)
    guess = logits.sigmoid()
    # The root is infinitely steep at 0: a guess that equals its target would make all weights NaN.
    weight = (scores - guess).abs().clamp(min=SURE) ** FOCAL_POWER
    balance = FOCAL_BALANCE * scores + (1 - FOCAL_BALANCE) * (1 - scores)
    entropy = F.binary_cross_entropy_with_logits(logits, scores, reduction="none")
    loss = weights.score * (balance * weight * entropy * asked).sum() / count
    if len(truth):
        here = found[positives]
        loss = loss + weights.corner * F.l1_loss(here, truth, reduction="sum") / count
        loss = loss + weights.overlap * (1 - generalised_iou(here, truth)).sum() / count
    return loss


def boxes_kept(
    logits: torch.Tensor,
    found: torch.Tensor,
    before: tuple[torch.Tensor, torch.Tensor],
    asked: torch.Tensor,
    temperature: float,
    weights: BoxWeights,
) -> torch.Tensor:
    """Self-distillation of a detector: scores everywhere, boxes where the earlier student saw one.

    ``before``: the earlier student's logits (B, P, Q) and boxes (B, P, 4). The sums are divided by
    what the earlier student saw, as :func:`boxes` divides by its positives: those over boxes by the
    things, that over scores by the names it gave them, or a view would weigh the more the more is
    asked of it.
    """
    earlier, places = before
    said = earlier.sigmoid() * asked
    sure = said.amax(dim=-1)  # (B, P)
    score = temperature**2 * bernoulli_kl(earlier, logits, temperature) * asked
    corner = (found - places).abs().sum(dim=-1) * sure
    overlap = (1 - generalised_iou(found.flatten(0, 1), places.flatten(0, 1))) * sure.flatten()
    boxes = weights.corner * corner.sum() + weights.overlap * overlap.sum()
    return weights.score * score.sum() / said.sum().clamp(min=1) + boxes / sure.sum().clamp(min=1)


def tempered(probabilities: torch.Tensor, temperature: float) -> torch.Tensor:
    """softmax(log p / T): probabilities as a network with logits log p has them at T."""
    raised = probabilities ** (1 / temperature)
    return raised / raised.sum(dim=-1, keepdim=True)


def bernoulli_kl(target: torch.Tensor, logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """KL between yes/no distributions given by logits, both at T, element by element."""
    target, logits = target / temperature, logits / temperature
    chance = target.sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits, chance, reduction="none")
    own = F.binary_cross_entropy_with_logits(target, chance, reduction="none")
    return cross - own


def generalised_iou(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """GIoU of pairs of boxes, centre and size, (N, 4) each -> (N): arXiv 1902.09630, eq. 1."""
    low_a, high_a = first[:, :2] - first[:, 2:] / 2, first[:, :2] + first[:, 2:] / 2
    low_b, high_b = second[:, :2] - second[:, 2:] / 2, second[:, :2] + second[:, 2:] / 2
    shared = (torch.minimum(high_a, high_b) - torch.maximum(low_a, low_b)).clamp(min=0).prod(-1)
    hull = (torch.maximum(high_a, high_b) - torch.minimum(low_a, low_b)).clamp(min=0).prod(-1)
    union = first[:, 2:].prod(-1) + second[:, 2:].prod(-1) - shared
    return shared / union.clamp(min=1e-9) - (hull - union) / hull.clamp(min=1e-9)


def nearest_patches(centers: np.ndarray, points: np.ndarray, filling: np.ndarray) -> np.ndarray:
    """Dense assignment: the patch whose own point is nearest to each box's centre, each used once.

    ``centers`` (N, 2) in order of importance, ``points`` (P, 2) -> patches (N). Where a patch is
    taken, the next nearest is used. A box that fills the view (``filling``, (N,) of bool) takes the
    patch in the corner: its centre's belongs to whatever stands there, and cannot tell the two
    apart.
    """
    centers = np.where(filling[:, None], 0.0, centers)
    distance = ((centers[:, None] - points[None]) ** 2).sum(axis=-1)
    chosen: list[int] = []
    for row in distance:
        row[chosen] = np.inf
        chosen.append(int(row.argmin()))
    return np.array(chosen, dtype=np.int64)


def hungarian_patches(
    found: np.ndarray, truth: np.ndarray, chances: np.ndarray, weights: BoxWeights
) -> np.ndarray:
    """Hungarian assignment of boxes to patches at least cost, as DETR does (arXiv 2005.12872).

    ``found`` (P, 4), ``truth`` (N, 4) as centre and size; ``chances`` (P, N): the score each patch
    gives each box's texts -> patches (N).
    """
    from scipy.optimize import linear_sum_assignment

    count, patches = len(truth), len(found)
    a = torch.from_numpy(np.repeat(found, count, axis=0))
    b = torch.from_numpy(np.tile(truth, (patches, 1)))
    overlap = generalised_iou(a, b).view(patches, count).numpy()
    corner = np.abs(found[:, None] - truth[None]).sum(axis=-1)
    cost = weights.corner * corner - weights.overlap * overlap - weights.score * chances
    rows, columns = linear_sum_assignment(cost)
    return rows[np.argsort(columns)].astype(np.int64)
