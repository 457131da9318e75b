"""The flow in force: built from the ConfigMap and the key folder, and built again when either changes.

A configuration or key that cannot be used is refused and reported. The last good flow stays in force.
"""

from __future__ import annotations

import asyncio
import logging
import math
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from chains.assembly.key_folder import KEY_FILES, PASSWORD_FILE
from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError, ObjectGone
from chains.cluster.events import write_event
from chains.config.extra_signers import parse_extra_signers
from chains.config.file import CONFIG_MAP
from chains.config.parse import trust_ages
from chains.controller.flow import FlowInForce, build_flow
from chains.errors import ChainsError, ConfigError, UnreachableError
from signers.open import KEY_SERVICES, scheme_of
from storage.limits.circuits import Circuits
from storage.redacted_url import without_credentials

WATCHED_KEYS = (
    "execution.redaction.key-file",
    "signers.x509.trusted-root",
    "signers.x509.signing-config",
    "signers.x509.tuf.root",
)
"""Configuration keys that name files. The flow is built again when such a file changes."""
INTERVAL = 5.0
"""Seconds between two checks of the ConfigMap and the key folder."""
OPEN_AGAIN = 60.0
"""Seconds after which a store that could not be opened is tried again."""
LONGEST_USE = 120.0
"""Seconds for which runs in work may go on with a flow that is not in force any more."""
TRUST_SECONDS = 24 * 3600.0
"""Seconds after which a trusted root from a TUF repository is fetched again."""
_log = logging.getLogger("chains.reload")


def _extra_files(text: str) -> list[str]:
    """Return the key files of further signers; none for an invalid list, which is reported when it is
    parsed."""
    try:
        found = parse_extra_signers(text)
    except ValueError:
        return []
    return [
        one.reference.removeprefix("file://") for one in found if scheme_of(one.reference) not in KEY_SERVICES
    ]


def _ledger_files(reference: str) -> list[str]:
    """Return the key file of the ledger; none for a key service."""
    is_file = reference and scheme_of(reference) not in KEY_SERVICES
    return [reference.removeprefix("file://")] if is_file else []


