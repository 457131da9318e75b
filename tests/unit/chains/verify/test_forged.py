"""Keyless evidence, logs and timestamps that are wrong in one way each: the command line says the stable reason."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from chains.verify.render import to_text
from signers.formats.layer_annotations import (
    BUNDLE_ANNOTATION,
    CERTIFICATE_ANNOTATION,
    MATERIAL_ANNOTATION,
    TIMESTAMP_ANNOTATION,
)
from tests.faults.verify.forge import DIGEST, ask, evidence, reasons
from tests.faults.verify.forged_cases import (
    BY_IDENTITY,
    BY_KEY,
    CASES,
    FOLDER,
    HONEST,
    ROOT,
    criteria_of,
    file,
    keyset,
    layer,
    layer_of_cosign,
)

DOCS = Path(__file__).parents[4] / "docs" / "verify.md"
Json = Any


def verify(*arguments: str, capsys: pytest.CaptureFixture[str], code: int) -> Json:
    capsys.readouterr()
    assert chains(["verify", *arguments, "--digest", DIGEST, "--output", "json"]) == code
    return json.loads(capsys.readouterr().out)


def test_every_file_has_a_case_and_every_difference_to_cosign_is_told() -> None:
    assert {path.name.removesuffix(".bundle.json") for path in FOLDER.glob("*.bundle.json")} == set(CASES)
    told = DOCS.read_text(encoding="utf-8").split("### Where cosign answers otherwise")[1].split("\n## ")[0]
    assert {name for name in CASES if f"`{name}`" in told} == {
        name for name, case in CASES.items() if case.differs
    }


@pytest.mark.parametrize("name", CASES)
def test_a_forged_bundle_is_refused_for_its_one_reason(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES[name]
    found = verify(str(file(name)), *case.asked, *ROOT, capsys=capsys, code=case.code)
    listed = [*found["checks"], *found["attestations"], *found["skipped"]]
    assert {one["reason"] for one in listed if one["reason"]} == ({case.reason} if case.reason else set())
    assert {one["used"] for one in found["attestations"]} <= {not case.reason}


OF_BUNDLES = {
    "payload-changed-key": "names its key by the bundle's hint alone",
    "certificate-unreadable": "is no PEM in form A",
    "proof-missing-v1": "form A has no place for a proof: the promise is enough",
}


@pytest.mark.parametrize("name", sorted(CASES.keys() - OF_BUNDLES.keys() - {"entry-missing"}))
def test_the_same_in_form_a_is_refused_for_the_same_reason(name: str) -> None:
    case = CASES[name]
    found = ask(layer(json.loads(file(name).read_bytes())), by=criteria_of(case.asked))
    assert reasons(found) == ({case.reason} if case.reason else set()), to_text(found, verbose=True)
    assert found.exit_code == case.code


@pytest.mark.parametrize(
    "name",
    [
        "honest-v1", "honest-v1-intoto", "honest-v1-promise-alone", "honest-key-v1",
        "entry-of-another-signature-v1", "entry-of-another-payload-v1", "entry-of-another-payload-intoto",
        "entry-of-another-certificate-v1", "promise-of-another-entry", "promise-of-another-time",
        "promise-of-another-index", "promise-by-another-key", "log-time-before-the-certificate",
        "log-time-after-the-certificate", "log-time-in-the-future",
    ],
)  # fmt: skip
def test_the_same_in_cosigns_annotations_is_refused_for_the_same_reason(name: str) -> None:
    case = CASES[name]
    found = ask(layer_of_cosign(json.loads(file(name).read_bytes())), by=criteria_of(case.asked))
    assert reasons(found) == ({case.reason} if case.reason else set()), to_text(found, verbose=True)


@pytest.mark.parametrize("text", ["{", "[]", '{"tlogEntries": 1}', '{"Payload": {}}', "\ud800"])
@pytest.mark.parametrize(
    "annotation", [CERTIFICATE_ANNOTATION, BUNDLE_ANNOTATION, MATERIAL_ANNOTATION, TIMESTAMP_ANNOTATION]
)
def test_annotations_that_cannot_be_read_are_told(annotation: str, text: str) -> None:
    held = layer(json.loads(file("honest-v2").read_bytes()))
    found = ask(
        replace(held, annotations={**held.annotations, annotation: text}), by=criteria_of(BY_IDENTITY)
    )
    assert reasons(found) == {"material_invalid"}


def test_a_verified_time_says_that_a_signature_is_older_than_the_end_of_its_key(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("honest-key-v2", "honest-key-v1"):
        verify(str(file(name)), *keyset("ended"), *ROOT, capsys=capsys, code=0)
        found = verify(str(file(name)), *keyset("ended"), capsys=capsys, code=1)
        assert found["summary"].startswith("key_outside_window")
    found = verify(str(file("honest-key-alone")), *keyset("ended"), *ROOT, capsys=capsys, code=1)
    assert found["summary"].startswith("key_outside_window")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("honest-v2", ""),
        ("timestamp-by-an-expired-certificate", "timestamp_invalid"),
        ("timestamp-by-a-signer-of-code", "timestamp_invalid"),
        ("timestamp-of-another-authority", "timestamp_invalid"),
    ],
)
def test_a_trusted_root_may_name_the_root_of_a_timestamp_authority_alone(name: str, reason: str) -> None:
    criteria = criteria_of(BY_IDENTITY)
    assert criteria.trusted_root is not None
    above = [replace(one, chain=one.chain[-1:]) for one in criteria.trusted_root.timestamp_authorities]
    criteria = replace(
        criteria, trusted_root=replace(criteria.trusted_root, timestamp_authorities=tuple(above))
    )
    found = ask(evidence(file(name).read_bytes()), by=criteria)
    assert reasons(found) == ({reason} if reason else set()), to_text(found, verbose=True)


@pytest.mark.parametrize("name", ["honest-v2", "honest-v1", "honest-key-v2"])
def test_nobody_is_asked(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a verifier asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    verify(str(file(name)), *CASES[name].asked, *ROOT, capsys=capsys, code=0)


def test_packages_that_ask_the_network_are_not_even_loaded() -> None:
    program = (
        "import sys, chains.verify.signature, signers.sigstore.verification_material; "
        "sys.exit(bool({'requests', 'urllib3', 'http.client', 'sigstore'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("name", HONEST)
def test_honest_evidence_is_refused_when_somebody_else_is_asked_for(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if CASES[name].asked == BY_KEY:
        found = verify(str(file(name)), *BY_IDENTITY, *ROOT, capsys=capsys, code=1)
        assert found["summary"].startswith("key_unknown")
        return
    for other, reason in (
        (("--certificate-identity", "https://other", *BY_IDENTITY[2:]), "identity_mismatch"),
        ((*BY_IDENTITY[:2], "--certificate-oidc-issuer", "https://other"), "issuer_mismatch"),
    ):
        found = verify(str(file(name)), *other, *ROOT, capsys=capsys, code=1)
        assert found["summary"].startswith(reason)
        assert found["attestations"][0]["signer"] is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (BY_IDENTITY[:2], "together with its issuer"),
        (BY_IDENTITY[2:], "together with its issuer"),
        ((*BY_IDENTITY, "--certificate-identity-regexp", ".*"), "not both"),
        (("--certificate-identity-regexp", "(", *BY_IDENTITY[2:]), "no regular expression"),
        (("--certificate-identity", "", *BY_IDENTITY[2:]), "must not be empty"),
        (("--certificate-identity", "", "--certificate-oidc-issuer", ""), "must not be empty"),
        ((*BY_KEY, "--trusted-root", str(FOLDER / "none.json")), "cannot be read"),
        ((*BY_KEY, "--trusted-root", str(FOLDER / "key.pub")), "trusted root"),
        ((*BY_KEY, "--trusted-root", ""), "cannot be read"),
    ],
)
def test_half_a_question_is_wrong_usage(
    options: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = () if "--trusted-root" in options else ROOT
    assert chains(["verify", str(file("honest-v2")), *options, *root]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [BY_IDENTITY, (*BY_KEY, "--require-log"), (*BY_KEY, "--require-timestamp")]
)
def test_what_needs_a_trusted_root_asks_for_it(
    options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert chains(["verify", str(file("honest-key-v2")), *options]) == 2
    assert "--trusted-root" in capsys.readouterr().err
