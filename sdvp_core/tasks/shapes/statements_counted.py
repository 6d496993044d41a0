"""Statements that counting decides: how many of something the two images hold."""

from collections.abc import Callable
from random import Random

from sdvp_core.base import wording
from sdvp_core.tasks.descriptions import Phrase
from sdvp_core.tasks.shapes.programs import Visprog, verdict
from sdvp_core.tasks.shapes.statement_parts import (
    SIDES,
    Pair,
    Statement,
    count,
    function,
    phrase_for,
    somewhere,
)

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_BOUNDS = {"exactly": "==", "at least": ">=", "at most": "<="}


def total(rng: Random, pair: Pair) -> Statement | None:
    """ "There are at least three red squares in total." """
    phrase = somewhere(rng, pair)
    bound, number = rng.choice(list(_BOUNDS)), rng.choice((1, 2, 2, 3, 3, 4))
    counts = [count(things, phrase) for things in pair]
    noun = wording.plural(phrase.text) if number > 1 else phrase.text
    steps = Visprog()
    both = [steps.count(steps.loc(side.upper(), phrase.text)) for side in SIDES]
    sign = _BOUNDS[bound]
    end = steps.evaluate(f"{{{both[0]}}} + {{{both[1]}}} {sign} {number}")
    return Statement(
        f"There {'is' if number == 1 else 'are'} {bound} {NUMBERS[number]} {noun} in total.",
        _compare(sum(counts), sign, number),
        function(
            f'total = len(left_patch.find("{phrase.text}")) + '
            f'len(right_patch.find("{phrase.text}"))',
            verdict(f"total {sign} {number}"),
        ),
        steps.result(end),
    )


def contain(rng: Random, pair: Pair) -> Statement | None:
    """Both, at least one, exactly one, or neither of the images contains something."""
    phrase = somewhere(rng, pair)
    form, viper_test, visprog_test, test = rng.choice(_CONTAIN)
    steps = Visprog()
    names = [steps.count(steps.loc(side.upper(), phrase.text)) for side in SIDES]
    end = steps.evaluate(visprog_test.format(*(f"{{{name}}}" for name in names)))
    there = [count(things, phrase) > 0 for things in pair]
    return Statement(
        form.format(wording.article(phrase.text)),
        test(*there),
        function(
            f'in_left = left_patch.exists("{phrase.text}")',
            f'in_right = right_patch.exists("{phrase.text}")',
            verdict(viper_test),
        ),
        steps.result(end),
    )


def each(rng: Random, pair: Pair) -> Statement | None:
    """ "The left image contains exactly two rings and the right image contains no star." """
    phrases = [phrase_for(rng, things) for things in pair]
    numbers = [
        min(count(t, p) + rng.choice((0, 0, 0, 1)), 5) for t, p in zip(pair, phrases, strict=True)
    ]
    steps = Visprog()
    names = [steps.count(steps.loc(s.upper(), p.text)) for s, p in zip(SIDES, phrases, strict=True)]
    tests = " and ".join(f"{{{a}}} == {n}" for a, n in zip(names, numbers, strict=True))
    left, right = (_amount(n, p) for n, p in zip(numbers, phrases, strict=True))
    return Statement(
        f"The left image contains {left} and the right image contains {right}.",
        all(count(t, p) == n for t, p, n in zip(pair, phrases, numbers, strict=True)),
        function(
            f'in_left = len(left_patch.find("{phrases[0].text}"))',
            f'in_right = len(right_patch.find("{phrases[1].text}"))',
            verdict(f"in_left == {numbers[0]} and in_right == {numbers[1]}"),
        ),
        steps.result(steps.evaluate(tests)),
    )


def more(rng: Random, pair: Pair) -> Statement | None:
    """ "The left image has more blue items than the right image." """
    phrase = somewhere(rng, pair)
    i = rng.randrange(2)
    counts = [count(things, phrase) for things in pair]
    steps = Visprog()
    names = [steps.count(steps.loc(side.upper(), phrase.text)) for side in SIDES]
    sign = ">" if i == 0 else "<"
    noun = wording.plural(phrase.text)
    return Statement(
        f"The {SIDES[i]} image has more {noun} than the {SIDES[1 - i]} image.",
        counts[i] > counts[1 - i],
        function(
            f'in_left = len(left_patch.find("{phrase.text}"))',
            f'in_right = len(right_patch.find("{phrase.text}"))',
            verdict(f"in_left {sign} in_right"),
        ),
        steps.result(steps.evaluate(f"{{{names[0]}}} {sign} {{{names[1]}}}")),
    )


_CONTAIN: tuple[tuple[str, str, str, Callable[[bool, bool], bool]], ...] = (
    (
        *("Both images contain {}.", "in_left and in_right"),
        *("{} > 0 and {} > 0", lambda a, b: a and b),
    ),
    (
        *("At least one of the images contains {}.", "in_left or in_right"),
        *("{} > 0 or {} > 0", lambda a, b: a or b),
    ),
    (
        *("Exactly one of the images contains {}.", "in_left != in_right"),
        *("({} > 0) != ({} > 0)", lambda a, b: a != b),
    ),
    (
        *("Neither image contains {}.", "not in_left and not in_right"),
        *("{} == 0 and {} == 0", lambda a, b: not a and not b),
    ),
)


def _compare(number: int, sign: str, bound: int) -> bool:
    return {"==": number == bound, ">=": number >= bound, "<=": number <= bound}[sign]


def _amount(number: int, phrase: Phrase) -> str:
    if number == 0:
        return f"no {phrase.text}"
    return (
        f"exactly {NUMBERS[number]} {phrase.text if number == 1 else wording.plural(phrase.text)}"
    )
