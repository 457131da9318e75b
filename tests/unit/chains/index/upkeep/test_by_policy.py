"""An index by policies: its verdicts are those of ``verify --policy``, and nothing is good that no policy is for."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chains.index.codes import Verdict
from chains.index.database import Place
from chains.index.query.answer import ask
from chains.index.query.parse import parse
from chains.index.reading import Trust
from chains.index.upkeep.by_policy import PolicyTrust
from chains.policy.document.patterns import read_image
from chains.policy.loaded import Policy
from chains.policy.verdict import ImageAnswer
from chains.statements.vsa import SVR
from chains.verify.verdict import Verdict as Answered
from storage.base import Store
from storage.errors import StoreUnavailable
from storage.record import Evidence, Findings
from tests.faults.verify.forge import NOW, form_a, form_b, image_bundle, signer, subject
from tests.unit.chains.index.made import Held, built, content, file_at, rows, updated
from tests.unit.chains.policy.made import REF, document, opened, report, tekton, trust
from tests.unit.chains.policy.summaries import POLICY, POLICY_HEX, VERIFIER, door, failed, held, vsa

Json = Any
SCAI, SLSA = "https://in-toto.io/attestation/scai/v0.3", "https://slsa.dev/provenance/v1"
STRANGER = signer("stranger")
HERMETIC = {"hermetic": "enforced"}


def by_policy(*documents: Json) -> Trust:
    policy = Policy(opened(*documents))
    return Trust(None, {"policy": policy.digest}, {}, policy=PolicyTrust(policy))


def answer(store: Store, *documents: Json) -> ImageAnswer:
    """Return what ``verify --policy`` says."""
    policy = Policy(opened(*documents))
    return asyncio.run(policy.decide(read_image(REF), stores=[store], now=NOW))


def build(place: Place, store: Store, *documents: Json) -> list[dict[str, Any]]:
    ingested = built(place, by_policy(*documents), store, now=NOW)
    assert (ingested.failed, ingested.unread) == ({}, 0)
    return rows(place, "attestation")


def changed(evidence: Evidence) -> Evidence:
    """Return provenance that somebody changed after it was signed: another builder, the old signature."""
    members = json.loads(evidence.data)
    payload = base64.b64decode(members["dsseEnvelope"]["payload"]).replace(b"uid-1", b"uid-9")
    members["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    return form_like(evidence, json.dumps(members).encode())


def form_like(evidence: Evidence, data: bytes) -> Evidence:
    return replace(
        evidence, data=data, digest="sha256:" + hashlib.sha256(data).hexdigest(), location="changed"
    )


STRICT = document(require=HERMETIC)
CASES: dict[str, tuple[Sequence[Evidence], Sequence[Json]]] = {
    "trusted provenance": ([form_b(tekton())], [document()]),
    "both forms": ([form_b(tekton()), form_a(tekton())], [document()]),
    "a stranger's provenance": ([form_b(tekton(), STRANGER)], [document()]),
    "a stranger's beside a trusted one": (
        [form_b(tekton()), form_b(tekton(uid="2"), STRANGER)],
        [document()],
    ),
    "another builder": ([form_b(tekton(builder="https://other.example.com"))], [document()]),
    "a level that is too low": ([form_b(tekton())], [document(require={"level": 3})]),
    "no report although one is demanded": ([form_b(tekton())], [STRICT]),
    "a report that proves it": ([form_b(tekton()), form_b(report())], [STRICT]),
    "a report that does not": ([form_b(tekton()), form_b(report(level="partly"))], [STRICT]),
    "a stranger's report": ([form_b(tekton()), form_b(report(), STRANGER)], [STRICT]),
    "a report of another run": ([form_b(tekton()), form_b(report(uid="uid-2"))], [STRICT]),
    "a report alone": ([form_b(report())], [document()]),
    "an image signature alone": ([image_bundle()], [document()]),
    "an image signature beside provenance": ([image_bundle(), form_b(tekton())], [document()]),
    "changed evidence beside good": ([form_b(tekton()), changed(form_b(tekton()))], [document()]),
    "a rule that fails": (
        [form_b(tekton())],
        [document(rules=[{"name": "own", "cel": "signer.keyid == 'other'", "message": "it is not so"}])],
    ),
    "a rule that passes": (
        [form_b(tekton())],
        [document(rules=[{"name": "own", "cel": "signer.keyid != 'other'", "message": "it is not so"}])],
    ),
    "a summary that passed": ([held(vsa())], [door()]),
    "a summary that failed": ([held(failed())], [door()]),
    "a failure after a pass": ([held(vsa()), held(failed())], [door()]),
    "a summary of a stranger": ([held(vsa(), "stranger")], [door()]),
    "a predicate with a signer of its own": (
        [form_b(tekton()), form_b(report(), signer("reporter"))],
        [
            document(
                require=HERMETIC,
                signers=[{"predicateType": SCAI, "keys": trust("x", "reporter")["signer"]["keys"]}],
            )
        ],
    ),
    "the wrong signer of such a predicate": (
        [form_b(tekton()), form_b(report())],
        [
            document(
                require=HERMETIC,
                signers=[{"predicateType": SCAI, "keys": trust("x", "reporter")["signer"]["keys"]}],
            )
        ],
    ),
    "two policies that agree": ([form_b(tekton())], [document("one"), document("two")]),
    "two policies of which one denies": (
        [form_b(tekton())],
        [document("one"), STRICT | {"metadata": {"name": "two"}}],
    ),
    "a policy that only warns": ([form_b(tekton())], [document(mode="warn", require={"level": 3})]),
}


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_is_that_of_verify_by_policy(name: str, tmp_path: Path) -> None:
    evidence, documents = CASES[name]
    store = Held(*evidence)
    said = answer(store, *documents)
    found = build(file_at(tmp_path / "index.db"), store, *documents)
    good = [one for one in found if one["verdict"] == Verdict.VERIFIED]
    assert bool(good) == (said.verdict is Answered.VERIFIED), said.summary
    undecided = [one for one in found if one["verdict"] == Verdict.INDETERMINATE]
    assert bool(undecided) == (said.verdict is Answered.INDETERMINATE)
    used = {
        one.signed_by.name
        for each in said.verdicts
        for one in each.attestations
        if one.used and one.signed_by
    }
    assert {one["signer"] for one in good} <= used
    digests = {one.policy: bytes.fromhex(one.policy_digest.removeprefix("sha256:")) for one in said.verdicts}
    assert found
    for one in found:
        assert bytes(one["policy_digest"]) == digests[one["policy"]]
        assert bool(one["reason"]) == (one["verdict"] != Verdict.VERIFIED)


def test_evidence_that_is_denied_says_which_policy_and_why(tmp_path: Path) -> None:
    place = file_at(tmp_path / "index.db")
    (row,) = build(place, Held(form_b(tekton())), document(require={"level": 3}))
    assert (row["verdict"], row["reason"], row["signer"]) == (Verdict.FAILED, "level_too_low", None)
    assert row["detail"].startswith("policy production: expected")
    (run,) = rows(place, "run")
    # what a policy does not let pass is a claim, and says nothing about the run
    assert (run["verdict"], run["provenance"]) == (Verdict.FAILED, None)


@pytest.mark.parametrize(
    "about_it",
    [
        [subject(name="registry.example.com/other/app")],
        # of which only one has a policy
        [subject(), subject(name="registry.example.com/other/app")],
        [subject(name="no image")],
    ],
    ids=["another image", "one of two images", "no image"],
)
def test_what_no_policy_is_for_is_not_judged(about_it: list[Json], tmp_path: Path) -> None:
    place = file_at(tmp_path / "index.db")
    statement = tekton() | {"subject": about_it}
    (row,) = build(place, Held(form_b(statement)), document())
    assert (row["verdict"], row["reason"], row["policy"], row["signer"]) == (
        Verdict.NOT_JUDGED,
        "no_policy",
        None,
        None,
    )
    assert row["detail"].startswith("no policy is for")
    assert [hit.digest for hit in ask(place, parse("verdict:not-judged"), NOW).hits] != []
    assert ask(place, parse("verdict:verified"), NOW).hits == []


def test_policies_are_asked_again_about_an_image_with_new_evidence(tmp_path: Path) -> None:
    place, fresh, store = (
        file_at(tmp_path / "index.db"),
        file_at(tmp_path / "fresh.db"),
        Held(form_b(tekton())),
    )
    (row,) = build(place, store, STRICT)
    assert row["verdict"] == Verdict.FAILED
    store.held.append(form_b(report()))
    updated(place, by_policy(STRICT), store, now=NOW)
    assert {one["verdict"] for one in rows(place, "attestation")} == {Verdict.VERIFIED}
    (run,) = rows(place, "run")
    assert run["name"] == "build-1"
    # and the other way: the report is gone, and the provenance does not pass any more
    del store.held[1]
    ingested = updated(place, by_policy(STRICT), store, now=NOW)
    assert (ingested.removed, ingested.removed_copies) == (1, 1)
    assert [one["verdict"] for one in rows(place, "attestation")] == [Verdict.FAILED]
    build(fresh, store, STRICT)
    assert {k: v for k, v in content(place).items() if k != "store"} == {
        k: v for k, v in content(fresh).items() if k != "store"
    }


def test_a_refusal_that_comes_later_takes_the_pass_away(tmp_path: Path) -> None:
    place, store = file_at(tmp_path / "index.db"), Held(held(vsa()))
    assert [one["verdict"] for one in build(place, store, door())] == [Verdict.VERIFIED]
    store.held.append(held(failed()))
    updated(place, by_policy(door()), store, now=NOW)
    assert {one["verdict"] for one in rows(place, "attestation")} == {Verdict.FAILED}


class _Away(Held):
    async def find(self, digest: str, reference: str = "") -> Findings:
        raise StoreUnavailable("it does not answer")


def test_evidence_is_undecided_while_policies_cannot_see_all_of_it(tmp_path: Path) -> None:
    (row,) = build(file_at(tmp_path / "index.db"), _Away(form_b(tekton())), document())
    assert (row["verdict"], row["reason"]) == (Verdict.INDETERMINATE, "store_unavailable")


def test_results_of_verifiers_are_searched(tmp_path: Path) -> None:
    place = file_at(tmp_path / "index.db")
    svr = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [subject()],
        "predicateType": SVR,
        "predicate": {
            "verifier": {"id": VERIFIER, "policies": [{"uri": POLICY, "digest": {"sha256": POLICY_HEX}}]},
            "timeCreated": "2026-10-05T08:00:00Z",
            "properties": ["SLSA_BUILD_LEVEL_2"],
        },
    }
    store = Held(held(vsa()), held(failed()), form_b(svr), form_b(tekton()))
    build(place, store, document(accept={"vsa": door()["spec"]["accept"]["vsa"]}))

    def types(query: str) -> list[str]:
        return sorted(hit.predicate.rpartition("/")[0] for hit in ask(place, parse(query), NOW).hits)

    vsa_type, svr_type = "https://slsa.dev/verification_summary", "https://in-toto.io/attestation/svr"
    assert types("result:passed") == [svr_type, vsa_type]
    assert types("result:failed") == [vsa_type]
    assert types(f'verifier:"{VERIFIER}"') == [svr_type, vsa_type, vsa_type]
    assert (
        types(f'policy:"{POLICY}"') == types(f"policy:sha256:{POLICY_HEX}") == [svr_type, vsa_type, vsa_type]
    )
    assert len(types("policy:production")) == 4
    assert len(types("-result:passed")) == 2
    (hit,) = ask(place, parse("type:svr"), NOW).hits
    assert hit.summary is not None
    assert (hit.summary.is_passed, hit.summary.levels) == (True, ("SLSA_BUILD_LEVEL_2",))
    assert (hit.summary.policy_digest, hit.policy) == (f"sha256:{POLICY_HEX}", "production")
