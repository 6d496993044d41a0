"""How sub-questions are worded: one place for those who ask (compilers, fits) and who parse.

A description is what LOC and find() are given: attributes, then a name ("red striped square",
"black item"). A sub-question asks one fact of a region. "it" stands for the thing in the middle of
the region; the visual pointer prompt puts a description in its place.
"""

import re
from dataclasses import dataclass

KINDS = ("color", "shape", "pattern", "size", "material", "name")
QUERY = {
    "color": "What color is {}?",
    "shape": "What shape is {}?",
    "pattern": "What pattern is {}?",
    "size": "What size is {}?",
    "material": "What material is {}?",
    "name": "What is {}?",
}


@dataclass(frozen=True, slots=True)
class SubQuestion:
    """A parsed sub-question: ``kind`` is a key of QUERY, or is / exists / count / choose.

    ``subject`` is a description without its article, or "it"; ``value`` what `is` asks about
    ("red", "a square" without its article); ``options`` what `choose` offers.
    """

    kind: str
    subject: str
    value: str = ""
    options: tuple[str, ...] = ()


def query(kind: str, subject: str = "it") -> str:
    """query("color") -> "What color is it?"; query("color", "square") -> "... is the square?"."""
    return QUERY.get(kind, "What " + kind.replace("{", "").replace("}", "") + " is {}?").format(
        the(subject)
    )


def verify(value: str, subject: str = "it", noun: bool = False) -> str:
    """verify("red") -> "Is it red?"; verify("square", noun=True) -> "Is it a square?"."""
    return f"Is {the(subject)} {article(value) if noun else value}?"


def exists(description: str) -> str:
    """exists("red square") -> "Is there a red square?"."""
    return f"Is there {article(description)}?"


def count(description: str) -> str:
    """count("red square") -> "How many red squares are there?"."""
    return f"How many {plural(description)} are there?"


def choose(first: str, second: str, subject: str = "it", noun: bool = False) -> str:
    """choose("red", "blue") -> "Is it red or blue?"."""
    a, b = (article(first), article(second)) if noun else (first, second)
    return f"Is {the(subject)} {a} or {b}?"


def the(subject: str) -> str:
    """ "it" stays, a description gets its article, one that has an article keeps it."""
    bare = subject in ("it", "this", "that") or subject.startswith(("the ", "this ", "that "))
    return subject if bare else f"the {subject}"


def article(description: str) -> str:
    """ "square" -> "a square", "orange" -> "an orange"."""
    return f"{'an' if description[:1].lower() in 'aeiou' else 'a'} {description}"


def plural(description: str) -> str:
    """The last word of a description in the plural."""
    if re.search(r"(s|x|z|ch|sh)$", description):
        return description + "es"
    if re.search(r"[^aeiou]y$", description):
        return description[:-1] + "ies"
    return description + "s"


def singular(description: str) -> str:
    """Undo :func:`plural`."""
    if re.search(r"[^aeiou]ies$", description):
        return description[:-3] + "y"
    if re.search(r"(s|x|z|ch|sh)es$", description):
        return description[:-2]
    return description[:-1] if description.endswith("s") else description


_SUBJECT = r"(?P<subject>it|this|that|(?:the|this|that) .+?)"
_PATTERNS = (
    ("count", re.compile(r"^how many (?P<subject>.+?) (?:are|is) there\??$")),
    ("exists", re.compile(r"^(?:is|are) there (?:an? |any )?(?P<subject>.+?)\??$")),
    ("query", re.compile(rf"^what (?P<kind>[a-z ]+?) is {_SUBJECT}\??$")),
    ("name", re.compile(rf"^what is {_SUBJECT}\??$")),
)
# "Is the red square striped?": the subject takes as many words as leave one value over.
_IT_IS = re.compile(r"^is (?P<subject>it|this|that) (?P<value>.+?)\??$")
_THE_IS_A = re.compile(r"^is (?:the|this|that) (?P<subject>.+?) (?P<value>an? .+?)\??$")
_THE_IS = re.compile(r"^is (?:the|this|that) (?P<subject>.+) (?P<value>\S+?)\??$")
_THE_IS_OR = re.compile(
    r"^is (?:the|this|that) (?P<subject>.+?) (?P<value>(?:an? )?\S+ or .+?)\??$"
)


def parse(question: str) -> SubQuestion | None:
    """The parsed form of a sub-question in this file's wording (any case), or None."""
    text = " ".join(question.lower().split())
    for kind, pattern in _PATTERNS:
        found = pattern.match(text)
        if found:
            subject = bare(found["subject"])
            if kind == "count":
                return SubQuestion("count", singular(subject))
            return SubQuestion(found["kind"] if kind == "query" else kind, subject)
    for pattern in (_IT_IS, _THE_IS_OR, _THE_IS_A, _THE_IS):
        found = pattern.match(text)
        if found:
            return _is_or_choose(bare(found["subject"]), found["value"])
    return None


def _is_or_choose(subject: str, value: str) -> SubQuestion:
    if " or " in value:
        return SubQuestion("choose", subject, options=tuple(map(bare, value.split(" or "))))
    return SubQuestion("is", subject, bare(value))


def bare(text: str) -> str:
    """A description without its article."""
    return re.sub(r"^(?:the|an?|this|that) (?=\S)", "", text.strip())
