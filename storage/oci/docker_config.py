"""Reads registry credentials from the docker configuration and its credential helpers.

The file is ``$DOCKER_CONFIG/config.json`` or ``~/.docker/config.json``, else podman's ``$REGISTRY_AUTH_FILE``
or ``$XDG_RUNTIME_DIR/containers/auth.json``. It is read again when it changes, as a mounted secret does. The
order for a registry is: a helper in ``credHelpers``, then ``credsStore``, then ``auths``. If a helper has no
credentials, is not installed or fails, the next source is used. Within each source the longest key that is
the repository or a folder above it wins. As in docker, an empty helper in ``credHelpers`` means ``auths``.
The base64 of ``auth`` may lack padding, have line breaks, or use the URL-safe alphabet.

Secrets leave this module only in :class:`Credential`, whose ``repr`` hides them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from cachetools import LRUCache

from storage.child_process import ChildProcess, start_process
from storage.errors import StoreError, StoreRejected, StoreUnavailable
from storage.files import read_file
from storage.formats.reference import DOCKER_HUB, Repository
from storage.limits.single_flight import InFlight

HUB_KEY = f"https://{DOCKER_HUB}/v1/"
_HUB_ALIASES = frozenset({"docker.io", "registry-1.docker.io"})
HELPER_TIMEOUT = 30.0
"""Seconds that a helper may take."""
HELPER_LIFE = 60.0
"""Seconds for which a helper's answer is used for every repository of its registry."""
_MOST_ANSWERS = 1024
"""The most answers of helpers that are remembered."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MOST_CONFIG = 4 * 1024 * 1024
"""The largest configuration file in bytes."""
_MOST_SAID = 64 * 1024
"""The largest answer of a helper in bytes. The longest tokens have a few thousand."""
MOST_ENTRIES, MOST_GLOBS, MOST_TRIED = 1000, 100, 10
"""Limits for one Secret: entries that are read, globs among them, and credentials that are tried."""
_GLOB = frozenset("*?[")
_LONGEST_HOST = 1000
"""The longest host in a key in characters. A host has up to 253; a glob may be longer."""
_SHOWN = 100
"""The most characters of an entry's key that messages show."""
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HELPER_HAS_NONE = b"credentials not found"
_OF_URLS = str.maketrans("-_", "+/")
_TOKEN_USER = "<token>"  # noqa: S105 - how a helper says "this secret is an identity token"
"""The user name by which a helper marks its secret as an identity token."""


