"""The part of kubectl that the runbooks use, for the testbed's API server and one controller process.

There is no kubelet and no pod. ``logs`` prints the controller's log, ``exec`` runs the command here in the
environment of the pod, and a replaced Secret is written to the folder that stands for its mount. Commands
that need a kubelet (``describe``, ``top``, ``rollout``, ``scale``, ``wait``, ``delete``) are not supported.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from tests.testbed.cluster import ApiServer

Json = Any
SETTINGS = "TESTBED_KUBECTL"
SYSTEM = "tekton-chains"
_TEKTON, _CORE, _LEASES = "/apis/tekton.dev/v1", "/api/v1", "/apis/coordination.k8s.io/v1"
_KINDS = {
    "taskrun": (_TEKTON, "taskruns"), "taskruns": (_TEKTON, "taskruns"),
    "pipelinerun": (_TEKTON, "pipelineruns"), "pipelineruns": (_TEKTON, "pipelineruns"),
    "configmap": (_CORE, "configmaps"), "secret": (_CORE, "secrets"), "pods": (_CORE, "pods"),
    "events": (_CORE, "events"), "leases": (_LEASES, "leases"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the program, from a file. ``system`` stands for the namespace ``tekton-chains``."""

    url: str
    ca_file: str
    token: str
    system: str
    log: str
    keys: str


def install(folder: Path, settings: Settings) -> dict[str, str]:
    """Write ``kubectl`` into a folder; return the environment in which a shell finds it."""
    (folder / "bin").mkdir(exist_ok=True)
    file, program = folder / "kubectl.json", folder / "bin" / "kubectl"
    file.write_text(json.dumps({name: getattr(settings, name) for name in Settings.__slots__}))
    root = Path(__file__).parents[2]
    program.write_text(f'#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} -m tests.testbed.kubectl "$@"\n')
    program.chmod(0o755)
    path = os.pathsep.join([str(program.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, SETTINGS: str(file)}


class Kubectl:
    """One call."""

    def __init__(self, settings: Settings, namespace: str) -> None:
        self._settings = settings
        self._server = ApiServer(settings.url, Path(settings.ca_file), settings.token)
        self._namespace = settings.system if namespace == SYSTEM else namespace

    def get(self, options: argparse.Namespace) -> str:
        kinds, *names = options.words
        name = names[0] if names else ""
        items = [item for kind in kinds.split(",") for item in self._items(kind, name, options)]
        if options.output == "json":
            return json.dumps(items[0] if name else {"items": items})
        if options.output == "yaml":
            return yaml.safe_dump(items[0] if name else {"items": items})
        if found := re.fullmatch(r"jsonpath=\{(.+)\}", options.output):
            return "".join(str(_at(item, found[1])) for item in items)
        if options.output.startswith("custom-columns="):
            columns = [
                each.partition(":")[2] for each in options.output.removeprefix("custom-columns=").split(",")
            ]
            return "\n".join("  ".join(str(_at(item, path)) for path in columns) for item in items)
        return "\n".join(" ".join(_row(item)) for item in items)

    def _items(self, kind: str, name: str, options: argparse.Namespace) -> Iterator[Json]:
        api, plural = _KINDS[kind]
        scope = "" if options.all else f"/namespaces/{self._namespace}"
        if name:
            yield self._server.request("GET", f"{api}{scope}/{plural}/{name}")
            return
        query = f"?labelSelector={quote(options.selector)}&fieldSelector={quote(options.fields)}"
        yield from self._server.request("GET", f"{api}{scope}/{plural}{query}")["items"]

    def logs(self, _: argparse.Namespace) -> str:
        return Path(self._settings.log).read_text().rstrip()

    def create(self, options: argparse.Namespace) -> str:
        """``create secret generic NAME --from-file=FILE --dry-run=client -o yaml``."""
        assert options.words[:2] == ["secret", "generic"]
        assert options.dry == "client"
        file = Path(options.file)
        data = {file.name: base64.b64encode(file.read_bytes()).decode()}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": options.words[2]}, "data": data}
        return yaml.safe_dump(body)

    def replace(self, options: argparse.Namespace) -> str:
        """``replace -f -`` of the Secret that the key folder is mounted from."""
        assert options.file == "-"
        body = yaml.safe_load(sys.stdin)
        assert body["metadata"]["name"] == "signing-secrets"
        folder = Path(self._settings.keys)
        for name, text in body["data"].items():
            # a kubelet swaps the whole folder at once
            new = folder / f".{name}"
            new.write_bytes(base64.b64decode(text))
            new.replace(folder / name)
        return "secret/signing-secrets replaced"


def _at(item: Json, path: str) -> Json:
    for part in re.split(r"(?<!\\)\.", path.strip(".")):
        item = (item or {}).get(part.replace("\\.", "."), "")
    return item


def _row(item: Json) -> Iterator[str]:
    yield f"{item['metadata'].get('namespace', '')}/{item['metadata']['name']}"
    if "involvedObject" in item:
        about = item["involvedObject"]
        yield from (item["reason"], f"{about['kind'].lower()}/{about['name']}", item["message"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kubectl", allow_abbrev=False)
    parser.add_argument("-n", dest="namespace", default="default")
    parser.add_argument("command", choices=("get", "logs", "create", "replace"))
    parser.add_argument("words", nargs="*")
    parser.add_argument("-A", dest="all", action="store_true")
    parser.add_argument("-o", dest="output", default="")
    parser.add_argument("-l", dest="selector", default="")
    parser.add_argument("-f", "--from-file", dest="file", default="")
    parser.add_argument("--field-selector", dest="fields", default="")
    parser.add_argument("--dry-run", dest="dry", default="")
    for ignored in ("--sort-by", "--tail"):
        parser.add_argument(ignored)
    for ignored in ("--previous", "--prefix"):
        parser.add_argument(ignored, action="store_true")
    return parser


def main(arguments: Sequence[str]) -> int:
    settings = Settings(**json.loads(Path(os.environ[SETTINGS]).read_text()))
    if "exec" in arguments and "--" in arguments:
        command = [
            word.replace("/etc/signing-secrets", settings.keys)
            for word in arguments[arguments.index("--") + 1 :]
        ]
        return subprocess.run(command, check=False).returncode
    options = _parser().parse_intermixed_args(arguments)
    print(getattr(Kubectl(settings, options.namespace), options.command)(options))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
