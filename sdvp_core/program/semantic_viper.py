"""Prints the tree of a functional program as a ViperGPT program: a Python function."""

import re

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

_SIDE = {
    "left": "horizontal_center <",
    "right": "horizontal_center >",
    # y grows upward in ViperGPT
    "above": "vertical_center >",
    "below": "vertical_center <",
    # Nearer things stand lower in a photo: cheaper than compute_depth, and no module is needed.
    "front": "vertical_center <",
    "behind": "vertical_center >",
}
_PLACE_SIDE = {"left": "left", "right": "right", "top": "above", "bottom": "below"}
_AREA = "{0}.width * {0}.height"
_MEASURES = {
    **dict.fromkeys(("larger", "bigger", "smaller"), _AREA),
    **dict.fromkeys(("taller", "shorter"), "{0}.height"),
    **dict.fromkeys(("longer", "wider", "narrower"), "{0}.width"),
    **dict.fromkeys(("higher", "lower"), "{0}.vertical_center"),
}
_LESS = frozenset(("smaller", "shorter", "narrower", "lower"))
_IMAGE = "image_patch"
_IS_YES = ' == "yes"'


def program(node: Node, question: str) -> str:
    """The program's text. Where a thing is not found, the whole image is asked the question."""
    lines = _Lines(question)
    lines.returns(lines.answer(node))
    head = ["def execute_command(image) -> str:", f"{_IMAGE} = ImagePatch(image)"]
    return "\n    ".join([*head, *lines.text])


