"""``chains inspect``, ``diff`` and ``lineage`` on a real registry: our evidence, that of Tekton Chains' formatter and
that which stock cosign attaches for another builder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from signers.formats.bundle import build_bundle
from signers.formats.dsse import sign_payload
from signers.keys.keyfile import open_keyfile
from storage.base import FORM_A, StoreOptions
from storage.open import open_store
from storage.record import IN_TOTO_PAYLOAD_TYPE, Origin, Record, Subject
from tests.interop.attested import Attested, attest_image, run_of, slug
from tests.testbed.build import binary
from tests.testbed.cosign import Cosign
from tests.testbed.images import Registry
from tests.testbed.peer_client import Peer
from tests.unit.chains.inspection.made import COMMIT, REPOSITORY, github_v1

pytestmark = pytest.mark.server
Json = Any
SOURCE = "https://git.example.com/shop/app.git"


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    running = Peer(binary("peer"))
    yield running
    running.close()


@pytest.fixture
def attested(
    referrers_registry: Registry,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Attested:
    for name, value in referrers_registry.client_env(tmp_path / "docker").items():
        monkeypatch.setenv(name, value)
    return attest_image(referrers_registry, tmp_path, slug(request))


def shown(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 0) -> Json:
    capsys.readouterr()
    assert chains([*map(str, words), "--output", "json"]) == code
    return json.loads(capsys.readouterr().out)


def attach(found: Attested, statement: Json) -> None:
    """Sign a statement of Tekton Chains' formatter with the key of the image, and attach it as Chains does: ``.att``."""
    signer = open_keyfile(str(found.private_key))
    payload = json.dumps(statement).encode()
    envelope = sign_payload(signer, payload, IN_TOTO_PAYLOAD_TYPE)
    record = Record(
        Origin("taskrun", "ns", "peer", "peer"),
        (Subject(found.repository, {"sha256": found.digest[7:]}),),
        payload, IN_TOTO_PAYLOAD_TYPE, statement["predicateType"],
        build_bundle(envelope, signer.keyid), envelope.to_bytes(),
    )  # fmt: skip

    async def put() -> None:
        async with open_store("oci:", StoreOptions(encoding_format=FORM_A)) as store:
            assert not (await store.put(record)).failures

    asyncio.run(put())


def peers_run(found: Attested) -> Json:
    run = run_of(found.repository, found.digest, "peer")
    run["spec"] |= {"params": [{"name": "level", "value": "high"}]}
    run["status"] |= {
        "taskSpec": {"steps": [{"name": "build", "image": "buildah"}]},
        "provenance": {
            "refSource": {
                "uri": "git+https://git.example.com/catalog.git",
                "digest": {"sha1": "e" * 40},
                "entryPoint": "task.yaml",
            }
        },
    }
    run["status"]["steps"][0]["container"] = "step-build"
    run["status"]["results"] += [
        {"name": "CHAINS-GIT_URL", "type": "string", "value": SOURCE},
        {"name": "CHAINS-GIT_COMMIT", "type": "string", "value": COMMIT},
    ]
    return run


