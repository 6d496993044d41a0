"""The continual-learning measures of a chain of links, each with its definition and source.

R[i, j] is the accuracy on task j after link i; row 0 is the base student set, before any link, and
rows 1..T are the links in the order they were learnt. ``learnt[i]`` names the task of link i. All
accuracies are fractions of 1. A measure is None where an accuracy it needs is missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True)
class Matrix:
    """R with its names. ``sets``: row names, the base first; ``learnt``: one task a link (T,);

    ``tasks``: column names; ``values``: (T + 1) rows of accuracies or None. Raises ``ValueError``
    where the shapes do not agree.
    """

    sets: tuple[str, ...]
    tasks: tuple[str, ...]
    learnt: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]

    def __post_init__(self) -> None:
        if len(self.values) != len(self.sets) or len(self.learnt) != len(self.sets) - 1:
            raise ValueError("a matrix needs a row for the base and one for each link")
        if any(len(row) != len(self.tasks) for row in self.values):
            raise ValueError("a matrix needs an entry (or None) for each task in each row")

    @property
    def links(self) -> int:
        """T, the number of links."""
        return len(self.learnt)

    def at(self, row: int, task: str) -> float | None:
        """R[row, task], None where it was not measured."""
        return self.values[row][self.tasks.index(task)] if task in self.tasks else None

    def row_of(self, task: str) -> int | None:
        """The first row (1..T) whose link learnt the task."""
        return self.learnt.index(task) + 1 if task in self.learnt else None


def average_accuracy(matrix: Matrix) -> float | None:
    """ACC = mean over the learnt tasks j of R[T, j] (Lopez-Paz and Ranzato 2017, GEM, eq. 2)."""
    return _mean([matrix.at(matrix.links, task) for task in _learnt_once(matrix)])


def backward_transfer(matrix: Matrix, divisor: str = "T-1") -> float | None:
    """BWT = sum over j < T of (R[T, j] - R[j, j]), divided (GEM, eq. 3).

    ``divisor`` "T-1" takes the mean over the tasks before the last, as the paper writes it; "T"
    divides by the number of links, as the code published with it does. Negative is forgetting.
    Raises ``ValueError`` for another divisor.
    """
    if divisor not in ("T-1", "T"):
        raise ValueError("divisor is 'T-1' or 'T'")
    earlier = _learnt_once(matrix)[:-1]
    changes = [
        _minus(matrix.at(matrix.links, task), matrix.at(matrix.row_of(task) or 0, task))
        for task in earlier
    ]
    mean = _mean(changes)
    if mean is None or divisor == "T-1":
        return mean
    return mean * len(earlier) / (len(earlier) + 1)


def forgetting(matrix: Matrix, task: str) -> float | None:
    """f_j = max over l < T of R[l, j], minus R[T, j] (Chaudhry et al. 2018, RWalk, section 4).

    The base row takes part in the maximum, so skills that stood before any link count as well.
    The maximum is taken on the questions that are scored, which biases f_j upward a little.
    """
    earlier = [matrix.at(row, task) for row in range(matrix.links)]
    known = [accuracy for accuracy in earlier if accuracy is not None]
    return _minus(max(known), matrix.at(matrix.links, task)) if known else None


def average_forgetting(matrix: Matrix) -> float | None:
    """F = mean of f_j over the tasks learnt before the last link (Chaudhry et al. 2018)."""
    return _mean([forgetting(matrix, task) for task in _learnt_once(matrix)[:-1]])


def forward_transfer(matrix: Matrix, baseline: Mapping[str, float]) -> float | None:
    """FWT = mean over j = 2..T of (R[j - 1, j] - b_j) (GEM, eq. 4).

    ``baseline``: b_j for each task: in the paper the accuracy at random initialisation. With
    b_j = R[0, j] it says what earlier links gave a task that the base could not do yet.
    """
    later = _learnt_once(matrix)[1:]
    return _mean(
        [
            _minus(matrix.at((matrix.row_of(task) or 1) - 1, task), baseline.get(task))
            for task in later
        ]
    )


def since_base(matrix: Matrix, task: str) -> float | None:
    """R[T, j] - R[0, j]: what the whole chain did to a skill the base had; negative is loss."""
    return _minus(matrix.at(matrix.links, task), matrix.at(0, task))


def normalised_forgetting(own: float, later: float, chance: float) -> float | None:
    """100 (own - later) / (own - chance), in percent (CLiMB, arXiv 2206.09059).

    ``own``: accuracy right after the task was learnt; ``later``: after a later link; ``chance``:
    of the commonest answer. 0 keeps everything, 100 falls back to chance. None where nothing
    above chance was learnt.
    """
    return 100.0 * (own - later) / (own - chance) if own > chance else None


def _learnt_once(matrix: Matrix) -> tuple[str, ...]:
    return tuple(dict.fromkeys(matrix.learnt))


def _minus(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _mean(values: list[float | None]) -> float | None:
    if not values or any(value is None for value in values):
        return None
    return fmean(value for value in values if value is not None)
