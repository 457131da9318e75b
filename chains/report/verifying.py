"""A report verified: its signature, and that every file of it is the one that was signed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from chains.documents.load import read_bytes
from chains.report.folder import digest_of
from chains.report.names import REPORT, SUMS
from chains.report.statement import PREDICATE
from chains.verify.criteria import Criteria
from chains.verify.reasons import Reason, Result
from chains.verify.verdict import Check, Verdict, Verification
from chains.verify.verifier import Verifier

_BUNDLE = re.compile(r"report(\.\d+)?\.bundle\.json", re.ASCII)
_LARGEST = 4 * 1024 * 1024
_LARGEST_REPORT = 512 * 1024 * 1024
_CHECK = "files"
_OF_NOBODY = frozenset((
    Reason.UNREADABLE, Reason.NOT_AN_ATTESTATION, Reason.DIGEST_MISMATCH, Reason.SIGNATURE_INVALID,
    Reason.PAYLOAD_TYPE_MISMATCH, Reason.STATEMENT_INVALID, Reason.SUBJECT_MISMATCH,
    Reason.PREDICATE_TYPE_MISMATCH, Reason.MATERIAL_INVALID, Reason.INTERNAL_ERROR,
))  # fmt: skip
"""Why a bundle beside a report is no signature over it, whoever made it."""


def about_reports(criteria: Criteria) -> Criteria:
    """Return the criteria, with the predicate type of reports if they ask for none."""
    return criteria if criteria.predicate_types else replace(criteria, predicate_types=(PREDICATE,))


async def verify_report(word: str, verifier: Verifier[Verification]) -> Verification:
    """Verify a report, named by its folder or document: each bundle beside it, else what the stores have.

    Every file of the folder must be one that was signed. A bundle of a signer who is not asked about may lie
    there, but nothing that is no signature over the report. Raises
    :class:`InputError` for what cannot be read.
    """
    folder, report, bundles = _read(word)
    found = [verifier.judge_bundle(data, ref=name, blob=report) for name, data in bundles]
    if not found:
        digest = hashlib.sha256(report).hexdigest()
        found.append(await verifier.digest(f"sha256:{digest}", ref=str(folder / REPORT)))
    best = next((one for one in found if one.verdict is Verdict.VERIFIED), found[0])
    if best.verdict is not Verdict.VERIFIED:
        return best
    statement = best.require().statement
    assert statement is not None  # noqa: S101 - a verified attestation has one
    signed = {one.name: (one.digest or {}).get("sha256", "") for one in statement.subjects}
    strays = [f"{Path(one.target.ref).name} {told}" for one in found if (told := _stray(one))]
    return _with_files(best, folder, signed, strays)


def _stray(found: Verification) -> str:
    """Return why a bundle is no signature over the report, empty if it may be one."""
    told = {one.reason for one in found.checks} | {one.reason for one in found.attestations}
    reasons = {reason for reason in told if reason is not None and reason in _OF_NOBODY}
    if found.verdict is Verdict.VERIFIED or (found.attestations and not reasons):
        return ""
    return f"is no signature over this report ({next(iter(sorted(reasons)), Reason.NOT_AN_ATTESTATION)})"


def _read(word: str) -> tuple[Path, bytes, list[tuple[str, bytes]]]:
    """Return the folder of a report, its document, and the bundles in it with their paths."""
    path = Path(word)
    folder = path if path.is_dir() else path.parent
    bundles = sorted(one for one in folder.iterdir() if _BUNDLE.fullmatch(one.name))
    found = [(str(one), read_bytes(one, _LARGEST)) for one in bundles]
    return folder, read_bytes(folder / REPORT, _LARGEST_REPORT), found


def _with_files(
    found: Verification, folder: Path, signed: dict[str, str], strays: Iterable[str]
) -> Verification:
    """Return a verification with a check of every file of the folder. ``strays`` were found before."""
    problems = [*_changed(folder, signed), *_unsigned(folder, signed), *strays]
    expected = f"the {len(signed)} files that were signed, and no others"
    if not problems:
        check = Check(_CHECK, Result.PASS, expected, f"{len(signed)} files in {folder}")
        return replace(found, checks=(*found.checks, check))
    check = Check(_CHECK, Result.FAIL, expected, "; ".join(problems), Reason.SUBJECT_MISMATCH)
    return replace(
        found,
        verdict=Verdict.FAILED,
        summary=f"the report is signed, but its files are others: {'; '.join(problems)}",
        checks=(*found.checks, check),
        attestations=tuple(
            replace(one, used=False, reason=Reason.SUBJECT_MISMATCH, detail="its files are others")
            for one in found.attestations
        ),
    )


def _changed(folder: Path, signed: dict[str, str]) -> Iterator[str]:
    for name, digest in signed.items():
        path = folder / name
        if Path(name).name != name or not path.is_file() or path.is_symlink():
            yield f"{name} is missing"
        elif digest_of(path) != digest:
            yield f"{name} is not the file that was signed"


def _unsigned(folder: Path, signed: dict[str, str]) -> Iterator[str]:
    """Yield the files that nobody signed. The list of checksums is followed in place of a signature."""
    for path in sorted(folder.iterdir()):
        if path.name == SUMS:
            yield from _wrong_sums(path, signed)
        elif path.name not in signed and not _BUNDLE.fullmatch(path.name):
            yield f"{path.name} was not signed"


def _wrong_sums(path: Path, signed: dict[str, str]) -> Iterator[str]:
    """Yield what is wrong with a list of checksums: it has every signed file, and no other folder's."""
    if not path.is_file():
        yield f"{SUMS} is no file"
        return
    left = set(signed)
    there = {one.name for one in path.parent.iterdir()}
    for line in read_bytes(path, _LARGEST).decode(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        other = path.parent / name
        if name not in there or not other.is_file() or digest_of(other) != digest:
            yield f"{SUMS} has another checksum of {name}"
        left.discard(name)
    for name in sorted(left):
        yield f"{SUMS} has no checksum of {name}"
