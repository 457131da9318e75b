"""Asks a witness for its signature of a checkpoint: C2SP ``tlog-witness``, ``add-checkpoint``."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence

from chains.audit.ledger.errors import LedgerError
from chains.text import plain
from signers.errors import FormatError, VerificationError
from signers.sigstore.cosignature import WitnessKey, find_cosignatures
from signers.sigstore.transparency import Checkpoint
from storage.base import StoreOptions
from storage.errors import StoreError
from storage.http_client.answer import Answer
from storage.http_client.json_service import WebService

MOST_HASHES = 63
_SECONDS, _TRIES = 10.0, 2
_LARGEST = 64 * 1024
_OK, _BAD, _FORBIDDEN, _UNKNOWN, _CONFLICT, _UNPROCESSABLE = 200, 400, 403, 404, 409, 422
_ANSWERS = frozenset({_BAD, _FORBIDDEN, _UNKNOWN, _CONFLICT, _UNPROCESSABLE})
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n", re.ASCII)
Consistency = Callable[[int], Awaitable[Sequence[bytes]]]
"""Returns the hashes that show that the tree of this size is the beginning of that of the checkpoint."""


class WitnessError(LedgerError):
    """A witness does not answer, or refuses to sign. A later attempt may go well."""


class WitnessAhead(WitnessError):  # noqa: N818 - what is the case
    """The witness has signed a larger tree already: ``size`` entries."""

    def __init__(self, text: str, size: int) -> None:
        super().__init__(text)
        self.size = size


class ForkError(WitnessError):
    """The witness has signed another history of the log."""


class WitnessClient:
    """Requests to one witness at ``url``, whose signatures are known by ``key``."""

    def __init__(self, url: str, key: WitnessKey) -> None:
        self.url, self.key = url, key
        self._service = WebService(
            url,
            StoreOptions(timeout=_SECONDS, attempts=_TRIES),
            "the witness, or a proxy before it, asks for a login",
        )

    @property
    def name(self) -> str:
        """The name of the witness's key."""
        return self.key.name

    async def cosign(self, note: bytes, known: int, consistency: Consistency) -> bytes:
        """Return the signature lines of the witness for a checkpoint.

        ``known`` is the size of the tree that it signed last as far as we know, 0 for none; it may know
        better. Raises :class:`WitnessAhead`, :class:`ForkError`, else :class:`WitnessError`.
        """
        try:
            checkpoint = Checkpoint.from_note(note.decode())
        except (VerificationError, UnicodeDecodeError) as error:
            raise WitnessError(f"the checkpoint is not a signed note: {error}") from error
        answer = await self._ask(note, known, checkpoint, consistency)
        if answer.status == _CONFLICT:
            size = self._size_in(answer)
            if size > checkpoint.size:
                raise WitnessAhead(
                    f"{self.name} signed {size} entries of {checkpoint.origin} before, and not the "
                    f"{checkpoint.size} of this checkpoint",
                    size,
                )
            answer = await self._ask(note, size, checkpoint, consistency)
        if answer.status != _OK:
            raise self._refused(answer, checkpoint)
        return self._lines(answer, checkpoint)

    async def close(self) -> None:
        """Close the connections."""
        await self._service.close()

    async def _ask(self, note: bytes, old: int, checkpoint: Checkpoint, consistency: Consistency) -> Answer:
        hashes = await consistency(old) if 0 < old < checkpoint.size else ()
        if len(hashes) > MOST_HASHES:
            raise WitnessError(f"a proof of {len(hashes)} hashes: at most {MOST_HASHES} are sent")
        lines = [b"old %d" % old, *(b64encode(each) for each in hashes), b""]
        body = b"\n".join(lines) + b"\n" + note
        what = f"the witness {self.name} at {self.url}"
        try:
            return await self._service.send(
                "POST", "add-checkpoint", what, data=body, passes=_ANSWERS, limit=_LARGEST,
                content_type="text/plain; charset=utf-8",
            )  # fmt: skip
        except StoreError as error:
            raise WitnessError(f"{error}; it is asked again later") from error

    def _size_in(self, answer: Answer) -> int:
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        found = _SIZE.fullmatch(answer.body)
        if kind != "text/x.tlog.size" or found is None:
            raise WitnessError(
                f"the witness {self.name}: 409 without a size: expected text/x.tlog.size; is "
                f"{self.url} the address of a witness?"
            )
        return int(found[1])

    def _refused(self, answer: Answer, checkpoint: Checkpoint) -> WitnessError:
        origin, said = checkpoint.origin, plain(answer.body[:200].decode(errors="replace").strip())
        match answer.status:
            case 422:
                return ForkError(
                    f"fork: the witness {self.name} has signed another history of {origin}: the "
                    f"{checkpoint.size} entries here did not grow from it ({said}). Keep a copy of the "
                    "folder, stop the other writer, and compare both with chains ledger verify --against"
                )
            case 403 | 404:
                return WitnessError(
                    f"the witness {self.name} does not know the log {origin}, or its key ({answer.status}: "
                    f"{said}): give its operator the line of 'chains ledger keys'"
                )
            case 409:
                return WitnessError(
                    f"the witness {self.name} got another checkpoint of {origin} at the same time: is there "
                    "a second writer of this log?"
                )
            case _:
                return WitnessError(
                    f"the witness {self.name}: {answer.status}: {said}; correct its address or key in "
                    "ledger.witnesses"
                )

    def _lines(self, answer: Answer, checkpoint: Checkpoint) -> bytes:
        """Return the lines of an answer that are the witness's and verify. Others are ignored."""
        kept = []
        for line in answer.body.splitlines(keepends=True):
            try:
                one = Checkpoint.from_note(
                    checkpoint.text.decode() + "\n" + line.decode().rstrip("\n") + "\n"
                )
                if find_cosignatures(one, [self.key]):
                    kept.append(line.rstrip(b"\n") + b"\n")
            except (FormatError, VerificationError, UnicodeDecodeError) as error:
                raise WitnessError(
                    f"the witness {self.name} answered with what does not verify: {error}"
                ) from error
        if not kept:
            raise WitnessError(
                f"the witness at {self.url} did not sign with the key {self.name}: correct ledger.witnesses"
            )
        return b"".join(kept)
