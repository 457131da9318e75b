"""What an outcome says of a run: its state, its reason, who did not answer; and the records that it is about."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from chains.attest.batch import AT_ONCE, attest_all
from chains.attest.earlier import Attested
from chains.attest.flow import Flow, distrust, gave_up
from chains.attest.outcome import FAILED, SIGNED, SKIPPED, Outcome
from chains.attest.payloads import Payload
from chains.attest.sign import record_of, sign
from chains.attest.stores import Entry, Stores
from chains.config.parse import parse_config
from chains.statements.claims import hermetic_level
from chains.statements.statement import ResourceDescriptor, parse_statement
from chains.tekton.image_name import ImageDigest
from chains.tekton.run_files import Intake
from chains.tekton.snapshot import RunSnapshot, origin_of
from chains.tekton.surroundings import parse_surroundings
from signers.base import Signer
from signers.errors import SignerRejected, SignerUnavailable
from signers.formats.dsse import Envelope
from signers.keys.keyfile import generate_key, open_keyfile, write_key_pair
from signers.sealer import Sealed, Sealer
from storage.base import Store
from storage.errors import StoreError, StoreUnavailable, SubjectAbsent
from storage.record import Absence, Failure, Findings, Origin, Platform, Receipt, Record, Stored, Subject
from tests.faults.hermetic import objects
from tests.unit.chains.attest.test_flow import CONFIG, HEX, IMAGE, intake_of, run

Json = Any


@cache
def signer() -> Signer:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signing.key"
        write_key_pair(path, generate_key())
        return open_keyfile(str(path))


def entry(state: str = "stored", detail: str = "at", **more: Json) -> Entry:
    return Entry(
        more.pop("payload", "provenance"), more.pop("store", "a:"), "att", "s", state, detail, **more
    )


def outcome(*entries: Entry, state: str = SIGNED, **more: Json) -> Outcome:
    return Outcome("taskrun/ns/r", "uid-r", state, entries=entries, **more)


def test_who_did_not_answer_is_told_once_and_nobody_else() -> None:
    found = outcome(
        entry(), entry("failed", host="https://b:1"), entry("failed", host="https://a:1"), host="https://a:1"
    )
    assert found.hosts == {"https://a:1", "https://b:1"}
    assert outcome(entry()).hosts == frozenset()


@pytest.mark.parametrize(
    ("states", "state", "unchanged"),
    [
        (["unchanged", "unchanged"], SIGNED, True),
        (["unchanged", "skipped"], SIGNED, True),
        (["unchanged", "stored"], SIGNED, False),
        (["unchanged"], FAILED, False),
        (["skipped"], SKIPPED, False),
    ],
)
def test_a_run_is_unchanged_where_it_is_signed_and_nothing_was_written(
    states: list[str], state: str, unchanged: bool
) -> None:
    assert outcome(*map(entry, states), state=state).unchanged is unchanged


def test_an_outcome_is_printed_whole_and_without_secrets() -> None:
    secret = "https://user:hunter2@host/x"
    failed = entry("failed", secret, digest="sha256:1", signer="team", absence="certain")
    found = outcome(
        failed, entry(), state=FAILED, reason=f"no: {secret}", warnings=(f"odd: {secret}",), logged=("log/1",)
    )
    written = found.to_json()
    assert "hunter2" not in str(written)
    assert written["reason"].startswith("no: ")
    assert written["warnings"][0].startswith("odd: ")
    assert {name: written[name] for name in ("run", "uid", "state", "unchanged", "transparency")} == {
        "run": "taskrun/ns/r",
        "uid": "uid-r",
        "state": "failed",
        "unchanged": False,
        "transparency": ["log/1"],
    }
    assert written["entries"][1] == {
        "payload": "provenance", "store": "a:", "form": "att", "subject": "s", "state": "stored", "detail": "at",
        "digest": "", "signer": "", "absent": False,
    }  # fmt: skip
    assert written["entries"][0] == written["entries"][1] | {
        "state": "failed", "detail": failed.told, "digest": "sha256:1", "signer": "team", "absent": True,
    }  # fmt: skip
    assert outcome(entry("unchanged")).to_json()["unchanged"] is True


def received(*stores: str) -> Mapping[str, str]:
    return dict.fromkeys(stores, "no room")


def test_receipts_of_a_store_that_could_not_flush_are_failures_and_nothing_else_is() -> None:
    skipped, failed = entry("skipped", "no image"), entry("failed", "down", digest="sha256:2")
    mixed = outcome(entry(digest="sha256:1"), entry(store="b:"), skipped)
    found = distrust(mixed, received("a:"))
    assert found.entries == (entry("failed", "no room", transient=True), entry(store="b:"), skipped)
    assert (found.state, found.reason) == (FAILED, "provenance in a:: no room")
    found = distrust(replace(outcome(entry(), failed), state=FAILED, reason="old"), received("a:"))
    assert found.entries == (entry("failed", "no room", transient=True), failed)
    assert found.reason == "provenance in a:: no room (and 1 more)"
    for lost in ({}, received("c:")):
        assert distrust(mixed, lost) is mixed
    nowhere = replace(outcome(skipped), state=SKIPPED, reason="no image")
    assert distrust(nowhere, received("a:")) == nowhere


@pytest.mark.parametrize(
    ("absences", "absence"),
    [
        (["certain", "certain"], "certain"),
        (["possible", "certain"], "certain"),
        (["", "certain"], "certain"),
        (["", "possible"], "possible"),
        ([""], ""),
    ],
)
def test_a_failure_is_for_want_of_a_subject_where_any_part_of_it_is(
    absences: list[Absence], absence: Absence
) -> None:
    found = gave_up(
        outcome(
            *(entry("failed", "no", absence=one) for one in absences), entry("failed", absence="certain")
        ),
        "",
    )
    assert found.absence == "certain"
    parts = [entry("failed", "no", absence=one) for one in absences]
    assert distrust(outcome(entry(), *parts), received("a:")).absence == absence


def test_a_reason_names_the_payload_its_store_and_its_signer() -> None:
    first = entry("failed", "down", payload="report", store="b:", signer="team")
    found = distrust(outcome(first, entry()), received("a:"))
    assert found.reason == "report in b: by team: down (and 1 more)"
    unplaced = Entry("provenance", "", "", "s", "failed", "no platforms", absence="certain")
    given = gave_up(outcome(unplaced, entry("stored")), " after an hour")
    assert given.entries == (replace(unplaced, detail="no platforms after an hour"), entry("stored"))
    assert (given.state, given.reason) == (FAILED, "provenance: no platforms after an hour")
    told = outcome(entry("failed", "down"), state=FAILED, reason="down")
    assert gave_up(told, " after an hour") == replace(told, reason="down after an hour")


class Shelf(Store):
    """Takes everything, fails, or waits, as it was made; knows no platforms."""

    def __init__(self, url: str = "a:", *failures: Failure, absent: StoreError | None = None) -> None:
        self.url, self.failures, self.absent = url, failures, absent
        self.put_records: list[Record] = []
        self.listed: tuple[Platform, ...] | None = None

    async def put(self, record: Record) -> Stored:
        self.put_records.append(record)
        if self.failures:
            return Stored(failures=self.failures)
        return Stored((Receipt(self.url, "file", "", "here", "sha256:1"),))

    async def find(self, digest: str, reference: str = "") -> Findings:
        return Findings()

    async def platforms(self, digest: str, reference: str) -> tuple[Platform, ...] | None:
        if self.absent:
            raise self.absent
        return self.listed


def snapshot_of(raw: Json) -> RunSnapshot:
    intake = intake_of(raw)
    return intake.snapshot(next(iter(intake.runs)))


def attested(raw: Json, *stores: Store, config: Json = None, **more: Json) -> Outcome:
    signing = more.pop("signer", signer())
    opened = Stores({Stores.EVERYTHING: stores})
    return asyncio.run(
        Flow(parse_config(CONFIG | (config or {})), signing, opened, more.pop("images", None)).attest(
            snapshot_of(raw), more.pop("surroundings", None), **more
        )
    )


@pytest.mark.parametrize(
    ("conditions", "told"), [([], "missing"), ([{"type": "Succeeded", "status": "Unknown"}], "Unknown")]
)
def test_a_run_that_has_not_ended_is_not_attested(conditions: Json, told: str) -> None:
    raw = run()
    raw["status"] = {"conditions": conditions}
    shelf = Shelf()
    assert attested(raw, shelf) == Outcome(
        "taskrun/ns/r",
        "uid-r",
        FAILED,
        f"not finished: condition Succeeded is {told!r}; attest it when it is",
    )
    assert shelf.put_records == []


PLATFORMS = {"storage.oci.attach-to-platforms": "true"}


def test_an_image_that_is_not_there_yet_is_waited_for_or_told() -> None:
    absent = SubjectAbsent("there is no such image")
    raw = run(results=IMAGE)
    known = {"x": Attested(())}
    waiting = attested(raw, Shelf(absent=absent), config=PLATFORMS, waits=True, earlier=known)
    assert waiting == Outcome(
        "taskrun/ns/r", "uid-r", FAILED, "taskrun/ns/r: there is no such image", absence="certain"
    )
    assert waiting.earlier == known
    assert attested(raw, Shelf(absent=absent), config=PLATFORMS, waits=True).earlier == {}
    ended = attested(raw, Shelf(absent=absent), config=PLATFORMS)
    assert ended.state == FAILED
    assert ended.entries[-1] == Entry(
        "provenance", "", "", f"sha256:{HEX}", "failed", "there is no such image", absence="certain"
    )
    assert [one.state for one in ended.entries[:-1]] == ["stored"] * 3
    assert (ended.reason, ended.absence) == ("provenance: there is no such image", "certain")


def test_the_platforms_that_an_image_lists_are_subjects_too() -> None:
    shelf, platform = Shelf(), "sha256:" + "1f" * 32
    shelf.listed = (Platform(platform, "linux/arm64"),)
    assert attested(run(results=IMAGE), shelf, config=PLATFORMS).state == SIGNED
    digests = [f"sha256:{one.digest['sha256']}" for one in shelf.put_records[0].subjects]
    assert digests == [f"sha256:{HEX}", platform]


def test_what_is_to_be_redacted_is_in_no_report() -> None:
    found = objects("nothing-wrong")
    for pattern, is_told in (("nothing-like-it", True), ("cmd/[a-z]+", False)):
        config = parse_config(CONFIG | {"execution.redaction.arguments": pattern})
        shelf = Shelf()
        opened = Stores({Stores.EVERYTHING: [shelf]})
        intake = intake_of(found["TaskRun"], found["Pod"])
        (outcome_of_it,) = asyncio.run(attest_all(intake, Flow(config, signer(), opened)))
        assert outcome_of_it.state == SIGNED
        assert (b"./cmd/app" in shelf.put_records[1].payload) is is_told


@pytest.mark.parametrize(
    ("error", "transient", "host", "absence"),
    [
        (StoreUnavailable("down", host="https://r:443"), True, "https://r:443", ""),
        (StoreError("refused"), False, "", ""),
    ],
)
def test_a_store_that_cannot_tell_the_platforms_fails_the_run_for_its_own_reason(
    error: StoreError, transient: bool, host: str, absence: Absence
) -> None:
    shelf = Shelf(absent=error)
    found = attested(run(results=IMAGE), shelf, config=PLATFORMS)
    assert (found.state, found.reason) == (FAILED, f"taskrun/ns/r: {error}")
    assert (found.transient, found.host, found.absence, found.earlier) == (transient, host, absence, {})
    assert shelf.put_records == []


@pytest.mark.parametrize(
    ("error", "transient"), [(SignerUnavailable("no answer"), True), (SignerRejected("no right"), False)]
)
def test_a_key_that_does_not_sign_fails_the_run_and_only_an_outage_passes(
    error: Exception, transient: bool
) -> None:
    class Down(Sealer):
        def seal_now(self, payload: bytes, payload_type: str, *, log: bool = False) -> Sealed:
            raise error

    shelf = Shelf()
    found = attested(run(), shelf, signer=Down(signer()))
    assert (found.state, found.reason, found.transient) == (FAILED, f"taskrun/ns/r: {error}", transient)
    assert shelf.put_records == []


def test_what_images_set_is_read_before_isolation_is_judged() -> None:
    found = objects("nothing-wrong")
    label = "taskrun/ci/build"
    bare, known = {label: parse_surroundings()}, {label: parse_surroundings(pod=found["Pod"])}
    asked: list[Json] = []

    class Images:
        async def add_images(self, run: RunSnapshot, surroundings: Json) -> Json:
            asked.append((run.label, surroundings))
            return known

    for images, surroundings, level in (
        (Images(), bare, "enforced"),
        (None, bare, "unknown"),
        (Images(), None, "unknown"),
    ):
        shelf = Shelf()
        assert attested(found["TaskRun"], shelf, surroundings=surroundings, images=images).state == SIGNED
        report = parse_statement(shelf.put_records[1].payload)
        assert hermetic_level(report) == level
    assert asked == [(label, bare)]


@pytest.mark.parametrize(
    ("config", "asked"),
    [
        ({"transparency.enabled": "true"}, True),
        ({"transparency.enabled": "false"}, False),
        ({"transparency.enabled": "manual"}, False),
    ],
)
def test_a_signature_goes_to_the_log_where_the_configuration_says_so(config: Json, asked: bool) -> None:
    seen: set[bool] = set()

    class Watched(Sealer):
        def is_local(self, *, log: bool) -> bool:
            seen.add(log)
            return False

        async def seal(self, payload: bytes, payload_type: str, *, log: bool = False) -> Sealed:
            seen.add(log)
            return await super().seal(payload, payload_type, log=log)

    assert attested(run(), Shelf(), signer=Watched(signer()), config=config).state == SIGNED
    assert seen == {asked}


def test_one_signer_that_signs_everything_is_the_only_one() -> None:
    extra = {"signers.extra": '[{"name": "team", "reference": "/k", "namespaces": ["ns"]}]'}
    shelf = Shelf()
    found = attested(run(), shelf, config=extra)
    assert (found.state, {one.signer for one in found.entries}) == (SIGNED, {""})
    assert len(shelf.put_records) == 2


def test_nothing_is_stored_where_the_last_question_says_no() -> None:
    shelf, asked = Shelf(), list[int]()

    def before() -> None:
        asked.append(len(shelf.put_records))

    assert attested(run(), shelf, before_storing=before).state == SIGNED
    assert asked == [0]
    assert len(shelf.put_records) == 2

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        attested(run(), shelf, before_storing=stop)
    assert len(shelf.put_records) == 2


def test_the_next_try_stores_what_has_no_receipt_and_nothing_else() -> None:
    good, bad = Shelf("a:"), Shelf("b:", Failure("b:", "file", "", "down", transient=True))
    first = attested(run(), good, bad)
    assert first.state == FAILED
    assert len(first.earlier) == 2
    bad.failures = ()
    second = attested(run(), good, bad, earlier=first.earlier)
    assert second.state == SIGNED
    assert (len(good.put_records), len(bad.put_records)) == (2, 4)
    assert second.earlier == {}
    assert [one.state for one in second.entries] == ["stored"] * 4


def test_many_runs_at_once_are_told_in_their_order() -> None:
    raws = [run(f"r{number}") for number in range(AT_ONCE + 6)]
    raws[3]["status"]["steps"] = "no list"
    told: list[Outcome] = []
    opened = Stores({Stores.EVERYTHING: [Shelf()]})
    intake = intake_of(*raws)
    intake.add("broken.json", b"{")
    found = asyncio.run(attest_all(intake, Flow(parse_config(CONFIG), signer(), opened), told.append))
    assert [one.run for one in found[:-1]] == [f"taskrun/ns/r{number}" for number in range(AT_ONCE + 6)]
    assert [one.state for one in found] == [
        SIGNED if number not in {3, AT_ONCE + 6} else FAILED for number in range(AT_ONCE + 7)
    ]
    assert (found[3].uid, found[-1].uid) == ("", "")
    assert found[-1].run == "broken.json"
    assert sorted(one.run for one in told) == sorted(one.run for one in found[:-1])
    assert asyncio.run(attest_all(Intake(), Flow(parse_config(CONFIG), signer(), opened))) == []


# records


IMAGE_DIGEST = ImageDigest("registry.example.com/team/app", HEX)
SUBJECTS = (ResourceDescriptor(name="app", digest={"sha256": HEX}), ResourceDescriptor(name="bare"))
PAYLOAD = Payload("provenance", "https://slsa.dev/provenance/v1", b"{}", SUBJECTS, ("oci",))
ENVELOPED = Sealed(b"sig", b"env", b"bundle", b"cert", b"chain", {"a": "b"})
RAW = Sealed(b"raw", b"", b"", b"raw-cert", b"raw-chain", {"c": "d"})


def test_a_record_holds_what_was_sealed_and_where_it_comes_from() -> None:
    frozen = snapshot_of(run())
    assert origin_of(frozen) == Origin("taskrun", "ns", "r", "uid-r")
    common: Json = {
        "origin": origin_of(frozen),
        "subjects": (Subject("app", {"sha256": HEX}), Subject("bare", {})),
        "predicate_type": PAYLOAD.predicate_type,
        "created": "2026-01-02T03:04:05Z",
        "snapshot": frozen.data,
    }
    assert record_of(frozen, PAYLOAD, ENVELOPED) == Record(
        payload=b"{}", payload_type="application/vnd.in-toto+json", bundle=b"bundle", envelope=b"env",
        certificate=b"cert", chain=b"chain", annotations={"a": "b"}, **common,
    )  # fmt: skip
    image = replace(PAYLOAD, image=IMAGE_DIGEST)
    signed: Json = {
        "payload": b"simple", "payload_type": "application/vnd.dev.cosign.simplesigning.v1+json", **common,
    }  # fmt: skip
    assert record_of(frozen, image, ENVELOPED, b"simple", RAW) == Record(
        bundle=b"bundle", signature=b"raw", certificate=b"raw-cert", chain=b"raw-chain",
        annotations={"c": "d"}, **signed,
    )  # fmt: skip
    assert record_of(frozen, image, None, b"simple", RAW).bundle == b""
    assert record_of(frozen, image, ENVELOPED, b"simple") == Record(bundle=b"bundle", **signed)
    raw = run()
    del raw["status"]["completionTime"]
    assert record_of(snapshot_of(raw), PAYLOAD, ENVELOPED).created == ""


def test_an_image_is_signed_twice_in_the_raw_form_and_in_a_bundle() -> None:
    frozen, by = snapshot_of(run()), signer()
    plain = sign(frozen, PAYLOAD, by)
    assert (Envelope.from_bytes(plain.envelope).payload, plain.signature) == (b"{}", b"")
    image = sign(frozen, replace(PAYLOAD, image=IMAGE_DIGEST), Sealer(by))
    assert image.envelope == b""
    assert image.bundle == plain.bundle
    assert f"sha256:{HEX}".encode() in image.payload
    assert image.signature == by.sign(image.payload)
    assert sign(frozen, PAYLOAD, Sealer(by)) == plain
