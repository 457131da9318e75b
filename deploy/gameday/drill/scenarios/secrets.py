"""A mounted Secret is replaced: the signing key, or the credential of registries."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from drill.errors import NotApplicableError, NotFoundError, UndecidedError
from drill.evidence import EVIDENCED, Finding, audit
from drill.game import Game
from drill.limit import LABEL, Touch
from drill.runs import Run
from drill.scenarios.base import Scenario
from drill.undo import run_hook

Json = Any
PAUSE = 1.0
NOTICED = 6.0
"""Seconds after which the controller uses a file that has changed: it looks every five."""
MOUNT_SECONDS = 180
"""A kubelet updates mounted Secrets within one to two minutes."""
HASH = "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())"


class SecretReplaced(Scenario):
    """A Secret that the controller's pods mount gets other content, and its own back afterwards."""

    lasts = True
    secret: ClassVar[str]
    key: ClassVar[str]
    """The entry of the Secret that is replaced."""

    def content(self, game: Game) -> Path:
        """Return the file with the new content. Raises :class:`UndecidedError` without one."""
        raise NotImplementedError

    def touches(self, game: Game) -> list[Touch]:
        """Return the Secret and its copy."""
        self.content(game)
        namespace, backup = game.options.system_namespace, _backup(self.secret)
        try:
            found = game.kubectl.get("secret", self.secret, namespace=namespace)
        except NotFoundError:
            raise NotApplicableError(f"there is no Secret {namespace}/{self.secret}") from None
        if self.key not in found.get("data", {}):
            raise NotApplicableError(f"the Secret {namespace}/{self.secret} has no entry {self.key}")
        if owners := found["metadata"].get("ownerReferences"):
            raise UndecidedError(
                f"{self.name}: the Secret {namespace}/{self.secret} belongs to the {owners[0]['kind']} "
                f"{owners[0]['name']}, which would put it back: rotate it at its source"
            )
        if found.get("immutable"):
            raise UndecidedError(f"{self.name}: the Secret {namespace}/{self.secret} is immutable")
        return [
            Touch("create", "secret", namespace, backup, "a copy of the present content"),
            Touch("replace", "secret", namespace, self.secret, f"its {self.key}, and the present one again"),
            Touch("delete", "secret", namespace, backup),
        ]

    def commands(self, game: Game) -> list[str]:
        """Return the user's commands that revoke the old content and accept it again."""
        return [each for each in (game.options.cut_with, game.options.restore_with) if each]

    def inject(self, game: Game) -> None:
        """Replace the content and wait until every pod sees it; then revoke the old one."""
        namespace, backup, new = (
            game.options.system_namespace,
            _backup(self.secret),
            self.content(game).read_bytes(),
        )
        found = game.kubectl.get("secret", self.secret, namespace=namespace)
        game.note({"do": "restore-secret", "namespace": namespace, "name": self.secret, "backup": backup})
        game.kubectl.create({
            "apiVersion": "v1", "kind": "Secret", "type": found.get("type", "Opaque"), "data": found["data"],
            "metadata": {"name": backup, "namespace": namespace, "labels": {LABEL: game.name}},
        })  # fmt: skip
        data = found["data"] | {self.key: base64.b64encode(new).decode()}
        game.kubectl.replace(found | {"data": data})
        self._wait_until_mounted(game, hashlib.sha256(new).hexdigest())
        if self.revokes and game.options.cut_with:
            game.note({"do": "run", "command": game.options.restore_with, "scenario": self.name})
            run_hook(game.options.cut_with, self.name)

    revokes: ClassVar[bool] = False
    """Whether the old content is revoked by ``--cut-with``."""

    def _wait_until_mounted(self, game: Game, digest: str) -> None:
        deadline = time.monotonic() + MOUNT_SECONDS
        namespace = game.options.system_namespace
        places = {each["metadata"]["name"]: self._path(each) for each in game.pods()}
        while places:
            for pod, path in list(places.items()):
                if game.kubectl.inside(pod, namespace, ["python3", "-c", HASH, path])[1] == digest:
                    del places[pod]
            if places and time.monotonic() > deadline:
                raise UndecidedError(
                    f"{self.name}: {', '.join(places)} did not see the new content of the Secret "
                    f"{self.secret} within {MOUNT_SECONDS} s: it is mounted with subPath, or something put "
                    "the old content back"
                )
            time.sleep(PAUSE)
        time.sleep(NOTICED)

    def _path(self, pod: Json) -> str:
        """Return where the entry is mounted in the pod."""
        for volume in pod["spec"].get("volumes", []):
            source = volume.get("secret", {})
            if source.get("secretName") != self.secret:
                continue
            names = {each["key"]: each["path"] for each in source.get("items", [])}
            for container in pod["spec"]["containers"]:
                for mount in container.get("volumeMounts", []):
                    if mount["name"] == volume["name"]:
                        return f"{mount['mountPath']}/{names.get(self.key, self.key)}"
        raise UndecidedError(
            f"{self.name}: no volume of the pod {pod['metadata']['name']} has the Secret {self.secret}"
        )


class KeyRotated(SecretReplaced):
    """The signing key is replaced by the next one."""

    name = "key"
    breaks = "the signing key is replaced by another one"
    secret = "signing-secrets"  # noqa: S105
    key = "x509.pem"

    def content(self, game: Game) -> Path:
        """Return the new key."""
        if game.options.new_key is None or game.options.new_public_key is None:
            raise UndecidedError(
                "key: give the key with --new-key and its public half with --new-public-key; all runs that "
                "end meanwhile are signed with it, so your policies have to trust it before"
            )
        return game.options.new_key

    def commands(self, game: Game) -> list[str]:
        """Return nothing: the old key stays valid."""
        del game
        return []

    def fact(self, game: Game, runs: Sequence[Run], found: dict[str, Finding]) -> str:
        """Return how many runs each key signed."""
        options = with_key(game.options.audit, game.options.new_public_key)
        new = audit(game.options.chains, options, runs)
        by_new = sum(each.state == EVIDENCED for each in new.values())
        by_old = sum(each.state == EVIDENCED for each in found.values()) - by_new
        if not by_new:
            raise UndecidedError("key: no run was signed with the new key")
        return f"{by_old} signed with the present key, {by_new} with the new one"


class CredentialRotated(SecretReplaced):
    """The controller's own credential of registries is replaced, and the old one revoked."""

    name = "credential"
    breaks = (
        "the credential with which evidence is pushed is replaced by another one, and the old one is revoked"
    )
    secret = "registry-credentials"  # noqa: S105
    key = ".dockerconfigjson"
    revokes = True

    def content(self, game: Game) -> Path:
        """Return the new configuration of registries."""
        if game.options.new_registry_config is None:
            raise UndecidedError(
                "credential: give a docker config.json with a second credential of the registry with "
                "--new-registry-config"
            )
        return game.options.new_registry_config

    def fact(self, game: Game, runs: Sequence[Run], found: dict[str, Finding]) -> str:
        """Say so if the old credential stayed valid."""
        del runs, found
        if game.options.cut_with:
            return "the old credential was revoked by --cut-with"
        return "the old credential stayed valid, so this proves little: revoke it with --cut-with"


def _backup(secret: str) -> str:
    return f"gameday-backup-{secret}"


def with_key(options: Sequence[str], key: Path | None) -> list[str]:
    """Return options of an audit with this key in place of all others."""
    kept: list[str] = []
    rest = iter(options)
    for each in rest:
        if each == "--key":
            next(rest, None)
        elif not each.startswith("--key="):
            kept.append(each)
    return [*kept, "--key", str(key)]
