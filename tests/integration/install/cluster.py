"""An API server of these tests' own, with the programs that users install with, and what is left of them afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.testbed.cluster import MERGE, ApiError, ApiServer
from tests.testbed.commands import Command

Json = Any
Key = tuple[str, str, str]
NAMESPACE = "tekton-chains"
CONFIGURATION = "chains-config"
APPS = {"tekton-chains-controller", "tekton-chains-uninstall", "tekton-chains-doctor"}
PART_OF = ("app.kubernetes.io/part-of", "tekton-chains")
"""Labels that find every object of ours, whoever made it."""
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Cluster:
    """The API server and the administrator's programs."""

    server: ApiServer
    kubectl: Command
    helm: Command

    def configuration(self) -> dict[str, str]:
        found: dict[str, str] = self.get("ConfigMap", CONFIGURATION)["data"]
        return found

    def get(self, kind: str, name: str, namespace: str = NAMESPACE) -> Json:
        """Return an object. Raises :class:`tests.testbed.commands.CommandError`."""
        text = self.kubectl("get", kind.lower(), name, "--namespace", namespace, "--output", "json").stdout
        return json.loads(text)

    def edit(self, data: dict[str, str | None]) -> None:
        """Change keys of ``chains-config`` as an administrator does; None removes one."""
        patch = {"data": data}
        self.kubectl(
            "patch", "configmap", CONFIGURATION, "--namespace", NAMESPACE, "--type=merge", "--patch", json.dumps(patch)
        )  # fmt: skip

    def ours(self) -> dict[Key, Json]:
        """Return every object of the cluster with one of our labels."""
        found = {}
        for path in self._collections():
            items = self._list(path)
            for item in items["items"]:
                kind, metadata = items["kind"].removesuffix("List"), item["metadata"]
                labels = metadata.get("labels", {})
                if labels.get("app") in APPS or labels.get(PART_OF[0]) == PART_OF[1]:
                    whole = {**item, "kind": kind, "apiVersion": items["apiVersion"]}
                    found[kind, metadata.get("namespace", ""), metadata["name"]] = whole
        return found

    def _list(self, path: str) -> Json:
        """Return a list. The storage of a definition that was just made is set up for a while."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.server.request("GET", path)
            except ApiError as error:
                if error.status != 429 or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _collections(self) -> Iterator[str]:
        """Yield the path of every collection that can be listed."""
        groups = self.server.request("GET", "/apis")["groups"]
        for root in ("/api/v1", *(f"/apis/{each['preferredVersion']['groupVersion']}" for each in groups)):
            for resource in self.server.request("GET", root)["resources"]:
                if "list" in resource["verbs"] and "/" not in resource["name"]:
                    yield f"{root}/{resource['name']}"

    def versions(self) -> dict[Key, str]:
        """Return the resource version of every object of ours."""
        return {key: item["metadata"]["resourceVersion"] for key, item in self.ours().items()}

    def prepare(self) -> None:
        """Create the Namespaces and the Secret, which are the user's."""
        existing = self._names("/api/v1/namespaces")
        for name in {NAMESPACE, "ci"} - set(existing):
            self.kubectl("create", "namespace", name)
        self.kubectl(
            "create", "secret", "generic", "signing-secrets", "--namespace", NAMESPACE, "--from-literal=x509.pem=x"
        )  # fmt: skip

    def clean(self) -> None:
        """Remove whatever a test left, so that the next one begins with nothing."""
        for key, item in self.ours().items():
            if key[0] != "Namespace":
                self._delete(self.path(item))
        for namespace in (NAMESPACE, "ci"):
            for resource in ("taskruns", "pipelineruns"):
                for name in self._names(f"/apis/tekton.dev/v1/namespaces/{namespace}/{resource}"):
                    path = f"/apis/tekton.dev/v1/namespaces/{namespace}/{resource}/{name}"
                    self._delete(path)
                    self.release(path)
            for resource in ("secrets", "configmaps"):
                for name in self._names(f"/api/v1/namespaces/{namespace}/{resource}"):
                    self._delete(f"/api/v1/namespaces/{namespace}/{resource}/{name}")

    def release(self, path: str) -> None:
        """Take every finalizer off an object, if it is there; the policy may be in force for a moment more."""
        deadline = time.monotonic() + 30
        while True:
            try:
                self.server.request("PATCH", path, {"metadata": {"finalizers": None}}, kind=MERGE)
            except ApiError as error:
                if error.status == 404:
                    return
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return

    def path(self, item: Json) -> str:
        """Return the path of an object."""
        version, metadata = item["apiVersion"], item["metadata"]
        root = f"/api/{version}" if version == "v1" else f"/apis/{version}"
        resources = self.server.request("GET", root)["resources"]
        (name,) = (
            each["name"] for each in resources if each["kind"] == item["kind"] and "/" not in each["name"]
        )
        scope = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
        return f"{root}{scope}/{name}/{metadata['name']}"

    def _names(self, path: str) -> list[str]:
        return [item["metadata"]["name"] for item in self.server.request("GET", path)["items"]]

    def _delete(self, path: str) -> None:
        try:
            self.server.request("DELETE", path)
        except ApiError as error:
            if error.status != 404:
                raise


def wait(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


def within(wanted: Json, found: Json) -> bool:
    """Whether everything that a manifest says is in the object, whatever the API server added."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            name in found and within(value, found[name]) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(wanted) == len(found)
            and all(within(one, other) for one, other in zip(wanted, found, strict=True))
        )
    return bool(wanted == found)
