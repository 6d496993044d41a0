"""Prompts: one file for each family of tasks and dialect, in `prompts/<family>.<dialect>.md`.

A file holds instructions, then examples: a heading `### Question: ...` and a fenced program. The
word before the colon is how every question is introduced.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from sdvp_core.base.errors import UserError
from sdvp_core.llm.wire import Message

FOLDER = Path(__file__).parent / "prompts"
LONGEST_ECHO = 4000  # characters of a faulty answer shown again: gibberish teaches nothing
_EXAMPLE = re.compile(r"^### (\w+): ([^\n]+)\n+```\w*\n(.*?)\n```[ \t]*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Prompt:
    """``examples`` are pairs of question and program; ``sha256`` is that of the file."""

    instructions: str
    word: str
    examples: tuple[tuple[str, str], ...]
    sha256: str

    @classmethod
    def load(cls, family: str, dialect: str, folder: Path | str | None = None) -> "Prompt":
        """The prompt of a file; ``UserError`` where there is none or it holds no example."""
        name = f"{family}.{dialect}.md"
        path = Path(folder or FOLDER) / name
        try:
            text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
        except (OSError, UnicodeDecodeError):
            raise UserError(
                f"There is no prompt {name} that can be read: write one, and name its folder as "
                "`generate.llm.prompts`."
            ) from None
        found = list(_EXAMPLE.finditer(text))
        if not found or text.count("\n### ") + text.startswith("### ") != len(found):
            raise UserError(
                f"{path}: every example is a line `### Question: ...` and a program between ``` "
                "lines; at least one is needed."
            )
        examples = tuple((match[2].strip(), match[3]) for match in found)
        instructions = text[: found[0].start()].strip()
        return cls(instructions, found[0][1], examples, hashlib.sha256(text.encode()).hexdigest())

    def messages(self, question: str) -> list[Message]:
        """The chat that asks for a program.

        The instructions stand in the first turn of the user: some models know no system role.
        """
        asked = " ".join(question.encode("utf-8", "replace").decode("utf-8").split())
        chat: list[Message] = []
        for example, program in self.examples:
            chat += [_user(f"{self.word}: {example}"), _model(f"```\n{program}\n```")]
        chat.append(_user(f"{self.word}: {asked}"))
        chat[0] = _user(f"{self.instructions}\n\n{chat[0]['content']}")
        return chat


def repair(answer: str, complaint: str) -> list[Message]:
    """The two turns that send a faulty answer back with what is wrong with it."""
    asked = f"This program cannot run: {complaint}. Write the whole program again, corrected."
    return [_model(answer[:LONGEST_ECHO] or "(nothing)"), _user(asked)]


def family(reader: str, world: bool, scene: str) -> str:
    """Which prompts a task takes: those of its official format, or of the embedded world."""
    if world:
        return "shapes_pair" if scene == "pair" else "shapes"
    return reader


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _model(text: str) -> Message:
    return {"role": "assistant", "content": text}
