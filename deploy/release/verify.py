"""Verifies a release: artifacts by the policy, bundles by their files, bills by their signed copies."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from chains import Criteria, Policy, Verdict, Verifier
from chains.text import excerpt
from deploy.release.artifacts import Artifact, sha256_of
from deploy.release.attest import EVIDENCE
from deploy.release.errors import ReleaseError
from deploy.release.folder import KEY, POLICY, bill_path, bundle_path, check_sums, policy_of, read_list
from deploy.release.statements import PREDICATES
from signers import load_public_keys

KINDS = frozenset({"wheel", "sdist", "chart"})
"""Without one of these, it is no release."""


def verify(folder: Path, key: Path, template: Path, *, version: str = "", commit: str = "") -> list[Artifact]:
    """Return the artifacts of a release, each of them verified.

    ``key`` has the public keys to trust, and ``template`` is the policy of every release: nothing in the
    folder says whom to trust. ``version`` and ``commit`` are demanded if they are given. Raises
    :class:`ReleaseError` for the first thing that is wrong.
    """
    source, artifacts = read_list(folder)
    for what, wanted, got in (("version", version, source.version), ("commit", commit, source.commit)):
        if wanted and wanted != got:
            raise ReleaseError(f"release.json names the {what} {excerpt(got)}, expected {wanted}")
    missing = KINDS - {one.kind for one in artifacts}
    if missing:
        raise ReleaseError(f"release.json names no {' and no '.join(sorted(missing))}")
    for artifact in artifacts:
        _check_bytes(folder, artifact)
    with tempfile.TemporaryDirectory(prefix="chains-release-") as scratch:
        policy = Path(scratch) / POLICY
        text = policy_of(source, template)
        policy.write_text(text, encoding="utf-8")
        shutil.copyfile(key, policy.with_name(KEY))
        asyncio.run(_verify_evidence(folder, artifacts, policy))
    asyncio.run(_verify_bundles(folder, artifacts, key.read_bytes()))
    if (folder / POLICY).read_text(encoding="utf-8") != text:
        raise ReleaseError(f"{POLICY} in the folder is not the policy of this release")
    check_sums(folder)
    return artifacts


def _check_bytes(folder: Path, artifact: Artifact) -> None:
    """Compute the digest of an artifact again."""
    path = folder / artifact.path
    if folder.resolve() not in path.resolve().parents:
        raise ReleaseError(f"release.json: {excerpt(artifact.path)} is outside the folder")
    try:
        found = sha256_of(path)
    except OSError as error:
        raise ReleaseError(f"{excerpt(artifact.path)}: {error.strerror}") from error
    if found != artifact.digest:
        raise ReleaseError(
            f"{excerpt(artifact.path)}: release.json has {excerpt(artifact.digest)}, got {found}"
        )


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ReleaseError(f"{path.name}: {error}") from error


async def _verify_evidence(folder: Path, artifacts: Sequence[Artifact], path: Path) -> None:
    policy = Policy.load(path)
    async with Verifier(policy=policy, stores=[f"oci-layout:{folder / EVIDENCE}"]) as verifier:
        for artifact in artifacts:
            answer = await verifier.image(artifact.image)
            if answer.verdict is not Verdict.VERIFIED:
                failed = [one for one in answer.checks if one.result not in {"pass", "skip"}]
                told = "; ".join(
                    f"{one.id} ({one.reason}): expected {one.expected}, got {one.actual}" for one in failed
                )
                raise ReleaseError(f"{artifact.name} {artifact.digest}: {answer.verdict}: {told}")


async def _verify_bundles(folder: Path, artifacts: Sequence[Artifact], key: bytes) -> None:
    keys = load_public_keys(key)
    forms = {"cyclonedx": "cdx", "spdx": "spdx"}
    for artifact in artifacts:
        for word, predicate_type in PREDICATES.items():
            name = bundle_path(artifact, word)
            try:
                data = (folder / name).read_bytes()
            except OSError as error:
                raise ReleaseError(f"{name}: {error.strerror}") from error
            async with Verifier(Criteria(keys=keys, predicate_types=(predicate_type,))) as verifier:
                found = await verifier.bundle(data, digest=artifact.digest)
            if found.verdict is not Verdict.VERIFIED:
                raise ReleaseError(f"{name}: {found.verdict}: {found.summary}")
            statement = found.require().statement
            if statement is None or [one.name for one in statement.subjects] != [artifact.repository]:
                raise ReleaseError(f"{name} is not about {artifact.repository}")
            if word in forms:
                bill = bill_path(artifact, forms[word])
                if _json(folder / bill) != statement.predicate:
                    raise ReleaseError(f"{bill} is not the bill of materials that was signed")
