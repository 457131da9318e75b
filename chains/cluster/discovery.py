"""Which cluster is used: that of a kubeconfig, or the one in which this process runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from chains.cluster.access import Access
from chains.errors import UsageError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SERVICE_HOST, SERVICE_PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"


def find_access(kubeconfig: str = "", context: str = "", *, account: Path = SERVICE_ACCOUNT) -> Access:
    """Return the access to the cluster.

    It comes from ``kubeconfig`` or, without one, from the first of these that exists: ``$KUBECONFIG``, the
    pod's service account, ``~/.kube/config``. ``context`` chooses a context of a kubeconfig. ``account`` is
    the folder in which the kubelet mounts the service account's token. In a pod the API server is at
    ``KUBERNETES_SERVICE_HOST`` and ``KUBERNETES_SERVICE_PORT``, as for every Kubernetes client: a host name
    would need a name server. Raises :class:`UsageError` with the next step.
    """
    named = kubeconfig or os.environ.get("KUBECONFIG", "").strip()
    token, authority = account / "token", account / "ca.crt"
    if named or context or not token.is_file():
        from chains.cluster.kubeconfig import find_kubeconfig, read_kubeconfig  # noqa: PLC0415 - not needed in a pod

        if found := named or find_kubeconfig():
            return read_kubeconfig(found, context)
        raise UsageError(
            "no cluster: run in a pod with a service account, pass --kubeconfig FILE, or set KUBECONFIG"
        )
    try:
        return Access(_server_of_pod(os.environ), authority.read_text(), token_file=token)
    except OSError as error:
        raise UsageError(
            f"no cluster: the API server's certificate authority {authority} cannot be read: {error.strerror}"
        ) from error


def _server_of_pod(environ: Mapping[str, str]) -> str:
    """Return the URL that the kubelet's variables give. Raises :class:`UsageError` if they are missing."""
    host, port = (environ.get(name, "").strip() for name in (SERVICE_HOST, SERVICE_PORT))
    if not host or not port:
        missing = " and ".join(
            name for name, value in ((SERVICE_HOST, host), (SERVICE_PORT, port)) if not value
        )
        raise UsageError(
            f"no cluster: there is a service account's token, but no {missing}, which the kubelet sets "
            "in every pod: leave it in the process's environment, or pass --kubeconfig FILE"
        )
    if not port.isdecimal():
        raise UsageError(f"no cluster: {SERVICE_PORT} is {port!r}, expected a number")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
