"""Compares a run with what was signed about it. Pure, from a frozen run and authentic statements.

A provenance statement is compared in every field with the statement that each compatible format gives for the
run. An execution report must have the digest of the run's snapshot. An equal subject proves nothing about a
run, because a task chooses its subjects itself through its results.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from itertools import islice, product
from typing import Any, TypeVar

import orjson

from chains.statements import slsa_v1
from chains.statements.claims import build_type, builder_id, run_outcome, run_uid
from chains.statements.dependencies import native_artifacts
from chains.statements.formats import Format
from chains.statements.provenance import BUILDERS
from chains.statements.statement import SCAI, SLSA_V02, SLSA_V1, ResourceDescriptor, Statement
from chains.tekton.snapshot import RunSnapshot
from chains.text import excerpt
from chains.verify.reasons import Reason, Result
from chains.verify.runs.exact import exact, to_text
from chains.verify.runs.question import MATCH_CHECK, REPORT_CHECK, SIDECAR_CHECK, UID_CHECK, RunQuestion
from chains.verify.runs.replaced_sidecars import (
    replaced_in,
    replaced_when_signed,
    report_differences,
    settle,
    without_sidecars,
)
from chains.verify.subject import Authentic
from chains.verify.verdict import Check
from signers.formats.dsse import MAX_PAYLOAD_VALUES

_FORMATS = {SLSA_V1: (Format.SLSA_V2ALPHA4, Format.SLSA_V2ALPHA3), SLSA_V02: (Format.IN_TOTO,)}
"""The formats of a predicate type, without those that give the same statement."""
_UNORDERED = {
    "subject",
    "predicate.buildDefinition.resolvedDependencies",
    "predicate.runDetails.byproducts",
    "predicate.materials",
}
"""Lists that Tekton Chains writes in a different order each time."""
_EXTERNAL = "predicate.buildDefinition.externalParameters"
_ENOUGH = 50
_SHOWN = 160
_MISSING = object()
_Value = TypeVar("_Value")

_Asked = tuple[str, str, str, bool]
"""Predicate type, builder, build type, and whether what changes after a run's end is left out."""
Difference = tuple[str, Any, Any]
"""A path, the value that the run gives there and the signed one; ``_MISSING`` where there is none."""


