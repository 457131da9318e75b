"""Runs a program as in a minimal pod: unknown uid, no home, no name server, no writable folder.

Namespaces of an unprivileged user are sufficient, so it needs no node.
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
    """Return why this machine cannot do that; empty if it can."""
    tried = subprocess.run([*_NAMESPACES, "true"], check=False, capture_output=True, text=True)
    return f"namespaces cannot be made: {tried.stderr.strip()}" if tried.returncode else ""


def bare(folder: Path, *command: str | Path, writable: bool = True) -> list[str | Path]:
    """Return a command that runs ``command`` with ``folder`` as its ``/tmp``, the only writable folder.

    ``command`` may begin with ``NAME=value``. Killing the started process ends the program.
    """
    return [*_NAMESPACES, "sh", "-c", _SCRIPT, "bare", folder, "yes" if writable else "no", *command]


def account(folder: Path, server: ApiServer) -> list[str]:
    """Write a service account's files into ``folder`` for :func:`bare`; return the environment that the
    kubelet sets.
    """
    files = folder / "account"
    files.mkdir()
    (files / "token").write_text(server.token)
    (files / "ca.crt").write_bytes(server.ca_file.read_bytes())
    address = urlsplit(server.url)
    return [f"KUBERNETES_SERVICE_HOST={address.hostname}", f"KUBERNETES_SERVICE_PORT={address.port}"]
