"""``chains retention dispose``: a record first, then the deletion, and what an audit says about it."""

from __future__ import annotations

import asyncio
import json
import shutil
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chains.audit.findings import State
from chains.audit.ledger.entries import Disposition
from chains.audit.retention import dispose, inbox
from chains.audit.retention.record import DispositionRecord
from chains.cli.main import run as chains
from chains.statements.statement import DISPOSITION, parse_statement
from chains.text import rfc3339
from signers.formats.dsse import Envelope
from signers.keys.keyfile import open_keyfile
from signers.sealer import Sealer
from storage.locks import Doomed
from storage.open import open_store
from storage.record import IN_TOTO_PAYLOAD_TYPE, Evidence, Stored
from tests.audit_truth import task_run, uid_of

Json = Any
Run = Callable[..., Json]
RULES = {
    "apiVersion": "provenance.chains/v1", "kind": "Retention", "metadata": {"name": "evidence"},
    "spec": {"classes": [{"name": "all", "match": {}, "keep": "30d", "reason": "rule 7"}]},
}  # fmt: skip
SIGNED = (
    "--signer",
    "d.key",
    "--approved-by",
    "R. Manager",
    "--reason",
    "term is over",
    "--disposition-key",
    "d.pub",
)
ENDINGS = (".bundle.json", ".envelope.json", ".sig")
STORES = ["file:store", "oci-layout:store"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("e", "d"):
        assert chains(["keys", "generate", f"{name}.key"]) == 0
    write_rules()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command, check its exit code, and return its JSON."""

    def work(code: int, *words: str) -> Json:
        capsys.readouterr()
        assert chains([*words, "--key", "e.pub", "--output", "json"]) == code, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return work


def write_rules(keep: str = "30d", holds: Json = ()) -> None:
    rules = json.loads(json.dumps(RULES))
    rules["spec"]["classes"][0]["keep"] = keep
    rules["spec"]["holds"] = list(holds)
    Path("rules.yaml").write_text(json.dumps(rules))


def hold(**match: Json) -> Json:
    return {
        "id": "case",
        "match": match,
        "reason": "lawsuit",
        "by": "legal",
        "from": "2020-01-01T00:00:00Z",
        "lock": False,
    }


def attest(store: str, *numbers: int, key: str = "e.key", image: int | None = None) -> None:
    runs = json.loads(json.dumps([task_run(number) for number in numbers]).replace("2026-10", "2020-10"))
    for one in runs:
        if image is not None:
            one["status"]["results"][1]["value"] = f"sha256:{image:064x}"
    Path("runs.json").write_text(json.dumps(runs))
    assert chains(["attest", "runs.json", "--store", store, "--key", key]) == 0


def dispose_words(store: str, *more: str) -> tuple[str, ...]:
    return ("retention", "dispose", "--rules", "rules.yaml", "--store", store, *SIGNED, *more)


def find(store: str, uid: str) -> tuple[Evidence, ...]:
    async def work() -> tuple[Evidence, ...]:
        async with open_store(store) as opened:
            return (await opened.find_run(uid)).evidence

    return asyncio.run(work())


def find_image(number: int) -> tuple[Evidence, ...]:
    async def work() -> tuple[Evidence, ...]:
        async with open_store("oci-layout:store") as opened:
            return (await opened.find(f"sha256:{number:064x}")).evidence

    return asyncio.run(work())


def files(word: str) -> list[Path]:
    """Return the files that have a text in their name or content."""
    return [
        path
        for path in Path("store").rglob("*")
        if word in path.name or (path.is_file() and word.encode() in path.read_bytes())
    ]


@pytest.mark.parametrize("store", STORES)
def test_evidence_goes_with_a_record_and_the_evidence_of_others_stays(store: str, run: Run) -> None:
    attest(store, 1, 2)
    write_rules(holds=[hold(runs=[uid_of(2)])])
    before = {one.digest for one in find(store, uid_of(2))}
    gone = {one.digest for one in find(store, uid_of(1))}
    planned = run(0, *dispose_words(store))
    assert {one["digest"] for one in planned["pieces"]} == gone
    assert {one.digest for one in find(store, uid_of(1))} == gone  # nothing without --apply
    done = run(0, *dispose_words(store, "--apply"))
    assert (done["deleted"], done["kept"], len(done["records"])) == (len(gone), [], 1)
    assert find(store, uid_of(1)) == ()
    assert {one.digest for one in find(store, uid_of(2))} == before
    # the record names what is gone, and says why
    (record, *_) = find(store, done["records"][0])
    payload = _payload(record)
    read = DispositionRecord.from_bytes(payload)
    assert {one.digest for one in read.pieces} == gone
    assert read.store == store.replace("store", str(Path("store").resolve()))
    assert (read.approved_by, read.reason) == ("R. Manager", "term is over")
    assert {(one.rule, one.start, one.signed_uid) for one in read.pieces} <= {
        ("all", "finished", uid_of(1)), ("all", "finished", ""),
    }  # fmt: skip
    assert all(one.kept_until.isoformat() == "2020-10-31T00:00:10+00:00" for one in read.pieces)
    statement = parse_statement(payload)
    assert statement.predicate_type == DISPOSITION
    # no file, link or blob has a name or a word of the run any more, except those of the record
    told = [path for path in files(uid_of(1)) if "disposition" not in str(path) and not _is_of_record(path)]
    assert told == []
    # a second time there is nothing to do
    again = run(0, *dispose_words(store, "--apply"))
    assert (again["deleted"], again["finished"], again["records"]) == (0, 0, [])


def _is_of_record(path: Path) -> bool:
    """Whether a blob is the record in one of its forms."""
    try:
        found = json.loads(path.read_bytes())
        envelope = found.get("dsseEnvelope", found)
        return DISPOSITION in b64decode(envelope.get("payload", "")).decode()
    except ValueError:
        return False


def _payload(evidence: Evidence) -> bytes:
    from signers.formats.bundle import Bundle

    if evidence.is_bundle:
        return Bundle.from_bytes(evidence.data).envelope.payload
    return Envelope.from_bytes(evidence.data).payload


def test_two_runs_with_the_same_image_do_not_take_each_others_evidence(run: Run) -> None:
    """Their image signatures may be the same bytes, and their tags and manifests are shared."""
    attest("oci-layout:store", 1, image=7)
    attest("oci-layout:store", 2, image=7)
    before = sorted((one.format, one.digest) for one in find("oci-layout:store", uid_of(2)))
    signatures = [one.data for one in find_image(7) if one.format == "simplesigning"]
    write_rules(holds=[hold(runs=[uid_of(2)])])
    done = run(0, *dispose_words("oci-layout:store", "--apply"))
    # two forms of provenance and report go; the image's signature stays, in both forms
    assert (done["deleted"], len(done["needed"]), done["kept"]) == (4, 2, [])
    assert sorted((one.format, one.digest) for one in find("oci-layout:store", uid_of(2))) == before
    assert [one.data for one in find_image(7) if one.format == "simplesigning"] == signatures != []
    write_rules()
    assert run(0, *dispose_words("oci-layout:store", "--apply"))["kept"] == []
    assert find_image(7) == ()


@pytest.mark.parametrize("store", STORES)
def test_an_audit_counts_what_was_disposed_of_only_with_a_record_that_counts(store: str, run: Run) -> None:
    attest(store, 1, 2)
    write_rules(holds=[hold(runs=[uid_of(2)])])
    run(0, *dispose_words(store, "--apply"))
    audit = ("audit", "--runs", "runs.json", "--store", store, "--all")
    found = run(0, *audit, "--disposition-key", "d.pub")
    states = {one["uid"]: (one["state"], one["reason"]) for one in found["runs"]}
    assert states == {uid_of(1): ("disposed", "disposed"), uid_of(2): ("evidenced", "verified")}
    assert (found["counts"]["disposed"], found["finished"]) == (1, 1)
    words = next(one["words"] for one in found["runs"] if one["uid"] == uid_of(1))
    assert "approved by R. Manager: term is over" in words
    assert found["evidenceWithoutRun"] == []
    # without the key, and with a stranger's, the run is missing
    assert run(1, *audit)["counts"]["missing"] == 1
    assert chains(["keys", "generate", "x.key"]) == 0
    assert run(1, *audit, "--disposition-key", "x.pub")["counts"]["missing"] == 1
    # a key that may sign evidence signs no record
    assert run(1, *audit, "--disposition-key", "d.pub", "--key", "d.pub")["counts"]["missing"] == 1


def test_a_record_of_a_revoked_key_counts_for_nothing(run: Run) -> None:
    attest("file:store", 1)
    run(0, *dispose_words("file:store", "--apply"))
    assert chains(["keys", "generate", "lists.pem"]) == 0
    assert chains(["revoke", "add", "list.json", "--key", "d.pub", "--reason", "stolen"]) == 0
    assert chains(["revoke", "sign", "list.json", "--key", "lists.pem", "--to", "signed.json"]) == 0
    audit = ("audit", "--runs", "runs.json", "--store", "file:store", "--disposition-key", "d.pub", "--all")
    assert run(4, *audit)["counts"]["disposed"] == 1
    listed = ("--revocations", "signed.json", "--revocations-key", "lists.pub", "--revocations-state", "none")
    counts = run(1, *audit, *listed)["counts"]
    assert (counts["disposed"], counts["missing"]) == (0, 1)


def test_a_record_of_the_execution_report_excuses_no_provenance_that_is_gone(run: Run) -> None:
    store = "oci-layout:store"
    attest(store, 1)
    rules = json.loads(json.dumps(RULES))
    rules["spec"]["classes"] = [
        {
            "name": "long",
            "match": {"predicateTypes": ["https://slsa.dev/*"]},
            "keep": "36500d",
            "reason": "law",
        },
        {
            "name": "short",
            "match": {"predicateTypes": ["https://in-toto.io/*"]},
            "keep": "30d",
            "reason": "rule",
        },
    ]
    Path("rules.yaml").write_text(json.dumps(rules))
    assert run(0, *dispose_words(store, "--apply"))["deleted"] > 0
    audit = ("audit", "--runs", "runs.json", "--store", store, "--disposition-key", "d.pub", "--all")
    assert run(0, *audit)["counts"]["evidenced"] == 1

    async def without_a_record() -> list[str]:
        async with open_store(store) as opened:
            left = (await opened.find_run(uid_of(1))).evidence
            return list(await opened.delete([Doomed(one.location, one.digest, uid_of(1)) for one in left]))

    assert set(asyncio.run(without_a_record())) == {""}
    found = run(1, *audit)
    assert (found["runs"][0]["state"], found["counts"]["disposed"]) == ("missing", 0)


@pytest.mark.parametrize(
    "change",
    ["nothing", "copied", "too-early", "unsigned", "other-run", "future"],
)
def test_a_record_that_is_not_right_counts_for_nothing(change: str, run: Run) -> None:
    attest("file:store", 1)
    run(0, *dispose_words("file:store", "--apply"))
    (first, *_) = [path for path in Path("store").rglob("*.envelope.json") if path.is_file()]
    record = DispositionRecord.from_bytes(Envelope.from_bytes(first.read_bytes()).payload)
    (piece, *_) = [one for one in record.pieces if one.signed_uid]
    if change != "copied":
        record = replace(record, store="file:other")
    match change:
        case "too-early":
            record = replace(record, pieces=(replace(piece, kept_until=datetime(2090, 1, 1, tzinfo=UTC)),))
        case "other-run":
            record = replace(record, pieces=(replace(piece, signed_uid=uid_of(9)),))
        case "future":
            record = replace(record, decided=datetime(2090, 1, 1, tzinfo=UTC))
    payload = record.to_bytes()
    sealed = Sealer(open_keyfile("d.key")).seal_now(payload, IN_TOTO_PAYLOAD_TYPE)
    envelope, bundle = sealed.envelope, sealed.bundle
    if change == "unsigned":
        envelope = envelope.replace(b'"sig":"', b'"sig":"AAAA')
        bundle = bundle.replace(b'"sig":"', b'"sig":"AAAA')

    async def store_alone() -> Stored:
        async with open_store("file:other") as opened:
            return await opened.put(record.as_record(payload, envelope, bundle))

    assert asyncio.run(store_alone()).receipts
    audit = ("audit", "--runs", "runs.json", "--store", "file:other", "--disposition-key", "d.pub")
    state = "disposed" if change == "nothing" else "missing"
    code = 4 if change == "nothing" else 1  # no other run is there
    assert run(code, *audit)["counts"] == {**dict.fromkeys(map(str, State), 0), state: 1}


def test_a_key_that_may_sign_evidence_and_a_record_without_words_are_refused(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    attest("file:store", 1)
    words = [
        "retention",
        "dispose",
        "--rules",
        "rules.yaml",
        "--store",
        "file:store",
        "--key",
        "e.pub",
        "--apply",
    ]
    before = sorted(Path("store").rglob("*"))
    assert chains([*words, "--signer", "e.key", "--approved-by", "R", "--reason", "r"]) == 2
    assert "may sign evidence, too" in capsys.readouterr().err
    assert chains([*words, "--signer", "d.key", "--reason", "r"]) == 2
    assert chains([*words, "--signer", "d.key", "--approved-by", "R"]) == 2
    assert chains([*words, "--approved-by", "R", "--reason", "r"]) == 2
    assert chains([*words, "--signer", "d.key", "--approved-by", "R" * 301, "--reason", "r"]) == 2
    assert sorted(Path("store").rglob("*")) == before


def test_nothing_is_deleted_if_the_record_cannot_be_stored(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    attest("file:store", 1)
    before = {one.digest for one in find("file:store", uid_of(1))}
    Path("store").chmod(0o555)
    real = dispose.DispositionRecord.as_record

    def refused(self: DispositionRecord, payload: bytes, envelope: bytes, bundle: bytes) -> Any:
        # a record without any form of its signature: every store refuses it
        return replace(real(self, payload, envelope, bundle), envelope=b"", bundle=b"")

    monkeypatch.setattr(dispose.DispositionRecord, "as_record", refused)
    done = run(4, *dispose_words("file:store", "--apply"))
    Path("store").chmod(0o755)
    assert "nothing was deleted" in done["problems"][0]
    assert {one.digest for one in find("file:store", uid_of(1))} == before


@pytest.mark.parametrize("store", STORES)
def test_the_next_start_goes_on_from_the_record(
    store: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    attest(store, 1)
    number = len(find(store, uid_of(1)))

    async def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dispose.Disposer, "_carry_out", stop)
        assert chains([*dispose_words(store, "--apply"), "--key", "e.pub"]) == 130
    assert len(find(store, uid_of(1))) == number  # a record without its deletion
    assert len(run(0, *dispose_words(store))["pieces"]) == number
    done = run(0, *dispose_words(store, "--apply"))
    assert (done["finished"], done["deleted"], done["records"]) == (number, 0, [])
    assert find(store, uid_of(1)) == ()


@pytest.mark.parametrize("store", STORES)
def test_a_hold_that_comes_between_record_and_deletion_keeps_the_evidence(
    store: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    attest(store, 1)
    number = len(find(store, uid_of(1)))

    async def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dispose.Disposer, "_carry_out", stop)
        assert chains([*dispose_words(store, "--apply"), "--key", "e.pub"]) == 130
    write_rules(holds=[hold()])
    done = run(1, *dispose_words(store, "--apply"))
    assert len(done["kept"]) == number
    assert "a record names it, but it is held now" in done["kept"][0]["reason"]
    assert len(find(store, uid_of(1))) == number


def test_strangers_evidence_and_what_is_not_over_stays(run: Run) -> None:
    attest("file:store", 1)
    assert chains(["keys", "generate", "x.key"]) == 0
    attest("file:store", 2, key="x.key")
    assert run(0, *dispose_words("file:store", "--apply"))["deleted"] == 6
    assert len(find("file:store", uid_of(2))) == 6
    write_rules("36500d")
    attest("file:store", 3)
    assert run(0, *dispose_words("file:store", "--apply"))["deleted"] == 0


def test_a_file_that_was_replaced_and_a_path_outside_the_store_stay(run: Run) -> None:
    attest("file:store", 1)
    (evidence, *_) = find("file:store", uid_of(1))
    outside = Path("outside.bundle.json")
    outside.write_text("{}")

    async def delete(*pieces: Doomed) -> list[str]:
        async with open_store("file:store") as store:
            return await store.delete(pieces)

    other = "sha256:" + "0" * 64
    told = asyncio.run(
        delete(
            Doomed(evidence.location, other),
            Doomed(str(outside.resolve()), other),
            Doomed(str(Path("store/../outside.bundle.json").absolute()), other),
            Doomed("store/by-run/../../outside.bundle.json", other),
        )
    )
    assert "it was replaced, and stays" in told[0]
    assert all("is no evidence of" in one for one in told[1:])
    assert Path(evidence.location).exists()
    assert outside.exists()


def test_a_store_that_cannot_delete_says_so() -> None:
    async def delete() -> list[str]:
        async with open_store("oci://127.0.0.1:1/x") as store:
            assert not store.can_delete
            return await store.delete([Doomed("x", "sha256:" + "0" * 64)])

    assert "cannot be deleted by this program" in asyncio.run(delete())[0]


def test_the_record_comes_into_the_inbox_of_the_ledger_before_anything_is_deleted(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    attest("file:store", 1)
    number = len(find("file:store", uid_of(1)))
    log = Path("ledger/share-0-of-1")
    log.mkdir(parents=True)
    (log / "origin").write_text("chains.example.com/prod/share-0-of-1\n")
    seen: list[int] = []
    put = inbox.put

    def counted(ledger: Path, record: DispositionRecord, bundle: bytes) -> None:
        seen.append(sum(path.name.endswith(ENDINGS) for path in Path("store/by-run").rglob(f"*{uid_of(1)}*")))
        put(ledger, record, bundle)

    monkeypatch.setattr(inbox, "put", counted)
    done = run(0, *dispose_words("file:store", "--apply", "--ledger", "ledger"))
    assert seen == [number]
    (path,) = inbox.waiting(Path("ledger"))
    assert path.name == f"{done['records'][0]}.bundle.json"
    entries = list(inbox.entries_of(path, datetime.now(UTC)))
    assert len(entries) == number
    assert all(isinstance(one, Disposition) and one.by == "R. Manager" for one in entries)
    assert all(done["records"][0] in one.reason for one in entries)
    inbox.move(path, inbox.TAKEN)
    # the same record is not put there again
    run(0, *dispose_words("file:store", "--apply", "--ledger", "ledger"))
    assert inbox.waiting(Path("ledger")) == []


def test_a_record_of_another_form_is_no_record() -> None:
    from chains.errors import EvidenceError

    for payload in (b"{}", b'{"_type":"https://in-toto.io/Statement/v1","predicateType":"x","subject":[]}'):
        with pytest.raises(EvidenceError):
            DispositionRecord.from_bytes(payload)


@pytest.mark.parametrize("allowed", [0, 1, 4, 9])
@pytest.mark.parametrize("store", STORES)
def test_wherever_a_deletion_ends_a_record_is_there_and_the_next_start_finishes_it(
    store: str, allowed: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after SIGKILL: nothing is cleaned up, since the next start reads the store anew."""
    attest(store, 1)
    left, real = [allowed], Path.unlink

    def unlink(self: Path, *, missing_ok: bool = False) -> None:
        if "store" in str(self) and not self.name.startswith("."):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        real(self, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        assert chains([*dispose_words(store, "--apply"), "--key", "e.pub"]) == 130
    audit = ("audit", "--runs", "runs.json", "--store", store, "--disposition-key", "d.pub", "--all")
    capsys_states = {one["state"] for one in run_any(run, *audit)["runs"]}
    assert capsys_states <= {"evidenced", "disposed"}
    done = run(0, *dispose_words(store, "--apply"))
    assert done["records"] == []
    assert find(store, uid_of(1)) == ()
    assert [
        path for path in files(uid_of(1)) if "disposition" not in str(path) and not _is_of_record(path)
    ] == []


def run_any(run: Run, *words: str) -> Json:
    """Return the JSON of an audit whose exit code depends on how far a deletion came."""
    try:
        return run(0, *words)
    except AssertionError:
        return run(4, *words)


def test_a_registry_has_no_records_and_is_not_asked(run: Run) -> None:
    attest("file:store", 1)
    run(0, *dispose_words("file:store", "--apply"))
    found = run(
        4,
        "audit",
        "--runs",
        "runs.json",
        "--store",
        "file:store",
        "--store",
        "oci:",
        "--disposition-key",
        "d.pub",
    )
    assert not [one for one in found["problems"] if "disposition" in one]


def test_a_report_of_a_period_tells_what_was_disposed_of(run: Run) -> None:
    attest("file:store", 1, 2)
    write_rules(holds=[hold(runs=[uid_of(2)])])
    done = run(0, *dispose_words("file:store", "--apply"))
    (record, *_) = find("file:store", done["records"][0])
    decided = DispositionRecord.from_bytes(_payload(record)).decided
    # a report counts in whole seconds, and one of the same second may begin before the decision
    at = rfc3339(decided.replace(microsecond=0))
    words = ["report", "--at", at, "--runs", "runs.json", "--store", "file:store", "--key", "e.pub", "--out", "made",
             "--from", "2020-10-01T00:00:00Z", "--to", "2020-11-01T00:00:00Z"]  # fmt: skip
    for more, counted in (((), ("missing", 1)), (("--disposition-key", "d.pub"), ("disposed", 1))):
        chains([*words, *more])
        counts = json.loads(Path("made/report.json").read_bytes())["counts"]
        assert {state: number for state, number in counts.items() if number} == {
            "evidenced": 1,
            counted[0]: counted[1],
        }
        shutil.rmtree("made")