class Reloader:
    """Keeps :attr:`flow` up to date with the cluster's configuration and the key folder."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        folder: Path,
        circuits: Circuits | None = None,
        on_flow: Callable[[FlowInForce], None] = lambda _: None,
    ) -> None:
        self.on_flow = on_flow
        """Is called with each flow that comes into force, before runs are worked on with it."""
        self._cluster, self._namespace, self._folder = cluster, namespace, folder
        self._circuits = circuits
        self._path = f"/api/v1/namespaces/{namespace}/configmaps/{CONFIG_MAP}"
        self._seen: object = None
        self._uid, self._told = "", frozenset[str]()
        self._open_again = math.inf
        self._flow: FlowInForce | None = None
        self._good = asyncio.Event()
        self._retiring: dict[asyncio.Task[None], FlowInForce] = {}
        self._unread = "no configuration was read yet"
        self.looked = asyncio.Event()
        """Set after the first check, with whatever result."""
        self.refused = ""
        """Why the newest configuration or key is not in force, empty if it is."""

    @property
    def flow(self) -> FlowInForce:
        """The flow in force. Raises :class:`ConfigError` if there was no good one yet."""
        if self._flow is None:
            raise ConfigError(self.trouble)
        return self._flow

    @property
    def trouble(self) -> str:
        """Why the controller is not ready: what is refused, or why there is no configuration yet; else
        empty."""
        return self.refused or ("" if self._flow is not None else self._unread)

    @property
    def closed_stores(self) -> int:
        """How many stores of the flow in force cannot be opened."""
        return len(self._flow.stores.closed()) if self._flow is not None else 0

    async def wait(self) -> None:
        """Wait until there is a good flow."""
        await self._good.wait()

    async def look(self) -> None:
        """Check once, and put a changed configuration into force if it can be used."""
        try:
            found = await self._cluster.get(self._path)
        except ObjectGone:
            if self._uid and self._flow is not None:
                # the defaults would replace the configuration that is in force
                await self._refuse(ConfigError(f"{CONFIG_MAP} is gone: create it again"), None)
                return
            found = {}  # every key has a default
        data, self._uid = found.get("data") or {}, found.get("metadata", {}).get("uid", "")
        files = [data[name] for name in WATCHED_KEYS if data.get(name)]
        files += _extra_files(data.get("signers.extra") or "")
        files += _ledger_files(data.get("ledger.signer") or "")
        seen = (tuple(sorted(data.items())), await asyncio.to_thread(self._key_state, files))
        if seen == self._seen and time.monotonic() < self._open_again:
            current = bool(self.refused) or await asyncio.to_thread(self._is_current)
            if current:
                return
            _log.info("a key service's key was rotated: it is opened again")
        try:
            flow = await asyncio.to_thread(
                build_flow, dict(data), self._folder, self._cluster, self._circuits
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the last good one stays in force
            await self._refuse(error, seen)
            return
        self.on_flow(flow)
        before, self._flow, self._seen, self.refused = self._flow, flow, seen, ""
        self._good.set()
        _log.info("a new configuration is in force")
        lasts = TRUST_SECONDS if trust_ages(flow.config) else math.inf
        self._open_again = time.monotonic() + (OPEN_AGAIN if flow.stores.closed() else lasts)
        for reason in flow.stores.closed():
            _log.error("a store cannot be opened; the others work on", extra={"reason": reason})
            if reason not in self._told:
                await self._tell("StoreUnavailable", reason)
        self._told = frozenset(flow.stores.closed())
        if before is not None:
            self._retiring[asyncio.create_task(_retire(before))] = before
            self._retiring = {task: flow for task, flow in self._retiring.items() if not task.done()}

    async def _refuse(self, error: Exception, seen: object) -> None:
        passes, reason = isinstance(error, UnreachableError), without_credentials(str(error))
        if not isinstance(error, ChainsError):
            # an unexpected exception may quote a secret in its text, so the text is not shown
            reason, passes = f"unexpected {type(error).__name__}; please report it", True
        known = self.refused == reason
        self._seen, self.refused = seen, reason
        self._open_again = time.monotonic() + INTERVAL if passes else math.inf
        if not known:
            _log.error(
                "the configuration is refused; the last good one stays in force", extra={"reason": reason}
            )
            await self._tell("ConfigRefused", reason)

    async def _tell(self, reason: str, message: str) -> None:
        about = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": self._namespace, "name": CONFIG_MAP}
        await write_event(self._cluster, {**about, "uid": self._uid}, reason, message)

    async def close(self) -> None:
        """Close every connection of the flow in force, and of those before it."""
        retiring = {task: flow for task, flow in self._retiring.items() if not task.done()}
        for task in retiring:
            task.cancel()
        await asyncio.gather(*retiring, return_exceptions=True)
        for flow in retiring.values():
            await flow.close()
        if self._flow is not None:
            await self._flow.close()

    async def watch(self) -> None:
        """Check every few seconds until cancelled."""
        while True:
            try:
                await self.look()
            except ClusterError as error:
                self._unread = f"the configuration cannot be read: {error}"
                _log.warning("the configuration cannot be read", extra={"reason": str(error)})
            except Exception:  # noqa: BLE001 - the last good one stays in force
                _log.exception("the configuration cannot be checked")
            self.looked.set()
            await asyncio.sleep(INTERVAL)

    def _is_current(self) -> bool:
        """Whether the references of the signers in force still name the same keys."""
        return self._flow is None or self._flow.is_current()

    def _key_state(self, files: Sequence[str]) -> tuple[tuple[str, int, int], ...]:
        found = []
        for name in (*KEY_FILES, PASSWORD_FILE, *(str(Path(one).absolute()) for one in files)):
            path = self._folder / name
            with suppress(OSError):  # Kubernetes replaces the mounted folder at any moment
                state = path.stat()
                if stat.S_ISREG(state.st_mode):
                    found.append((str(name), state.st_mtime_ns, state.st_size))
        return tuple(found)


async def _retire(flow: FlowInForce) -> None:
    """Close a flow when the runs in work with it have ended. A run that is cut short could be signed by two
    keys."""
    await flow.uses.ended(LONGEST_USE)
    await flow.close()
