"""``verify --policy --attest-vsa``: sign what the policies said, and store it beside the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chains import __version__
from chains.assembly.sealers import open_sealer
from chains.assembly.workspace import Settings, open_key
from chains.cli.arguments import Options
from chains.errors import InputError
from chains.policy.opened import OpenedPolicy
from chains.policy.summary import Verifier, attest_summary, refuse_shared_key, summarise
from chains.policy.verdict import ImageAnswer
from chains.statements.vsa import VSA
from chains.terminal import say
from chains.verify.verdict import Verdict
from storage.base import Store
from storage.formats.names import plain_name


def open_verifier(options: Options, settings: Settings, policies: Sequence[OpenedPolicy]) -> Verifier:
    """Return who signs the summaries. Raises :class:`UsageError` for a key that signs their evidence."""
    key = open_key(options.vsa_key, settings.config)
    verifier = Verifier(options.verifier_id, __version__, open_sealer(settings.config, key))
    refuse_shared_key(verifier, policies)
    return verifier


async def attest_answers(
    answers: Sequence[ImageAnswer],
    verifier: Verifier,
    stores: Sequence[Store],
    options: Options,
) -> None:
    """Sign and store a summary of each answer; of one that did not pass with ``--attest-failures`` alone.

    Where nothing was decided, no summary says that it failed: it may pass as soon as its stores answer.
    """
    for answer in answers:
        verdict = answer.strictest
        is_undecided = verdict.verdict is Verdict.INDETERMINATE
        if is_undecided or (verdict.verdict is not Verdict.VERIFIED and not options.attest_failures):
            say(f"{verdict.image}: {verdict.verdict.value}, no summary was signed")
            continue
        summary = summarise(verdict, verifier, options.policy_uri)
        for signed in await attest_summary(summary, verdict.policy, verifier, stores):
            for receipt in signed.receipts:
                say(f"stored {signed.predicate_type} in {receipt.location}")
            if options.vsa_folder:
                kind = "vsa" if signed.predicate_type == VSA else "svr"
                name = f"{plain_name(summary.name)}-{summary.digest.partition(':')[2][:16]}.{kind}.dsse.json"
                _write(Path(options.vsa_folder) / name, signed.envelope)


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    say(f"wrote {path}")
