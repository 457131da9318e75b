"""The templates, compiled once. Everything is escaped, and a name that is missing is a fault."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from chains import DISTRIBUTION, __version__
from chains.web.render import paths, text, words
from storage.redacted_url import shown as without_secrets

TEMPLATES = Path(__file__).parent.parent / "templates"


@cache
def environment() -> Environment:
    """Return the environment with every template compiled."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        # for every template, whatever its name ends with
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.filters.update(
        shown=text.shown,
        name=text.name,
        code=text.code,
        short=text.short,
        when=text.when,
        day=text.day,
        duration=text.duration,
        number=text.number,
        web_link=text.web_link,
        slug=text.slug,
        quoted=paths.quoted,
        secretless=without_secrets,
        calendar=text.calendar,
        level_word=words.level_word,
        level_sentence=words.level_sentence,
        type_name=words.type_name,
        outcome_word=words.outcome_word,
    )
    found.globals.update(
        paths=paths, link=paths.link, digest_link=paths.digest_link, words=words, program=program()
    )
    for name in found.list_templates():
        found.get_template(name)
    return found


@cache
def program() -> str:
    """Return the name of this program with its version."""
    return f"{DISTRIBUTION} {__version__}"


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return a template filled with values."""
    return environment().get_template(template).render(values)
