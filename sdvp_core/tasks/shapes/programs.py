"""Writes the programs of the banks: VisProg lines and ViperGPT functions."""

from collections.abc import Sequence

CROPS = {
    "to the left of": "CROP_LEFTOF",
    "to the right of": "CROP_RIGHTOF",
    "above": "CROP_ABOVE",
    "below": "CROP_BELOW",
}
# ViperGPT's y axis points upward.
COMPARISONS = {
    "to the left of": ("horizontal_center", "<"),
    "to the right of": ("horizontal_center", ">"),
    "above": ("vertical_center", ">"),
    "below": ("vertical_center", "<"),
}


class Visprog:
    """A VisProg program under construction: a method a step, each returns its variable."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._used: dict[str, int] = {}

    def loc(self, image: str, description: str) -> str:
        """The boxes of what fits a description."""
        return self._step("BOX", f"LOC(image={image},object='{description}')")

    def crop(self, image: str, box: str, operation: str = "CROP") -> str:
        """The part of an image at, or left of, ... the first box."""
        return self._step("IMAGE", f"{operation}(image={image},box={box})")

    def count(self, box: str) -> str:
        """How many boxes."""
        return self._step("ANSWER", f"COUNT(box={box})")

    def vqa(self, image: str, question: str) -> str:
        """A short answer."""
        return self._step("ANSWER", f"VQA(image={image},question='{question}')")

    def evaluate(self, expression: str) -> str:
        """An expression over earlier answers in braces."""
        return self._step("ANSWER", f'EVAL(expr="{expression}")')

    def result(self, variable: str) -> str:
        """The whole program, which ends in this variable."""
        return "\n".join([*self._lines, f"FINAL_RESULT=RESULT(var={variable})"])

    def asked(self, image: str, description: str, question: str) -> str:
        """LOC, CROP to the first box found, VQA on the crop."""
        return self.vqa(self.crop(image, self.loc(image, description)), question)

    def _step(self, kind: str, call: str) -> str:
        number = self._used.get(kind, 0)
        self._used[kind] = number + 1
        self._lines.append(f"{kind}{number}={call}")
        return f"{kind}{number}"


def viper(lines: Sequence[str], parameters: str = "image") -> str:
    """A ViperGPT function of these body lines."""
    head = f"def execute_command({parameters}) -> str:"
    return "\n".join([head, *(f"    {line}" for line in lines)])


def first(variable: str, patch: str, description: str) -> list[str]:
    """Find one thing; where nothing is found the patch itself stands in, as VisProg's CROP does."""
    return [
        f'{variable}_patches = {patch}.find("{description}")',
        f"{variable} = {variable}_patches[0] if {variable}_patches else {patch}",
    ]


def verdict(expression: str) -> str:
    """The last line of a program that judges a statement."""
    return f'return "true" if {expression} else "false"'
