"""The statements about one artifact: how it was built, and what it contains.

SLSA: https://slsa.dev/spec/v1.1/provenance
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chains import ResourceDescriptor, Statement
from chains.statements.statement import SLSA_V1, STATEMENT_V1
from deploy.release import cyclonedx_bill, spdx_bill
from deploy.release.artifacts import Artifact
from deploy.release.inventory import Component
from deploy.release.source import Source

BUILD_TYPE = "https://provenance.chains/release/v1"
"""A release by the script of this folder. Its external parameters are ``version``, ``source``, ``ref``,
``commit`` and ``artifact``; the commit is the first of its resolved dependencies. ``docs/release.md``
describes it."""
BUILDER = "https://provenance.chains/release/maintainer/v1"
"""Whoever holds the release key and runs the script, on a machine that this project knows nothing about. No
more than SLSA build level 1."""
PREDICATES = {"provenance": SLSA_V1, "cyclonedx": cyclonedx_bill.PREDICATE, "spdx": spdx_bill.PREDICATE}
"""The predicate types of the statements about each artifact, by the words in the names of their files."""


@dataclass(frozen=True, slots=True)
class Build:
    """What is true of all artifacts of one release."""

    source: Source
    invocation: str
    """The id of this run of the script."""
    started: datetime
    finished: datetime
    tools: Sequence[Component]
    """The packages that built it."""
    lock: str
    """``sha256:HEX`` of ``uv.lock``."""
    builder: str = BUILDER


def provenance(artifact: Artifact, build: Build, bills: Sequence[tuple[str, str]]) -> Statement:
    """Return the provenance of an artifact. ``bills`` are names and digests of its bills of materials."""
    source = build.source
    inputs = [
        _input(f"{source.uri}@{source.ref}", {"gitCommit": source.commit, "sha1": source.commit}),
        # no git URI of its own: a policy compares every git source with those that it allows
        {"name": "uv.lock", "digest": _set(build.lock)},
        *(_input(tool.purl, {"sha256": tool.files[-1].sha256}) for tool in build.tools if tool.files),
    ]
    predicate: dict[str, Any] = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "version": source.version,
                "source": source.uri,
                "ref": source.ref,
                "commit": source.commit,
                "artifact": artifact.name,
            },
            "internalParameters": {
                "sourceDateEpoch": source.epoch,
                "python": platform.python_version(),
                "platform": f"{platform.system().lower()}/{platform.machine()}",
            },
            "resolvedDependencies": inputs,
        },
        "runDetails": {
            "builder": {"id": build.builder},
            "metadata": {
                "invocationId": build.invocation,
                "startedOn": _time(build.started),
                "finishedOn": _time(build.finished),
            },
            "byproducts": [{"name": name, "digest": _set(digest)} for name, digest in bills],
        },
    }
    return Statement(STATEMENT_V1, (_subject(artifact),), SLSA_V1, predicate)


def bill_statement(artifact: Artifact, predicate_type: str, document: str) -> Statement:
    """Return the statement that an artifact has this bill of materials."""
    return Statement(STATEMENT_V1, (_subject(artifact),), predicate_type, json.loads(document))


def _subject(artifact: Artifact) -> ResourceDescriptor:
    return ResourceDescriptor(name=artifact.repository, digest=_set(artifact.digest))


def _input(uri: str, digest: dict[str, str]) -> dict[str, Any]:
    return {"uri": uri, "digest": digest}


def _set(digest: str) -> dict[str, str]:
    algorithm, _, value = digest.partition(":")
    return {algorithm: value}


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
