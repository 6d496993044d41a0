"""Numbers and foreign text as they are printed.

Questions, programs, answers and names come from data and from language models: `clean` takes out
what no page should carry, escaping for HTML is Jinja's part and for Markdown `markdown_cell`'s.
"""

import math
import re
from typing import Any

MISSING = "\u2013"
# Controls, and the marks that turn the direction of text around (a way to disguise programs).
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
# What makes mark-up inside a line: code, emphasis, links, cells, strikes, formulae.
_MARKDOWN = re.compile(r"[\\`*|~$]|(?<!\w)_|_(?!\w)|\](?=[(\[])")


def clean(value: Any, limit: int = 300) -> str:
    """Text without control and direction marks, cut to ``limit`` characters with an ellipsis."""
    text = _UNPRINTABLE.sub("\ufffd", str(value).replace("\r\n", "\n"))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def markdown_cell(value: Any) -> str:
    """Text that stays one cell of a Markdown table and carries no mark-up or HTML."""
    text = " ".join(clean(value, 1000).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\g<0>", text)


def percent(value: float | None) -> str:
    """0.7134 -> "71.3"."""
    return MISSING if value is None else f"{100.0 * value:.1f}"


def points(value: float | None) -> str:
    """12.34 -> "+12.3"; a zero has no sign."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:+.1f}" if round(value, 1) else "0.0"


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """ "+12.3 [+9.0, +15.1]", without brackets where the bounds are unknown."""
    if value is None or low is None or high is None:
        return points(value)
    return f"{points(value)} [{points(low)}, {points(high)}]"


def number(p: float | None) -> str:
    """A p value: three digits, small ones as "< 0.001"."""
    if p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
