"""Revocation lists and policies: what is revoked fails, what cannot be known is undecided, nothing gets better."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chains
from chains.cli.main import run as command
from chains.policy.answer import answer
from chains.policy.authoring.explain import explain
from chains.policy.authoring.lint import lint_policies
from chains.policy.document.load import load_policies, parse_policies
from chains.policy.document.patterns import read_image
from chains.policy.document.policy import RevocationsWanted
from chains.policy.engines.demands import vouchers
from chains.policy.engines.generated import Limit
from chains.policy.opened import OpenedPolicy, open_policy
from chains.policy.verdict import Decision, PolicyVerdict
from chains.revocation.revocations import Revocations
from chains.verify.verdict import Verdict
from storage.record import Evidence
from tests.faults.verify.forge import (
    BUILDER,
    DIGEST,
    IMAGE,
    NOW,
    Broken,
    Shelf,
    form_a,
    form_b,
    public,
    signer,
)
from tests.unit.chains.policy.made import REF, document, report, tekton, trust, wrong
from tests.unit.chains.policy.summaries import VERIFIER, door, stamped, trusted_root, vsa
from tests.unit.chains.policy.summaries import held as held_summary
from tests.unit.chains.revocation.made import SIGNER, revoked, signed

Json = Any
BROKEN = Revocations(problems=("revocation list x: is away",))
KEYID, SECOND = public().keyid, public("second").keyid
EXEMPT = {
    "image": f"{IMAGE}@{DIGEST}",
    "rules": ["evidence"],
    "until": "2090-01-01T00:00:00Z",
    "reason": "r",
    "reference": "R-1",
}


def opened(
    written: Json, by: Revocations | None = None, folder: str = "", state: str = "none"
) -> OpenedPolicy:
    read = parse_policies(json.dumps(written).encode(), "policy.json", folder)
    assert not read.errors, read.errors
    return open_policy(read.policies[0], revocations=by or Revocations(), state=state)


def judged(written: Json, *held: Evidence | Broken, by: Revocations | None = None) -> PolicyVerdict:
    return asyncio.run(_judged(opened(written, by), *held))


async def _judged(policy: OpenedPolicy, *held: Evidence | Broken) -> PolicyVerdict:
    stores = [one for one in held if isinstance(one, Broken)]
    shelf = Shelf(*(one for one in held if isinstance(one, Evidence)))
    found = await answer([policy], read_image(REF), stores=[shelf, *stores], now=NOW)
    assert found is not None
    return found.strictest


GOOD = (form_b(tekton()), form_b(report()))


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"key": KEYID}, "key_revoked"),
        ({"key": KEYID, "since": "2020-01-01T00:00:00Z"}, "key_revoked"),
        ({"key": KEYID, "since": "2090-01-01T00:00:00Z"}, "key_revoked"),
        ({"builder": BUILDER}, "revoked"),
        ({"task": "sha256:" + "c" * 64}, "revoked"),
    ],
)
@pytest.mark.parametrize("form", [form_a, form_b])
def test_revoked_evidence_fails_with_its_reason_and_what_to_do(entry: Json, reason: str, form: Json) -> None:
    held = form(tekton(dependencies=[{"name": "task", "digest": {"sha256": "c" * 64}}]))
    assert judged(document(), held).verdict is Verdict.VERIFIED
    found = judged(document(), held, by=revoked(entry))
    assert (found.verdict, found.exit_code, found.decision) == (Verdict.FAILED, 1, Decision.DENY)
    assert wrong(found) == {"evidence": reason}
    assert "again" in (found.first_wrong.guidance if found.first_wrong else "")


@pytest.mark.parametrize("held", [GOOD, (), (Broken(),), (form_b(tekton(), signer("stranger")),)])
@pytest.mark.parametrize(
    "more", [{}, {"missing": "warn", "unavailable": "warn"}, {"exemptions": [EXEMPT]}], ids=str
)
def test_a_revoked_image_fails_whatever_its_evidence_and_its_exemptions(held: Json, more: Json) -> None:
    found = judged(document(**more), *held, by=revoked({"image": DIGEST}))
    assert (found.verdict, found.exit_code, found.decision) == (Verdict.FAILED, 1, Decision.DENY)
    assert wrong(found)["revocations"] == "revoked"
    assert found.checks[0].id == "revocations"
    assert "do not run the image" in found.checks[0].guidance


@pytest.mark.parametrize("held", [GOOD, (), (Broken(),)])
@pytest.mark.parametrize("more", [{}, {"exemptions": [EXEMPT]}], ids=["demanded", "exempt"])
def test_a_list_that_cannot_be_used_is_undecided(held: Json, more: Json) -> None:
    found = judged(document(**more), *held, by=BROKEN)
    assert (found.verdict, found.exit_code, found.decision) == (Verdict.INDETERMINATE, 4, Decision.DENY)
    assert wrong(found)["revocations"] == "revocation_list_unusable"
    assert "is away" in found.summary


def test_what_follows_from_a_list_that_cannot_be_used_is_said_by_unavailable() -> None:
    found = judged(document(unavailable="warn"), *GOOD, by=BROKEN)
    assert (found.verdict, found.decision) == (Verdict.INDETERMINATE, Decision.WARN)
    assert judged(document(missing="warn"), by=BROKEN).decision is Decision.DENY
    assert judged(document(unavailable="warn"), by=BROKEN).decision is Decision.DENY
    assert judged(document(missing="warn", unavailable="warn"), by=BROKEN).decision is Decision.WARN


def test_wrong_evidence_stays_wrong_with_a_list_that_cannot_be_used() -> None:
    found = judged(document(require={"level": 3}), *GOOD, by=BROKEN)
    assert (found.verdict, found.exit_code) == (Verdict.FAILED, 1)


def test_a_list_that_has_ended_is_undecided() -> None:
    by = revoked({"builder": "https://other"}, expires=NOW.isoformat())
    assert judged(document(), *GOOD, by=by).verdict is Verdict.INDETERMINATE
    later = revoked({"builder": "https://other"}, expires=(NOW + timedelta(1)).isoformat())
    found = judged(document(), *GOOD, by=later)
    assert found.verdict is Verdict.VERIFIED
    assert found.checks[0].actual.startswith("version 1, 1 entry, sha256:")


def test_without_a_list_nothing_changes() -> None:
    found = judged(document(), *GOOD)
    assert found.verdict is Verdict.VERIFIED
    assert "revocations" not in {check.id for check in found.checks}


def test_a_rule_that_looks_for_bad_news_is_not_satisfied_by_revoking_who_brought_them() -> None:
    scan = {**tekton(), "predicateType": "https://scan.example.com/v1", "predicate": {"bad": True}}
    rules = [
        {
            "name": "no-bad-news",
            "cel": "!attestations.exists(a, a.predicateType == 'https://scan.example.com/v1')",
            "message": "a scan found something",
        }
    ]
    scanner = {
        "predicateType": "https://scan.example.com/v1",
        "keys": [{"pem": public("second").pem.decode()}],
    }
    written = document(rules=rules, signers=[scanner])
    held = (form_b(tekton()), form_b(scan, signer("second")))
    assert judged(written, *held).verdict is Verdict.FAILED
    found = judged(written, *held, by=revoked({"key": SECOND}))
    assert found.verdict is Verdict.FAILED
    assert found.decision is Decision.DENY


def test_an_image_that_fails_is_not_allowed_by_its_exemption_once_its_evidence_is_revoked() -> None:
    written = document(require={"level": 3}, exemptions=[EXEMPT])
    assert judged(written, *GOOD).exit_code == 1
    assert judged(written, *GOOD, by=revoked({"key": KEYID})).exit_code == 1
    assert judged(written, by=revoked({"key": KEYID})).exit_code == 0, "an exempt image without evidence"


@pytest.mark.parametrize(
    "since", [{}, {"since": "2020-01-01T00:00:00Z"}, {"since": "2090-01-01T00:00:00Z"}], ids=str
)
@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"verifier": VERIFIER}, "revoked"),
        ({"key": public("verifier").keyid}, "key_revoked"),
        ({"image": DIGEST}, "revoked"),
    ],
)
def test_a_summary_of_a_revoked_verifier_or_key_does_not_count_in_place_of_provenance(
    entry: Json, reason: str, since: Json
) -> None:
    assert judged(door(), held_summary(vsa())).verdict is Verdict.VERIFIED
    found = judged(door(), held_summary(vsa()), by=revoked({**entry, **since}))
    assert (found.verdict, found.decision) == (Verdict.FAILED, Decision.DENY)
    assert reason in wrong(found).values()
    assert judged(door(), held_summary(vsa()), by=BROKEN).verdict is Verdict.INDETERMINATE


MOMENT = NOW - timedelta(days=2)
DAY = timedelta(days=1)
TASK = {"name": "task", "digest": {"sha256": "c" * 64}}


@pytest.mark.parametrize(
    ("entry", "written", "statement", "key"),
    [
        ({"key": KEYID}, document(), tekton(), "ours"),
        ({"builder": BUILDER}, document(), tekton(), "ours"),
        ({"task": "sha256:" + "c" * 64}, document(), tekton(dependencies=[TASK]), "ours"),
        ({"verifier": VERIFIER}, door(), vsa(), "verifier"),
        ({"key": public("verifier").keyid}, door(), vsa(), "verifier"),
    ],
    ids=["key", "builder", "task", "verifier", "verifier's key"],
)
def test_with_verified_times_each_kind_counts_only_if_all_are_before_since(
    entry: Json, written: Json, statement: Json, key: str
) -> None:
    written = {**written, "spec": {**written["spec"], "trustedRoot": trusted_root()}}
    one, two = stamped(statement, MOMENT, key=key), stamped(statement, MOMENT, MOMENT + DAY, key=key)
    for held, since, verdict in (
        (one, MOMENT + timedelta(seconds=1), Verdict.VERIFIED),
        (one, MOMENT, Verdict.FAILED),
        (one, MOMENT - DAY, Verdict.FAILED),
        (two, MOMENT + 2 * DAY, Verdict.VERIFIED),
        (two, MOMENT + timedelta(hours=1), Verdict.FAILED),
        (two, MOMENT - DAY, Verdict.FAILED),
    ):
        found = judged(written, held, by=revoked({**entry, "since": since.isoformat()}))
        assert found.verdict is verdict, (since, found.summary)
    assert judged(written, one, by=revoked(entry)).verdict is Verdict.FAILED


# the policy's own list


def with_list(folder: Path, *entries: Json, **more: Json) -> Json:
    (folder / "list.json").write_bytes(signed(*entries, **more))
    (folder / "lists.pub").write_bytes(public(SIGNER).pem)
    return document(revocations={"list": "list.json", "keys": [{"ref": "lists.pub"}]})


def test_a_policy_names_its_own_list(tmp_path: Path) -> None:
    written = with_list(tmp_path, {"key": KEYID})
    found = asyncio.run(_judged(opened(written, folder=str(tmp_path)), *GOOD))
    assert wrong(found) == {"evidence": "key_revoked"}
    both = opened(written, by=BROKEN, folder=str(tmp_path))
    assert asyncio.run(_judged(both, *GOOD)).verdict is Verdict.INDETERMINATE


@pytest.mark.parametrize("how", ["missing", "stranger", "old", "unsigned"])
def test_a_list_of_a_policy_that_cannot_be_used_is_undecided(tmp_path: Path, how: str) -> None:
    written = with_list(tmp_path, {"builder": "https://other"})
    path = tmp_path / "list.json"
    if how == "missing":
        path.unlink()
    elif how == "stranger":
        path.write_bytes(signed({"builder": "https://other"}, by="stranger"))
    elif how == "unsigned":
        path.write_text('{"version": 1, "issued": "2026-01-01T00:00:00Z", "entries": []}')
    else:
        written["spec"]["revocations"]["minVersion"] = 2
    found = asyncio.run(_judged(opened(written, folder=str(tmp_path)), *GOOD))
    assert (found.verdict, found.exit_code) == (Verdict.INDETERMINATE, 4)
    assert wrong(found) == {"revocations": "revocation_list_unusable"}


def test_the_version_of_a_policys_list_is_remembered(tmp_path: Path) -> None:
    state = str(tmp_path / "seen.json")
    written = with_list(tmp_path, {"builder": "https://other"}, version=3)
    assert opened(written, folder=str(tmp_path), state=state).revocations.problem(NOW) == ""
    with_list(tmp_path, {"builder": "https://other"}, version=2)
    assert "version 3 was read before" in opened(
        written, folder=str(tmp_path), state=state
    ).revocations.problem(NOW)


def test_the_digest_of_a_policy_follows_its_list(tmp_path: Path) -> None:
    def digest(version: int) -> str:
        path = tmp_path / "policy.json"
        path.write_text(json.dumps(with_list(tmp_path, {"key": KEYID}, version=version)))
        return chains.Policy.load(path, revocations_state="none").digest

    assert len({digest(version) for version in (1, 2, 3)}) == 3
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(document()))
    plain = chains.Policy.load(path).digest
    assert plain == chains.Policy.load(path, revocations=Revocations()).digest
    assert plain != chains.Policy.load(path, revocations=revoked({"key": KEYID})).digest


def test_a_key_of_a_list_that_cannot_be_read_is_wrong_usage(tmp_path: Path) -> None:
    written = with_list(tmp_path, {"key": KEYID})
    (tmp_path / "lists.pub").unlink()
    with pytest.raises(chains.UsageError, match=r"lists\.pub"):
        opened(written, folder=str(tmp_path))


def test_the_document_is_checked_like_the_rest() -> None:
    def codes(value: Json) -> set[str]:
        data = json.dumps(document(revocations=value)).encode()
        return {one.code for one in parse_policies(data, "policy.json").problems}

    keys = [{"ref": "lists.pub"}]
    assert codes({"list": "a", "keys": keys}) == set()
    assert codes({"list": "a", "keys": keys, "minVersion": 7}) == set()
    assert codes({"list": "a", "keys": keys, "minVersion": 0}) == {"wrong_type"}
    assert codes({"list": "a", "keys": []}) == {"too_few"}
    assert codes({"list": "a"}) == {"missing_name"}
    assert codes({"keys": keys}) == {"missing_name"}
    assert codes({"list": "a", "keys": keys, "minversion": 7}) == {"unknown_name"}
    assert codes({"list": "a", "keys": [{}]}) == {"one_of"}
    window = {"ref": "a", "from": "2026-02-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}
    assert codes({"list": "a", "keys": [window]}) == {"window"}
    rule = {"name": "revocations", "cel": "true", "message": "m"}
    data = json.dumps(document(rules=[rule])).encode()
    assert {one.code for one in parse_policies(data, "policy.json").problems} == {"name_taken"}
    exempt = document(exemptions=[{**EXEMPT, "rules": ["revocations"]}])
    found = parse_policies(json.dumps(exempt).encode(), "policy.json").problems
    assert {one.code for one in found} == {"unknown_rule"}, "nothing is exempt from a revocation"


def test_lint_explain_and_generate_tell_of_the_list(tmp_path: Path) -> None:
    written = with_list(tmp_path, {"key": KEYID})
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(written))
    assert "revocation_list_unusable" not in {one.code for one in lint_policies(path, NOW)}
    (policy,) = load_policies(path)
    assert policy.revocations == RevocationsWanted("list.json", policy.revocations.keys)
    sentences = explain([policy], read_image(REF))
    assert any("What the revocation list list.json names does not count." in one for one in sentences)
    limits: list[Limit] = []
    vouchers(open_policy(policy, state="none"), NOW, limits)
    assert [one.text for one in limits if one.what == "revocations"] == [
        "the engine does not read the list: generate again when it changes"
    ]
    (tmp_path / "list.json").unlink()
    (found,) = [one for one in lint_policies(path, NOW) if one.code == "revocation_list_unusable"]
    assert found.path == "spec.revocations.list"


# the commands


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINS_REVOCATIONS_STATE", "none")
    assert command(["keys", "generate", "lists.pem"]) == 0
    return tmp_path


def test_the_commands_of_policies_read_the_list_of_the_options(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = Path(__file__).parents[4] / "examples" / "taskrun-image.json"
    digest = "sha256:ce186a56c342a80bd2ec3ec4233810f49a93e5f60660922d3dad49cf6c987e35"
    image = f"registry.example.com/shop/storefront@{digest}"
    store = ["--store", "oci-layout:.chains/layout"]
    assert command(["attest", str(example)]) == 0
    capsys.readouterr()
    assert command(["policy", "init", image, "--key", ".chains/signing.pub", *store]) == 0
    Path("policy.yaml").write_text(capsys.readouterr().out.replace("mode: audit", "mode: enforce"))
    Path("cases").mkdir()
    case = {
        "apiVersion": "provenance.chains/v1",
        "kind": "PolicyCase",
        "metadata": {"name": "a"},
        "spec": {
            "image": image,
            "stores": ["oci-layout:../.chains/layout"],
            "expect": {"verdict": "VERIFIED"},
        },
    }
    Path("cases/a.yaml").write_text(json.dumps(case))
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": image}]},
    }
    Path("pod.json").write_text(json.dumps(pod))
    commands = [
        (["verify", "--policy", "policy.yaml", image, *store], 0, 1, 4),
        (["policy", "test", "policy.yaml", "cases"], 0, 1, 1),
        (["preflight", "policy.yaml", "pod.json", *store], 0, 1, 4),
    ]
    listed = ["--revocations", "list.json", "--revocations-key", "lists.pub"]
    for words, good, _, _ in commands:
        assert command(words) == good, words
    for words, _, _, away in commands:
        assert command([*words, *listed]) == away, words
    assert command(["revoke", "add", "d.json", "--image", digest, "--reason", "r"]) == 0
    assert command(["revoke", "sign", "d.json", "--key", "lists.pem", "--to", "list.json"]) == 0
    capsys.readouterr()
    for words, _, revoked_code, _ in commands:
        assert command([*words, *listed]) == revoked_code, words
        assert ("got FAILED" if "test" in words else "revoked: ") in capsys.readouterr().out
    init = ["policy", "init", image, "--key", ".chains/signing.pub", *store]
    assert command(init) == 0
    assert command([*init, *listed]) == 2, "no policy is written from revoked evidence"
    diff = ["policy", "diff", "policy.yaml", "policy.yaml", image, *store]
    assert command(diff) == 0
    assert command([*diff, *listed]) == 0, "both are denied alike"


# what a list can never do

KEYS = ("ours", "second")
HELD = [
    *(
        form(made, signer(name))
        for name in KEYS
        for form in (form_a, form_b)
        for made in (tekton(), report())
    ),
    form_b(tekton(builder="https://b.example"), signer("second")),
    form_b({**tekton(), "predicateType": "https://scan.example.com/v1"}, signer("second")),
]
ENTRIES = [
    {"key": KEYID},
    {"key": SECOND},
    {"image": DIGEST},
    {"builder": BUILDER},
    {"builder": "https://b.example"},
]
POLICIES = [
    document(trust=[trust("a"), trust("b", "second", level=3)]),
    document(require={"hermetic": "enforced"}),
    document(require={"level": 3}, exemptions=[EXEMPT]),
    document(trust=[trust("a"), trust("b", "second")], missing="warn", unavailable="warn"),
    document(
        trust=[trust("a"), trust("b", "second")],
        rules=[{"name": "r", "cel": "attestations.size() < 3", "message": "m"}],
    ),
]
STRICT = (Decision.ALLOW, Decision.WARN, Decision.DENY)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    held=st.lists(st.sampled_from(HELD), max_size=4),
    entries=st.lists(st.sampled_from(ENTRIES), max_size=4, unique_by=str),
    written=st.sampled_from(POLICIES),
    is_broken=st.booleans(),
)
def test_another_entry_never_makes_a_policys_answer_better(
    held: Json, entries: Json, written: Json, is_broken: bool
) -> None:
    stores = [Broken()] if is_broken else []
    before = judged(written, *held, *stores)
    for number in range(len(entries) + 1):
        found = judged(written, *held, *stores, by=revoked(*entries[:number]))
        assert STRICT.index(found.decision) >= STRICT.index(before.decision)
        assert not (found.exit_code == 0 and before.exit_code != 0)
        before = found


def test_a_revoked_builder_is_the_reason_although_statements_of_other_types_still_verify() -> None:
    # the execution report names no builder, so no list takes it away by one
    found = judged(document(), *GOOD, by=revoked({"builder": BUILDER, "reason": "broken into"}))
    (check,) = [one for one in found.checks if one.is_wrong]
    assert (found.verdict, check.reason) == (Verdict.FAILED, "revoked")
    assert f"builder {BUILDER} is revoked: broken into" in check.actual
    assert check.guidance == "do not run the image: build it again without what is revoked"
