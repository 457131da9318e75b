"""What an earlier try stored is taken again in whatever form it lies, and nothing else is taken for it."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from chains.attest.earlier import Attested
from chains.attest.payloads import Payload
from chains.attest.reuse import attest_payloads
from chains.attest.sign import sign
from chains.attest.stores import Entry, Stores
from chains.statements import simple_signing
from chains.statements.statement import ResourceDescriptor
from chains.tekton.image_name import ImageDigest
from chains.tekton.snapshot import RunSnapshot
from signers.formats.dsse import sign_payload
from signers.formats.layer_annotations import MATERIAL_ANNOTATION
from signers.sealer import Sealed, Sealer
from storage.base import FORM_A, FORM_B, Store
from storage.errors import StoreError, StoreUnavailable
from storage.record import Evidence, Findings, Origin, Receipt, Record, Stored
from tests.unit.chains.attest.test_flow import HEX, intake_of, run
from tests.unit.chains.attest.test_reuse import Remote

Json = Any
IN_TOTO = "application/vnd.in-toto+json"
APP = ResourceDescriptor(name="registry.example.com/app", digest={"sha256": HEX})
PLAIN = Payload("provenance", "https://slsa.dev/provenance/v1", b'{"a": 1}', (APP,), ("oci",))
IMAGE = replace(PLAIN, kind="image-signature", image=ImageDigest(APP.name, HEX))
SIMPLE = simple_signing.build(ImageDigest(APP.name, HEX))


@cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="resume-"))


@pytest.fixture
def signer() -> Remote:
    return Remote(folder())


def snapshot() -> RunSnapshot:
    intake = intake_of(run())
    return intake.snapshot(next(iter(intake.runs)))


class Shelf(Store):
    """Has what it was given, and keeps what it is asked and told."""

    def __init__(self, *has: Evidence, url: str = "a:", of_run: Sequence[Evidence] = ()) -> None:
        self.url, self.has, self.of_run = url, has, of_run
        self.broken: Exception | None = None
        self.forms = {FORM_A, FORM_B}
        self.asked: list[tuple[str, str]] = []
        self.records: list[Record] = []

    def wants(self, form: str) -> bool:
        return form in self.forms

    def within(self, origin: Origin) -> Store:
        assert origin == Origin("taskrun", "ns", "r", "uid-r")
        return self

    async def put(self, record: Record) -> Stored:
        self.records.append(record)
        return Stored((Receipt(self.url, "file", "", "here", "sha256:1"),))

    async def find(self, digest: str, reference: str = "") -> Findings:
        self.asked.append((digest, reference))
        if self.broken:
            raise self.broken
        return Findings(tuple(self.has))

    async def find_run(self, uid: str) -> Findings:
        self.asked.append((uid, ""))
        return Findings(tuple(self.of_run))


def attested(
    signer: Remote, *stores: Store, payload: Payload = PLAIN, earlier: Sequence[Attested] = (), sealer: Sealer | None = None
) -> Attested:  # fmt: skip
    opened = Stores({Stores.EVERYTHING: stores})
    work = attest_payloads(
        snapshot(), [(payload, sealer or Sealer(signer))], opened, earlier=earlier, log=False
    )
    (found,) = asyncio.run(work)
    return found


def evidence(form: str, data: bytes, signature: bytes = b"", **annotations: str) -> Evidence:
    return Evidence("oci", "there", "sha256:1", form, data, signature, annotations)


def bundle(by: Remote, payload: Payload = PLAIN) -> Evidence:
    return evidence("bundle-v0.3", sign(snapshot(), payload, by).bundle)


def enveloped(by: Remote, statement: bytes = PLAIN.statement, kind: str = IN_TOTO) -> Evidence:
    return evidence("dsse", sign_payload(by, statement, kind).to_bytes())


def simply(by: Remote, data: bytes = SIMPLE) -> Evidence:
    return evidence("simplesigning", data, by.sign(data))


JUNK = [
    evidence("bundle-v0.3", b"{"),
    evidence("dsse", b"{"),
    evidence("dsse", b""),
    evidence("simplesigning", b"{}"),
    evidence("unknown", PLAIN.statement),
    evidence("simplesigning", SIMPLE, b"forged"),
]


@pytest.mark.parametrize("form", [bundle, enveloped])
@pytest.mark.parametrize("by_run", [True, False])
def test_a_stored_signature_is_taken_again_among_whatever_else_lies_there(
    signer: Remote, form: Any, by_run: bool
) -> None:
    there = [*JUNK, form(signer), *JUNK]
    shelf = Shelf(of_run=there) if by_run else Shelf(*there)
    signer.signed.clear()
    found = attested(signer, shelf)
    assert signer.signed == []
    assert [one.state for one in found.entries] == ["stored"]
    (record,) = shelf.records
    assert json.loads(record.envelope) == json.loads(record.bundle)["dsseEnvelope"]
    lies = json.loads(there[len(JUNK)].data)
    assert json.loads(record.envelope) == lies.get("dsseEnvelope", lies)


def test_what_is_not_this_payload_of_this_signer_is_not_taken_for_it(signer: Remote, tmp_path: Path) -> None:
    stranger = Remote(tmp_path)
    others = [
        bundle(stranger), enveloped(stranger), enveloped(signer, b'{"a": 2}'), enveloped(signer, kind="text/plain"),
        replace(bundle(signer), format="bundle-v0.2"), replace(enveloped(signer), format="other"),
        replace(enveloped(signer), annotations={MATERIAL_ANNOTATION: "{"}),
    ]  # fmt: skip
    signer.signed.clear()
    attested(signer, Shelf(*others))
    assert len(signer.signed) == 1


def test_each_of_an_images_two_signatures_is_taken_where_it_lies(signer: Remote, tmp_path: Path) -> None:
    odd = replace(simply(signer), annotations={MATERIAL_ANNOTATION: "{"})
    stranger = [simply(Remote(tmp_path)), odd, simply(signer, b"{}"), *JUNK]
    for there, made in (
        ([bundle(signer, IMAGE), simply(signer)], 0),
        ([enveloped(signer), simply(signer)], 0),
        ([simply(signer)], 1),
        ([bundle(signer, IMAGE)], 1),
        ([], 2),
    ):
        signer.signed.clear()
        shelf = Shelf(*stranger, *there)
        assert [one.state for one in attested(signer, shelf, payload=IMAGE).entries] == ["stored"]
        assert len(signer.signed) == made
        (record,) = shelf.records
        assert (record.payload, record.envelope) == (SIMPLE, b"")
        if there and there[-1].format == "simplesigning":
            assert record.signature == there[-1].signature


@pytest.mark.parametrize(
    ("forms", "made", "has_bundle", "has_signature"),
    [
        ({FORM_A, FORM_B}, 2, True, True),
        ({FORM_A}, 1, False, True),
        ({FORM_B}, 1, True, False),
    ],
)
def test_no_form_of_an_image_is_signed_that_no_store_keeps(
    signer: Remote, forms: set[str], made: int, has_bundle: bool, has_signature: bool
) -> None:
    shelf = Shelf()
    shelf.forms = forms
    signer.signed.clear()
    attested(signer, shelf, payload=IMAGE)
    assert len(signer.signed) == made
    (record,) = shelf.records
    assert (bool(record.bundle), bool(record.signature)) == (has_bundle, has_signature)
    other = Shelf(url="b:")
    signer.signed.clear()
    attested(signer, shelf, other, payload=IMAGE)
    assert len(signer.signed) == 2, "one that keeps it is enough"


def test_a_store_is_asked_for_a_few_subjects_with_a_digest_and_for_the_run(signer: Remote) -> None:
    subjects = (
        ResourceDescriptor(name="bare"),
        ResourceDescriptor(name="git", digest={"sha1": "1"}),
        *(
            ResourceDescriptor(name=f"oci://r.example/{number}", digest={"sha256": str(number)})
            for number in range(6)
        ),
    )
    shelf = Shelf()
    attested(signer, shelf, payload=replace(PLAIN, subjects=subjects))
    assert sorted(shelf.asked) == [
        *((f"sha256:{number}", f"r.example/{number}") for number in range(4)),
        ("uid-r", ""),
    ]


def test_a_store_that_serves_no_such_subject_is_no_store_that_is_silent(signer: Remote) -> None:
    refusing = Shelf(of_run=[bundle(signer)])
    refusing.broken = StoreError("no image")
    signer.signed.clear()
    assert [one.state for one in attested(signer, refusing).entries] == ["stored"]
    assert signer.signed == []
    refusing.broken = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        attested(signer, refusing)


def test_a_store_that_is_silent_is_told_with_its_host_and_gets_nothing(signer: Remote) -> None:
    silent, good = Shelf(url="s:"), Shelf(url="g:")
    silent.broken = StoreUnavailable("down", host="https://s:443")
    told = Entry(
        "provenance",
        "s:",
        "",
        "",
        "failed",
        "cannot tell what it has: down",
        transient=True,
        host="https://s:443",
    )
    found = attested(signer, silent, good)
    assert found.entries == (Entry("provenance", "g:", "file", "", "stored", "here", "sha256:1"), told)
    assert silent.records == []
    signer.signed.clear()
    assert attested(signer, silent) == Attested((told,))
    assert signer.signed == []
    # what it gave a receipt for in an earlier try stays told
    received = Entry("provenance", "s:", "file", "", "stored", "there", "sha256:2")
    lost = Entry("provenance", "s:", "att", "", "failed", "down", transient=True)
    again = attested(signer, silent, good, earlier=[Attested((received, lost))])
    assert again.entries == (
        Entry("provenance", "g:", "file", "", "stored", "here", "sha256:1"),
        told,
        received,
    )


def test_what_an_earlier_try_ended_is_left_alone(signer: Remote) -> None:
    a, b = Shelf(url="a:"), Shelf(url="b:")
    done = tuple(Entry("provenance", url, "file", "", "stored", "x", "sha256:1") for url in ("a:", "b:"))
    signer.signed.clear()
    known = Attested(done, ("log/1",))
    assert attested(signer, a, b, earlier=[known]) is known
    assert (a.asked, b.asked, signer.signed) == ([], [], [])
    half = attested(signer, a, b, earlier=[Attested(done[:1])])
    assert [(one.store, one.detail) for one in half.entries] == [("a:", "x"), ("b:", "here")]
    assert (a.records, len(b.records)) == ([], 1)
    # one that is done with it does not have to answer
    a.broken = StoreUnavailable("down")
    half = attested(signer, a, b, earlier=[Attested(done[:1])])
    assert [(one.store, one.state) for one in half.entries] == [("a:", "stored"), ("b:", "stored")]


class Logging(Sealer):
    """Tells of log entries for what it signs; of either form as it is asked."""

    async def seal(self, payload: bytes, payload_type: str, *, log: bool = False) -> Sealed:
        return replace(await super().seal(payload, payload_type, log=log), entry_url="log/bundle")

    async def sign(self, data: bytes, *, log: bool = False) -> Sealed:
        return replace(await super().sign(data, log=log), entry_url="log/raw")


def test_the_log_entries_of_both_forms_are_told(signer: Remote) -> None:
    assert attested(signer, Shelf(), sealer=Logging(signer)).logged == ("log/bundle",)
    assert attested(signer, Shelf(), payload=IMAGE, sealer=Logging(signer)).logged == (
        "log/bundle",
        "log/raw",
    )
    shelf = Shelf()
    shelf.forms = {FORM_A}
    assert attested(signer, shelf, payload=IMAGE, sealer=Logging(signer)).logged == ("log/raw",)
    assert attested(signer, Shelf()).logged == ()


def test_each_payload_ends_for_itself_and_in_its_order(signer: Remote) -> None:
    signer.refuses = b"report"
    payloads = [PLAIN, replace(PLAIN, kind="execution-report", statement=b'{"report": 1}'), IMAGE]
    shelf, sealer, asked = Shelf(), Sealer(signer), list[int]()
    work = attest_payloads(
        snapshot(), [(one, sealer) for one in payloads], Stores({Stores.EVERYTHING: [shelf]}),
        lambda: asked.append(1), log=False,
    )  # fmt: skip
    found = asyncio.run(work)
    assert [[(one.payload, one.state) for one in group.entries] for group in found] == [
        [("provenance", "stored")],
        [("execution-report", "failed")],
        [("image-signature", "stored")],
    ]
    assert found[1].entries[0].detail == "not signed: the key service does not answer"
    assert len(asked) == 5, "before each is sealed, and before each is stored"


def test_what_keeps_one_payload_back_goes_through_when_the_others_have_ended(signer: Remote) -> None:
    class Slow(Shelf):
        async def put(self, record: Record) -> Stored:
            for _ in range(20):
                await asyncio.sleep(0)
            return await super().put(record)

    shelf, sealer, left = Slow(), Sealer(signer), [None, PermissionError("lost")]

    def may_go_on() -> None:
        if error := left.pop() if left else None:
            raise error

    second = replace(PLAIN, kind="execution-report", statement=b'{"report": 1}')
    work = attest_payloads(
        snapshot(), [(PLAIN, sealer), (second, sealer)], Stores({Stores.EVERYTHING: [shelf]}), may_go_on, log=False
    )  # fmt: skip
    with pytest.raises(PermissionError, match="lost"):
        asyncio.run(work)
    assert len(shelf.records) == 1


def test_a_payload_goes_to_the_stores_that_it_names(signer: Remote) -> None:
    named, other = Shelf(url="a:"), Shelf(url="b:")
    stores = Stores({"oci": [named], "gcs": [other]})
    for repeats in (False, True):
        signer.deterministic = repeats
        work = attest_payloads(snapshot(), [(PLAIN, Sealer(signer))], stores, log=False)
        (found,) = asyncio.run(work)
        assert [(one.store, one.state) for one in found.entries] == [("a:", "stored")]
    assert (len(named.records), other.records, other.asked) == (2, [], [])
    assert len(named.asked) == 2, "of a key that repeats nothing is looked for"


class Watched(Sealer):
    """Remembers what it is told about the log, by what it is asked."""

    def __init__(self, signer: Remote) -> None:
        super().__init__(signer)
        self.told: set[tuple[str, bool]] = set()

    def repeats(self, *, log: bool) -> bool:
        self.told.add(("repeats", log))
        return False

    async def seal(self, payload: bytes, payload_type: str, *, log: bool = False) -> Sealed:
        self.told.add(("seal", log))
        return await super().seal(payload, payload_type)

    async def sign(self, data: bytes, *, log: bool = False) -> Sealed:
        self.told.add(("sign", log))
        return await super().sign(data)

    async def reopen_bundle(self, *parts: Any, log: bool = False) -> None:
        self.told.add(("reopen_bundle", log))

    async def reopen(self, *parts: Any, log: bool = False, envelope: Any = None) -> None:
        self.told.add(("reopen envelope" if envelope else "reopen signature", log))


@pytest.mark.parametrize("log", [True, False])
def test_whether_it_is_for_the_log_is_told_with_every_question(signer: Remote, log: bool) -> None:
    shelf, sealer = Shelf(bundle(signer, IMAGE), enveloped(signer), simply(signer)), Watched(signer)
    asyncio.run(attest_payloads(snapshot(), [(IMAGE, sealer)], Stores({Stores.EVERYTHING: [shelf]}), log=log))
    asked = ("repeats", "seal", "sign", "reopen_bundle", "reopen envelope", "reopen signature")
    assert sealer.told == {(name, log) for name in asked}
