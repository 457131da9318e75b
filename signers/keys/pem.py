"""Reads PEM files within a size limit and splits them into blocks. Callers decide what a block means.

PEM is RFC 7468. Text between blocks is allowed and ignored, as OpenSSL does.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from signers.errors import SignerRejected, SignerUnavailable
from signers.files import open_file

MAX_PEM_BYTES = 256 * 1024
"""The largest key file. An RSA-16384 private key has 13 kB."""

_BEGIN, _END, _DASHES = b"-----BEGIN ", b"-----END ", b"-----"
_LABEL = re.compile(rb"[A-Z0-9 ]{1,64}\Z")
# Failures of the file system, which may pass; every other error means that the path is wrong.
_TEMPORARY = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.EAGAIN})

_log = logging.getLogger("signers.pem")


@dataclass(frozen=True, slots=True)
class Block:
    """One PEM block: its label, such as ``PRIVATE KEY``, and its bytes from BEGIN line to END line."""

    label: str
    data: bytes

    @property
    def is_private(self) -> bool:
        """Whether the label is that of a private key of any kind."""
        return self.label.endswith("PRIVATE KEY")


def read_pem(path: Path, what: str, *, secret: bool) -> bytes:
    """Return the bytes of the file ``path``, at most :data:`MAX_PEM_BYTES`.

    ``what`` names the kind of file in errors. With ``secret``, a private key that every user of the machine
    can read or change is logged as a warning. Group permissions are ignored, because Kubernetes gives a pod
    access to a secret's volume through ``fsGroup``. Raises :class:`SignerRejected` for a path that cannot
    work and :class:`SignerUnavailable` when the file system fails.
    """
    try:
        with open_file(path) as file:
            mode = os.fstat(file.fileno()).st_mode
            # One byte more than the limit is enough to know that the file is too large.
            data = file.read(MAX_PEM_BYTES + 1)
    except FileNotFoundError as exc:
        raise SignerRejected(
            f"{what} {path} does not exist: check the path, and that its secret is mounted"
        ) from exc
    except IsADirectoryError as exc:
        raise SignerRejected(f"{what} {path} is a directory: name the file in it") from exc
    except PermissionError as exc:
        raise SignerRejected(
            f"{what} {path} cannot be read by user {os.getuid()}: change its owner or its mode"
        ) from exc
    except OSError as exc:
        # An I/O error or a stale network mount may recover; a wrong path does not.
        kind = SignerUnavailable if exc.errno in _TEMPORARY else SignerRejected
        raise kind(f"{what} {path} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:  # the path contains a NUL character
        raise SignerRejected(f"{what}: the path contains a character that paths cannot have") from exc
    if len(data) > MAX_PEM_BYTES:
        raise SignerRejected(f"{what} {path} is longer than {MAX_PEM_BYTES} bytes: this is no key file")
    if not data.strip():
        raise SignerRejected(f"{what} {path} is empty: write the key to it again")
    # The file may hold a public key only, which every user may read.
    if secret and b"PRIVATE KEY-----" in data and mode & (stat.S_IROTH | stat.S_IWOTH):
        _log.warning(
            "%s %s is open to every user of this machine: set its mode to 0600, or 'defaultMode: 0400' "
            "where the secret is mounted",
            what,
            path,
        )
    return data


def split_pem(data: bytes, source: str) -> list[Block]:
    """Return every PEM block in ``data``, in order. Takes time linear in the length of ``data``.

    Raises :class:`SignerRejected`, naming ``source``, for a block without its END line and when there is no
    block.
    """
    blocks: list[Block] = []
    at = 0
    while (begin := data.find(_BEGIN, at)) >= 0:
        label_from = begin + len(_BEGIN)
        # The search is bounded, so that many BEGIN lines without an end cannot make this quadratic.
        label_to = data.find(_DASHES, label_from, label_from + 70)
        label = data[label_from:label_to] if label_to >= 0 else b""
        if not _LABEL.match(label):
            raise SignerRejected(
                f"{source}: a PEM block has no valid label after BEGIN: write the file again"
            )
        end_line = _END + label + _DASHES
        end = data.find(end_line, label_to)
        # A second BEGIN before the END means that this block was cut off; its END belongs to a later block.
        following = data.find(_BEGIN, label_to)
        if end < 0 or 0 <= following < end:
            raise SignerRejected(
                f"{source}: the PEM block {label.decode()} has no end: the file is cut off, copy it again"
            )
        at = end + len(end_line)
        blocks.append(Block(label.decode(), data[begin:at] + b"\n"))
    if not blocks:
        raise SignerRejected(
            f"{source} holds no PEM block ('-----BEGIN …'): convert a DER key with 'openssl pkey -inform DER'"
        )
    return blocks
