"""Runs a program as in a pod that sets nothing up for it: an unknown uid, no home, no name server, no folder to write.

Namespaces of a user without rights are enough for it, so it needs no node.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from tests.testbed.cluster import ApiServer

UID = 65532
_SCRIPT = """
set -eu
folder=$1 writable=$2
shift 2
mount --bind "$folder" /tmp
mount -t tmpfs tmpfs /run
if [ -d /tmp/account ]; then
  mkdir -p /run/secrets/kubernetes.io
  cp -r /tmp/account /run/secrets/kubernetes.io/serviceaccount
fi
mount --bind /dev/null /etc/resolv.conf
mount -o remount,bind,ro /
mount -o remount,ro /run
[ "$writable" = yes ] || mount -o remount,bind,ro /tmp
cd /
exec unshare --user --map-user={uid} --map-group={uid} env -i PATH="$PATH" PYTHONDONTWRITEBYTECODE=1 "$@"
""".replace("{uid}", str(UID))
_NAMESPACES = (
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child",
)


def why_not() -> str:
    """Say why this machine cannot run a program like that; nothing when it can."""
    tried = subprocess.run([*_NAMESPACES, "true"], check=False, capture_output=True, text=True)
    return f"namespaces cannot be made: {tried.stderr.strip()}" if tried.returncode else ""


def bare(folder: Path, *command: str | Path, writable: bool = True) -> list[str | Path]:
    """Return the command that runs ``command`` with ``folder`` as its ``/tmp``, the one folder it may write.

    ``command`` may begin with ``NAME=value``. The process that is started ends the program when it is killed.
    """
    return [*_NAMESPACES, "sh", "-c", _SCRIPT, "bare", folder, "yes" if writable else "no", *command]


def account(folder: Path, server: ApiServer) -> list[str]:
    """Put a service account's files into ``folder`` for :func:`bare`; return what the kubelet would set."""
    files = folder / "account"
    files.mkdir()
    (files / "token").write_text(server.token)
    (files / "ca.crt").write_bytes(server.ca_file.read_bytes())
    address = urlsplit(server.url)
    return [f"KUBERNETES_SERVICE_HOST={address.hostname}", f"KUBERNETES_SERVICE_PORT={address.port}"]
