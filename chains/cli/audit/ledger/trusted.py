"""What the commands ``ledger`` share: who is trusted, and days in options."""

from __future__ import annotations

from datetime import UTC, date, datetime

from chains.assembly.trust import open_listed_keys, open_trusted_root
from chains.assembly.workspace import load_settings
from chains.audit.ledger.walk import Trusted
from chains.cli.arguments import Options
from chains.errors import UsageError
from signers.errors import FormatError
from signers.sigstore.cosignature import WitnessKey


def trusted_of(options: Options) -> Trusted:
    """Return by what the options let a ledger be verified. Raises :class:`UsageError`."""
    settings = load_settings(options.config)
    keys = open_listed_keys(options.key, settings.config) if options.key else []
    named = getattr(options, "trusted_root", "")  # not every command has it
    root = open_trusted_root(named) if named else None
    try:
        witnesses = [WitnessKey.parse(text) for text in getattr(options, "witness", ())]
    except FormatError as error:
        raise UsageError(f"--witness: {error}") from error
    logged, stamped = (bool(getattr(options, name, False)) for name in ("require_log", "require_timestamp"))
    if root is None and (logged or stamped):
        raise UsageError(
            "--require-log and --require-timestamp need --trusted-root FILE, which says whose entries count"
        )
    return Trusted(keys, datetime.now(UTC), root, witnesses, logged, stamped)


def day_of(text: str, option: str) -> date:
    """Return the day that an option names. Raises :class:`UsageError`."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option}: expected a UTC day such as 2026-11-29, got {text[:40]!r}") from error
