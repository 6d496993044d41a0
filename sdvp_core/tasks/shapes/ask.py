"""Questions about a scene in the spirit of GQA's operations, each with its functional program.

45% are answered with yes or no, in equal shares; the rest with a word. A builder draws one question
of its kind at random and gives None where the scene holds none that is without doubt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from sdvp_core.tasks.descriptions import Thing
from sdvp_core.tasks.shapes import ask_words, ask_yesno
from sdvp_core.tasks.shapes.draft import Draft

YESNO = 0.45
_TRIES = 40


@dataclass(frozen=True, slots=True)
class _Kind:
    build: Any
    weight: int


_YESNO = (
    *(_Kind(ask_yesno.verify, 6), _Kind(ask_yesno.verify_both, 2), _Kind(ask_yesno.verify_rel, 4)),
    *(_Kind(ask_yesno.exist, 3), _Kind(ask_yesno.exist_two, 2), _Kind(ask_yesno.exist_rel, 3)),
    _Kind(ask_yesno.compare, 3),
)
_WORDS = (
    *(_Kind(ask_words.query, 10), _Kind(ask_words.name, 4), _Kind(ask_words.name_related, 3)),
    *(_Kind(ask_words.choose, 4), _Kind(ask_words.choose_name, 2), _Kind(ask_words.choose_rel, 3)),
    _Kind(ask_words.common, 1),
)


def ask(rng: Random, things: Sequence[Thing], count: int) -> list[Draft]:
    """``count`` different questions on a scene (fewer only in a scene that offers fewer)."""
    drafts: list[Draft] = []
    for _ in range(count):
        draft = _one(rng, things, {d.question for d in drafts})
        if draft is not None:
            drafts.append(draft)
    return drafts


def _one(rng: Random, things: Sequence[Thing], asked: set[str]) -> Draft | None:
    # What is answered is drawn first and kept through all tries, or the questions that are easy
    # to build (and "no", which is nearly always possible) would take over.
    yesno, wanted = rng.random() < YESNO, rng.random() < 0.5
    kinds = _YESNO if yesno else _WORDS
    for _ in range(_TRIES):
        kind = rng.choices(kinds, [k.weight for k in kinds])[0]
        draft = kind.build(rng, things, wanted) if yesno else kind.build(rng, things)
        if draft is not None and draft.question not in asked:
            return draft
    return None
