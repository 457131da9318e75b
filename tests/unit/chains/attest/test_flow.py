"""The flow over real keys and real stores in a folder, and over stores that fail."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from chains.assembly.signers import check_extra_signers, open_sealers
from chains.attest import flow as module
from chains.attest.batch import attest_all
from chains.attest.flow import Flow
from chains.attest.outcome import Outcome
from chains.attest.payloads import build_payloads
from chains.attest.stores import Stores
from chains.config.parse import lint_config, parse_config
from chains.errors import ConfigError
from chains.tekton.run_files import Intake
from signers.base import Signer
from signers.errors import SignerUnavailable
from signers.formats.bundle import Bundle
from signers.keys.keyfile import generate_key, open_keyfile, write_key_pair
from storage.base import Store
from storage.errors import StoreUnavailable
from storage.open import open_store
from storage.record import Failure, Findings, Receipt, Record, Stored

Json = Any
HEX = "0123456789abcdef" * 4
CONFIG = {"artifacts.taskrun.format": "slsa/v2alpha4", "artifacts.pipelinerun.format": "slsa/v2alpha4"}


def run(name: str = "r", results: Json = None, **status: Json) -> Json:
    done = {"conditions": [{"type": "Succeeded", "status": "True"}], "completionTime": "2026-01-02T03:04:05Z"}
    return {
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
        "metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}"},
        "status": {**done, "results": results or [], **status},
    }  # fmt: skip


IMAGE = [
    {"name": "IMAGE_URL", "type": "string", "value": "registry.example.com/team/app"},
    {"name": "IMAGE_DIGEST", "type": "string", "value": f"sha256:{HEX}"},
]


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    path = tmp_path_factory.mktemp("key") / "signing.key"
    write_key_pair(path, generate_key())
    return open_keyfile(str(path))


def intake_of(*runs: Json) -> Intake:
    intake = Intake()
    intake.add("in.json", json.dumps(list(runs)).encode())
    return intake


def attest(intake: Intake, signer: Signer, *stores: Store, config: dict[str, str] | None = None) -> Any:
    async def work() -> Any:
        opened = Stores({Stores.EVERYTHING: stores})
        try:
            return await attest_all(intake, Flow(parse_config(config or CONFIG), signer, opened))
        finally:
            await opened.close()

    return asyncio.run(work())


class Memory(Store):
    """A store that keeps records and fails on demand."""

    def __init__(self, failure: Failure | None = None, flush_error: str = "") -> None:
        self.url = "memory:"
        self.records: list[Record] = []
        self._failure, self._flush_error = failure, flush_error

    async def put(self, record: Record) -> Stored:
        if self._failure is not None:
            return Stored(failures=(self._failure,))
        self.records.append(record)
        return Stored((Receipt(self.url, "file", "", "here", "sha256:" + HEX),))

    async def find(self, digest: str, reference: str = "") -> Findings:
        return Findings()

    async def flush(self) -> None:
        if self._flush_error:
            raise StoreUnavailable(self._flush_error)

    async def close(self) -> None:
        """Nothing to release."""


def test_a_run_with_an_image_gives_provenance_report_and_signature(signer: Signer) -> None:
    store = Memory()
    outcome = attest(intake_of(run(results=IMAGE)), signer, store)[0]
    assert (outcome.state, outcome.run, outcome.uid) == ("signed", "taskrun/ns/r", "uid-r")
    kinds = [entry.payload for entry in outcome.entries]
    assert kinds == ["provenance", "execution-report", "image-signature"]
    assert [record.predicate_type for record in store.records] == [
        "https://slsa.dev/provenance/v1",
        "https://in-toto.io/attestation/scai/v0.3",
        "https://sigstore.dev/cosign/sign/v1",
    ]
    assert {record.subjects[0].digest["sha256"] for record in store.records} == {HEX}


@pytest.mark.parametrize(("size", "thread"), [(100, "MainThread"), (70_000, "json_0")])
def test_payloads_of_a_large_run_are_built_aside_from_the_loop(
    signer: Signer, monkeypatch: pytest.MonkeyPatch, size: int, thread: str
) -> None:
    built: list[str] = []

    def build(*given: Any) -> Any:
        built.append(threading.current_thread().name)
        return build_payloads(*given)

    monkeypatch.setattr(module, "build_payloads", build)
    results = [*IMAGE, {"name": "notes", "type": "string", "value": "x" * size}]
    (outcome,) = attest(intake_of(run(results=results)), signer, Memory())
    assert outcome.state == "signed"
    assert built == [thread]


@pytest.mark.parametrize("url", ["file:{}", "oci-layout:{}"])
def test_twice_changes_nothing_and_says_so(signer: Signer, tmp_path: Path, url: str) -> None:
    where = url.format(tmp_path / "evidence")
    intake = intake_of(run("one", IMAGE), run("two"))
    first = attest(intake, signer, open_store(where))
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = attest(intake, signer, open_store(where))
    assert [outcome.state for outcome in first + again] == ["signed"] * 4
    assert [outcome.unchanged for outcome in first + again] == [False, False, True, True]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files


def test_a_run_that_fails_harms_no_other(signer: Signer) -> None:
    broken = run("broken")
    broken["status"]["steps"] = "no list"
    unfinished = run("unfinished", conditions=[{"type": "Succeeded", "status": "Unknown"}])
    intake = intake_of(run("a"), broken, unfinished, run("b"))
    intake.add("truncated.json", b'{"kind":')
    store = Memory()
    outcomes = attest(intake, signer, store)
    assert [outcome.state for outcome in outcomes] == ["signed", "failed", "failed", "signed", "failed"]
    assert "taskrun/ns/broken: field status.steps: expected a list" in outcomes[1].reason
    assert "not finished: condition Succeeded is 'Unknown'" in outcomes[2].reason
    assert "truncated.json: not JSON" in outcomes[4].reason
    assert {record.origin.name for record in store.records} == {"a", "b"}


def test_one_store_that_fails_fails_the_run_and_never_the_other_store(signer: Signer) -> None:
    failing = Memory(Failure("memory:", "file", "", "disk on fire", transient=True))
    failing.url = "failing:"
    good = Memory()
    outcome = attest(intake_of(run()), signer, failing, good)[0]
    assert outcome.state == "failed"
    assert "provenance in memory:: disk on fire (and 1 more)" in outcome.reason
    assert len(good.records) == 2
    assert [entry.state for entry in outcome.entries] == ["failed", "stored"] * 2


def test_a_receipt_counts_only_after_the_store_flushed(signer: Signer) -> None:
    outcomes = attest(intake_of(run("a"), run("b")), signer, Memory(flush_error="index cannot be written"))
    assert [outcome.state for outcome in outcomes] == ["failed", "failed"]
    assert all(entry.state == "failed" for outcome in outcomes for entry in outcome.entries)
    assert "index cannot be written" in outcomes[0].reason


def test_a_run_that_the_configuration_leaves_out_is_skipped_with_a_reason(signer: Signer) -> None:
    config = {"artifacts.taskrun.storage": "", "artifacts.oci.storage": ""}
    outcome = attest(intake_of(run(results=IMAGE)), signer, Memory(), config=config)[0]
    assert (outcome.state, outcome.reason) == ("skipped", "the configuration leaves nothing to attest")


def test_a_run_without_an_image_has_nowhere_to_go_in_registries(signer: Signer) -> None:
    outcome = attest(intake_of(run()), signer, open_store("oci:"))[0]
    assert outcome.state == "skipped"
    assert outcome.entries


def test_a_signer_that_is_down_fails_the_run(signer: Signer) -> None:
    class Down(Signer):
        keyid = signer.keyid
        public_pem = signer.public_pem

        def sign(self, data: bytes) -> bytes:
            raise SignerUnavailable("the key service does not answer")

    store = Memory()
    outcome = attest(intake_of(run()), Down(), store)[0]
    assert (outcome.state, outcome.reason) == ("failed", "taskrun/ns/r: the key service does not answer")
    assert not store.records


def test_what_breaks_the_formatter_fails_one_run_alone(
    signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(frozen: Any, *rest: Any) -> Any:
        if frozen.name == "poison":
            raise ZeroDivisionError("boom")
        return build_payloads(frozen, *rest)

    monkeypatch.setattr("chains.attest.flow.build_payloads", explode)
    outcomes = attest(intake_of(run("poison"), run("good")), signer, Memory())
    assert [outcome.state for outcome in outcomes] == ["failed", "signed"]
    assert "unexpected ZeroDivisionError: boom" in outcomes[0].reason


def test_annotations_of_an_earlier_signing_are_not_believed(signer: Signer) -> None:
    marked = run()
    marked["metadata"]["annotations"] = {"chains.tekton.dev/signed": "true"}
    store = Memory()
    assert attest(intake_of(marked), signer, store)[0].state == "signed"
    assert len(store.records) == 2


def test_more_subjects_than_verifiers_take_fail_the_run(signer: Signer) -> None:
    images = ",".join(f"registry.example.com/app-{number}@sha256:{HEX}" for number in range(1025))
    store = Memory()
    outcome = attest(intake_of(run(results=[{"name": "IMAGES", "value": images}])), signer, store)[0]
    assert outcome.state == "failed"
    assert "provenance would have 1025 subjects and verifiers take at most 1024" in outcome.reason
    assert not store.records


def test_a_store_that_cannot_close_hides_no_outcome(signer: Signer) -> None:
    class Broken(Memory):
        async def close(self) -> None:
            raise StoreUnavailable("still cannot write")

    assert [each.state for each in attest(intake_of(run()), signer, Broken(), Memory())] == ["signed"]


def test_payloads_go_to_the_stores_that_the_configuration_names(signer: Signer) -> None:
    stores = Stores({"oci": [Memory()]})
    assert len(stores.chosen(["oci"])) == 1
    with pytest.raises(ConfigError, match="no store is open for gcs"):
        stores.chosen(["oci", "gcs"])


@pytest.fixture
def team_keys(tmp_path: Path) -> dict[str, Path]:
    paths = {name: tmp_path / f"{name}.key" for name in ("own", "a", "b")}
    for path in paths.values():
        write_key_pair(path, generate_key())
    return paths


def with_extra(team_keys: dict[str, Path], *rules: Json, storage: str = "oci") -> dict[str, str]:
    listed = [{"name": name, "reference": str(team_keys[name])} | rule for name, rule in rules]
    stored = {f"artifacts.{kind}.storage": storage for kind in ("taskrun", "pipelinerun", "oci")}
    return CONFIG | stored | {"signers.extra": json.dumps(listed)}


def attest_by_keys(team_keys: dict[str, Path], config: dict[str, str], raw: Json, *stores: Store) -> Outcome:
    async def work() -> Any:
        parsed = parse_config(config)
        sealers = open_sealers(parsed, lambda: open_keyfile(str(team_keys["own"])))
        opened = Stores({Stores.EVERYTHING: stores})
        try:
            return (await attest_all(intake_of(raw), Flow(parsed, sealers, opened)))[0]
        finally:
            await opened.close()

    found: Outcome = asyncio.run(work())
    return found


def keyids(records: list[Record]) -> set[str]:
    return {Bundle.from_bytes(record.bundle).key_hint or "" for record in records}


@pytest.mark.parametrize(
    ("rules", "signed_by"),
    [
        ([("a", {"namespaces": ["ns"]})], ["own", "a"]),
        ([("a", {"namespaces": ["n*"], "instead": True})], ["a"]),
        ([("a", {"namespaces": ["other"], "instead": True})], ["own"]),
        ([("a", {"labels": "team=a"}), ("b", {"labels": "team=b"})], ["own", "a"]),
        ([("a", {"labels": "team=a", "namespaces": ["other"]})], ["own"]),
        ([("a", {"namespaces": ["ns"], "instead": True}), ("b", {"namespaces": ["ns"]})], ["a", "b"]),
    ],
)
def test_each_chosen_signer_signs_every_payload(
    team_keys: dict[str, Path], rules: list[Any], signed_by: list[str]
) -> None:
    store, raw = Memory(), run(results=IMAGE)
    raw["metadata"]["labels"] = {"team": "a"}
    outcome = attest_by_keys(team_keys, with_extra(team_keys, *rules), raw, store)
    assert outcome.state == "signed"
    assert keyids(store.records) == {open_keyfile(str(team_keys[name])).keyid for name in signed_by}
    assert len(store.records) == len(outcome.entries) == 3 * len(signed_by)
    assert {entry.signer or "own" for entry in outcome.entries} == set(signed_by)


@pytest.mark.parametrize("url", ["file:{}", "oci-layout:{}"])
def test_several_signers_twice_change_nothing(team_keys: dict[str, Path], tmp_path: Path, url: str) -> None:
    where = url.format(tmp_path / "evidence")
    config = with_extra(team_keys, ("a", {"namespaces": ["ns"]}), ("b", {"namespaces": ["ns"]}))
    first = attest_by_keys(team_keys, config, run(results=IMAGE), open_store(where))
    files = {path: path.read_bytes() for path in (tmp_path / "evidence").rglob("*") if path.is_file()}
    again = attest_by_keys(team_keys, config, run(results=IMAGE), open_store(where))
    assert (first.state, first.unchanged, again.state, again.unchanged) == ("signed", False, "signed", True)
    assert {path: path.read_bytes() for path in (tmp_path / "evidence").rglob("*") if path.is_file()} == files

    async def look() -> Findings:
        store = open_store(where)
        found = await store.find(f"sha256:{HEX}", "registry.example.com/team/app")
        await store.close()
        return found

    found = [one for one in asyncio.run(look()).evidence if one.format == "bundle-v0.3"]
    assert len({one.digest for one in found}) == 3 * 3


def test_signed_needs_the_receipts_of_every_signer(team_keys: dict[str, Path]) -> None:
    class OnlyOne(Memory):
        async def put(self, record: Record) -> Stored:
            if keyids([record]) != {open_keyfile(str(team_keys["own"])).keyid}:
                return Stored(failures=(Failure(self.url, "file", "", "no room"),))
            return await super().put(record)

    config = with_extra(team_keys, ("a", {"namespaces": ["ns"]}))
    outcome = attest_by_keys(team_keys, config, run(), OnlyOne())
    assert (outcome.state, outcome.reason) == (
        "failed",
        "provenance in memory: by a: no room (and 1 more)",
    )


def test_annotations_hold_the_first_signer_s_signature_alone(team_keys: dict[str, Path]) -> None:
    config = parse_config(with_extra(team_keys, ("a", {"namespaces": ["ns"]}), storage="tekton,oci"))
    sealers = open_sealers(config, lambda: open_keyfile(str(team_keys["own"])))
    annotations, store = Memory(), Memory()

    async def work(stores: Stores) -> Outcome:
        return (await attest_all(intake_of(run()), Flow(config, sealers, stores)))[0]

    outcome = asyncio.run(work(Stores({"tekton": [annotations], "oci": [store]})))
    assert outcome.state == "signed"
    assert keyids(annotations.records) == {open_keyfile(str(team_keys["own"])).keyid}
    assert len(keyids(store.records)) == 2

    alone = parse_config(with_extra(team_keys, ("a", {"namespaces": ["ns"]}), storage="tekton"))
    with pytest.raises(ConfigError, match=r"signers\.extra a needs another store"):
        check_extra_signers(alone)


def test_two_signers_with_one_key_are_refused(team_keys: dict[str, Path]) -> None:
    team_keys["b"] = team_keys["own"]
    config = parse_config(with_extra(team_keys, ("b", {"namespaces": ["ns"]})))
    with pytest.raises(ConfigError, match=r"signers\.extra: b: its key is that of x509"):
        open_sealers(config, lambda: open_keyfile(str(team_keys["own"])))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{}", "expected a list of signers"),
        ("[1]", "signer 1: expected an object"),
        ('[{"name": "A"}]', "signer 1: name must be lowercase"),
        ('[{"name": "a"}]', "signer a: reference is missing"),
        ('[{"name": "a", "reference": "/k"}]', "signer a: say for which runs"),
        ('[{"name": "a", "reference": "/k", "namespace": ["x"]}]', "unknown field 'namespace'"),
        ('[{"name": "a", "reference": "/k", "namespaces": "x"}]', "namespaces must be a list"),
        ('[{"name": "a", "reference": "/k", "labels": "a b"}]', "signer a: labels: 'a b' is no requirement"),
        ('[{"name": "a", "name": "b"}]', "comes twice"),
        ("- {name: a, reference: /k, labels: t}\n- {name: a, reference: /l, labels: t}", "two signers are"),
    ],
)
def test_a_wrong_list_of_signers_says_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"signers.extra": text})
    assert why in str(caught.value)
    assert [one.key for one in lint_config({"signers.extra": text}) if one.severity == "error"] == [
        "signers.extra"
    ]
