"""The teacher's own word-level vocabulary, learnt from the questions it is fitted on."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from sdvp_core.base.ontology import ARTICLES
from sdvp_core.base.wording import singular

PAD, UNKNOWN = 0, 1
_WORD = re.compile(r"[a-z0-9]+(?:['-][a-z0-9]+)*")


def words_of(text: str) -> list[str]:
    """Lower-case words of a text, without punctuation."""
    return _WORD.findall(text.lower())


def description_words(description: str) -> list[str]:
    """The words of an object description that say something: articles are left out."""
    return [word for word in words_of(description) if word not in ARTICLES]


class Words:
    """Numbers for words: 0 is padding, 1 any word that is not known."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._ids = {word: index + 2 for index, word in enumerate(self.words)}

    @classmethod
    def of(cls, texts: Iterable[str], least: int = 2) -> "Words":
        """The words that occur ``least`` times or more, in alphabetical order."""
        counts = Counter(word for text in texts for word in words_of(text))
        return cls(sorted(word for word, count in counts.items() if count >= least))

    def __len__(self) -> int:
        return len(self.words) + 2

    def unknown(self, text: str) -> list[str]:
        """The words of a text that are not known."""
        return [word for word in words_of(text) if word not in self._ids]

    def encode(self, text: str, length: int) -> list[int]:
        """``length`` numbers; a longer text loses its END, a shorter one is padded there."""
        ids = [self._ids.get(word, UNKNOWN) for word in words_of(text)][:length] or [UNKNOWN]
        return ids + [PAD] * (length - len(ids))


def heads_of(description: str, heads: Sequence[str]) -> tuple[list[int], list[str]]:
    """Places of a description's words among ``heads``, and the words that have none.

    A word is looked up as it is and in the singular ("circles" finds the head "circle").
    """
    places = {word: place for place, word in enumerate(heads)}
    found, missing = [], []
    for word in description_words(description):
        place = places.get(word, places.get(singular(word)))
        if place is None:
            missing.append(word)
        else:
            found.append(place)
    return found, missing
