"""Statements of other builders in the shape of their documentation, and pages made of evidence at hand."""

from __future__ import annotations

import asyncio
from typing import Any

from chains.inspection.contents import Inspector
from chains.inspection.page import Page, page_of
from chains.revocation.revocations import Revocations
from chains.statements.statement import SLSA_V02, STATEMENT_V01
from storage.base import Store
from storage.record import Evidence
from tests.faults.verify.forge import DIGEST, IMAGE, NOW, Shelf, criteria, provenance, subject

Json = Any
COMMIT = "c0ffee" + "0" * 34
REPOSITORY = "git+https://github.com/octo-org/octo-repo"


def github_v1() -> Json:
    """SLSA v1 as GitHub's attest-build-provenance writes it (https://actions.github.io/buildtypes/workflow/v1)."""
    statement = provenance()
    statement["predicate"] = {
        "buildDefinition": {
            "buildType": "https://actions.github.io/buildtypes/workflow/v1",
            "externalParameters": {
                "workflow": {
                    "ref": "refs/heads/main",
                    "repository": "https://github.com/octo-org/octo-repo",
                    "path": ".github/workflows/build.yml",
                }
            },
            "internalParameters": {
                "github": {"event_name": "push", "repository_id": "1", "runner_environment": "github-hosted"}
            },
            "resolvedDependencies": [
                {"uri": f"{REPOSITORY}@refs/heads/main", "digest": {"gitCommit": COMMIT}},
            ],
        },
        "runDetails": {
            "builder": {
                "id": "https://github.com/octo-org/octo-repo/.github/workflows/build.yml@refs/heads/main"
            },
            "metadata": {"invocationId": "https://github.com/octo-org/octo-repo/actions/runs/7/attempts/1"},
        },
    }
    return statement


def github_v02() -> Json:
    """SLSA v0.2 as slsa-github-generator writes it."""
    return {
        "_type": STATEMENT_V01,
        "subject": [subject()],
        "predicateType": SLSA_V02,
        "predicate": {
            "builder": {
                "id": "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/"
                "generator_container_slsa3.yml@refs/tags/v2.0.0"
            },
            "buildType": "https://github.com/slsa-framework/slsa-github-generator/container@v1",
            "invocation": {
                "configSource": {
                    "uri": f"{REPOSITORY}@refs/tags/v1",
                    "digest": {"sha1": COMMIT},
                    "entryPoint": ".github/workflows/release.yml",
                },
                "parameters": {},
                "environment": {"github_actor": "octocat", "github_run_id": "7"},
            },
            "metadata": {
                "buildInvocationID": "7-1",
                "completeness": {"parameters": True, "environment": False, "materials": False},
                "reproducible": False,
            },
            "materials": [{"uri": f"{REPOSITORY}@refs/tags/v1", "digest": {"sha1": COMMIT}}],
        },
    }


def page(
    *held: Evidence | Store, trusts: bool = True, revocations: Revocations | None = None, **more: Json
) -> Page:
    """Return the page about the image of :mod:`tests.faults.verify.forge`."""
    stores = [one for one in held if isinstance(one, Store)]
    pieces = [one for one in held if isinstance(one, Evidence)]
    if pieces or not stores:
        stores = [Shelf(*pieces), *stores]
    inspector = Inspector(
        criteria(**more) if trusts else None, stores=stores, clock=lambda: NOW, revocations=revocations
    )
    found = asyncio.run(inspector.digest(DIGEST, IMAGE, ref=f"{IMAGE}@{DIGEST}"))
    return page_of(found, inspector.contents(found))


def file_page(data: bytes, *, trusts: bool = True, form: str = "bundle", **more: Json) -> Page:
    """Return the page about a file."""
    inspector = Inspector(criteria(**more) if trusts else None, clock=lambda: NOW)
    found = asyncio.run(inspector.bundle(data, ref="evidence.json", form=form))
    return page_of(found, inspector.contents(found))
