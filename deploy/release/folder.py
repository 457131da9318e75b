"""The folder of a release: what lies where, its list of artifacts, its checksums and its policy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from deploy.release.artifacts import Artifact, sha256_of
from deploy.release.attest import EVIDENCE
from deploy.release.errors import ReleaseError
from deploy.release.source import Source

SCHEMA = "https://provenance.chains/release-list/v1"
LIST, SUMS, POLICY, KEY, CHANGES = "release.json", "SHA256SUMS", "policy.yaml", "release.pub", "CHANGES.md"
BILLS, ATTESTATIONS = "sbom", "attestations"
TEMPLATE = Path(__file__).with_name("policy.yaml")


def bill_path(artifact: Artifact, form: str) -> str:
    """Return the path of a bill of materials; ``form`` is ``cdx`` or ``spdx``."""
    return f"{BILLS}/{artifact.name}.{form}.json"


def bundle_path(artifact: Artifact, word: str) -> str:
    """Return the path of a bundle; ``word`` is one of :data:`deploy.release.statements.PREDICATES`."""
    return f"{ATTESTATIONS}/{artifact.name}.{word}.sigstore.json"


def write_list(folder: Path, source: Source, artifacts: Sequence[Artifact]) -> None:
    """Write ``release.json``, which names the artifacts.

    Nobody signs it: whoever reads it computes their digests again.
    """
    listed = [{name: value for name, value in asdict(one).items() if value} for one in artifacts]
    found = {
        "schema": SCHEMA,
        "version": source.version,
        "source": source.uri,
        "ref": source.ref,
        "commit": source.commit,
        "artifacts": listed,
    }
    (folder / LIST).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def read_list(folder: Path) -> tuple[Source, list[Artifact]]:
    """Read ``release.json``. Raises :class:`ReleaseError`."""
    try:
        found: dict[str, Any] = json.loads((folder / LIST).read_text(encoding="utf-8"))
        if found["schema"] != SCHEMA:
            raise ReleaseError(f"{folder / LIST}: schema {found['schema']!r}, expected {SCHEMA}")
        source = Source(
            found["version"], found["commit"], found["ref"].rpartition("/")[2], found["source"], 0
        )
        return source, [Artifact(**one) for one in found["artifacts"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReleaseError(f"{folder / LIST}: no list of a release: {error!r}") from error


def write_policy(folder: Path, source: Source, template: Path) -> None:
    """Write the policy of this one release."""
    (folder / POLICY).write_text(policy_of(source, template), encoding="utf-8")


def policy_of(source: Source, template: Path) -> str:
    """Return the policy of one release: the template with version, commit and repository."""
    document = yaml.safe_load(template.read_text(encoding="utf-8"))
    demanded = document["spec"]["require"]
    own = {"version": source.version, "source": source.uri, "ref": source.ref, "commit": source.commit}
    demanded["externalParameters"] = {**demanded.get("externalParameters", {}), **own}
    demanded["sources"] = [{"uri": source.uri, "refs": [source.ref]}]
    document["metadata"]["name"] += f"-{source.version}"
    return yaml.safe_dump(document, sort_keys=False)


def write_sums(folder: Path) -> None:
    """Write ``SHA256SUMS`` over every file outside ``evidence/``, whose files are named by their digests."""
    lines = [f"{sha256_of(path).removeprefix('sha256:')}  {name}\n" for name, path in _summed(folder)]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def check_sums(folder: Path) -> None:
    """Raise :class:`ReleaseError` for a file that ``SHA256SUMS`` lacks, or whose content is another one."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ReleaseError(f"{folder / SUMS}: {error.strerror}") from error
    wanted = {name: value for value, _, name in (line.partition("  ") for line in lines)}
    found = {name: sha256_of(path).removeprefix("sha256:") for name, path in _summed(folder)}
    for name in sorted(wanted | found):
        if wanted.get(name) != found.get(name):
            expected, got = wanted.get(name, "no such file"), found.get(name, "no such file")
            raise ReleaseError(f"{name}: SHA256SUMS has {expected}, got {got}")


def _summed(folder: Path) -> list[tuple[str, Path]]:
    found = [(path.relative_to(folder), path) for path in folder.rglob("*") if path.is_file()]
    return sorted(
        (name.as_posix(), path) for name, path in found if name.parts[0] != EVIDENCE and str(name) != SUMS
    )