@dataclass(frozen=True, slots=True)
class Credential:
    """One credential. ``source`` says where it comes from, in a form fit for errors.

    An ``unusable`` credential has the reason in that field; it is reported and not tried. If the reason is
    ``transient``, a later request may succeed.
    """

    source: str
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    unusable: str = ""
    transient: bool = False

    @property
    def is_anonymous(self) -> bool:
        """Whether it contains no credentials."""
        return not (self.basic or self.identity_token or self.registry_token)

    @property
    def basic(self) -> str:
        """The value of an ``Authorization: Basic`` header; ``""`` without user or password."""
        if not (self.username and self.password):
            return ""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class DockerCredentials:
    """Credentials as docker, cosign and Tekton Chains look them up."""

    def __init__(
        self, environ: Mapping[str, str] | None = None, helper_timeout: float = HELPER_TIMEOUT
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._timeout = helper_timeout
        self._answers: LRUCache[tuple[str, str], tuple[Credential | None, float]] = LRUCache(_MOST_ANSWERS)
        self._asking: InFlight[tuple[str, str], Credential | None] = InFlight()
        self._read: tuple[Path, tuple[int, int, int], dict[str, Any]] | None = None

    async def lookup(self, repository: Repository) -> Credential:
        """Return the configured credential for ``repository``; an anonymous one if there is none.

        Raises :class:`StoreRejected` for an unusable configuration or helper, and :class:`StoreUnavailable`
        for a helper that does not end in time.
        """
        path = self._path()
        if path is None:
            return Credential("none, as there is no docker config.json")
        config = self._load(path)
        # A failing helper is an error only if no other source has credentials.
        failed: StoreError | None = None
        for helper, server in self._helpers(config, repository, path):
            try:
                credential = await self._asked(helper, server, path)
            except StoreError as exc:
                failed = failed or exc
                continue
            if credential is not None:
                return credential
        auths = _table(config, "auths", path)
        key = longest_match(auths, repository)
        entry = _from_entry(auths[key], f"the entry {key!r} of {path}") if key is not None else None
        if failed is not None and (entry is None or entry.is_anonymous):
            raise failed
        return entry or Credential(f"none, as {path} has no entry for {repository.registry}")

    async def candidates(self, repository: Repository, *, again: bool = False) -> Sequence[Credential]:
        """Return the one credential of :meth:`lookup`, which always checks the file for changes."""
        del again
        return [await self.lookup(repository)]

    def _path(self) -> Path | None:
        """Return the first configuration file that exists."""
        folder, file = self._environ.get("DOCKER_CONFIG"), self._environ.get("REGISTRY_AUTH_FILE")
        runtime = self._environ.get("XDG_RUNTIME_DIR")
        home = None if folder else _config_at_home(self._environ)
        paths = [Path(folder) / "config.json"] if folder else []
        paths += [home] if home else []
        paths += [Path(file)] if file else []
        paths += [Path(runtime) / "containers" / "auth.json"] if runtime else []
        try:
            return next((path for path in paths if path.is_file()), None)
        except OSError as exc:
            raise StoreRejected(
                f"cannot look for registry credentials at {exc.filename}: {exc.strerror}"
            ) from exc

    def _load(self, path: Path) -> dict[str, Any]:
        """Return the parsed file; the last one if it has not changed."""
        try:
            stat = path.stat()
            version = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if self._read is not None and self._read[:2] == (path, version):
                return self._read[2]
            config = orjson.loads(read_file(path, _MOST_CONFIG).removeprefix(_BYTE_ORDER_MARK))
        except OSError as exc:
            raise StoreRejected(f"cannot read the registry credentials in {path}: {exc.strerror}") from exc
        except orjson.JSONDecodeError as exc:
            # Only the position: the text around it may be a password.
            raise StoreRejected(f"{path} is not JSON (line {exc.lineno}, column {exc.colno})") from None
        if not isinstance(config, dict):
            raise StoreRejected(f"{path} is not a JSON object")
        self._read = (path, version, config)
        return config

    def _helpers(
        self, config: dict[str, Any], repository: Repository, path: Path
    ) -> Iterable[tuple[str, str]]:
        """Yield the helpers for a repository, each with the key to ask it for."""
        helpers = _table(config, "credHelpers", path)
        key = longest_match(helpers, repository)
        if key is not None:
            # As in docker, an empty helper means that the entry in "auths" is used.
            if not helpers[key]:
                return
            yield str(helpers[key]), key
        store = config.get("credsStore")
        if store:
            yield str(store), HUB_KEY if _is_hub(repository.registry) else repository.registry

    async def _asked(self, helper: str, server: str, path: Path) -> Credential | None:
        """Return the answer of a helper; a recent one if there is one."""
        key = (helper, server)
        credential, until = self._answers.get(key) or (None, 0.0)
        if until <= time.monotonic():
            credential = await self._asking.run(key, lambda: self._ask(helper, server, path))
            # Also the answer "no credentials" is remembered, because starting a process is slow.
            self._answers[key] = (credential, time.monotonic() + HELPER_LIFE)
        return credential

    async def _ask(self, helper: str, key: str, path: Path) -> Credential | None:
        """Run a helper and return its credential; None if it has none."""
        source = f"docker-credential-{helper} (named in {path})"
        if not _HELPER_NAME.fullmatch(helper):
            raise StoreRejected(
                f"{path} names the credential helper {helper!r}, which is not a valid program name"
            )
        process: ChildProcess | None = None
        try:
            async with asyncio.timeout(self._timeout):
                process = await start_process(
                    f"docker-credential-{helper}",
                    "get",
                    env=dict(self._environ),
                    stderr=asyncio.subprocess.DEVNULL,
                )
                out = await _answer_of(process, key, source)
        except TimeoutError as exc:
            raise StoreUnavailable(f"{source} gave no answer in {self._timeout:g} s") from exc
        except OSError as exc:
            raise StoreRejected(f"cannot run {source}: {exc.strerror}; is it installed and on PATH?") from exc
        finally:
            if process is not None:
                await process.end()
        if process.returncode:
            if _HELPER_HAS_NONE in out.lower():
                return None
            # Its output may contain a secret, so only the code is reported.
            raise StoreRejected(
                f"{source} ended with code {process.returncode} for {key}; run it by hand to see why"
            )
        return _from_helper(out, source)


async def _answer_of(process: ChildProcess, key: str, source: str) -> bytes:
    """Write the key to a helper and return its output. Raises :class:`StoreRejected` above the limit."""
    if process.stdin is None or process.stdout is None:
        raise AssertionError("both are pipes")
    process.write(key.encode())  # a helper may end without reading it
    process.stdin.close()
    output = bytearray()
    while part := await process.stdout.read(_MOST_SAID):
        output += part
        if len(output) > _MOST_SAID:
            raise StoreRejected(f"{source} printed more than {_MOST_SAID} bytes for {key}")
    await process.wait()
    return bytes(output)


def _config_at_home(environ: Mapping[str, str]) -> Path | None:
    """Return docker's configuration in the user's home; None if there is none or it is not accessible."""
    try:
        path = Path(environ.get("HOME") or Path.home()) / ".docker" / "config.json"
        return path if path.is_file() else None
    except (RuntimeError, OSError):
        return None  # no HOME and no entry for this uid in /etc/passwd, or no access to that folder


def matching_entries(auths: Mapping[str, Any], repository: Repository, source: str) -> list[Credential]:
    """Return the entries in a Secret's ``auths`` that match ``repository``, the closest match first.

    The rules are those of kubelet and Tekton Chains: a key is a host, or a host and a folder, and each label
    of the host may be a glob (``*.example.com``). A malformed entry becomes an unusable credential. So do all
    entries above :data:`MOST_ENTRIES` and :data:`MOST_GLOBS`, and all matches above :data:`MOST_TRIED`. The
    limits exist because the owner of a namespace writes the Secret: it must not take processing time from
    other namespaces, nor make this process try thousands of passwords at a registry.
    """
    looked_at = list(islice(auths, MOST_ENTRIES))
    # Matching a glob costs much more than comparing a name, so fewer of them are read.
    globs = [key for key in looked_at if not _GLOB.isdisjoint(key)][:MOST_GLOBS]
    names = [key for key in looked_at if _GLOB.isdisjoint(key)]
    taken = {*globs, *names}
    target = f"{_registry(repository.registry).lower()}/{repository.name}/"
    matching = [(len(bare), key) for key in names if target.startswith((bare := _bare(key)) + "/")]
    matching += [(len(bare), key) for key in globs if _globs(bare := _bare(key), repository)]
    matches = sorted(matching, reverse=True)
    credentials = []
    for _, key in matches[:MOST_TRIED]:
        where = f"the entry {key[:_SHOWN]!r} of {source}"
        try:
            credential = _from_entry(auths[key], where)
        except StoreRejected as exc:
            credential = Credential(where, unusable=str(exc).removeprefix(where).lstrip(": "))
        if credential.is_anonymous:
            credential = Credential(where, unusable=credential.unusable or "has no user and password")
        credentials.append(credential)
    if len(taken) < len(auths):
        why = f"only {len(taken)} of {len(auths)} entries are read"
        credentials.append(Credential(source, unusable=why))
    if len(matches) > MOST_TRIED:
        why = f"only {MOST_TRIED} of {len(matches)} entries for {repository} are tried"
        credentials.append(Credential(source, unusable=why))
    return credentials


def registry_of(key: str) -> str:
    """Return the registry that a key of a Secret, or a repository's registry, names; empty for a glob."""
    return "" if not _GLOB.isdisjoint(key) else _bare(key).partition("/")[0]


def _globs(pattern: str, repository: Repository) -> bool:
    """Whether a key with globs matches a repository."""
    host, _, folder = pattern.partition("/")
    if len(host) > _LONGEST_HOST:
        return False
    labels, wanted = host.lower().split("."), _registry(repository.registry).lower().split(".")
    if len(labels) != len(wanted) or not all(map(fnmatchcase, wanted, labels)):
        return False
    return not folder or f"{repository.name}/".startswith(f"{folder}/")


def longest_match(table: Mapping[str, Any], repository: Repository) -> str | None:
    """Return the longest key of ``table`` (host, or host and path) that matches ``repository``."""
    target = f"{_registry(repository.registry).lower()}/{repository.name}"
    best: tuple[int, str] | None = None
    for key in table:
        bare = _bare(key)
        if (target == bare or target.startswith(bare + "/")) and (best is None or len(bare) > best[0]):
            best = (len(bare), key)
    return best[1] if best else None


def _bare(key: str) -> str:
    """Return a key such as ``https://host/v1/`` as ``host``; paths stay."""
    bare = key.partition("://")[2] or key
    # Only in URLs is /v1 or /v2 the API version; otherwise it may be a repository.
    whole = "://" in key or key.endswith("/")
    bare = bare.rstrip("/")
    for version in ("/v1", "/v2"):
        if whole and bare.endswith(version):
            bare = bare.removesuffix(version)
    host, slash, rest = bare.partition("/")
    return _registry(host).lower() + slash + rest


def _registry(host: str) -> str:
    """Return the name of a registry; one name for all aliases of Docker Hub."""
    return DOCKER_HUB if _is_hub(host) else host


def _is_hub(host: str) -> bool:
    return host.lower() == DOCKER_HUB or host.lower() in _HUB_ALIASES


def _from_entry(entry: object, source: str) -> Credential:
    """Return the credential in an entry of ``auths``. Raises :class:`StoreRejected`."""
    if not isinstance(entry, dict):
        raise StoreRejected(f"{source} is not a JSON object")
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    encoded = entry.get("auth")
    if encoded:
        decoded = _decoded(str(encoded))
        if decoded is not None:
            username, _, password = decoded.partition(":")
            # docker strips trailing NUL characters too.
            password = password.rstrip("\0")
        elif not (username and password):
            raise StoreRejected(f"{source}: its auth is not base64 of user:password")
    return Credential(
        source,
        username,
        password,
        str(entry.get("identitytoken") or ""),
        str(entry.get("registrytoken") or ""),
    )


def _decoded(encoded: str) -> str | None:
    """Return ``user:password`` from any common variant of base64; None for anything else."""
    plain = "".join(encoded.split()).rstrip("=").translate(_OF_URLS)
    try:
        decoded = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return decoded if ":" in decoded else None


def _from_helper(out: bytes, source: str) -> Credential:
    """Return the credential in a helper's output. Raises :class:`StoreRejected`."""
    try:
        answer = orjson.loads(out)
        username, secret = answer["Username"], answer["Secret"]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        raise StoreRejected(f"{source} printed no JSON with Username and Secret") from None
    if username == _TOKEN_USER:
        return Credential(source, identity_token=str(secret))
    return Credential(source, str(username), str(secret))


def _table(config: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    """Return a member of the configuration that must be an object; empty if it is absent."""
    table = config.get(key) or {}
    if not isinstance(table, dict):
        raise StoreRejected(f"{path}: {key!r} is not a JSON object")
    return table
