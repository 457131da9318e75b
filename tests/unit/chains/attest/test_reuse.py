"""Signers that ask a service and never sign alike: what is stored is taken again, what fails is tried again."""

import asyncio
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from chains.attest.batch import attest_all
from chains.attest.flow import Flow
from chains.attest.stores import Stores
from chains.config.parse import parse_config
from signers.base import Signer
from signers.errors import SignerRejected, SignerUnavailable
from signers.keys.keyfile import generate_key, open_keyfile, write_key_pair
from signers.sealer import Sealer
from storage.base import Store, StoreOptions
from storage.errors import StoreUnavailable
from storage.open import open_store
from storage.record import Failure, Findings, Record, Stored
from tests.unit.chains.attest.test_flow import CONFIG, IMAGE, intake_of, run

Json = Any


class Remote(Signer):
    """Signs as a key service does: elsewhere, and differently each time."""

    remote = True
    deterministic = False

    def __init__(self, folder: Path) -> None:
        if not (folder / "the.key").exists():
            write_key_pair(folder / "the.key", generate_key())
        self._key = open_keyfile(str(folder / "the.key")).randomized()
        self.keyid, self.public_pem = self._key.keyid, self._key.public_pem
        self.signed: list[bytes] = []
        self.threads: set[int] = set()
        self.refuses = b""
        self.error: type[Exception] = SignerUnavailable

    def sign(self, data: bytes) -> bytes:
        self.threads.add(threading.get_ident())
        if self.refuses and self.refuses in data:
            raise self.error("the key service does not answer")
        self.signed.append(data)
        return self._key.sign(data)


class Flaky(Store):
    """A folder in front of which something fails on demand."""

    def __init__(self, folder: Path, *, encoding: str = "both") -> None:
        self.url = f"flaky:{folder}"
        self._store = open_store(f"oci-layout:{folder}", StoreOptions(encoding_format=encoding))
        self.puts_fail = self.finds_fail = False
        self.records: list[Record] = []

    async def put(self, record: Record) -> Stored:
        if self.puts_fail:
            return Stored(failures=(Failure(self.url, "att", "", "down", transient=True),))
        self.records.append(record)
        return await self._store.put(record)

    async def find(self, digest: str, reference: str = "") -> Findings:
        if self.finds_fail:
            raise StoreUnavailable("down")
        return await self._store.find(digest, reference)

    async def flush(self) -> None:
        await self._store.flush()


@pytest.fixture
def signer(tmp_path: Path) -> Remote:
    return Remote(tmp_path)


def attest(signer: Signer | Sealer, *stores: Store, **config: str) -> Any:
    changed = {name.replace("__", "-").replace("_", "."): value for name, value in config.items()}

    async def work() -> Any:
        opened = Stores({Stores.EVERYTHING: stores})
        found = await attest_all(
            intake_of(run(results=IMAGE)), Flow(parse_config(CONFIG | changed), signer, opened)
        )
        await opened.flush()
        return found[0]

    return asyncio.run(work())


def test_another_process_takes_what_is_stored_and_signs_nothing(signer: Remote, tmp_path: Path) -> None:
    store = f"oci-layout:{tmp_path / 'layout'}"
    first = attest(signer, open_store(store))
    assert first.state == "signed"
    # three payloads, and the image's signature in its own form
    assert len(signer.signed) == 4
    again = Remote(tmp_path)
    assert attest(again, open_store(store)).unchanged
    assert again.signed == []


def test_it_is_signed_off_the_event_loop(signer: Remote, tmp_path: Path) -> None:
    attest(signer, Flaky(tmp_path / "layout"))
    assert threading.get_ident() not in signer.threads


def test_a_store_that_was_down_gets_the_very_same_bytes(signer: Remote, tmp_path: Path) -> None:
    good, late = Flaky(tmp_path / "good"), Flaky(tmp_path / "late")
    late.puts_fail = True
    outcome = attest(signer, good, late)
    assert outcome.state == "failed"
    assert all(entry.transient for entry in outcome.entries if entry.state == "failed")
    late.puts_fail = False
    again = Remote(tmp_path)
    assert attest(again, good, late).state == "signed"
    assert again.signed == []
    assert sorted(one.bundle for one in late.records) == sorted(one.bundle for one in good.records[:3])


