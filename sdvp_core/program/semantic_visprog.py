"""Prints the tree of a functional program as a VisProg program: one step a line."""

import re
from dataclasses import replace

from sdvp_core.base import wording
from sdvp_core.base.ontology import KIND_OF
from sdvp_core.program.semantic_tree import (
    Both,
    Choose,
    Common,
    Compare,
    Either,
    Exists,
    Node,
    Query,
    Same,
    Thing,
    Verify,
)

_CROPS = {
    "left": "CROP_LEFTOF",
    "right": "CROP_RIGHTOF",
    "above": "CROP_ABOVE",
    "below": "CROP_BELOW",
    "front": "CROP_FRONTOF",
    "behind": "CROP_BEHIND",
}
# Parts of the picture that LOC knows by name; there is none for the middle.
_PLACES = ("left", "right", "top", "bottom")


def program(node: Node, question: str) -> str:
    """The program's text; its questions are short ones of "it" wherever one of them will do."""
    lines = _Lines(question)
    lines.result(lines.answer(node))
    return "\n".join(lines.text)


class _Lines:
    """The lines so far. Equal steps are written once."""

    def __init__(self, question: str) -> None:
        self.text: list[str] = []
        self._question = question
        self._counts = {"BOX": 0, "IMAGE": 0, "ANSWER": 0}
        self._written: dict[str, str] = {}

    def answer(self, node: Node) -> str:
        """Write the steps that answer a node; the name of the variable with the answer."""
        match node:
            case Query(thing, kind):
                return self._query(node, thing, kind)
            case Choose(thing):
                return self._ask(self._crop(thing), node.question)
            case Either(test, yes, no):
                if test.thing.touches:
                    return self._ask(self._crop(test.thing.touches.of), self._question)
                return self._eval(f"{yes!r} if {self._truth(test)} else {no!r}")
            case Compare() | Same(_, None):
                return self._ask("IMAGE", self._question)
            case Common(thing, other):
                return self._common(node, thing, other)
        truth = self._truth(node)
        if re.fullmatch(r"\{\w+\}", truth) and isinstance(node, Verify | Exists):
            return truth[1:-1]  # the answer to a yes/no question is an answer already
        return self._eval(f"'yes' if {truth} else 'no'")

    def result(self, variable: str) -> None:
        self.text.append(f"FINAL_RESULT=RESULT(var={variable})")

    def _query(self, node: Query, thing: Thing, kind: str) -> str:
        if thing.touches and kind == "name":
            return self._ask(self._crop(thing.touches.of), self._question)
        return self._ask(self._crop(thing), node.question(self._question))

    def _common(self, node: Common, thing: Thing, other: Thing) -> str:
        *kinds, last = node.kinds
        pairs = [(kind, self._equal(Same(thing, other, kind, False))) for kind in kinds]
        chain = " else ".join(f"{kind!r} if {equal}" for kind, equal in pairs)
        return self._eval(f"{chain} else {last!r}")

    def _truth(self, node: Node) -> str:
        """Write the steps of a yes/no node; an expression over their variables."""
        match node:
            case Exists(thing):
                return self._exists(thing)
            case Verify(thing, _, value) if value in KIND_OF:
                # An open question and a comparison: what VQA models answer best.
                seen = self._ask(self._crop(thing), wording.query(KIND_OF[value]))
                return f"{self._braced(seen)} == {value!r}"
            case Verify(thing):
                return self._braced(self._ask(self._crop(thing), node.question))
            case Both(word, truths):
                parts = [self._truth(truth) for truth in truths]
                return f" {word} ".join(f"({p})" if " or " in p else p for p in parts)
            case Same(_, Thing()):
                return self._equal(node)
        return self._braced(self.answer(node)) + " == 'yes'"

    def _exists(self, thing: Thing) -> str:
        if not thing.name:
            return self._braced(self._ask("IMAGE", self._question))
        if thing.touches:
            image = self._crop(thing.touches.of)
            return self._braced(self._ask(image, thing.touches.question(thing)))
        count = self._count(replace(thing, without=()))
        if not thing.without:
            return f"{count} > 0"
        # Boxes cannot be filtered: something is not black if there are more things than black ones.
        return f"{count} > {self._count(thing.having(thing.without[0]))}"

    def _equal(self, node: Same) -> str:
        pair = [self._ask(self._crop(thing), node.question) for thing in (node.thing, node.other)]
        return f" {'!=' if node.negated else '=='} ".join(map(self._braced, pair))

    def _locate(self, thing: Thing) -> str:
        image = "IMAGE"
        for place in thing.places:
            if place in _PLACES:
                image = self._step("IMAGE", "CROP", image=image, box=self._place(place, image))
        relation = thing.relation
        if relation is not None and relation.of.name and not relation.name.startswith("same "):
            crop = _CROPS.get(relation.side or "", "CROP")
            image = self._step("IMAGE", crop, image=image, box=self._locate(relation.of))
        return self._step("BOX", "LOC", image=image, object=repr(thing.text))

    def _place(self, place: str, image: str) -> str:
        return self._step("BOX", "LOC", image=image, object=repr(place.upper()))

    def _crop(self, thing: Thing) -> str:
        """A crop to the thing: the whole picture for the scene, and where nothing is found."""
        if not thing.name:
            return "IMAGE"
        return self._step("IMAGE", "CROP", image="IMAGE", box=self._locate(thing))

    def _count(self, thing: Thing) -> str:
        return self._braced(self._step("ANSWER", "COUNT", box=self._locate(thing)))

    def _ask(self, image: str, question: str) -> str:
        return self._step("ANSWER", "VQA", image=image, question=repr(question))

    def _eval(self, expression: str) -> str:
        return self._step("ANSWER", "EVAL", expr=repr(expression))

    @staticmethod
    def _braced(variable: str) -> str:
        return "{" + variable + "}"

    def _step(self, kind: str, operation: str, **arguments: str) -> str:
        call = f"{operation}({','.join(f'{k}={v}' for k, v in arguments.items())})"
        if call not in self._written:
            self._written[call] = f"{kind}{self._counts[kind]}"
            self._counts[kind] += 1
            self.text.append(f"{self._written[call]}={call}")
        return self._written[call]
