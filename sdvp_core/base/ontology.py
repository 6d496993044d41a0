"""Which words are values of which attribute, and which objects a description names."""

from collections.abc import Mapping
from typing import Any

from sdvp_core.base.wording import singular

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "color": tuple(
        [
            "red",
            "green",
            "blue",
            "yellow",
            "purple",
            "black",
            "white",
            "grey",
            "gray",
            "brown",
            "orange",
            "pink",
            "beige",
            "tan",
            "silver",
            "gold",
            "blond",
            "dark",
            "light",
        ]
    ),
    "pattern": ("plain", "striped", "hollow", "spotted", "checkered"),
    "size": ("small", "medium", "big", "large", "tiny", "huge", "little"),
    "material": tuple(
        ["wood", "wooden", "metal", "metallic", "plastic", "glass", "leather", "stone", "brick"]
    ),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
KIND_OF = {value: kind for kind, values in ATTRIBUTES.items() for value in values} | {
    shape: "shape" for shape in SHAPES
}
ARTICLES = frozenset(("a", "an", "the", "this", "that"))


def attribute(thing: Mapping[str, Any], kind: str) -> str | None:
    """The value an annotated object has for a kind ("color" -> "red"), None where it has none."""
    if kind in ("shape", "name"):
        return thing["name"]
    return next((v for v in thing["attributes"] if KIND_OF.get(v) == kind), None)


def holds(thing: Mapping[str, Any], description: str) -> bool:
    """Whether every word of a description ("red striped square") is true of an object."""
    text = " ".join(w for w in description.lower().split() if w not in ARTICLES)
    names = {thing["name"], *thing["categories"]}
    for name in sorted(names, key=len, reverse=True):  # "tennis racket" before "racket"
        if text == name or text.endswith(" " + name):
            # "square object" is said of a square too, by verify_property("object", "square")
            return set(text[: -len(name)].split()) <= names | set(thing["attributes"])
    true_words = names | set(thing["attributes"])
    return all(word in true_words or singular(word) in true_words for word in text.split())