class RunWanted(RunQuestion):
    """Matches the statements that are about one run."""

    def __init__(self, run: RunSnapshot) -> None:
        self.run = run
        self._known: dict[_Asked, tuple[list[tuple[str, Any]], Iterator[tuple[str, Any]]]] = {}
        self._not_compared = replaced_in(run)

    def learn(self, report: Statement) -> bool:
        """Note the sidecars that a valid report records with the replacement; return whether any is new."""
        before = len(self._not_compared)
        self._not_compared |= replaced_when_signed(report, self.run)
        if len(self._not_compared) > before:
            self._known.clear()
            return True
        return False

    @cached_property
    def subjects(self) -> tuple[ResourceDescriptor, ...]:
        """The artifacts of the run in any format, each once."""
        found: dict[bytes, ResourceDescriptor] = {}
        for kind in _FORMATS:
            for _, statement in self._build(self.run, kind, "", slsa_v1.SLSA_BUILD_TYPE):
                for subject in statement.subjects:
                    found.setdefault(orjson.dumps(subject.fields(), option=orjson.OPT_SORT_KEYS), subject)
        return tuple(found.values())

    def is_image(self, sha256: str) -> bool:
        """Whether one of the run's artifacts has this digest."""
        return any((subject.digest or {}).get("sha256") == sha256 for subject in self.subjects)

    def match(self, found: Authentic) -> list[Check]:
        """Return the checks that connect a statement with the run, depending on its predicate type."""
        kind = found.statement.predicate_type
        if kind == SCAI:
            predicate = exact(found.payload, MAX_PAYLOAD_VALUES).get("predicate", {})
            return [self._match_report(replace(found.statement, predicate=predicate))]
        if kind in _FORMATS:
            return self._match_provenance(found)
        actual = f"a statement of type {kind}, which nothing binds to a run"
        return [_fail(MATCH_CHECK, "a provenance statement or an execution report", actual)]

    def _match_report(self, statement: Statement) -> Check:
        """Compare the snapshot's digest with that of the report's outcome, which the signer computed."""
        outcome = run_outcome(statement)
        target = outcome.get("target")
        digests = target.get("digest") if isinstance(target, dict) else None
        signed = digests.get("sha256") if isinstance(digests, dict) else None
        expected = f"snapshot sha256:{self.run.digest}"
        if signed == self.run.digest:
            for path, ours, theirs in report_differences(statement, self.run):
                told = [_show(_MISSING if value is None else value) for value in (ours, theirs)]
                expected = f"{path} = {told[0]}, as the run file gives it"
                return _fail(REPORT_CHECK, expected, f"{path} = {told[1]}, as signed")
            return Check(REPORT_CHECK, Result.PASS, expected, f"snapshot sha256:{signed}")
        uid = run_uid(statement)
        about = "this run" if self.is_uid(uid) else f"run {uid or '(no uid)'}"
        actual = f"snapshot sha256:{signed} of {about}" if signed else "no RUN_OUTCOME with a sha256 digest"
        return _fail(REPORT_CHECK, expected, actual)

    def is_uid(self, uid: str) -> bool:
        """Whether ``uid`` is this run's and not empty."""
        return uid != "" and uid == self.run.uid

    def _match_provenance(self, found: Authentic) -> list[Check]:
        statement = found.statement
        identity = self._match_uid(statement)
        if identity.result is Result.FAIL:
            return [identity]
        if statement.predicate_type == SLSA_V1 and build_type(statement) not in slsa_v1.BUILD_TYPES:
            expected = f"predicate.buildDefinition.buildType = {' or '.join(slsa_v1.BUILD_TYPES)}"
            actual = f"predicate.buildDefinition.buildType = {build_type(statement) or 'nothing'}"
            return [identity, _fail(MATCH_CHECK, expected, actual)]
        return [identity, *self._compare(found)]

    def _sidecars(self) -> Iterator[Check]:
        """Yield a skipped check for each sidecar whose image is not compared, because Tekton replaced it."""
        for label, name in sorted(self._not_compared):
            expected = f"the image that ran in sidecar {name} of {label}"
            actual = "tekton replaced it before this file was written, or before it was signed: not compared"
            yield Check(SIDECAR_CHECK, Result.SKIP, expected, actual, Reason.NOT_COMPARED)

    def _match_uid(self, statement: Statement) -> Check:
        """Compare the run's UID, if the statement has one. SLSA v0.2 has neither UID nor name of a run."""
        uid = run_uid(statement)
        expected = self.run.uid or "no uid"
        if statement.predicate_type == SLSA_V1 and uid != self.run.uid:
            return _fail(UID_CHECK, expected, uid or "no uid")
        if uid:
            return Check(UID_CHECK, Result.PASS, expected, uid)
        actual = "the statement tells no run: name and UID were not compared with it"
        return Check(UID_CHECK, Result.SKIP, expected, actual, Reason.NOT_COMPARED)

    def _compare(self, found: Authentic) -> list[Check]:
        """Compare provenance in every field; if it differs, again without what changes after a run's end."""
        signed = exact(found.payload, MAX_PAYLOAD_VALUES)
        claims = found.statement.predicate_type, builder_id(found.statement), build_type(found.statement)
        name, best = self._nearest(signed, *claims, late=False)
        beside: list[Check] = []
        if best:
            beside = list(self._sidecars())
            name, best = self._nearest(signed, *claims, late=True)
        if not best:
            equal = "equal in every field" + (" that is compared" if beside else "")
            return [*beside, Check(MATCH_CHECK, Result.PASS, f"what {name} gives for this run", equal)]
        path, expected, actual = best[0]
        # a parameter that was signed and that the run does not have
        unknown = path.startswith(_EXTERNAL) and expected is _MISSING
        more = f" (first of {len(best)}{'+' if len(best) == _ENOUGH else ''} differences)" if best[1:] else ""
        failed = Check(
            MATCH_CHECK,
            Result.FAIL,
            f"{path} = {_show(expected)}, as the run file gives it",
            f"{path} = {_show(actual)}, as signed{more}",
            Reason.EXTERNAL_PARAMETER_UNKNOWN if unknown else Reason.RUN_MISMATCH,
        )
        return [*beside, failed]

    def _nearest(
        self, signed: Any, predicate_type: str, builder: str, kind: str, *, late: bool
    ) -> tuple[str, list[Difference]]:
        """Return the format whose statement has the fewest differences from the signed one, and these."""
        nearest, best = "", list[Difference]()
        for name, given in self._candidates((predicate_type, builder, kind, late)):
            compared = settle(given, signed, self.run, self._not_compared) if late else (given, signed)
            differing = list(islice(differences(*compared), _ENOUGH))
            if not differing:
                return name, []
            if not best or len(differing) < len(best):
                nearest, best = name, differing
        return nearest, best

    def _candidates(self, asked: _Asked) -> Iterator[tuple[str, Any]]:
        """Yield (format, statement as JSON) of each format that may have written it, without duplicates.

        Most often the first one has. What was built is kept for the next statement.
        """
        if asked not in self._known:
            self._known[asked] = [], self._built(*asked)
        known, more = self._known[asked]
        yield from known
        while True:
            try:
                one = next(more, None)
            except Exception:
                # a generator that failed has no more: asked again, it must not look as if that were all
                del self._known[asked]
                raise
            if one is None:
                return
            known.append(one)
            yield one

    def _built(self, predicate_type: str, builder: str, kind: str, late: bool) -> Iterator[tuple[str, Any]]:
        """Yield the statements. With ``late`` they are of the run without what cannot be compared."""
        run = without_sidecars(self.run, self._not_compared) if late else self.run
        seen: set[bytes] = set()
        for name, statement in self._build(run, predicate_type, builder, kind):
            data = statement.to_bytes()
            if data not in seen:
                seen.add(data)
                yield name, orjson.loads(data)

    @staticmethod
    def _build(
        run: RunSnapshot, predicate_type: str, builder: str, kind: str
    ) -> Iterator[tuple[str, Statement]]:
        """Yield the statement of every format, with every setting that changes a statement."""
        deeply = (False, True) if run.kind == "PipelineRun" else (False,)
        natively = (False, True) if _has_native(run) else (False,)
        for deep, native in product(deeply, natively):
            options = slsa_v1.Options(builder_id=builder, build_type=kind, deep=deep, native=native)
            suffix = (" with deep inspection" if deep else "") + (" with native artifacts" if native else "")
            for name in _FORMATS[predicate_type]:
                yield name + suffix, BUILDERS[name](run, options)


