"""Statements on a pair of scenes, true or false, with a program in both dialects for each.

More than half turn on an attribute of a thing that has to be found first: that is what the modules
vqa and match are asked. A builder draws a statement at random and gives None where the pair holds
none that is without doubt; a sentence has one program, whatever pair it is said of.
"""

from collections.abc import Callable, Sequence
from random import Random

from sdvp_core.tasks.descriptions import Thing
from sdvp_core.tasks.shapes import statements_counted as counted
from sdvp_core.tasks.shapes import statements_seen as seen
from sdvp_core.tasks.shapes.statement_parts import Pair, Statement

_KINDS, _TRIES = 6, 10
_BUILDERS: tuple[tuple[Callable[[Random, Pair], Statement | None], int], ...] = (
    *((counted.total, 9), (counted.contain, 9), (counted.each, 5), (counted.more, 6)),
    *((seen.has_value, 28), (seen.both_have, 12), (seen.same, 19), (seen.all_are, 6)),
    (seen.stands, 6),
)


def state(
    rng: Random, left: Sequence[Thing], right: Sequence[Thing], wanted: bool
) -> Statement | None:
    """A statement on two scenes that is as true as wanted; None only if no try gives one."""
    weights = [weight for _, weight in _BUILDERS]
    # The kind is drawn once for several tries, so that kinds that are seldom true stay as frequent.
    for _ in range(_KINDS):
        build = rng.choices(_BUILDERS, weights)[0][0]
        for _ in range(_TRIES):
            statement = build(rng, (left, right))
            if statement is not None and statement.truth == wanted:
                return statement
    return None
