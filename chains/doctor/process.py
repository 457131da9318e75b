"""The checks of the process's environment: user, home folder, writable folders, name resolution.

A container guarantees none of these: the uid can lack a name and a home folder, the root file system can be
read-only, and there can be no name server.
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
"""The schemes of URLs whose first part is a host name."""
_NAMES_STEP = (
    "give the pod a name server (dnsPolicy, dnsConfig), give the name an address (hostAliases), allow port "
    "53 in the network policy, or configure an IP address"
)


def check_process(config: Config | None, *, in_pod: bool) -> list[DoctorCheck]:
    """Check user, home folder and writable folders. ``config`` decides which of them signing needs."""
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
            name, "warning", f"{told}: root is not needed", "run it as deploy/base does: as uid 65532"
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
    lost = "SDKs and docker do not find credentials there (~/.docker, ~/.aws, ~/.config/gcloud)"
    step = "set HOME, as deploy/base does, or name the files: DOCKER_CONFIG, AWS_SHARED_CREDENTIALS_FILE, …"
    return DoctorCheck(name, "warning", f"{trouble}: {lost}", step)


def _temporary(*, needed: bool) -> DoctorCheck:
    name = "temporary files"
    try:
        return DoctorCheck(name, "ok", tempfile.gettempdir())
    except OSError as error:
        # the text of the standard library has every folder that it tried
        step = "mount an emptyDir at /tmp, as deploy/base does, or set TMPDIR to a writable folder"
        return DoctorCheck(name, "failed" if needed else "warning", str(error.strerror), step)


def _cache(*, needed: bool) -> DoctorCheck:
    name = "cache folder"
    if not needed:
        return DoctorCheck(name, "skipped", "the configuration needs no cache")
    step = "set XDG_CACHE_HOME or HOME to a folder that this process can write to"
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
            name, "failed", f"{folder} cannot be written, so the trusted root cannot be cached there", step
        )
    return DoctorCheck(name, "ok", str(folder))


async def check_names(data: Mapping[str, str], others: Iterable[str] = ()) -> DoctorCheck:
    """Resolve every host name in a configuration and in the URLs ``others``."""
    hosts = sorted(set(_hosts(data, others)))
    if not hosts:
        return DoctorCheck("name server", "ok", "no name needs to be resolved")
    told = await asyncio.gather(*map(_look_up, hosts))
    unknown = [f"{host} ({reason})" for host, reason in zip(hosts, told, strict=True) if reason]
    if not unknown:
        return DoctorCheck("name server", "ok", f"resolves {', '.join(hosts)}")
    # behind a proxy, the proxy resolves the names
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
    """Return why a host has no address, or an empty text if it has one."""
    try:
        async with asyncio.timeout(_SECONDS):
            await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except TimeoutError:
        return f"no answer in {_SECONDS:g} s"
    except (OSError, UnicodeError) as error:
        return getattr(error, "strerror", None) or type(error).__name__
    return ""
