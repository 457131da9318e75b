"""The policy document: one table of its names, from which the reader, lint and the JSON Schema come."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Final

from chains.policy.document.shapes import (
    Choice,
    Fields,
    Flag,
    Free,
    ListOf,
    MapOf,
    Moment,
    Named,
    Shape,
    Span,
    Text,
    TextOr,
    Whole,
)

API_VERSION = "provenance.chains/v1"
KIND = "Policy"
SCHEMA_URI = "https://provenance.chains/policy/v1"
LARGEST = 4 * 1024 * 1024
"""Bytes of one policy file."""


class Mode(StrEnum):
    """What a failed verdict leads to: ``enforce`` denies, ``warn`` says so, ``audit`` only records it."""

    ENFORCE = "enforce"
    WARN = "warn"
    AUDIT = "audit"


class Consequence(StrEnum):
    """What follows where nothing can be judged."""

    DENY = "deny"
    WARN = "warn"


class Operator(StrEnum):
    """How a label expression compares, as Kubernetes' label selectors do."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class HermeticWanted(StrEnum):
    """The level that an execution report must prove."""

    ENFORCED = "enforced"


class OutcomeWanted(StrEnum):
    """How a run ended, as execution reports say it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed-out"


_NAME = Text(
    "a name of letters, digits, '.', '_' and '-'", r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?"
)
_URI = Text("a URI with its scheme", r"[A-Za-z][A-Za-z0-9+.-]*:[^\s]+", 2048)
_LINE = Text("a text of one line", r"[^\r\n]+", 2048)
_PATTERN = Text("a pattern of images", r"[^\s]+", 1024)
_LABELS = MapOf(Text("a label's value"))

_NAMESPACES = Fields(
    {
        "names": Named(ListOf(_LINE, 1), "names of namespaces; * stands for any characters"),
        "matchLabels": Named(_LABELS, "labels that the namespace must have"),
        "matchExpressions": Named(
            ListOf(
                Fields(
                    {
                        "key": Named(_LINE, "the label's key", required=True),
                        "operator": Named(Choice(Operator), "how it is compared", required=True),
                        "values": Named(ListOf(_LINE, 1), "values for In and NotIn"),
                    }
                )
            ),
            "conditions on labels, as in Kubernetes' label selectors",
        ),
    }
)
_KEY = Fields(
    {
        "pem": Named(Text("a public key or certificate in PEM"), "the public key itself"),
        "ref": Named(
            _LINE, "a file beside the policy, a key set, a key service's key or k8s://NAMESPACE/NAME"
        ),
        "from": Named(Moment(), "signatures before this time do not count"),
        "until": Named(Moment(), "signatures after this time do not count"),
    },
    one_of=("pem", "ref"),
)
_IDENTITY = Fields(
    {
        "san": Named(_LINE, "exactly this subject alternative name"),
        "sanRegexp": Named(_LINE, "a regular expression that matches the whole name"),
        "issuer": Named(_LINE, "exactly this OIDC issuer"),
        "issuerRegexp": Named(_LINE, "a regular expression that matches the whole issuer"),
    }
)
_SIGNER: dict[str, Named] = {
    "keys": Named(ListOf(_KEY, 1), "public keys with the times in which they sign"),
    "identity": Named(_IDENTITY, "a certificate's identity together with its issuer"),
}
_TRUST = Fields(
    {
        "name": Named(_NAME, "how answers call this entry", required=True),
        "signer": Named(Fields(_SIGNER), "who signs for this builder", required=True),
        "builderId": Named(_URI, "the builder's id, exactly", required=True),
        "maxLevel": Named(Whole(1, 3), "the highest SLSA build level of this builder", required=True),
    }
)
_SHA256 = Text("sha256: and 64 hex digits", r"sha256:[0-9a-f]{64}")
_ACCEPTED = Fields(
    {
        "name": Named(_NAME, "how answers call this entry", required=True),
        "signer": Named(Fields(_SIGNER), "who signs for this verifier", required=True),
        "verifierId": Named(_URI, "the verifier's id, exactly", required=True),
        "policy": Named(
            Fields(
                {
                    "uri": Named(_URI, "the URI of the policy that was verified, exactly", required=True),
                    "digest": Named(_SHA256, "the SHA-256 of that policy's file"),
                }
            ),
            "the policy whose summaries count",
            required=True,
        ),
        "maxLevel": Named(Whole(1, 3), "the highest SLSA build level that counts", required=True),
        "maxAge": Named(Span(), "the longest time since the verification, by a verified time"),
        "verifiedLevels": Named(ListOf(_LINE, 1), "levels and properties that the summary must state"),
    }
)
_SIGNERS = Fields(
    {
        "predicateType": Named(_URI, "the predicate type, exactly", required=True),
        **_SIGNER,
    }
)
_SOURCE = TextOr(
    _LINE,
    Fields(
        {
            "uri": Named(_LINE, "the repository, as git+https://HOST/PATH", required=True),
            "refs": Named(ListOf(_LINE, 1), "patterns of refs, such as refs/tags/*"),
        }
    ),
    "uri",
)
_REQUIRE = Fields(
    {
        "predicates": Named(ListOf(_URI, 1), "predicate types of which verified statements must exist"),
        "level": Named(Whole(1, 3), "the least SLSA build level"),
        "buildTypes": Named(ListOf(_URI, 1), "build types, exactly"),
        "sources": Named(ListOf(_SOURCE, 1), "repositories; every git source of the build must be listed"),
        "externalParameters": Named(
            MapOf(Free()), "names and values of external parameters; a name that is not listed fails"
        ),
        "hermetic": Named(Choice(HermeticWanted), "the level that the run's execution report must prove"),
        "outcome": Named(Choice(OutcomeWanted), "how the run must have ended"),
        "namespaces": Named(ListOf(_LINE, 1), "namespaces of the build's run; * stands for any characters"),
        "maxAge": Named(Span(), "the longest time since the signature, by a verified time"),
        "log": Named(Flag(), "a verified transparency log entry"),
        "timestamp": Named(Flag(), "a verified RFC 3161 timestamp"),
        "stepImages": Named(
            Fields(
                {
                    "pinned": Named(Flag(), "every step and sidecar names its image by digest"),
                    "repositories": Named(ListOf(_PATTERN, 1), "repositories that step images come from"),
                }
            ),
            "the images that the build's steps ran",
        ),
        "tasks": Named(
            Fields(
                {
                    "resolvers": Named(ListOf(_LINE, 1), "resolvers that bring tasks and pipelines"),
                    "pinned": Named(Flag(), "each has a digest or a commit in the provenance"),
                }
            ),
            "where the run's tasks and pipeline come from",
        ),
        "rejectedHints": Named(Flag(), "false: no result looked like an artifact and was rejected"),
        "everyStore": Named(Flag(), "the provenance lies in every store that is asked"),
    }
)
_RULE = Fields(
    {
        "name": Named(_NAME, "how answers and exemptions call the rule", required=True),
        "cel": Named(Text("a CEL expression", most=100_000), "true where the rule is met", required=True),
        "message": Named(_LINE, "what is wrong where it is not met", required=True),
        "guidance": Named(_LINE, "what to do then"),
    }
)
_EXEMPTION = Fields(
    {
        "image": Named(_PATTERN, "the images that are exempt", required=True),
        "rules": Named(ListOf(_NAME, 1), "the requirements and rules that do not count", required=True),
        "until": Named(Moment(), "when it ends", required=True),
        "reason": Named(_LINE, "why", required=True),
        "reference": Named(_LINE, "where it was approved, such as a ticket", required=True),
    }
)
_REVOCATIONS = Fields(
    {
        "list": Named(_LINE, "a signed revocation list beside the policy", required=True),
        "keys": Named(ListOf(_KEY, 1), "the keys that may sign it", required=True),
        "minVersion": Named(Whole(1, (1 << 53) - 1), "the least version of the list"),
    }
)
_SPEC = Fields(
    {
        "match": Named(
            Fields(
                {
                    "images": Named(ListOf(_PATTERN, 1), "patterns of repositories", required=True),
                    "namespaces": Named(_NAMESPACES, "namespaces in which the images run"),
                }
            ),
            "the images that the policy is for",
            required=True,
        ),
        "mode": Named(Choice(Mode), "what a failed verdict leads to; enforce is the default"),
        "missing": Named(Choice(Consequence), "what follows without any evidence; deny is the default"),
        "unavailable": Named(Choice(Consequence), "what follows where a store is away; deny is the default"),
        "cacheSeconds": Named(Whole(0, 86_400), "how long a verdict may be reused; 300 is the default"),
        "trustedRoot": Named(_LINE, "a trusted root beside the policy, for certificates, logs, timestamps"),
        "trust": Named(ListOf(_TRUST, 1), "who may build: signer, builder and highest level"),
        "accept": Named(
            Fields(
                {
                    "vsa": Named(
                        ListOf(_ACCEPTED, 1),
                        "verifiers whose SLSA Verification Summaries count",
                        required=True,
                    )
                }
            ),
            "evidence that counts in place of provenance",
        ),
        "signers": Named(ListOf(_SIGNERS), "who signs other predicate types; else those of trust"),
        "revocations": Named(_REVOCATIONS, "what no longer counts"),
        "require": Named(_REQUIRE, "what the evidence must show"),
        "rules": Named(ListOf(_RULE), "further conditions in CEL"),
        "exemptions": Named(ListOf(_EXEMPTION), "what does not count for which image, and until when"),
    },
    any_of=("trust", "accept"),
)


def _const(value: str) -> Shape:
    return Text(value, re.escape(value))


DOCUMENT: Final = Fields(
    {
        "apiVersion": Named(_const(API_VERSION), f"always {API_VERSION}", required=True),
        "kind": Named(_const(KIND), f"always {KIND}", required=True),
        "metadata": Named(
            Fields(
                {
                    "name": Named(_NAME, "the policy's name", required=True),
                    "annotations": Named(MapOf(Text("a text")), "notes for people; nothing reads them"),
                }
            ),
            "the policy's name",
            required=True,
        ),
        "spec": Named(_SPEC, "what the policy is for and what it demands", required=True),
    }
)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a policy document, as ``docs/policy.schema.json`` has it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_URI,
        "title": "Policy of provenance-chains",
        **DOCUMENT.schema(),
    }
