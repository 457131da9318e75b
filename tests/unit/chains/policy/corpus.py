"""Evidence that means harm, each with the policy that is asked about it: ``python -m …corpus`` prints the answers.

The process limits itself: what takes more memory or more processor time than :data:`MOST_BYTES` and
:data:`MOST_SECONDS` ends it.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from chains.verify.criteria import NameWanted
from signers.formats.bundle import build_bundle
from signers.formats.dsse import Envelope, Signature, pae
from storage.record import IN_TOTO_PAYLOAD_TYPE, Evidence
from tests.faults.verify.forge import IMAGE, evidence, form_b, signer
from tests.unit.chains.policy.made import (
    STOREFRONT,
    document,
    git_input,
    report,
    tekton,
    trust,
    verdict,
    wrong,
)

Json = Any
MOST_BYTES = 1536 * 1024 * 1024
"""Address space of the process; the interpreter with the engine of rules has 400 MiB when it begins."""
MOST_SECONDS = 240
"""Processor time of the process, about ten times what it takes."""
MANY = 100_000
SAME_RUN = {
    "name": "same-run",
    "cel": "provenance.predicate.runDetails.metadata.invocationId == report.runUid",
    "message": "the report is of another run",
}


def _rule(cel: str) -> dict[str, str]:
    return {"name": "own", "cel": cel, "message": "it is not so"}


def _raw(payload: bytes) -> Evidence:
    """Sign any bytes, also those that our own signer refuses."""
    by = signer()
    signature = Signature(by.keyid, by.sign(pae(IN_TOTO_PAYLOAD_TYPE, payload)))
    envelope = Envelope(payload, IN_TOTO_PAYLOAD_TYPE, (signature,))
    return evidence(build_bundle(envelope, by.keyid))


def _foreign(dependencies: list[Json]) -> Evidence:
    """Return the provenance of another builder, whose dependencies all are inputs."""
    return form_b(tekton(build_type="https://build.example.com/v1", dependencies=dependencies))


def _nested(levels: int) -> bytes:
    """Return a statement of so many levels of JSON: itself, its predicate and lists."""
    statement = json.dumps(tekton() | {"predicate": {"deep": "HERE"}})
    lists = levels - 2
    return statement.replace('"HERE"', "[" * lists + "]" * lists).encode()


def _with_number(number: str) -> bytes:
    return json.dumps(tekton(external={"size": "HERE"})).replace('"HERE"', number).encode()


def _images(*names: str) -> list[Json]:
    return [{"uri": f"oci://{name}", "digest": {"sha256": "a" * 64}} for name in names]


def _signed_by_many() -> Evidence:
    """Return an envelope with as many signatures as are read, none by a trusted key."""
    members = json.loads(form_b(tekton(), signer("stranger")).data)["dsseEnvelope"]
    members["signatures"] *= 64
    return evidence(json.dumps(members).encode(), "dsse")


@dataclass(frozen=True, slots=True)
class Case:
    """A policy, the evidence it is asked about, and the verdict with what is not met and why."""

    policy: dict[str, Json]
    held: Callable[[], Sequence[Evidence]]
    verdict: str
    wrong: dict[str, str] = field(default_factory=dict)


CASES: dict[str, Case] = {
    "100,000 dependencies, all allowed": Case(
        document(require={"sources": [STOREFRONT]}),
        lambda: [_foreign([{"uri": STOREFRONT}] * MANY)],
        "VERIFIED",
        {},
    ),
    "100,000 dependencies, one of a stranger": Case(
        document(require={"sources": [STOREFRONT]}),
        lambda: [_foreign([{"uri": STOREFRONT}] * MANY + [{"uri": "git+https://evil.example.com/x"}])],
        "FAILED",
        {"sources": "source_not_allowed"},
    ),
    "100,000 dependencies and a rule": Case(
        document(
            rules=[_rule("provenance.predicate.buildDefinition.resolvedDependencies.all(d, d.uri != '')")]
        ),
        lambda: [_foreign([{"uri": STOREFRONT}] * MANY)],
        "FAILED",
        {"own": "rule_error"},
    ),
    "more values than are read": Case(
        document(),
        lambda: [_raw(json.dumps(tekton(dependencies=[git_input()] * MANY)).encode())],
        "FAILED",
        {"evidence": "statement_invalid"},
    ),
    "20,000 dependencies and a rule": Case(
        document(
            rules=[_rule("provenance.predicate.buildDefinition.resolvedDependencies.all(d, d.uri != '')")]
        ),
        lambda: [form_b(tekton(dependencies=[git_input()] * 20_000))],
        "FAILED",
        {"own": "rule_error"},
    ),
    "100,000 step images": Case(
        document(require={"stepImages": {"repositories": ["*.example.com/**/mirror/**/*-*"]}}),
        lambda: [
            form_b(tekton(dependencies=_images(*(f"r.example.com/a/mirror/b/c-{n}" for n in range(MANY))))),
            form_b(report()),
        ],
        "VERIFIED",
        {},
    ),
    "100,000 attributes of a report": Case(
        document(require={"rejectedHints": False}),
        lambda: [
            form_b(tekton()),
            form_b(report(attributes=[{"attribute": "HINT_REJECTED", "target": {"name": "x"}}] * MANY)),
        ],
        "FAILED",
        {"rejectedHints": "hint_rejected"},
    ),
    "as deep as may be": Case(
        document(signers=[], require={"level": 1}),
        lambda: [_raw(_nested(128)), form_b(tekton(uid="uid-2"))],
        "VERIFIED",
        {},
    ),
    "as deep as may be, with a rule": Case(
        document(rules=[_rule("attestations.all(a, a.runUid != 'none')")]),
        lambda: [_raw(_nested(128)), form_b(tekton(uid="uid-2"))],
        "FAILED",
        {"own": "rule_error"},
    ),
    "one level deeper": Case(
        document(),
        lambda: [_raw(_nested(129))],
        "FAILED",
        {"evidence": "statement_invalid"},
    ),
    "100,000 levels": Case(
        document(),
        lambda: [_raw(_nested(MANY))],
        "FAILED",
        {"evidence": "statement_invalid"},
    ),
    "a number over 2^64 that is not listed": Case(
        document(require={"externalParameters": {"size": 1 << 63}}),
        lambda: [_raw(_with_number(str((1 << 64) + (1 << 63))))],
        "FAILED",
        {"externalParameters": "parameter_not_allowed"},
    ),
    "a number over 2^64 and a rule": Case(
        document(
            rules=[
                _rule(f"provenance.predicate.buildDefinition.externalParameters.size == '{(1 << 64) + 1}'")
            ]
        ),
        lambda: [_raw(_with_number(str((1 << 64) + 1)))],
        "VERIFIED",
        {},
    ),
    "a neighbour of a number over 2^64": Case(
        document(
            rules=[
                _rule(f"provenance.predicate.buildDefinition.externalParameters.size == '{(1 << 64) + 1}'")
            ]
        ),
        lambda: [_raw(_with_number(str(1 << 64)))],
        "FAILED",
        {"own": "rule_failed"},
    ),
    "a number of 4,000 digits": Case(
        document(),
        lambda: [_raw(_with_number("9" * 4000))],
        "FAILED",
        {"evidence": "statement_invalid"},
    ),
    "a number of 100,000 digits": Case(
        document(),
        lambda: [_raw(_with_number("9" * MANY))],
        "FAILED",
        {"evidence": "statement_invalid"},
    ),
    "a number that is none": Case(
        document(),
        lambda: [_raw(_with_number("NaN"))],
        "FAILED",
        {"evidence": "statement_invalid"},
    ),
    "a lone surrogate": Case(
        document(),
        lambda: [_raw(_with_number('"\\ud800"'))],
        "FAILED",
        {"evidence": "statement_invalid"},
    ),
    "a lone surrogate beside good evidence": Case(
        document(rules=[SAME_RUN]),
        lambda: [_raw(_with_number('"\\udfff"')), form_b(tekton()), form_b(report())],
        "VERIFIED",
        {},
    ),
    "a text that explodes in a rule's expression": Case(
        document(
            rules=[_rule("provenance.predicate.buildDefinition.externalParameters.x.matches('^(a+)+$')")]
        ),
        lambda: [form_b(tekton(external={"x": "a" * MANY + "!"}))],
        "FAILED",
        {"own": "rule_failed"},
    ),
    "a name that explodes in a reference's pattern": Case(
        document(require={"sources": [{"uri": STOREFRONT, "refs": ["*a" * 200 + "*b", "**/" * 20 + "x"]}]}),
        lambda: [
            form_b(
                tekton(
                    dependencies=[
                        git_input(f"{STOREFRONT}@{'a' * 1900}"),
                        git_input(f"{STOREFRONT}@{'a/' * 63}a"),
                    ]
                )
            )
        ],
        "FAILED",
        {"sources": "source_not_allowed"},
    ),
    "an image that explodes in a pattern": Case(
        document(images=[f"{IMAGE}", "registry.example.com/**/" + "*a" * 100 + "*"], require={"level": 3}),
        lambda: [form_b(tekton())],
        "FAILED",
        {"level": "level_too_low"},
    ),
    "1,000 runs of one image and a rule over all of them": Case(
        document(
            rules=[
                _rule(
                    "attestations.exists(a, a.runUid == provenance.predicate.runDetails.metadata.invocationId"
                    " && a.signer.keyid == '')"
                )
            ]
        ),
        lambda: [form_b(tekton(uid=f"uid-{number}")) for number in range(1000)],
        "FAILED",
        {"own": "rule_failed"},
    ),
    "1,000 runs of one image with their reports": Case(
        document(require={"hermetic": "enforced"}),
        lambda: [
            one
            for number in range(1000)
            for one in (
                form_b(tekton(uid=f"uid-{number}")),
                form_b(report(uid=f"uid-{number}", level="requested")),
            )
        ],
        "FAILED",
        {"hermetic": "hermetic_not_proven"},
    ),
    "64 signatures of strangers, judged for 16 trust entries": Case(
        document(trust=[trust(f"entry-{number}", f"key-{number % 4}", level=1) for number in range(16)]),
        lambda: [_signed_by_many()],
        "FAILED",
        {"evidence": "key_unknown"},
    ),
}

EXPRESSIONS = ["(a+)+", "(a|a)*b", "(a?){40}a{40}", ".*a.*a.*b", "(?:a|aa)+b", "(.*)(.*)(.*)y"]
"""Expressions that a name of a certificate is compared with, most of which no policy may have."""


def main() -> None:
    """Print one answer for each case, and whether a name fits each expression."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    answers: dict[str, Json] = {}
    for name, case in CASES.items():
        found = verdict(case.policy, *case.held())
        json.dumps(found.to_json())
        answers[name] = {
            "verdict": found.verdict.value,
            "wrong": wrong(found),
            "exitCode": found.exit_code,
        }
    names = ["a" * 2047 + "!", "a" * 2048]
    fits = [[NameWanted(one, is_regexp=True).matches(name) for name in names] for one in EXPRESSIONS]
    json.dump({"answers": answers, "fits": fits}, sys.stdout)


if __name__ == "__main__":
    main()