def _has_native(run: RunSnapshot) -> bool:
    """Whether a setting for Tekton's own artifacts changes the statements of a run."""
    sides = ("inputs", "outputs")
    return any(native_artifacts(one, side) for one in (run, *run.children) for side in sides)


def differences(given: Any, signed: Any, path: str = "") -> Iterator[Difference]:
    """Yield where two JSON values differ, in the order of ``given``. Numbers are compared by value."""
    if isinstance(given, dict) and isinstance(signed, dict):
        for key in [*given, *(key for key in signed if key not in given)]:
            below = f"{path}.{key}" if path else str(key)
            yield from differences(given.get(key, _MISSING), signed.get(key, _MISSING), below)
    elif isinstance(given, list) and isinstance(signed, list):
        ours, theirs = list(enumerate(given)), list(enumerate(signed))
        if path in _UNORDERED:
            ours, theirs = _without_common(ours, theirs)
        for position in range(max(len(ours), len(theirs))):
            index, value = ours[position] if position < len(ours) else (-1, _MISSING)
            other, theirs_value = theirs[position] if position < len(theirs) else (-1, _MISSING)
            yield from differences(value, theirs_value, f"{path}[{max(index, 0) if index >= 0 else other}]")
    elif not _is_equal(given, signed):
        yield path, given, signed


def _without_common(
    ours: list[tuple[int, _Value]], theirs: list[tuple[int, _Value]]
) -> tuple[list[tuple[int, _Value]], list[tuple[int, _Value]]]:
    """Return both lists without the items that both have, each as often as both have it."""
    left = [(index, value, to_text(value, is_sorted=True)) for index, value in theirs]
    counts: dict[bytes, int] = {}
    for _, _, text in left:
        counts[text] = counts.get(text, 0) + 1
    kept = []
    for index, value in ours:
        text = to_text(value, is_sorted=True)
        if counts.get(text):
            counts[text] -= 1
        else:
            kept.append((index, value))
    rest = []
    for index, value, text in reversed(left):
        if counts[text]:
            counts[text] -= 1
            rest.append((index, value))
    return kept, rest[::-1]


def _is_equal(given: Any, signed: Any) -> bool:
    if isinstance(given, bool) or isinstance(signed, bool):
        return given is signed
    return bool(given == signed)


def _show(value: Any) -> str:
    return "nothing" if value is _MISSING else excerpt(to_text(value).decode(), _SHOWN)


def _fail(check: str, expected: str, actual: str) -> Check:
    return Check(check, Result.FAIL, expected, actual, Reason.RUN_MISMATCH)
