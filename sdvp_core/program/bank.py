"""A bank of recorded programs, keyed by the question they answer."""

from dataclasses import dataclass
from pathlib import Path

from sdvp_core.base.errors import UserError
from sdvp_core.base.tables import read_jsonl

DIALECTS = ("visprog", "viper")


@dataclass(frozen=True)
class Bank:
    """Programs by question and dialect.

    A question is looked up as it is; if it is not there, without regard to white space, then also
    to case and to a full stop at its end.
    """

    _levels: tuple[dict[tuple[str, str], list[str]], ...]

    @classmethod
    def load(cls, path: Path) -> "Bank":
        """Read JSON lines ``{"sentence": ..., "viper": ..., "visprog": ...}``.

        A program is a text, or a list of texts (several samples). A dialect may be absent, and a
        sentence may come again with more programs. Raises ``UserError`` for a broken file.
        """
        bank = cls(tuple({} for _ in _KEYS))
        for number, row in enumerate(read_jsonl(path), 1):
            sentence = row.get("sentence")
            if not isinstance(sentence, str) or not sentence.strip():
                raise UserError(f'{path}: record {number} has no "sentence": give it a text.')
            for dialect in DIALECTS:
                bank._add(sentence, dialect, _programs(row.get(dialect), path, number, dialect))
        return bank

    def programs(self, question: str, dialect: str) -> list[str]:
        """The recorded programs for a question, in the file's order; empty where there is none."""
        for key, level in zip(_KEYS, self._levels, strict=True):
            if (key(question), dialect) in level:
                return list(level[key(question), dialect])
        return []

    def _add(self, sentence: str, dialect: str, programs: list[str]) -> None:
        for key, level in zip(_KEYS, self._levels, strict=True):
            if programs:
                level.setdefault((key(sentence), dialect), []).extend(programs)


def _programs(value: object, path: Path, number: int, dialect: str) -> list[str]:
    programs = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(program, str) for program in programs):
        raise UserError(
            f'{path}: record {number} has a "{dialect}" that is not a program\'s text: mend it.'
        )
    return [program for program in programs if program.strip()]


def _collapsed(question: str) -> str:
    return " ".join(question.split())


def _lenient(question: str) -> str:
    return _collapsed(question).lower().rstrip(".?! ")


_KEYS = (str, _collapsed, _lenient)
