"""One training example of a module: what it is asked, and what it should answer."""

from dataclasses import dataclass

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """The input fields are those of a module call; the target fields depend on the module.

    vqa: ``answers``, pairs of answer and probability, the likeliest first (its head is the hard
    target). locate: ``boxes`` in pixels of the original image with their ``scores``.
    match: ``scores``, the probability that each text of ``texts`` is true of the region.
    """

    module: str
    image_id: str
    region: Box
    texts: tuple[str, ...]
    answers: tuple[tuple[str, float], ...] = ()
    boxes: tuple[Box, ...] = ()
    scores: tuple[float, ...] = ()
