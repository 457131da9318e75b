"""Redaction: what a report must not show are values of variables and secrets in arguments.

They are left out, or replaced by a keyed hash if a key is configured: HMAC-SHA-256 over ``NAME=value`` for a
variable, over the text itself for an argument. Without the key nobody can test guesses against the hash, and
the report is the same each time it is built.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from chains.errors import ConfigError
from chains.masking.command_words import secret_words, spans_in_text
from chains.masking.forms import Span, known_spans, merged, named_spans
from chains.statements.redaction_settings import RedactionSettings
from chains.tekton.container import Reference, Variable
from storage.files import read_file
from storage.limits.bounded import remembered

REDACTED = "redacted"
_MOST_KEY = 64 * 1024
MIN_KEY = 16
"""The shortest key in bytes."""
_NEVER_SECRET = ("TEKTON_HERMETIC",)
_LONGEST = 256
_MOST = 64
_LOOKED_AT = 1024
"""Secrets are looked for in this many characters at the start of an argument."""
_SHOWN_OF = 512
"""At most this many characters are shown. A secret that begins in them is recognized, because more are
searched."""


@dataclass(frozen=True, slots=True)
class Redaction:
    """The rules with their key. Without a key, redacted values are left out."""

    key: bytes = field(default=b"", repr=False)
    shown: frozenset[str] = frozenset()
    arguments: re.Pattern[str] | None = None

    def variable(self, name: str, value: str) -> dict[str, Any]:
        """Return the JSON field for a variable's value: ``value``, ``hmac-sha256`` or ``redacted``."""
        if name in self.shown or name in _NEVER_SECRET:
            return {"value": self.argument(value)}
        if self.key:
            return {"hmac-sha256": self._hash(f"{name}={value}")}
        return {REDACTED: True}

    def argument(self, text: str) -> str:
        """Return a text with everything that looks like a secret replaced. A long text is cut."""
        return self._shown(text, self._spans(text[:_LOOKED_AT]))

    def command_line(self, words: Sequence[str]) -> list[str]:
        """Return the words of a command line. Secrets behind options of programs are replaced too."""
        searched = [word[:_LOOKED_AT] for word in words[:_MOST]]
        hidden = dict(secret_words(searched))
        found = []
        for number, word in enumerate(words[:_MOST]):
            spans = self._spans(searched[number])
            if number in hidden:
                spans.append((hidden[number], len(searched[number])))
            found.append(self._shown(word, spans))
        return found + ([f"… ({len(words)} words)"] if len(words) > _MOST else [])

    def _spans(self, text: str) -> list[Span]:
        spans = list(_spans(text))
        if self.arguments is not None:
            spans += (match.span(_first_group(match)) for match in self.arguments.finditer(text))
        return spans

    def _shown(self, text: str, spans: list[Span]) -> str:
        parts, at = [], 0
        for begin, end in merged(spans):
            if begin >= _SHOWN_OF:
                break
            parts += [text[at:begin], self._instead(text[begin:end])]
            at = end
        shown = "".join((*parts, text[at:_SHOWN_OF]))
        is_whole = len(text) <= _SHOWN_OF and len(shown) <= _LONGEST
        return shown if is_whole else f"{shown[:_LONGEST]}… ({len(text)} characters)"

    def _instead(self, secret: str) -> str:
        return f"[hmac-sha256:{self._hash(secret)}]" if self.key else f"[{REDACTED}]"

    def _hash(self, text: str) -> str:
        return hmac.digest(self.key, text.encode(errors="surrogatepass"), "sha256").hex()


@remembered(1024, longest=512)
def _spans(text: str) -> tuple[Span, ...]:
    """Return where a text has secrets. Cached, because runs of one pipeline repeat their arguments."""
    return (*known_spans(text), *named_spans(text), *spans_in_text(text))


def _first_group(match: re.Match[str]) -> int:
    """Return the number of the first group that matched, 0 for the whole match if none did."""
    return next((number for number, group in enumerate(match.groups(), 1) if group is not None), 0)


def open_redaction(settings: RedactionSettings) -> Redaction:
    """Return the rules with the key from its file. Raises :class:`ConfigError` with the next step."""
    key = b""
    if settings.key_file:
        try:
            key = read_file(settings.key_file, _MOST_KEY).strip()
        except OSError as error:
            raise ConfigError(
                f"execution.redaction.key-file: {settings.key_file}: {error.strerror or error}"
            ) from error
        if len(key) < MIN_KEY:
            raise ConfigError(
                f"execution.redaction.key-file: {settings.key_file}: expected at least {MIN_KEY} bytes, "
                f"got {len(key)}; make one with: openssl rand -hex 32"
            )
    pattern = re.compile(settings.arguments) if settings.arguments else None
    return Redaction(key, settings.shown, pattern)


def environment(variables: Iterable[Variable], rules: Redaction) -> list[dict[str, Any]]:
    """Return the variables of a container: each name with the source of its value, or with what stands for
    it."""
    found = []
    for variable in variables:
        name = variable.shown_name
        if variable.source is not None and not variable.has_value:
            found.append({"name": name, "from": _source(variable.source)})
        else:
            found.append({"name": name, **rules.variable(name, variable.value)})
    return found


def _source(references: Sequence[Reference]) -> str:
    """Return the source of a value as a text, for example ``secretKeyRef registry/password``."""
    for reference in references:
        if reference.is_object:
            return f"{reference.kind} {'/'.join(text for _, text in reference.fields)}"
    return "a reference"
