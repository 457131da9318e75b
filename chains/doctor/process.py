"""What ``chains doctor`` asks of the process's own surroundings: user, home, folders to write, names.

In a container none of these is certain: the uid may have no name and no home, the root folder may be
read-only, and there may be no name server.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import pwd
import socket
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from chains.config.parse import Config, trust_ages
from chains.doctor.report import DoctorCheck, State
from signers.errors import SignerError

_SECONDS = 5.0
_URLS = frozenset({"http", "https", "azurekms"})
"""Schemes of settings whose first part is a host."""
_NAMES_STEP = (
    "give the pod a name server (dnsPolicy, dnsConfig) or the name an address (hostAliases), let the network "
    "policy pass port 53, or write the address itself"
)


def check_process(config: Config | None, *, in_pod: bool) -> list[DoctorCheck]:
    """Look at user, home and folders; ``config`` says which of them signing needs."""
    keeps_trust = config is not None and trust_ages(config)
    return [_user(in_pod=in_pod), _home(), _temporary(needed=keeps_trust), _cache(needed=keeps_trust)]


def _user(*, in_pod: bool) -> DoctorCheck:
    uid, name = os.geteuid(), "user"
    try:
        told = f"uid {uid}, {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        told = f"uid {uid}, which has no name here; none is needed"
    if in_pod and uid == 0:
        return DoctorCheck(
            name, "warning", f"{told}: it needs no rights of root", "run it as deploy/base does: as uid 65532"
        )
    return DoctorCheck(name, "ok", told)


def _home() -> DoctorCheck:
    name = "home folder"
    try:
        home = Path.home()
        if os.access(home, os.R_OK | os.X_OK):
            return DoctorCheck(name, "ok", str(home))
        trouble = f"{home} cannot be read"
    except RuntimeError:
        trouble = f"there is none: HOME is not set, and uid {os.geteuid()} is not in /etc/passwd"
    lost = (
        "credentials that SDKs and docker look for there (~/.docker, ~/.aws, ~/.config/gcloud) are not found"
    )
    step = "set HOME, as deploy/base does, or name the files: DOCKER_CONFIG, AWS_SHARED_CREDENTIALS_FILE, …"
    return DoctorCheck(name, "warning", f"{trouble}: {lost}", step)


def _temporary(*, needed: bool) -> DoctorCheck:
    name = "temporary files"
    try:
        return DoctorCheck(name, "ok", tempfile.gettempdir())
    except OSError as error:
        # the standard library's words name every folder that it tried
        step = "mount an emptyDir at /tmp, as deploy/base does, or set TMPDIR to a writable folder"
        return DoctorCheck(name, "failed" if needed else "warning", str(error.strerror), step)


def _cache(*, needed: bool) -> DoctorCheck:
    name = "cache folder"
    if not needed:
        return DoctorCheck(name, "skipped", "nothing that is configured keeps files")
    step = "set XDG_CACHE_HOME, or HOME, to a folder that this process may write"
    try:
        from signers.sigstore.tuf_root import cache_folder  # noqa: PLC0415 - of the extra keyless

        folder = cache_folder()
    except SignerError as error:
        return DoctorCheck(name, "failed", str(error), step)
    except ImportError as error:
        return DoctorCheck(name, "failed", f"no package {error.name}", "install provenance-chains[keyless]")
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return DoctorCheck(
            name, "failed", f"{folder} cannot be written: the trusted root cannot be kept there", step
        )
    return DoctorCheck(name, "ok", str(folder))


async def check_names(data: Mapping[str, str], others: Iterable[str] = ()) -> DoctorCheck:
    """Look up every host name that a configuration, or one of the URLs ``others``, has."""
    hosts = sorted(set(_hosts(data, others)))
    if not hosts:
        return DoctorCheck("name server", "ok", "no name has to be looked up")
    told = await asyncio.gather(*map(_look_up, hosts))
    unknown = [f"{host} ({reason})" for host, reason in zip(hosts, told, strict=True) if reason]
    if not unknown:
        return DoctorCheck("name server", "ok", f"knows {', '.join(hosts)}")
    # behind a proxy it is the proxy that looks names up
    state: State = "warning" if getproxies() else "failed"
    return DoctorCheck("name server", state, f"no address for {', '.join(unknown)}", _NAMES_STEP)


def _hosts(data: Mapping[str, str], others: Iterable[str]) -> Iterable[str]:
    values = [*data.values(), *others]
    if repository := data.get("storage.oci.repository"):
        values.append(f"https://{repository.partition('://')[2] or repository}")
    for value in values:
        try:
            parts = urlsplit(value.strip())
            host = parts.hostname or ""
        except ValueError:
            continue
        if parts.scheme in _URLS and host and not _is_address(host):
            yield host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _look_up(host: str) -> str:
    """Return why a host has no address, empty when it has one."""
    try:
        async with asyncio.timeout(_SECONDS):
            await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except TimeoutError:
        return f"no answer in {_SECONDS:g} s"
    except (OSError, UnicodeError) as error:
        return getattr(error, "strerror", None) or type(error).__name__
    return ""
