"""Test cases of policies: an image, its evidence, and the answer that is expected.

::

    apiVersion: provenance.chains/v1
    kind: PolicyCase
    metadata: {name: unsigned image is denied}
    spec:
      image: registry.example.com/shop/storefront@sha256:…
      stores: ["oci-layout:evidence"]            # a folder is beside the file
      now: 2026-11-01T00:00:00Z                  # else the time of the test
      namespace: {name: shop, labels: {env: prod}}
      expect: {verdict: NOT_FOUND, decision: deny, reasons: [no_evidence], policy: production}

The evidence is stored, or that of a run, attested in memory: ``run: FILE``, signed as a trust entry's signer
(``signedAs: ENTRY``), with ``key: FILE``, or by a stranger.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET  # only writes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from chains.assembly.workspace import Settings
from chains.documents.load import read_bytes
from chains.documents.places import load_placed
from chains.errors import ChainsError, InputError, UsageError
from chains.policy.answer import answer
from chains.policy.authoring.attested_run import RunWanted, with_run
from chains.policy.document.format import API_VERSION, LARGEST
from chains.policy.document.load import PolicyError, placed
from chains.policy.document.patterns import read_image
from chains.policy.document.policy import Namespace
from chains.policy.document.problem import Finding, Problem
from chains.policy.document.shapes import WRONG, Choice, Fields, ListOf, MapOf, Moment, Named, Text
from chains.policy.opened import OpenedPolicy
from chains.policy.verdict import Decision, ImageAnswer
from chains.text import plain
from storage.base import Store
from storage.formats.reference import Image

KIND = "PolicyCase"


class Expected(StrEnum):
    """The verdicts that a case can expect; UNMATCHED is that no policy is for the image."""

    VERIFIED = "VERIFIED"
    FAILED = "FAILED"
    NOT_FOUND = "NOT_FOUND"
    INDETERMINATE = "INDETERMINATE"
    UNMATCHED = "UNMATCHED"


_LINE = Text("a text of one line", r"[^\r\n]+", 2048)
_CASE = Fields(
    {
        "apiVersion": Named(_LINE, f"always {API_VERSION}", required=True),
        "kind": Named(_LINE, f"always {KIND}", required=True),
        "metadata": Named(
            Fields({"name": Named(_LINE, "its name", required=True)}), "its name", required=True
        ),
        "spec": Named(
            Fields(
                {
                    "image": Named(_LINE, "an image with its digest", required=True),
                    "stores": Named(ListOf(_LINE), "where the evidence lies"),
                    "run": Named(_LINE, "a file with an exported run, which is attested for the case"),
                    "signedAs": Named(_LINE, "the trust entry whose signer and builder attest the run"),
                    "key": Named(_LINE, "the private key that signs the run"),
                    "now": Named(Moment(), "the time of the decision"),
                    "namespace": Named(
                        Fields(
                            {
                                "name": Named(_LINE, "where the image runs", required=True),
                                "labels": Named(MapOf(Text("a label's value")), "its labels"),
                            }
                        ),
                        "the namespace in which the image runs",
                    ),
                    "expect": Named(
                        Fields(
                            {
                                "verdict": Named(Choice(Expected), "the verdict", required=True),
                                "decision": Named(Choice(Decision), "the decision"),
                                "reasons": Named(ListOf(_LINE), "exactly the reasons of what is not met"),
                                "policy": Named(_LINE, "the policy whose answer counts"),
                            }
                        ),
                        "the answer",
                        required=True,
                    ),
                }
            ),
            "what is judged, and the answer",
            required=True,
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Case:
    """One case as it was read."""

    name: str
    file: str
    image: Image
    stores: tuple[str, ...]
    expected: Mapping[str, Any]
    now: datetime | None = None
    namespace: Namespace | None = None
    run: RunWanted | None = None


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case with what was got; ``differences`` is empty where that is what was expected."""

    case: Case
    answer: ImageAnswer | None
    differences: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the result as printed."""
        return {
            "name": self.case.name,
            "file": self.case.file,
            "passed": not self.differences,
            "differences": list(self.differences),
            "answer": self.answer.strictest.to_json() if self.answer else None,
        }


def read_cases(path: Path) -> list[Case]:
    """Return the cases of a file, or of a folder and the folders below it.

    Raises :class:`InputError` where there are none, and :class:`PolicyError` with all that is wrong.
    """
    files = [path] if path.is_file() else sorted([*path.rglob("*.yaml"), *path.rglob("*.yml")])
    problems: list[Problem] = []
    cases: list[Case] = []
    for file in files:
        for document in load_placed(read_bytes(file, LARGEST), str(file)):
            value = document.value
            if not isinstance(value, Mapping) or value.get("kind") != KIND:
                continue
            findings: list[Finding] = []
            read = _CASE.read(value, (), findings.append)
            if read is not WRONG:
                findings += _contradictions(read["spec"])
                try:
                    cases.append(_case(read, file))
                except UsageError as error:
                    findings.append(Finding(("spec", "image"), "image", str(error)))
            problems += [placed(finding, document, str(file)) for finding in findings]
    if problems:
        raise PolicyError(problems)
    if not cases:
        raise InputError(f"{path}: no cases: expected YAML documents of kind {KIND}")
    return cases


def _contradictions(spec: Mapping[str, Any]) -> list[Finding]:
    found = [
        Finding(("spec", name), "no_run", f"{name} belongs to run: stored evidence is signed already")
        for name in ("signedAs", "key")
        if name in spec and "run" not in spec
    ]
    if "signedAs" in spec and "key" in spec:
        found.append(Finding(("spec", "key"), "two_signers", "give signedAs or key: one key signs a run"))
    return found


def _case(read: Mapping[str, Any], file: Path) -> Case:
    spec = read["spec"]
    image = read_image(spec["image"])
    if not image.digest:
        raise UsageError(f"{spec['image']} has no digest: add @sha256:HEX")
    namespace = spec.get("namespace")
    return Case(
        read["metadata"]["name"],
        str(file),
        image,
        tuple(_beside(url, file.parent) for url in spec.get("stores", ())),
        spec["expect"],
        spec.get("now"),
        None if namespace is None else Namespace(namespace["name"], namespace.get("labels")),
        _run(spec, file.parent),
    )


def _run(spec: Mapping[str, Any], folder: Path) -> RunWanted | None:
    if "run" not in spec:
        return None
    key = spec.get("key", "")
    beside = key if not key or "://" in key else str(folder / key)
    return RunWanted(folder / spec["run"], spec.get("signedAs", ""), beside)


def _beside(url: str, folder: Path) -> str:
    """Return a store's URL; a relative path in it begins at the case's folder."""
    scheme, colon, rest = url.partition(":")
    if scheme in {"oci-layout", "file"} and colon and not rest.startswith("/"):
        return f"{scheme}:{folder / rest}"
    return url


async def run_case(
    case: Case,
    policies: Sequence[OpenedPolicy],
    open_store: Callable[[str], Store],
    now: datetime,
    settings: Settings,
) -> CaseResult:
    """Judge one case. Never raises for a case.

    ``open_store`` opens a store by its URL; it is closed here. ``settings`` are those that a run is attested
    with.
    """
    stores: list[Store] = []
    try:
        stores += [open_store(url) for url in case.stores]
        if case.run is not None:
            policies, attested = await with_run(case.run, policies, settings)
            stores.append(attested)
        found = await answer(
            policies, case.image, stores=stores, now=case.now or now, namespace=case.namespace
        )
    except ChainsError as error:
        return CaseResult(case, None, (str(error),))
    finally:
        for store in stores:
            await store.close()
    return CaseResult(case, found, tuple(_differences(case.expected, found)))


def _differences(expected: Mapping[str, Any], found: ImageAnswer | None) -> list[str]:
    one = found.strictest if found else None
    got: dict[str, Any] = {
        "verdict": Expected.UNMATCHED if one is None else Expected(one.verdict.value),
        "decision": None if one is None else one.decision,
        "reasons": None
        if one is None
        else sorted({check.reason.value for check in one.checks if check.is_wrong and check.reason}),
        "policy": None if one is None else one.policy,
    }
    told = []
    for name, wanted in expected.items():
        comparable = sorted(set(wanted)) if name == "reasons" else wanted
        if comparable != got[name]:
            told.append(f"{name}: expected {_shown(comparable)}, got {_shown(got[name])}")
    return told


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def to_junit(results: Sequence[CaseResult]) -> str:
    """Return results as a JUnit report."""
    failed = sum(bool(result.differences) for result in results)
    suite = ET.Element(
        "testsuite", name="chains policy test", tests=str(len(results)), failures=str(failed), errors="0"
    )
    for result in results:
        case = ET.SubElement(
            suite, "testcase", name=plain(result.case.name), classname=plain(result.case.file)
        )
        if result.differences:
            text = "\n".join(map(plain, result.differences))
            failure = ET.SubElement(case, "failure", message=plain(result.differences[0]))
            failure.text = text
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)


def all_passed(results: Sequence[CaseResult]) -> bool:
    """Whether every case gave what it expects."""
    return not any(result.differences for result in results)
