"""The part of kustomize that ``deploy/`` uses: resources, JSON patches, and strategic patches that delete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

Json = Any
FILE = "kustomization.yaml"
_KNOWN = {"apiVersion", "kind", "resources", "patches"}


class KustomizeError(Exception):
    """A kustomization uses an unsupported feature or names a missing file."""


def build(folder: Path) -> list[Json]:
    """Return the manifests of a kustomization in the order of its lists. Raises :class:`KustomizeError`."""
    kustomization = yaml.safe_load((folder / FILE).read_text())
    if unknown := set(kustomization) - _KNOWN:
        raise KustomizeError(f"{folder}: {', '.join(sorted(unknown))} is not understood here")
    manifests = [
        manifest for name in kustomization["resources"] for manifest in _read((folder / name).resolve())
    ]
    seen = [identity(manifest) for manifest in manifests]
    if len(set(seen)) < len(seen):
        raise KustomizeError(f"{folder}: an object is there twice")
    for patch in kustomization.get("patches", ()):
        _apply(folder, manifests, patch)
    return manifests


def identity(manifest: Json) -> tuple[str, str, str]:
    """Return kind, namespace and name."""
    metadata = manifest["metadata"]
    return manifest["kind"], metadata.get("namespace", ""), metadata["name"]


def _read(path: Path) -> list[Json]:
    if path.is_dir():
        return build(path)
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def _apply(folder: Path, manifests: list[Json], patch: Json) -> None:
    if "path" in patch:
        (body,) = _read(folder / patch["path"])
        if body.pop("$patch", None) != "delete":
            raise KustomizeError(f"{folder}: {patch['path']}: only '$patch: delete' is understood here")
        manifests.remove(_only(folder, manifests, body["kind"], body["metadata"]["name"]))
        return
    target = _only(folder, manifests, patch["target"]["kind"], patch["target"]["name"])
    for step in yaml.safe_load(patch["patch"]):
        _json_patch(target, step)


def _only(folder: Path, manifests: list[Json], kind: str, name: str) -> Json:
    found = [each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == name]
    if len(found) != 1:
        raise KustomizeError(f"{folder}: a patch is for {kind} {name}, of which there are {len(found)}")
    return found[0]


def _json_patch(target: Json, step: Json) -> None:
    *parents, last = step["path"].removeprefix("/").split("/")
    for name in parents:
        target = target[int(name)] if isinstance(target, list) else target[name]
    if step["op"] == "add" and isinstance(target, list) and last == "-":
        target.append(step["value"])
    elif step["op"] in {"add", "replace"} and isinstance(target, dict):
        target[last] = step["value"]
    elif step["op"] == "remove" and isinstance(target, dict) and last in target:
        del target[last]
    else:
        raise KustomizeError(f"the patch {step} is not understood here")
