"""Sub-questions about relations that boxes do not tell: "Is there a cat on the sofa?".

They are answered from the relations that scene graphs list. What is left of something, or above
it, is told by boxes and left to them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sdvp_core.base.ontology import KIND_OF, holds
from sdvp_core.base.sample import Box
from sdvp_core.base.scene_relations import Thing, is_relational, overlap, yes_or_no
from sdvp_core.base.wording import bare

Relation = Mapping[str, str]  # an annotation relation: records.RELATION
_SIDES = frozenset(
    ("to the left of", "left of", "to the right of", "right of", "above", "over", "below", "under")
)
# Asked of an image without any such relation, the answer is no. Others must be in its annotations.
_NAMES = (
    "near|next to|beside|by|on|on top of|in|inside|behind|in front of|at|with|wearing|holding"
    "|carrying|riding|sitting on|sitting in|sitting at|sitting by|sitting next to|standing on"
    "|standing in|standing by|standing near|standing next to|hanging on|hanging from|lying on"
    "|leaning on|walking on|eating|using|watching|looking at|covered by|covering|parked on"
).split("|")
_SHOWN = 0.4  # intersection over union: the region is a crop of one thing, if enlarged 1.5 times
_MUTUAL = frozenset(("near", "next to", "beside"))
_PRONOUNS = frozenset(("it", "this", "that"))
_RELATED = ("name", "or")
_PLACES = frozenset("left right top bottom middle center side picture image photo scene".split())
_THE = r"(?P<subject>it|this|that|(?:the|this|that) .+?)"
_QUESTIONS = (
    rf"(?:is|are) {_THE} (?P<name>REL) or (?P<or>REL) (?P<object>.+)",
    rf"(?:is|are) {_THE} (?P<name>REL) (?P<object>.+)",
    r"(?:is|are) there (?P<subject>.+?) (?:(?:that|which) )?(?:(?:is|are) )?(?P<name>REL)"
    r" (?P<object>.+)",
    r"(?:what|who) (?:is|are) (?P<name>REL) (?P<object>.+)",
    rf"(?:what|who) (?:is|are) {_THE} (?P<name>REL)",
)


@dataclass(frozen=True)
class Annotated:
    """The things and relations of an image, the things inside a region of it, and its "it"."""

    things: Sequence[Thing]
    relations: Sequence[Relation]
    region: Box
    inside: Sequence[Thing]
    it: Thing | None

    def answer(self, question: str) -> str | None:
        """ "yes", "no", a relation or a name; None where no annotated relation is asked about."""
        told = {relation["name"] for relation in self.relations} - _SIDES
        if not told:
            return None
        names = "|".join(map(re.escape, sorted(told.union(_NAMES), key=len, reverse=True)))
        text = " ".join(question.lower().split()).rstrip("?").strip()
        for pattern in _QUESTIONS:
            found = re.fullmatch(pattern.replace("REL", f"(?:{names})"), text)
            if found:
                asked = {key: value for key, value in found.groupdict().items() if value}
                known = "subject" if _THE in pattern else "object"
                return self._found(asked, known) if self._is_plain(asked, names) else None
        return None

    def _found(self, asked: Mapping[str, str], known: str) -> str | None:
        """``known`` is the role of what the question presupposes: the region shows it."""
        meant = {role: self._meant(asked.get(role, "object")) for role in ("subject", "object")}
        meant[known] = self._shown(meant[known])
        pairs = {key: self._pairs(asked[key], **meant) for key in _RELATED if key in asked}
        if "or" in asked:
            return _only(asked[key] for key in pairs if pairs[key])
        if "subject" in asked and "object" in asked:
            return yes_or_no(bool(pairs["name"]))
        return _only(pair["subject" in asked]["name"] for pair in pairs["name"])

    def _pairs(
        self, name: str, subject: Sequence[Thing], object: Sequence[Thing]
    ) -> list[tuple[Thing, Thing]]:
        """Subject and object of each relation of that name between things of the two lists."""
        ends = [(r["subject"], r["object"]) for r in self.relations if r["name"] == name]
        ends += [(b, a) for a, b in ends if name in _MUTUAL]
        return [
            (one, other)
            for one in subject
            for other in object
            if (one["object_id"], other["object_id"]) in ends
        ]

    def _meant(self, phrase: str) -> list[Thing]:
        if phrase in _PRONOUNS:
            return [self.it] if self.it else []
        found = [thing for thing in self.things if holds(thing, phrase)]
        # "pillows" is one thing of that name rather than each "pillow".
        return [thing for thing in found if phrase.endswith(thing["name"])] or found

    def _shown(self, things: Sequence[Thing]) -> list[Thing]:
        """The thing that the region is a crop of, or else all that are inside it."""
        best = max(things, key=lambda thing: overlap(thing["box"], self.region), default=None)
        if best and overlap(best["box"], self.region) > _SHOWN:
            return [best]
        return [thing for thing in things if thing in self.inside]

    def _is_plain(self, asked: Mapping[str, str], names: str) -> bool:
        phrases = [bare(asked[role]) for role in ("subject", "object") if role in asked]
        return all(self._is_description(phrase, names) for phrase in phrases)

    def _is_description(self, phrase: str, names: str) -> bool:
        """Attributes and a name; not "left", "sofa near the wall" or the end of "... sofa red"."""
        known = {thing["name"] for thing in self.things}
        if phrase in known | _PRONOUNS or any(phrase.endswith(" " + name) for name in known):
            head = phrase.rpartition(" ")[0]
            return phrase in known or not re.search(rf"\b(?:{names})\b", head)
        words = set(phrase.split())
        values = set(KIND_OF).union(*(thing["attributes"] for thing in self.things))
        strange = words & (known | _PLACES) or phrase.split()[-1] in values
        return not (strange or is_relational(phrase) or re.search(rf"\b(?:{names})\b", phrase))


def _only(found: Iterable[str]) -> str | None:
    """The one value there is, None for none and for several."""
    values = set(found)
    return values.pop() if len(values) == 1 else None