def test_a_sealer_that_lives_remembers_what_no_store_took(signer: Remote, tmp_path: Path) -> None:
    sealer, store = Sealer(signer), Flaky(tmp_path / "layout")
    store.puts_fail = True
    assert attest(sealer, store).state == "failed"
    store.puts_fail = False
    assert attest(sealer, store).state == "signed"
    assert len(signer.signed) == 4
    sealer.close()


def test_a_store_that_cannot_tell_gets_nothing_and_the_others_do(signer: Remote, tmp_path: Path) -> None:
    good, silent = Flaky(tmp_path / "good"), Flaky(tmp_path / "silent")
    silent.finds_fail = True
    outcome = attest(signer, good, silent)
    assert outcome.state == "failed"
    assert "cannot tell what it has: down" in outcome.reason
    assert (len(good.records), silent.records) == (3, [])
    good.finds_fail = True
    signer.signed.clear()
    assert attest(signer, good, silent).state == "failed"
    # nobody can tell, so nothing is signed either
    assert signer.signed == []


@pytest.mark.parametrize(("error", "transient"), [(SignerUnavailable, True), (SignerRejected, False)])
def test_what_cannot_be_signed_keeps_nothing_else_from_its_stores(
    signer: Remote, tmp_path: Path, error: type[Exception], transient: bool
) -> None:
    signer.refuses, signer.error = b"in-toto.io/attestation/scai", error
    store = Flaky(tmp_path / "layout")
    outcome = attest(signer, store)
    (failed,) = (entry for entry in outcome.entries if entry.state == "failed")
    assert (failed.payload, failed.transient) == ("execution-report", transient)
    assert outcome.state == "failed"
    assert outcome.reason == "execution-report: not signed: the key service does not answer"
    assert {one.predicate_type for one in store.records} == {
        "https://slsa.dev/provenance/v1",
        "https://sigstore.dev/cosign/sign/v1",
    }


def test_another_key_does_not_take_what_the_first_one_signed(signer: Remote, tmp_path: Path) -> None:
    store = f"oci-layout:{tmp_path / 'layout'}"
    attest(signer, open_store(store))
    (tmp_path / "other").mkdir()
    other = Remote(tmp_path / "other")
    assert attest(other, open_store(store)).state == "signed"
    assert len(other.signed) == 4


def test_what_is_stored_and_was_changed_is_not_taken(signer: Remote, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    attest(signer, open_store(f"file:{folder}"))
    for path in folder.glob("*/*.bundle.json"):
        bundle = json.loads(path.read_text())
        bundle["dsseEnvelope"]["signatures"][0]["sig"] = "AAAA"
        path.write_text(json.dumps(bundle))
    for path in folder.glob("*/*.envelope.json"):
        path.write_text("{")
    again = Remote(tmp_path)
    attest(again, open_store(f"file:{folder}"))
    # the image's own form was left as it was
    assert len(again.signed) == 3


def test_a_key_that_signs_alike_is_not_looked_for_and_signs_off_the_event_loop(
    signer: Remote, tmp_path: Path
) -> None:
    signer.deterministic = True
    store = Flaky(tmp_path / "layout")
    store.finds_fail = True
    assert attest(signer, store).state == "signed"
    assert threading.get_ident() not in signer.threads


def test_without_a_permit_nothing_is_sealed_and_nothing_stored(signer: Remote, tmp_path: Path) -> None:
    store = Flaky(tmp_path / "layout")

    def refuse() -> None:
        raise PermissionError("lost")

    async def work() -> None:
        intake = intake_of(run(results=IMAGE))
        (key,) = intake.runs
        stores = Stores({Stores.EVERYTHING: [store]})
        flow = Flow(parse_config(CONFIG), signer, stores)
        with pytest.raises(PermissionError, match="lost"):
            await flow.attest(intake.snapshot(key), before_storing=refuse)

    asyncio.run(work())
    assert (signer.signed, store.records) == ([], [])


def test_a_plain_key_loads_none_of_the_packages_for_logs_and_certificates() -> None:
    code = (
        "import chains.attest.flow, chains.assembly.workspace, sys\n"
        "found = {'requests', 'rfc3161_client', 'sigstore', 'tuf', 'grpc'} & sys.modules.keys()\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
