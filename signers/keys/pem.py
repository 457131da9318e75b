"""PEM files: read within a limit, split into labelled blocks. What a block means is decided by the callers.

PEM is RFC 7468; text between blocks is allowed and ignored, as OpenSSL does.
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
"""No file of keys is larger: an RSA-16384 private key has 13 kB."""

_BEGIN, _END, _DASHES = b"-----BEGIN ", b"-----END ", b"-----"
_LABEL = re.compile(rb"[A-Z0-9 ]{1,64}\Z")
# the file system's own troubles; everything else that a path can answer is the reference's fault
_TEMPORARY = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.EAGAIN})

_log = logging.getLogger("signers.pem")


@dataclass(frozen=True, slots=True)
class Block:
    """One PEM block: its label, such as ``PRIVATE KEY``, and its bytes from BEGIN to END."""

    label: str
    data: bytes

    @property
    def is_private(self) -> bool:
        """Whether the label announces a private key of any kind."""
        return self.label.endswith("PRIVATE KEY")


def read_pem(path: Path, what: str, *, secret: bool) -> bytes:
    """Return the bytes of the file ``path``, at most :data:`MAX_PEM_BYTES`.

    ``what`` names the kind of file in errors. With ``secret`` a file that every user of the machine can
    read or change is logged as a warning; the group is not looked at, since Kubernetes gives a secret's
    volume to the pod through ``fsGroup``. Raises :class:`SignerRejected` for a path that cannot work and
    :class:`SignerUnavailable` when the file system fails.
    """
    try:
        with open_file(path) as file:
            mode = os.fstat(file.fileno()).st_mode
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
        kind = SignerUnavailable if exc.errno in _TEMPORARY else SignerRejected
        raise kind(f"{what} {path} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:  # a path with a NUL
        raise SignerRejected(f"{what}: the path holds a character that no path can have") from exc
    if len(data) > MAX_PEM_BYTES:
        raise SignerRejected(f"{what} {path} is longer than {MAX_PEM_BYTES} bytes: this is no key file")
    if not data.strip():
        raise SignerRejected(f"{what} {path} is empty: check what was written there")
    # a public key may be read by all; which kind of key a file holds, its first lines say
    if secret and b"PRIVATE KEY-----" in data and mode & (stat.S_IROTH | stat.S_IWOTH):
        _log.warning(
            "%s %s is open to every user of this machine: set its mode to 0600, or 'defaultMode: 0400' "
            "where the secret is mounted",
            what,
            path,
        )
    return data


def split_pem(data: bytes, source: str) -> list[Block]:
    """Return every PEM block in ``data``, in order, in time linear in its length.

    Raises :class:`SignerRejected`, naming ``source``, for a block without its end and when there is none.
    """
    blocks: list[Block] = []
    at = 0
    while (begin := data.find(_BEGIN, at)) >= 0:
        label_from = begin + len(_BEGIN)
        label_to = data.find(_DASHES, label_from, label_from + 70)
        label = data[label_from:label_to] if label_to >= 0 else b""
        if not _LABEL.match(label):
            raise SignerRejected(f"{source}: a PEM block begins without a readable label: write it again")
        end_line = _END + label + _DASHES
        end = data.find(end_line, label_to)
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