def test_a_tag_is_resolved_once_and_its_digest_is_shown(
    attested: Attested, referrers_registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = attested.repository.partition("/")[2]
    assert referrers_registry.push_image(repository, tag="v1") == attested.digest
    tag = ("--resolve", f"{attested.repository}:v1", "--key", attested.public_key)
    page = shown(capsys, "inspect", *tag)
    assert (page["asked"], len(page["builds"])) == (attested.reference, 1)
    assert shown(capsys, "diff", attested.reference, *tag)["same"] is True
    assert shown(capsys, "lineage", *tag)["artifact"]["digest"] == attested.digest
    assert chains(["inspect", f"{attested.repository}:v1"]) == 2


def test_an_image_in_a_registry_is_one_page(attested: Attested, capsys: pytest.CaptureFixture[str]) -> None:
    page = shown(capsys, "inspect", attested.reference, "--key", attested.public_key)
    (build,) = page["builds"]
    assert (page["verdict"], page["stores"]) == ("VERIFIED", ["oci:"])
    facts = build["facts"]
    assert (facts["run"], facts["serviceAccount"], facts["outcome"]) == (
        f"taskrun/ci/{attested.repository.rpartition('/')[2]}",
        "builder",
        "succeeded",
    )
    assert [(step["image"], step["digest"]) for step in facts["steps"]] == [
        ("oci://registry.example.com/buildah", f"sha256:{'ab' * 32}")
    ]
    assert build["waits"] == [{"name": "from start to end", "seconds": 300.0}]
    assert {place["format"] for said in build["confirmed"] for place in said["places"]} == {
        "dsse",
        "bundle-v0.3",
    }
    claims = shown(capsys, "inspect", attested.reference, code=4)
    assert claims["verdict"] == "UNVERIFIED"
    assert claims["builds"][0]["facts"] == facts
    assert chains(["inspect", attested.reference, "--key", str(attested.public_key)]) == 0
    first, digest, *_ = capsys.readouterr().out.split("\n")
    assert (first, digest.strip()) == (f"VERIFIED {attested.repository}@", attested.digest)


@pytest.mark.parametrize("form", ["slsa/v1", "slsa/v2alpha3", "slsa/v2alpha4"])
def test_what_tekton_chains_wrote_beside_ours_is_a_build_of_its_own(
    attested: Attested, form: str, peer: Peer, capsys: pytest.CaptureFixture[str]
) -> None:
    run = peers_run(attested)
    attach(attested, peer.ask(run, [], form, {"builder.id": "https://chains.example"})["statement"])
    page = shown(capsys, "inspect", attested.reference, "--key", attested.public_key)
    (theirs,) = [one for one in page["builds"] if one["facts"]["builder"] == "https://chains.example"]
    assert len(page["builds"]) == 2
    facts = theirs["facts"]
    assert [(one["uri"], one["digests"]) for one in facts["sources"]] == [
        (f"git+{SOURCE}", [f"sha1:{COMMIT}"])
    ]
    assert [(one["uri"], one["digests"], one["path"]) for one in facts["definitions"]] == [
        ("git+https://git.example.com/catalog.git", [f"sha1:{'e' * 40}"], facts["definitions"][0]["path"])
    ]
    assert [(one["name"], one["value"]) for one in facts["parameters"]] == [("level", "high")]
    assert [step["digest"] for step in facts["steps"]] == [f"sha256:{'ab' * 32}"]
    assert (facts["started"], facts["finished"]) == ("2026-01-02T03:04:05Z", "2026-01-02T03:09:05Z")
    assert (facts["hermeticLevel"], facts["outcome"], facts["created"]) == ("", "", "")
    is_old = form == "slsa/v1"
    assert facts["runUid"] == ("" if is_old else run["metadata"]["uid"])
    assert "no execution report about this run: isolation and outcome are not known" in theirs["missing"]
    told = "no UID of the run: SLSA v0.2 has no field for it, so no report can be tied to it"
    assert (told in theirs["missing"]) is is_old


def test_provenance_of_another_builder_that_cosign_attached_is_told_as_it_is(
    attested: Attested,
    cosign: Cosign,
    referrers_registry: Registry,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image = f"{attested.repository}@{referrers_registry.push_image(attested.repository.partition('/')[2], content=b'foreign')}"
    predicate = tmp_path / "predicate.json"
    predicate.write_text(json.dumps(github_v1()["predicate"]))
    cosign("generate-key-pair", "--output-key-prefix", tmp_path / "cosign")
    cosign(
        "attest", "--key", tmp_path / "cosign.key", "--predicate", predicate, "--type", "slsaprovenance1",
        "--tlog-upload=false", "--use-signing-config=false", "--yes", image,
    )  # fmt: skip
    page = shown(capsys, "inspect", image, "--key", tmp_path / "cosign.pub")
    (build,) = page["builds"]
    facts = build["facts"]
    assert facts["sources"][0]["uri"] == f"{REPOSITORY}@refs/heads/main"
    assert facts["invocation"].endswith("/actions/runs/7/attempts/1")
    assert (facts["run"], facts["steps"], facts["started"], facts["hermeticLevel"]) == ("", [], "", "")
    told = shown(
        capsys,
        "diff",
        image,
        attested.reference,
        "--key",
        tmp_path / "cosign.pub",
        "--key",
        attested.public_key,
        code=1,
    )
    assert told["confirmed"] is True
    assert {"source", "builder", "signer", "isolation"} <= {one["section"] for one in told["changes"]}


def test_no_evidence_a_wrong_key_and_no_network_are_told_apart(
    attested: Attested, referrers_registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = referrers_registry.push_image(attested.repository.partition("/")[2], content=b"no evidence")
    key = ("--key", attested.public_key)
    assert shown(capsys, "inspect", f"{attested.repository}@{bare}", *key, code=3)["verdict"] == "NOT_FOUND"
    assert chains(["keys", "generate", str(tmp_path / "other.key")]) == 0
    wrong = shown(capsys, "inspect", attested.reference, "--key", tmp_path / "other.pub", code=1)
    assert (wrong["verdict"], wrong["builds"]) == ("FAILED", [])
    assert {one["reason"] for one in wrong["notUsed"]} == {"key_unknown"}
    away = f"127.0.0.1:1/app@{attested.digest}"
    assert shown(capsys, "inspect", away, *key, code=4)["failed"][0]["reason"] == "store_unavailable"
    assert shown(capsys, "diff", attested.reference, away, *key, code=4)["same"] is None


def test_the_lineage_of_an_image_is_read_from_its_repository(
    attested: Attested, capsys: pytest.CaptureFixture[str]
) -> None:
    found = shown(capsys, "lineage", attested.reference, "--key", attested.public_key)
    assert [(one["names"], one["digest"], one["state"]) for one in found["madeFrom"]] == [
        (["oci://registry.example.com/buildah"], f"sha256:{'ab' * 32}", "verified")
    ]
    assert found["wentInto"] == []
    assert "a registry lists only tags" in found["notes"][0]
