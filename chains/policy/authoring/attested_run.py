"""A run of a test case, attested in memory by the flow, as the controller would attest it.

The key is made for the test. It stands for the signer of a trust entry, or for a stranger. So an author tests
the rules of a policy without any store or key. No registry, log, timestamp authority or key service is asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from chains.assembly.workspace import Settings, open_key
from chains.attest.batch import attest_all
from chains.attest.flow import Flow
from chains.attest.outcome import SIGNED
from chains.attest.stores import Stores
from chains.config.parse import Config
from chains.errors import InputError, UsageError
from chains.policy.opened import OpenedPolicy, OpenedSigner
from chains.tekton.run_files import read_inputs
from signers.base import Signer
from signers.keys.keyfile import KeyFileSigner
from signers.keys.public_key import PublicKey
from storage.base import Store
from storage.record import BUNDLE_FORMAT, Evidence, Findings, Receipt, Record, Stored

URL = "run:"
"""Stands for the run in the answer's list of stores."""


@dataclass(frozen=True, slots=True)
class RunWanted:
    """The run of a case: its file, and who signs it.

    That is the signer of the trust entry ``signed_as`` for the entry's builder, or the key in the file
    ``key``, or a stranger.
    """

    file: Path
    signed_as: str = ""
    key: str = ""


class MemoryStore(Store):
    """Holds the bundles of one case for as long as it is judged."""

    def __init__(self) -> None:
        self.url = URL
        self._held: dict[str, list[Evidence]] = {}

    async def put(self, record: Record) -> Stored:
        """Keep the bundle of a record for each of its subjects."""
        digest = f"sha256:{hashlib.sha256(record.bundle).hexdigest()}"
        location = f"{URL}{record.origin.kind}/{record.origin.namespace}/{record.origin.name}"
        found = Evidence(
            "run",
            location,
            digest,
            BUNDLE_FORMAT,
            record.bundle,
            origin=record.origin,
            created=record.created,
        )
        for subject in record.subjects:
            for algorithm, value in subject.digest.items():
                self._held.setdefault(f"{algorithm}:{value}", []).append(found)
        return Stored((Receipt(URL, "file", "", location, digest),))

    async def find(self, digest: str, reference: str = "") -> Findings:
        """Return the bundles about a subject."""
        del reference
        return Findings(tuple(self._held.get(digest, ())))


async def attest_run(wanted: RunWanted, signer: Signer, config: Config) -> Store:
    """Attest the runs of a file with one key, and return a store that holds the evidence.

    Raises :class:`InputError` for a file without runs, and for a run that cannot be attested.
    """
    intake = read_inputs([str(wanted.file)])
    if intake.problems:
        raise InputError(intake.problems[0][1])
    if not intake.runs:
        raise InputError(f"{wanted.file}: holds no TaskRun and no PipelineRun")
    held = MemoryStore()
    async with Flow(_offline(config), signer, Stores({Stores.EVERYTHING: [held]})) as flow:
        for outcome in await attest_all(intake, flow):
            if outcome.state != SIGNED:
                raise InputError(f"{wanted.file}: {outcome.run}: {outcome.state}: {outcome.reason}")
    return held


def _offline(config: Config) -> Config:
    """Return a configuration that makes the same statements and asks no service."""
    return replace(
        config,
        transparency=replace(config.transparency, enabled=False, manual=False),
        storage=replace(config.storage, oci=replace(config.storage.oci, attach_to_platforms=False)),
    )


async def with_run(
    wanted: RunWanted, policies: Sequence[OpenedPolicy], settings: Settings
) -> tuple[Sequence[OpenedPolicy], Store]:
    """Return the policies that judge a run of a case, and the store with its evidence.

    Raises :class:`UsageError` for an unknown trust entry or a key that cannot be opened, and as
    :func:`attest_run`.
    """
    if wanted.key:
        return policies, await attest_run(wanted, open_key(wanted.key, settings.config), settings.config)
    signer = KeyFileSigner(ec.generate_private_key(ec.SECP256R1()), "the key of a test case")
    config = settings.config
    if wanted.signed_as:
        policies = _trusting(policies, wanted.signed_as, PublicKey.from_pem(signer.public_pem))
        if not settings.given:
            # an entry is a pair of signer and builder
            config = replace(config, builder_id=_builder_of(policies, wanted.signed_as))
    return policies, await attest_run(wanted, signer, config)


def _builder_of(policies: Sequence[OpenedPolicy], name: str) -> str:
    return next(
        entry.builder_id for opened in policies for entry in opened.policy.trust if entry.name == name
    )


def _trusting(policies: Sequence[OpenedPolicy], name: str, key: PublicKey) -> list[OpenedPolicy]:
    """Return policies in which a key counts wherever the signer of the trust entry ``name`` does."""
    names = {entry.name for opened in policies for entry in opened.policy.trust}
    if name not in names:
        raise UsageError(f"signedAs: no trust entry {name!r}: known are {', '.join(sorted(names)) or 'none'}")
    return [_with_key(opened, name, key) for opened in policies]


def _with_key(opened: OpenedPolicy, name: str, key: PublicKey) -> OpenedPolicy:
    entries = zip(opened.policy.trust, opened.trust, strict=True)
    meant = [signer for entry, signer in entries if entry.name == name]
    made: dict[int, OpenedSigner] = {}
    for signer in meant:
        criteria = replace(signer.criteria, keys=(*signer.criteria.keys, key))
        made.setdefault(id(signer), replace(signer, criteria=criteria))
    return replace(
        opened,
        trust=tuple(made.get(id(signer), signer) for signer in opened.trust),
        by_type={kind: made.get(id(signer), signer) for kind, signer in opened.by_type.items()},
        trust_digests=(*opened.trust_digests, key.keyid),
    )
