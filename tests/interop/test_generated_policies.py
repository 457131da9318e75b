"""One policy, written for other engines: each engine's own program decides about the same images as we do.

The table of agreement in ``docs/policy.md`` is compared with what was decided here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chains.admission.answers import Answers
from chains.admission.policies import PolicySet
from chains.admission.provider import provide
from chains.cli.main import run as chains
from chains.policy.document.load import load_policies
from chains.policy.engines.gatekeeper import ProviderAt
from chains.policy.engines.gatekeeper import generate as for_gatekeeper
from chains.policy.engines.generated import to_yaml
from chains.policy.engines.targets import TARGETS
from chains.policy.opened import open_policy
from chains.statements.statement import SCAI
from storage.open import open_store
from tests.faults.verify.forge import NOW
from tests.interop.engine_cases import (
    CASES,
    HOSTILE_CASES,
    PIN_CASES,
    REPORT_CASES,
    TASK_CASES,
    Case,
    Images,
    make_images,
)
from tests.interop.test_gatekeeper import patient, pod, review
from tests.testbed.admission import Gatekeeper, Kyverno, PolicyTester
from tests.testbed.certificates import make_certificates
from tests.testbed.commands import CommandError
from tests.testbed.images import Registry
from tests.testbed.loopback import Answer, Request, serving

pytestmark = pytest.mark.server
Json = Any
DOCS = Path(__file__).parents[2] / "docs" / "policy.md"
PARAMETERS = {"runSpec": "any", "buildConfigSource": "any"}


@dataclass(frozen=True)
class Asked:
    """What an engine is asked: a policy of ours in a file, and the images of all cases by name."""

    policy: Path
    images: Mapping[str, str]
    request: pytest.FixtureRequest | None

    def generated(self, target: str) -> str:
        """Return the policy as it is written for a target."""
        (policy,) = load_policies(self.policy)
        return to_yaml([TARGETS[target](open_policy(policy), NOW)], target)


def _ours(asked: Asked) -> dict[str, bool]:
    def code(image: str) -> int:
        return chains(
            ["verify", "--policy", str(asked.policy), image, "--allow-unmatched", "--store", "oci:"]
        )

    return {name: code(image) == 0 for name, image in asked.images.items()}


def _policy_controller(asked: Asked) -> dict[str, bool]:
    tester: PolicyTester = asked.request.getfixturevalue("policy_tester")
    written = asked.generated("policy-controller")
    return {name: tester.admit(written, image).admitted for name, image in asked.images.items()}


def _kyverno(target: str) -> Callable[[Asked], dict[str, bool]]:
    def decide(asked: Asked) -> dict[str, bool]:
        engine: Kyverno = asked.request.getfixturevalue("kyverno")
        decisions = engine.admit_all(asked.generated(target), asked.images)
        return {name: decision.admitted for name, decision in decisions.items()}

    return decide


def _gatekeeper(asked: Asked) -> dict[str, bool]:
    """Ask Gatekeeper's framework, whose provider is ours and reads the registry."""
    engine: Gatekeeper = asked.request.getfixturevalue("gatekeeper")
    (policy,) = load_policies(asked.policy)
    opened = open_policy(policy)

    async def provided(request: Request) -> bytes:
        store = open_store("oci:")
        try:
            deadline = asyncio.get_running_loop().time() + 60
            inforce, ask = PolicySet.of([opened]), Answers([store]).ask
            return await provide(request.body, inforce, ask, name=opened.policy.name, deadline=deadline)
        finally:
            await store.close()

    certificates = make_certificates(asked.policy.parent)
    with serving(lambda request: Answer(200, asyncio.run(provided(request))), certificates) as url:
        provider = ProviderAt(f"{url}/verify", certificates.ca_file.read_bytes())
        written = patient(to_yaml([for_gatekeeper(opened, NOW, provider)], "gatekeeper"))
        told = engine.review(written, [review(pod(image)) for image in asked.images.values()])
    return {name: one.allowed for name, one in zip(asked.images, told, strict=True)}


COLUMNS: dict[str, Callable[[Asked], Mapping[str, bool]]] = {
    "chains verify": _ours,
    "policy-controller": _policy_controller,
    "kyverno": _kyverno("kyverno"),
    "kyverno-clusterpolicy": _kyverno("kyverno-clusterpolicy"),
    "gatekeeper": _gatekeeper,
}
"""The columns of the table: whoever adds a target adds how its engine is asked."""


