"""Jinja pages: whatever is put in is escaped, nothing is fetched from anywhere."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sdvp_core.report.text import markdown_cell

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """Fill a template of this folder; every value is HTML-escaped unless it is Markup."""
    return _environment().get_template(template).render(values)


def render_text(template: str, **values: Any) -> str:
    """Fill a Markdown template; its filters `cell` and `yaml` escape for their place."""
    return _text_environment().get_template(template).render(values)


def anchor(text: str) -> str:
    """A plain word to link to: "Matrix R, viper" -> "matrix-r-viper"."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["anchor"] = anchor
    return environment


@cache
def _text_environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": markdown_cell, "yaml": json.dumps}
    return environment
