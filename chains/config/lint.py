"""Finds everything in a configuration that is wrong, ignored, risky or without effect, offline.

An ``error`` is a refused value, an ignored setting, or a combination that cannot sign, store or be verified
later. A ``warning`` works, but it is risky, deletes evidence early or has no effect. No text contains a
secret or the value of an unknown key, because that key can be a misspelt secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from chains.config.key import ConfigKey, Kind
from chains.config.keys import KEYS, RENAMED, nearest_key, nearest_value, read_values, unknown_keys
from chains.config.rules import RULES, View
from chains.errors import Problem


def lint_config(data: Mapping[str, str]) -> list[Problem]:
    """Return all problems of the ConfigMap data, errors first."""
    values, unreadable = read_values(data)
    problems = [_unknown(name) for name in unknown_keys(data)]
    problems += [value_problem(key, data[key.name]) for key in unreadable]
    for key in KEYS.values():
        if key.name in data:
            problems += _form(key, data[key.name])
    view = View(data, values)
    for rule in RULES:
        problems += rule(view)
    return sorted(problems, key=lambda problem: problem.severity != "error")


def value_problem(key: ConfigKey, raw: str) -> Problem:
    """Return why a value is invalid."""
    bad, allowed = raw, key.values or ("true", "false")
    if key.kind == Kind.LIST:
        bad = min(key.words(raw) - set(key.values))
    message = key.why(raw) or f"expected {key.expected()}, got {key.shown(bad)}"
    if key.lenient:
        message += f"; tekton chains ignores it without an error, so the value is {key.default}"
    return Problem(key.name, "error", message, nearest_value(bad, allowed))


def _unknown(name: str) -> Problem:
    if name in RENAMED:
        return Problem(name, "error", "this key was renamed and is ignored", RENAMED[name])
    return Problem(name, "error", "unknown key, which is ignored", nearest_key(name))


def _form(key: ConfigKey, raw: str) -> Iterator[Problem]:
    """Yield the problems of a free text. The parser accepts any text."""
    if key.kind not in {Kind.TEXT, Kind.URL, Kind.PATH} or raw == key.default:
        return
    if raw != raw.strip():
        message = (
            "begins or ends with white space or a line break, which becomes part of the value; remove it"
        )
        yield Problem(key.name, "error", message)
    elif key.kind == Kind.URL and (raw or key.default) and not _is_url(raw, key.schemes):
        yield Problem(key.name, "error", f"expected {key.expected()}, got {key.shown(raw)}")
    elif key.kind == Kind.PATH and raw and not raw.startswith("/"):
        message = (
            f"expected an absolute path, got {key.shown(raw)}; a relative one depends on the working folder"
        )
        yield Problem(key.name, "warning", message)


def _is_url(raw: str, schemes: tuple[str, ...]) -> bool:
    if raw.startswith("pkcs11:") and "pkcs11" in schemes:
        return " " not in raw  # RFC 7512 has no slashes
    scheme, _, rest = raw.partition("://")
    if scheme not in schemes or not rest or " " in raw:
        return False
    if scheme not in {"http", "https"}:
        return True
    try:
        parts = urlsplit(raw)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