@pytest.fixture(scope="module")
def images(referrers_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Images:
    return make_images(
        referrers_registry,
        tmp_path_factory.mktemp("cases"),
        [*CASES, *HOSTILE_CASES, *PIN_CASES, *REPORT_CASES, *TASK_CASES],
    )


def ask(
    policy: Json, images: Images, cases: list[Case], folder: Path, request: pytest.FixtureRequest
) -> Asked:
    path = folder / "policy.json"
    path.write_text(json.dumps(policy))
    return Asked(path, {case.name: images.references[case.name] for case in cases}, request)


def test_the_table_of_agreement_is_what_the_engines_decide(
    images: Images, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    asked = ask(images.policy(externalParameters=PARAMETERS), images, CASES, tmp_path, request)
    decided = {column: decide(asked) for column, decide in COLUMNS.items()}
    wrong = [case.name for case in CASES if decided["chains verify"][case.name] is not case.admitted]
    assert wrong == []

    # the rule above all: no engine admits what we deny
    for column, decisions in decided.items():
        weaker = [case.name for case in CASES if decisions[case.name] and not case.admitted]
        assert weaker == [], column

    words = {True: "admitted", False: "denied"}
    rows = [[case.name, *(words[decided[column][case.name]] for column in COLUMNS)] for case in CASES]
    lines = [f"| {' | '.join(row)} |" for row in (["case", *COLUMNS], ["---"] * (len(COLUMNS) + 1), *rows)]
    table = "\n".join(lines)
    assert table in DOCS.read_text(encoding="utf-8"), table


def test_hostile_values_are_compared_as_they_are_by_every_engine(
    images: Images, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    asked = ask(images.hostile_policy(), images, HOSTILE_CASES, tmp_path, request)
    expected = {case.name: case.admitted for case in HOSTILE_CASES}
    without = expected | {"a mapping in the list of values": False}  # this engine is told as stricter
    decided = {column: decide(asked) for column, decide in COLUMNS.items()}
    assert decided == dict.fromkeys(COLUMNS, expected) | {"kyverno-clusterpolicy": without}


CLOSED = "127.0.0.1:1"
"""A registry that nobody is behind: an image that a policy is for cannot be verified."""
PATTERNS = [
    f"{CLOSED}/{rest}" for rest in ("one/*", "deep/**", "exact/app", "*/last", "digest/a@sha256:" + "0" * 64)
]
PATHS = {
    "one/a": True,
    "one/a/b": False,
    "one": False,
    "deep/a": True,
    "deep/a/b/c": True,
    "deeper/a": False,
    "exact/app": True,
    "exact/app2": False,
    "exact/app/more": False,
    "x/last": True,
    "x/y/last": False,
    "digest/a": True,
    "digest/b": False,
}


def test_a_policy_is_for_the_same_images_and_namespaces_in_every_engine(
    tmp_path: Path, policy_tester: PolicyTester, kyverno: Kyverno, images: Images
) -> None:
    policy = images.policy()
    policy["spec"]["match"] = {"images": PATTERNS, "namespaces": {"names": ["prod-*", "other"]}}
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(policy))
    asked = Asked(path, {one: f"{CLOSED}/{one}@sha256:{'0' * 64}" for one in PATHS}, None)
    for target in ("kyverno", "kyverno-clusterpolicy"):
        written = asked.generated(target)
        found = kyverno.admit_all(written, asked.images, namespace="prod-1")
        assert {one: not decision.admitted for one, decision in found.items()} == PATHS, target
        with pytest.raises(CommandError, match="decided nothing"):
            kyverno.admit_all(written, asked.images, namespace="dev")
    written = asked.generated("policy-controller")
    reasons = {one: policy_tester.admit(written, image).reason for one, image in asked.images.items()}
    assert {one: "uncovered by policy" not in reason for one, reason in reasons.items()} == PATHS


@pytest.mark.parametrize(("predicate", "is_there"), [(SCAI, True), ("https://example.com/none", False)])
def test_a_statement_that_must_exist_may_be_signed_by_any_signer_of_its_type(
    predicate: str, is_there: bool, images: Images, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    policy = images.policy(predicates=[predicate])
    asked = ask(policy, images, CASES[:3], tmp_path, request)
    expected = {case.name: is_there and case.admitted for case in CASES[:3]}
    assert {column: decide(asked) for column, decide in COLUMNS.items()} == dict.fromkeys(COLUMNS, expected)


REPORT = {"hermetic": "enforced", "outcome": "succeeded", "namespaces": ["x", "c*"], "rejectedHints": False}


@pytest.mark.parametrize(
    ("cases", "require"), [(REPORT_CASES, REPORT), (PIN_CASES, {"stepImages": {"pinned": True}})]
)
def test_kyverno_compares_the_report_of_the_same_run_by_the_same_signer(
    cases: list[Case], require: Json, images: Images, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    asked = ask(images.policy(**require), images, cases, tmp_path, request)
    expected = {case.name: case.admitted for case in cases}
    assert {column: COLUMNS[column](asked) for column in ("chains verify", "kyverno")} == {
        "chains verify": expected,
        "kyverno": expected,
    }


def test_every_engine_compares_where_tasks_come_from(
    images: Images, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    policy = images.policy(tasks={"resolvers": ["git", "bundles"], "pinned": True})
    asked = ask(policy, images, TASK_CASES, tmp_path, request)
    expected = {case.name: case.admitted for case in TASK_CASES}
    assert {column: decide(asked) for column, decide in COLUMNS.items()} == dict.fromkeys(COLUMNS, expected)


@pytest.mark.parametrize(("mode", "admitted"), [("enforce", False), ("warn", True), ("audit", True)])
def test_policy_controller_only_warns_where_the_policy_does(
    mode: str, admitted: bool, images: Images, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    policy = images.policy()
    policy["spec"]["mode"] = mode
    asked = ask(policy, images, CASES[:2], tmp_path, request)
    assert _policy_controller(asked) == {"right": True, "no evidence": admitted}
