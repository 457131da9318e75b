"""Key sets: public keys with a validity and a status each, so that verification survives key rotation.

::

    {"mediaType": "application/vnd.provenance-chains.keyset.v1+json",
     "keys": [{"pem": "-----BEGIN PUBLIC KEY-----…", "keyid": "SHA256:…", "status": "retired",
               "notBefore": "2026-01-01T00:00:00Z", "notAfter": "2026-07-01T00:00:00Z"}]}

Both times are optional; a missing one means no limit on that side. The signing time must come from a third
party (a timestamp authority or a log), because whoever holds the key also writes the times of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import orjson

from signers.errors import FormatError, SignerRejected
from signers.files import open_file
from signers.keys.public_key import PublicKey
from signers.strict_json import member, objects, parse_object

MEDIA_TYPE = "application/vnd.provenance-chains.keyset.v1+json"
MAX_BYTES = 4 * 1024 * 1024
"""The largest key set that is read, in bytes."""
_SET_FIELDS = frozenset({"mediaType", "keys"})
_FIELDS = frozenset({"pem", "keyid", "status", "notBefore", "notAfter"})


class KeyStatus(StrEnum):
    """``active`` keys sign, ``retired`` keys no longer can, signatures of ``revoked`` keys never count."""

    ACTIVE = "active"
    RETIRED = "retired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A public key with its validity and status. The defaults are those of a key given without a key set."""

    key: PublicKey
    not_before: datetime | None = None
    not_after: datetime | None = None
    status: KeyStatus = KeyStatus.ACTIVE

    def problem(self, now: datetime, signed_at: datetime | None = None) -> str:
        """Return why a signature by this key does not count, or ``""`` if it counts.

        ``signed_at`` is the signing time according to a timestamp authority or a log, ``None`` if there is
        none. Without it the signature may be of any time up to ``now``. After ``not_after`` such a signature
        counts only if the key is retired: the private key then no longer exists and cannot have signed since.
        """
        if self.status is KeyStatus.REVOKED:
            return "the key is revoked"
        # Without a trusted signing time the signature may have been made at any time up to now.
        moment = signed_at or now
        if self.not_before is not None and moment < self.not_before:
            return f"{_told(signed_at)} before the key's notBefore {self.not_before.isoformat()}"
        if self.not_after is None or moment <= self.not_after:
            return ""
        end = self.not_after.isoformat()
        if signed_at is not None:
            return f"signed at {signed_at.isoformat()}, after the key's notAfter {end}"
        # The private key is destroyed, so nobody can have signed after its end.
        if self.status is KeyStatus.RETIRED:
            return ""
        return f"the key ended at {end}, and no trusted time says that the signature is older"

    def to_json(self) -> dict[str, str]:
        """Return the key in the form of the key set file."""
        written = {"pem": self.key.pem.decode(), "keyid": self.key.keyid, "status": self.status.value}
        for name, moment in (("notBefore", self.not_before), ("notAfter", self.not_after)):
            if moment is not None:
                written[name] = moment.isoformat().replace("+00:00", "Z")
        return written


def parse_keyset(data: bytes, source: str = "key set") -> tuple[ListedKey, ...]:
    """Read a key set: at least one key, none twice. Raises :class:`FormatError` naming ``source``.

    Unknown members are errors: a misspelt ``notAfter`` would make a key valid forever.
    """
    members = parse_object(data, source, MAX_BYTES)
    _refuse_unknown(members, _SET_FIELDS, source)
    media_type = member(members, "mediaType", str, source)
    if media_type != MEDIA_TYPE:
        raise FormatError(f"{source}: mediaType is {media_type[:96]!r}: expected {MEDIA_TYPE}")
    listed = objects(member(members, "keys", list, source), f"{source}: key")
    keys = [_read(item, f"{source}: key {number}") for number, item in enumerate(listed, 1)]
    if not keys:
        raise FormatError(f"{source}: has no keys")
    seen: set[str] = set()
    for entry in keys:
        if entry.key.keyid in seen:
            raise FormatError(f"{source}: {entry.key.keyid} is listed twice")
        seen.add(entry.key.keyid)
    return tuple(keys)


def is_keyset(path: str) -> bool:
    """Whether the file looks like a key set (it begins with ``{``); False for a file that cannot be read."""
    try:
        with open_file(path.removeprefix("file://")) as file:
            return file.read(64).lstrip().startswith(b"{")
    except (OSError, ValueError):
        return False


def write_keyset(keys: Sequence[ListedKey]) -> bytes:
    """Return the key set file of these keys, indented JSON."""
    listed = [key.to_json() for key in keys]
    return orjson.dumps({"mediaType": MEDIA_TYPE, "keys": listed}, option=orjson.OPT_INDENT_2)


def _read(item: dict[str, object], what: str) -> ListedKey:
    _refuse_unknown(item, _FIELDS, what)
    try:
        key = PublicKey.from_pem(member(item, "pem", str, what).encode())
    except SignerRejected as error:
        raise FormatError(f"{what}: {error}") from error
    # The keyid is redundant; one that contradicts the PEM shows a copy and paste mistake.
    if item.get("keyid", key.keyid) != key.keyid:
        raise FormatError(f"{what}: keyid is {str(item['keyid'])[:64]!r}, but the PEM is that of {key.keyid}")
    status = item.get("status", KeyStatus.ACTIVE.value)
    if status not in list(KeyStatus):  # a list, because a foreign status may be of a type without a hash
        expected = ", ".join(KeyStatus)
        raise FormatError(f"{what}: status is {str(status)[:32]!r}: expected one of {expected}")
    start, end = _moment(item, "notBefore", what), _moment(item, "notAfter", what)
    if start is not None and end is not None and end < start:
        raise FormatError(f"{what}: notAfter is before notBefore")
    return ListedKey(key, start, end, KeyStatus(str(status)))


def _moment(item: dict[str, object], name: str, what: str) -> datetime | None:
    if name not in item:
        return None
    text = member(item, name, str, what)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    # A time without zone would be compared with aware times, which raises TypeError.
    if moment is None or moment.tzinfo is None:
        raise FormatError(f"{what}: {name}: expected a time such as 2026-01-31T00:00:00Z, got {text[:40]!r}")
    return moment


def _refuse_unknown(members: dict[str, object], known: frozenset[str], what: str) -> None:
    unknown = sorted(members.keys() - known)
    if unknown:
        raise FormatError(f"{what}: unknown field {unknown[0][:40]!r}: expected {', '.join(sorted(known))}")


def _told(signed_at: datetime | None) -> str:
    """Return the beginning of a message about a time: the signing time if one is known, else now."""
    return f"signed at {signed_at.isoformat()}," if signed_at is not None else "it is"
