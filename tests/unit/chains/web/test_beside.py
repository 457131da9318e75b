"""Pages of files beside the index: audits, reports, controls, policies."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from chains.cli.main import run
from chains.web.files.watched import fingerprint
from chains.web.viewer import Viewer
from tests.unit.chains.web.world import EXAMPLES, World, chains, inside, visible


@pytest.fixture(scope="module")
def filed(world: World) -> World:
    """The browser with an audit of all example runs, and a report of them."""
    with inside(world.folder):
        written = io.TextIOWrapper(io.BytesIO())
        arguments = [
            "audit",
            "--runs",
            ".",
            "--store",
            "oci-layout:.chains/layout",
            "--key",
            ".chains/signing.pub",
        ]
        with contextlib.redirect_stdout(written):
            assert run([*arguments, "--output", "json"]) == 1
        Path("audits").mkdir()
        written.flush()
        Path("audits/1.json").write_bytes(written.buffer.getvalue())  # type: ignore[attr-defined]
        Path("audits/other.json").write_text('{"schema": "another"}')
        chains("report", *arguments[1:], "--out", "reports/month", code=1)
    settings = replace(world.settings, audits=(world.folder / "audits",), reports=(world.folder / "reports",))
    return replace(world, settings=settings)


def test_gaps_are_those_of_the_audit_with_reason_and_next_step(filed: World) -> None:
    told = json.loads((filed.folder / "audits/1.json").read_text())
    text = visible(filed.page("/gaps"))
    assert told["summary"][0] in text
    assert f"missing {told['counts']['missing']}" in text
    assert "ci/checkout-ui-image-nr5c7" in text
    assert "no store has evidence of this run" in text
    assert "attest it again: chains backfill" in text
    assert "the runs that somebody wrote into these files" in text


def test_the_overview_names_the_audit_that_it_counts_by(filed: World) -> None:
    text = visible(filed.page("/"))
    assert "Audit of 20" in text
    assert "Runs without any evidence are not in an index" not in text


def test_a_viewer_of_some_namespaces_sees_the_gaps_of_these_alone(filed: World) -> None:
    text = filed.page("/gaps", viewer=Viewer("x", ("kubeflow",)))
    assert "kubeflow/grid-load-forecast" in text
    assert "checkout-ui" not in text
    assert "ml-platform" not in text


def test_without_an_audit_the_page_says_why_there_is_nothing(world: World) -> None:
    text = visible(world.page("/gaps"))
    assert "No audit was given" in text
    assert "--audit-result" in text


def test_a_wrong_state_of_gaps_is_wrong_usage(filed: World) -> None:
    filed.page("/gaps?state=lost", 400)
    filed.page("/gaps?at=2020-01-01T00:00:00Z", 400)


def test_a_report_shows_its_files_with_their_digests_and_its_controls(filed: World) -> None:
    assert "month" in visible(filed.page("/reports"))
    text = visible(filed.page("/reports/month"))
    for line in (filed.folder / "reports/month/SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        assert digest in text
        assert name in text
    controls = visible(filed.page("/controls"))
    assert "What evidence shows is never a certificate" in controls
    filed.page("/reports/other", 404)
    filed.page("/reports/month/nothing.txt", 404)
    filed.page("/reports/month/..%2F..%2Fpipelinerun.json", 404)


def test_policies_show_what_they_demand_and_their_exemptions(world: World, tmp_path: Path) -> None:
    page = (EXAMPLES.parent / "docs/policy.md").read_text()
    block = next(one for one in page.split("```")[1::2] if "reference: SEC-1234" in one)
    (tmp_path / "policy.yaml").write_text(block.removeprefix("yaml\n"))
    settings = replace(world.settings, policies=(tmp_path / "policy.yaml",))
    text = visible(world.page("/policies", settings=settings))
    for words in (
        "production", "registry.example.com/shop/**", "hermetic-builder", "same-run", "registry.example.com/shop/legacy",
        "needs the network until it is ported", "SEC-1234", "2026-12-31 00:00:00 UTC",
    ):  # fmt: skip
        assert words in text, words


def test_policies_that_cannot_be_read_or_were_not_given_are_told(world: World, tmp_path: Path) -> None:
    settings = replace(world.settings, policies=(tmp_path / "none.yaml",))
    assert "No policy can be read" in visible(world.page("/policies", settings=settings))
    assert "No policy was given" in visible(world.page("/policies"))


def test_files_that_change_are_read_again(filed: World) -> None:
    before = fingerprint(filed.settings.audits)
    (filed.folder / "audits/2.json").write_text("{}")
    assert fingerprint(filed.settings.audits) != before