class _Lines:
    """The lines so far. A thing is looked for, and checked for, once."""

    def __init__(self, question: str) -> None:
        self.text: list[str] = []
        self._question = question
        self._found: dict[Thing, str] = {}
        self._first: dict[Thing, str] = {}

    def returns(self, expression: str) -> None:
        self.text.append(f"return {expression}")

    def answer(self, node: Node) -> str:
        """Write the lines that answer a node; the expression of the answer."""
        match node:
            case Query(thing, kind):
                touched = thing.touches if kind == "name" else None
                patch = self._patch(touched.of if touched else thing)
                question = self._question if touched else node.question(self._question)
                return _asked(patch, question)
            case Choose(thing):
                return self._choose(node, thing)
            case Either(test, yes, no):
                if test.thing.touches:
                    return _asked(self._patch(test.thing.touches.of), self._question)
                return f"{_text(yes)} if {self._truth(test)} else {_text(no)}"
            case Compare(thing, other, how):
                return self._compare(thing, other, how)
            case Common(thing, other):
                return self._common(node, thing, other)
        truth = self._truth(node)
        if isinstance(node, Verify | Exists) and truth.endswith(_IS_YES):
            return truth.removesuffix(_IS_YES)  # the answer to a yes/no question is one already
        return f"bool_to_yesno({truth})"

    def _choose(self, node: Choose, thing: Thing) -> str:
        if not thing.name:
            return _asked(_IMAGE, node.question)
        patch, (first, second) = self._patch(thing), node.options
        if node.noun:
            return f"{patch}.best_text_match([{_text(first)}, {_text(second)}])"
        texts = [_text(f"{option} {thing.name}") for option in node.options]
        best = f"{patch}.best_text_match([{', '.join(texts)}])"
        return f"{_text(first)} if {best} == {texts[0]} else {_text(second)}"

    def _compare(self, thing: Thing, other: Thing, how: str) -> str:
        if how not in _MEASURES:
            return _asked(_IMAGE, self._question)
        sizes = [_MEASURES[how].format(self._patch(one)) for one in (thing, other)]
        sign = "<" if how in _LESS else ">"
        return f"{_text(thing.name)} if {sizes[0]} {sign} {sizes[1]} else {_text(other.name)}"

    def _common(self, node: Common, thing: Thing, other: Thing) -> str:
        *kinds, last = node.kinds
        for kind in kinds:
            self.text.append(f"if {self._same(Same(thing, other, kind, False))}:")
            self.text.append(f"    return {_text(kind)}")
        return _text(last)

    def _truth(self, node: Node) -> str:
        """Write the lines of a yes/no node; a Boolean expression."""
        match node:
            case Exists(thing):
                return self._exists(thing)
            case Verify(thing, _, value):
                if node.noun or not thing.name:
                    return _asked(self._patch(thing), node.question) + _IS_YES
                patch = self._patch(thing)
                return f"{patch}.verify_property({_text(thing.name)}, {_text(value)})"
            case Both(word, truths):
                parts = [self._truth(truth) for truth in truths]
                return f" {word} ".join(f"({p})" if " or " in p else p for p in parts)
            case Same():
                return self._same(node)
        return self.answer(node) + _IS_YES

    def _exists(self, thing: Thing) -> str:
        touched = thing.touches
        if not thing.name or touched is None:
            return (
                f"len({self._patches(thing)}) > 0" if thing.name else _yes(_IMAGE, self._question)
            )
        # What is beside a thing is not on its own patch; what it holds or wears is.
        patch = self._patch(touched.of) if touched.role == "o" else _IMAGE
        return _yes(patch, touched.question(thing))

    def _same(self, node: Same) -> str:
        if node.other is None:
            answers = f"[patch.simple_query({_text(node.question)}) for patch in "
            many = f"len(set({answers}{self._patches(node.thing)}]))"
            return f"{many} > 1" if node.negated else f"{many} <= 1"
        pair = [_asked(self._patch(thing), node.question) for thing in (node.thing, node.other)]
        return f" {'!=' if node.negated else '=='} ".join(pair)

    def _patch(self, thing: Thing) -> str:
        """The first patch of a thing, after a line that sees to it that there is one."""
        if not thing.name:
            return _IMAGE
        if thing not in self._first:
            patches = self._patches(thing)
            self.text.append(f"if not {patches}:")
            self.text.append(f"    return {_asked(_IMAGE, self._question)}")
            self._first[thing] = f"{patches}[0]"
        return self._first[thing]

    def _patches(self, thing: Thing) -> str:
        if thing not in self._found:
            expression = self._related(thing)
            for place in thing.places:
                expression = _placed(expression, place)
            for value in thing.without:
                kept = f"not patch.verify_property({_text(thing.name)}, {_text(value)})"
                expression = f"[patch for patch in {expression} if {kept}]"
            self._found[thing] = self._name(thing)
            self.text.append(f"{self._found[thing]} = {expression}")
        return self._found[thing]

    def _related(self, thing: Thing) -> str:
        found, relation = f"{_IMAGE}.find({_text(thing.text)})", thing.relation
        if relation is None or not relation.of.name:
            return found
        # [:1] stands for "the other one, if it was found": no guard is needed then.
        other = f"for other in {self._patches(relation.of)}[:1]"
        if relation.side:
            side = _compared("patch", relation.side, "other")
            return f"[patch for patch in {found} {other} if {side}]"
        if relation.name.startswith("same "):
            query = Same(thing, None, relation.name.removeprefix("same "), False).question
            equal = f"{_asked('patch', query)} == {_asked('other', query)}"
            return f"[patch for patch in {found} {other} if patch.left != other.left and {equal}]"
        nearest = f"sorted({found}, key=lambda one: distance(one, other))"
        apart = " if patch.left != other.left" if thing.name == relation.of.name else ""
        return f"[patch {other} for patch in {nearest}{apart}]"

    def _name(self, thing: Thing) -> str:
        stem = re.sub(r"\W+", "_", thing.name.lower()).strip("_")
        stem = stem if stem and not stem[0].isdigit() else f"thing_{stem}"
        taken, name, number = set(self._found.values()), f"{stem}_patches", 1
        while name in taken or name == _IMAGE:
            number += 1
            name = f"{stem}_patches_{number}"
        return name


def _placed(patches: str, place: str) -> str:
    if place not in _PLACE_SIDE:
        center = f"abs(patch.horizontal_center - {_IMAGE}.horizontal_center)"
        center += f" + abs(patch.vertical_center - {_IMAGE}.vertical_center)"
        return f"sorted({patches}, key=lambda patch: {center})"
    inside = _compared("patch", _PLACE_SIDE[place], _IMAGE)
    return f"[patch for patch in {patches} if {inside}]"


def _compared(first: str, side: str, second: str) -> str:
    attribute, sign = _SIDE[side].split()
    return f"{first}.{attribute} {sign} {second}.{attribute}"


def _asked(patch: str, question: str) -> str:
    return f"{patch}.simple_query({_text(question)})"


def _yes(patch: str, question: str) -> str:
    return _asked(patch, question) + _IS_YES


def _text(value: str) -> str:
    """A Python string in double quotes, as the originals write them."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
