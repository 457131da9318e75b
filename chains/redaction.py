"""What a report must not show: values of variables, and what looks like a secret in arguments.

They are left out, or replaced by a keyed hash where a key is configured: HMAC-SHA-256 over ``NAME=value`` for
a variable and over the text itself for an argument. Without the key nothing can be guessed from it, and the
report stays the same each time it is built.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chains.beside import Json
from chains.errors import ConfigError
from storage.files import read_file

REDACTED = "redacted"
_MOST_KEY = 64 * 1024
MIN_KEY = 16
"""Bytes that a key must have."""
_NEVER_SECRET = ("TEKTON_HERMETIC",)
_LONGEST = 256
_MOST = 64
_LOOKED_AT = 1024
"""Characters of an argument that are looked at; the rest is not shown."""
_WORD = r"(?:passw(?:or)?d|passphrase|pwd|secret|token|credential|(?:private|api|access)[-_]?key|auth(?!or))"
_SECRET_FLAG = re.compile(rf"--?[\w.-]*{_WORD}[\w.-]*", re.IGNORECASE)
"""An option whose value is the next argument."""
_SECRETS = re.compile(
    "|".join(
        [
            rf"(?<![\w-])[\w.-]*{_WORD}[\w.-]*\s*[=:]\s*(?P<value>[^\s,;&'\"]+|'[^']*'|\"[^\"]*\")",
            r"authorization\s*[:=]\s*(?:[\w-]+\s+)?(?P<header>[^\s'\"]{4,})",
            r"\b(?:bearer|basic)\s+(?P<bearer>[\w.~+/=-]{8,})",
            r"://(?P<user>[^/@\s]+)@",
            r"(?P<jwt>\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*)",
            r"(?P<pem>-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z))",
            r"(?P<known>\b(?:gh[opsu]_|github_pat_|glpat-|xox[abp]-|hvs\.|dckr_pat_|npm_|AKIA|ASIA)[\w-]{8,})",
        ]
    ),
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class RedactionSettings:
    """Keys ``execution.redaction.*``: a file with the key, variables that may be shown, one more pattern."""

    key_file: str = ""
    shown: frozenset[str] = frozenset()
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Redaction:
    """The rules with their key; without a key what is redacted is left out."""

    key: bytes = field(default=b"", repr=False)
    shown: frozenset[str] = frozenset()
    arguments: re.Pattern[str] | None = None

    def variable(self, name: str, value: str) -> dict[str, Any]:
        """Return how the value of a variable is written: ``value``, ``hmac-sha256`` or ``redacted``."""
        if name in self.shown or name in _NEVER_SECRET:
            return {"value": self.argument(value)}
        if self.key:
            return {"hmac-sha256": self._hash(f"{name}={value}")}
        return {REDACTED: True}

    def argument(self, text: str) -> str:
        """Return a text with everything that looks like a secret replaced, cut where it is long."""
        shown = text[:_LOOKED_AT]
        for pattern in filter(None, (_SECRETS, self.arguments)):
            shown = pattern.sub(self._replace, shown)
        return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}… ({len(text)} characters)"

    def command_line(self, words: Sequence[str]) -> list[str]:
        """Return the words of a command line, with the values of options that name secrets replaced too."""
        found: list[str] = []
        hides_next = False
        for word in words[:_MOST]:
            found.append(self._instead(word) if hides_next else self.argument(word))
            hides_next = not hides_next and _SECRET_FLAG.fullmatch(word) is not None
        return found + ([f"… ({len(words)} words)"] if len(words) > _MOST else [])

    def _replace(self, match: re.Match[str]) -> str:
        """Replace the first group that matched, the whole match where there is none."""
        number = next((number for number, group in enumerate(match.groups(), 1) if group is not None), 0)
        begin, end = match.start(number) - match.start(), match.end(number) - match.start()
        return match[0][:begin] + self._instead(match[number]) + match[0][end:]

    def _instead(self, secret: str) -> str:
        return f"[hmac-sha256:{self._hash(secret)}]" if self.key else f"[{REDACTED}]"

    def _hash(self, text: str) -> str:
        return hmac.digest(self.key, text.encode(errors="surrogatepass"), "sha256").hex()


def open_redaction(settings: RedactionSettings) -> Redaction:
    """Return the rules with the key of their file. Raises :class:`ConfigError` with the next step."""
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


def environment(variables: Iterable[Mapping[str, Json]], rules: Redaction) -> list[dict[str, Any]]:
    """Return the variables of a container without their values: name, and value or what stands for it."""
    found = []
    for variable in variables:
        name, value = str(variable.get("name", "")), variable.get("value")
        source = variable.get("valueFrom")
        if isinstance(source, Mapping) and not value:
            found.append({"name": name, "from": _source(source)})
        else:
            found.append({"name": name, **rules.variable(name, value if isinstance(value, str) else "")})
    return found


def _source(source: Mapping[str, Json]) -> str:
    """Name what a value comes from: ``secretKeyRef registry/password``."""
    for kind, reference in sorted(source.items()):
        if isinstance(reference, Mapping):
            words = [
                str(reference[name]) for name in ("name", "key", "fieldPath", "resource") if name in reference
            ]
            return f"{kind} {'/'.join(words)}"
    return "a reference"
