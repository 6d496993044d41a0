"""Prediction rows by student set, task and dialect, and the shares taken of them.

Rows follow the PREDICTIONS schema. ``student_set`` is "base", the name of a link, or one of two
names that stand for no student: "oracle" (perfect modules: the ceiling of the programs) and
"teacher" (the teacher put in the modules' place). ``dialect`` is visprog or viper, or
"bare_student" / "bare_teacher" where the model was asked the whole question without a program.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

ORACLE, TEACHER = "oracle", "teacher"
BARE_STUDENT, BARE_TEACHER = "bare_student", "bare_teacher"
DIALECTS = ("visprog", "viper")

Key = tuple[str, ...]  # dialect, question_id, program_id


class Score(NamedTuple):
    """What one prediction row comes down to."""

    group: str
    correct: bool
    executed: bool


Scores = dict[Key, Score]


class Predictions:
    """The scores of all rows, by student set, task and dialect."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Raises ``ValueError`` where a row stands twice with different outcomes."""
        self._scores: dict[tuple[str, str, str], Scores] = {}
        self._answers: dict[str, dict[str, str]] = {}  # task -> question -> expected answer
        for row in rows:
            where = (row["student_set"], row["task"], row["dialect"])
            key = (row["dialect"], row["question_id"], row.get("program_id") or "")
            scores = self._scores.setdefault(where, {})
            score = Score(row["group_id"], bool(row["correct"]), row["status"] == "ok")
            if scores.setdefault(key, score) != score:
                raise ValueError(f"two different predictions of {where} for {key}")
            self._answers.setdefault(row["task"], {})[row["question_id"]] = row["answer"]

    def tasks(self, student_set: str) -> list[str]:
        """Tasks a student set was asked, in alphabetical order."""
        return sorted({task for name, task, _ in self._scores if name == student_set})

    def chance(self, task: str) -> float | None:
        """The share of the commonest expected answer: what always saying it would score."""
        answers = Counter(self._answers.get(task, {}).values())
        return max(answers.values()) / answers.total() if answers else None

    def get(self, student_set: str, task: str, dialect: str) -> Scores:
        """Scores of one set, task and dialect; empty where there are none."""
        return self._scores.get((student_set, task, dialect), {})

    def programs(
        self, student_set: str, task: str, keep: Collection[str] | None = None
    ) -> dict[str, Scores]:
        """Scores by program dialect, of the questions in ``keep`` (None: all)."""
        found = {dialect: self.get(student_set, task, dialect) for dialect in DIALECTS}
        return {dialect: only(scores, keep) for dialect, scores in found.items() if scores}


def joined(by_dialect: Mapping[str, Scores]) -> Scores:
    """The scores of all dialects together."""
    return {key: score for scores in by_dialect.values() for key, score in scores.items()}


def only(scores: Scores, questions: Collection[str] | None) -> Scores:
    """The scores of some questions (None: all)."""
    if questions is None:
        return scores
    return {key: score for key, score in scores.items() if key[1] in questions}


def shared(scores: Scores, other: Scores) -> Scores:
    """The scores whose programs stand in ``other`` too."""
    return {key: score for key, score in scores.items() if key in other}


def accuracy(scores: Scores) -> float | None:
    """The share of right answers, None where there are none at all."""
    return share([score.correct for score in scores.values()])


def share(flags: Sequence[bool]) -> float | None:
    """The share of true flags, None where there are no flags."""
    return sum(flags) / len(flags) if flags else None


def whole_groups(groups: Sequence[str], right: Sequence[bool]) -> float | None:
    """The share of groups whose every answer is right (consistency, in NLVR2's words)."""
    failed = {group for group, good in zip(groups, right, strict=True) if not good}
    return 1.0 - len(failed) / len(set(groups)) if groups else None
