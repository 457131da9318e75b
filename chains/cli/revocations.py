"""The options that name a revocation list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chains.cli.arguments import FILE, Option, Options
from chains.config.parse import Config
from chains.errors import UsageError

if TYPE_CHECKING:
    from chains.revocation.revocations import Revocations

_ONLY = ("revocations_key", "revocations_min_version")


def revocation_options() -> list[Option]:
    """Return the options that name a revocation list, the keys that may sign it, and its least version."""
    return [
        Option(
            "--revocations",
            "a signed revocation list; what it names does not count",
            default=None,
            metavar="FILE",
            type=FILE,
        ),
        revocations_key(),
        revocations_state(),
        Option("--revocations-min-version", "the least version of the list", default=None, metavar="NUMBER"),
    ]


def revocations_key() -> Option:
    """Return the option ``--revocations-key``."""
    text = "a key that may sign revocation lists, named as for verify --key; may be repeated"
    return Option("--revocations-key", text, repeatable=True, metavar="PUB", type=FILE)


def revocations_state() -> Option:
    """Return the option ``--revocations-state``."""
    text = (
        "the file that remembers the highest versions of lists, or none (default: "
        "provenance-chains/revocations.json in $XDG_STATE_HOME or ~/.local/state)"
    )
    return Option("--revocations-state", text, default="", metavar="FILE", type=FILE)


def revocations_of(options: Options, config: Config | None = None) -> Revocations | None:
    """Return what the options revoke, None without a list. Raises :class:`UsageError`."""
    if options.revocations is None:
        for name in _ONLY:
            if name in options.given:
                raise UsageError(f"--{name.replace('_', '-')} belongs to --revocations FILE")
        return None
    if not options.revocations_key:
        raise UsageError("--revocations needs --revocations-key PUB: the key that may sign the list")
    from chains.assembly.revocations import open_revocations  # noqa: PLC0415 - needed with a list alone

    return open_revocations(
        options.revocations,
        options.revocations_key,
        state=options.revocations_state,
        minimum=_minimum(options.revocations_min_version),
        config=config,
    )


def _minimum(text: str | None) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 16):  # noqa: PLR2004 - digits of 2^53
        raise UsageError(f"--revocations-min-version: expected a whole number, got {text!r}")
    return int(text)
