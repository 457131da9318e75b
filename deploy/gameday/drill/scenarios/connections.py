"""A service cannot be reached by the controller: registry, API server, key service, transparency log."""

from __future__ import annotations

import time
from abc import abstractmethod
from urllib.parse import urlsplit

from drill.errors import NotApplicableError, UndecidedError
from drill.game import Game
from drill.limit import Touch
from drill.policies import (
    CUT,
    addresses_of,
    deny,
    narrowed,
    policies_for,
)
from drill.scenarios.base import Scenario
from drill.undo import run_hook, without_identity

PROBE = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"
PROBE_SECONDS = 15
PAUSE = 1.0
HTTPS = 443


class ConnectionLost(Scenario):
    """The controller's pods lose one host: by NetworkPolicies, or by the user's ``--cut-with``."""

    lasts = True
    stops_all = True

    def touches(self, game: Game) -> list[Touch]:
        """Return the policies that are changed; none if the user cuts."""
        self.applies(game)
        if game.options.cut_with:
            return []
        self.target(game)
        namespace = game.options.system_namespace
        present = policies_for(game)
        if not present:
            why = "everything but this host"
            return [Touch(verb, "networkpolicy", namespace, CUT, why) for verb in ("create", "delete")]
        return [
            Touch(
                "replace",
                "networkpolicy",
                namespace,
                each["metadata"]["name"],
                "narrowed, and as it was again",
            )
            for each in present
        ]

    def commands(self, game: Game) -> list[str]:
        """Return the user's commands."""
        return [each for each in (game.options.cut_with, game.options.restore_with) if each]

    def applies(self, game: Game) -> None:
        """Raise :class:`NotApplicableError` if the controller does not use this service."""

    @abstractmethod
    def hosts(self, game: Game) -> tuple[str, int]:
        """Return host and port, from the configuration. Raises :class:`UndecidedError`."""

    def target(self, game: Game) -> tuple[str, int]:
        """Return host and port, from ``--address`` or the configuration."""
        return game.options.addresses.get(self.name) or self.hosts(game)

    def inject(self, game: Game) -> None:
        """Cut the connection, and see that it is cut."""
        if game.options.cut_with:
            game.note({"do": "run", "command": game.options.restore_with, "scenario": self.name})
            run_hook(game.options.cut_with, self.name)
            return
        host, port = self.target(game)
        if not self._reached(game, host, port):
            raise UndecidedError(f"{self.name}: the controller's pods cannot reach {host}:{port} even now")
        namespace, addresses = game.options.system_namespace, addresses_of(host)
        present = policies_for(game)
        if not present:
            game.note({"do": "delete", "kind": "networkpolicy", "namespace": namespace, "name": CUT})
            game.kubectl.create(deny(game, addresses, host))
        for each in present:
            game.note({"do": "put-back", "object": without_identity(each)})
            game.kubectl.replace(narrowed(each, addresses, host))
        deadline = time.monotonic() + PROBE_SECONDS
        while self._reached(game, host, port):
            if time.monotonic() > deadline:
                raise UndecidedError(
                    f"{self.name}: the controller's pods reach {host}:{port} in spite of the NetworkPolicy: "
                    "the network plugin of this cluster does not enforce policies; use --cut-with and "
                    "--restore-with"
                )
            time.sleep(PAUSE)

    def _reached(self, game: Game, host: str, port: int) -> bool:
        """Whether any pod of the controller can connect."""
        return any(
            game.kubectl.inside(
                each, game.options.system_namespace, ["python3", "-c", PROBE, host, str(port)]
            )[0]
            for each in game.names_of_pods()
        )


class RegistryLost(ConnectionLost):
    """The registry of the image."""

    name = "registry"
    breaks = "the controller cannot reach the registry"

    def applies(self, game: Game) -> None:
        """Need evidence that goes to a registry."""
        if not any(
            "oci" in game.config().get(f"artifacts.{each}.storage", "") for each in ("taskrun", "oci")
        ):
            raise NotApplicableError("no evidence of TaskRuns is stored in a registry")
        if not game.options.image:
            raise UndecidedError("registry: give an image in the registry with --image")

    def hosts(self, game: Game) -> tuple[str, int]:
        """Return the registry of ``--image``."""
        return _host(game.options.image.partition("/")[0])


class ApiServerLost(ConnectionLost):
    """The API server, for the controller only."""

    name = "api"
    breaks = "the controller cannot reach the API server"
    stops_creation = True

    def hosts(self, game: Game) -> tuple[str, int]:
        """Return the first address of the Service ``kubernetes`` behind its cluster address."""
        found = game.kubectl.get(
            "endpointslices", namespace="default", selector="kubernetes.io/service-name=kubernetes"
        )
        for each in found["items"]:
            for endpoint in each["endpoints"]:
                return str(endpoint["addresses"][0]), int(each["ports"][0]["port"])
        raise UndecidedError(
            "api: the Service kubernetes has no address: give it with --address api=HOST:PORT"
        )


class KeyServiceLost(ConnectionLost):
    """The service of the signing key."""

    name = "kms"
    breaks = "the controller cannot reach the key service"

    def applies(self, game: Game) -> None:
        """Need a key in a service."""
        if game.config().get("artifacts.taskrun.signer", "x509") != "kms":
            raise NotApplicableError("no key service signs TaskRuns")

    def hosts(self, game: Game) -> tuple[str, int]:
        """Return the host in the reference or in the address of the configuration."""
        config = game.config()
        reference = urlsplit(config.get("signers.kms.kmsref", ""))
        address = urlsplit(config.get("signers.kms.auth.address", ""))
        if reference.scheme in {"hashivault", "openbao"} and address.hostname:
            return address.hostname, address.port or HTTPS
        if reference.scheme in {"awskms", "azurekms"} and reference.netloc:
            host, port = _host(reference.netloc)
            return (host if "." in host or port != HTTPS else f"{host}.vault.azure.net"), port
        if reference.scheme == "gcpkms":
            return "cloudkms.googleapis.com", HTTPS
        raise UndecidedError(
            "kms: the configuration does not name the host: give it with --address kms=HOST:PORT"
        )


class LogLost(ConnectionLost):
    """The transparency log."""

    name = "log"
    breaks = "the controller cannot reach the transparency log"

    def applies(self, game: Game) -> None:
        """Need a log."""
        if game.config().get("transparency.enabled", "false") != "true":
            raise NotApplicableError("no transparency log is used")

    def hosts(self, game: Game) -> tuple[str, int]:
        """Return the host of ``transparency.url``."""
        url = urlsplit(game.config().get("transparency.url", "https://rekor.sigstore.dev"))
        if not url.hostname:
            raise UndecidedError(
                "log: the configuration does not name the host: give it with --address log=HOST:PORT"
            )
        return url.hostname, url.port or (HTTPS if url.scheme == "https" else 80)


def _host(text: str) -> tuple[str, int]:
    found = urlsplit(f"//{text}")
    if not found.hostname:
        raise UndecidedError(f"{text!r} names no host")
    return found.hostname, found.port or HTTPS
