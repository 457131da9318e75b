"""A note, and what Kubernetes itself can demand without verifying anything: ValidatingAdmissionPolicies.

The API server evaluates CEL over the object, its namespace and parameters. It has no network there and no
function that verifies a signature, so evidence cannot be demanded. Two demands on the names of images can be:
a digest, and a repository that the policy is for.
Source: Kubernetes 1.36, ``admissionregistration.k8s.io/v1``; its own API server decides in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from chains.policy.document.format import Consequence, Mode
from chains.policy.document.patterns import ImagePattern
from chains.policy.document.policy import Policy
from chains.policy.engines import cel
from chains.policy.engines.demands import unexpressed
from chains.policy.engines.generated import Effect, Generated, Limit, metadata
from chains.policy.engines.globs import parts_of
from chains.policy.engines.kyverno import match_conditions, match_constraints
from chains.policy.engines.re2 import quoted
from chains.policy.opened import OpenedPolicy

Json = Mapping[str, Any]
_VERSION = "admissionregistration.k8s.io/v1"
_ACTIONS = {Mode.ENFORCE: "Deny", Mode.WARN: "Warn", Mode.AUDIT: "Audit"}
_HUB = r"(?:index\.)?docker\.io"
_REGISTRY = r"\A(?:localhost|[^/@]*[.:][^/@]*)/"
"""Only such a first part is a registry: ``shop/app`` is a repository of Docker Hub."""
_OFFICIAL = rf"\A{_HUB}/[^/]*\z"
"""Container runtimes read ``library/`` into these names."""
NOTE = (
    Limit(
        Effect.WEAKER,
        "trust",
        "NO SIGNATURE IS VERIFIED. A ValidatingAdmissionPolicy is CEL over the object, its namespace and "
        "parameters: it reaches no registry, and it cannot verify a signature, so it sees no evidence",
    ),
    Limit(
        Effect.WEAKER,
        "trust",
        "a label or annotation that says verified proves nothing: whoever may create the pod may write it",
    ),
    Limit(
        Effect.SETUP,
        "trust",
        "what can be demanded of names alone is below: a digest, and the repositories of the policy. To "
        "verify evidence, use chains admission, or generate for another engine",
    ),
)
_NARROWER = (
    Limit(
        Effect.STRICTER,
        "match.images",
        "every image must have a digest, and be one that this policy is for: leave out the documents named "
        "-from where other policies are for other images",
    ),
    Limit(
        Effect.STRICTER,
        "match.images",
        "an image must be spelled with its registry in lower case, and with library/ if it is official",
    ),
)


def generate(opened: OpenedPolicy, now: datetime) -> Generated:
    """Return two policies on the names of images, their bindings, and the note that they verify nothing."""
    policy = opened.policy
    # nothing is asked for, so nothing can be missing or unavailable, and nobody needs to be exempt
    asked = replace(policy, exemptions=(), missing=Consequence.DENY, unavailable=Consequence.DENY)
    limits = [*NOTE, *unexpressed(asked, (), now), *_NARROWER]
    documents = [
        document
        for suffix, (expression, message) in (("", _pinned()), ("-from", _from(policy)))
        for document in _policy(policy, suffix, expression, message)
    ]
    return Generated(policy, documents, limits)


def _pinned() -> tuple[str, str]:
    return r"image.matches('@sha256:[0-9a-f]{64}\\z')", "must be named by digest, REPOSITORY@sha256:HEX"


def _from(policy: Policy) -> tuple[str, str]:
    """Return the condition that an image is one of the policy's, and what is told if it is not."""
    any_of = "|".join(map(_spelled, policy.images))
    expression = rf"\A(?:{any_of})(?::[\w.-]+)?(?:@sha256:[0-9a-f]{{64}})?\z"
    conditions = (
        f"image.matches({cel.text(_REGISTRY)})",
        f"!image.split('@')[0].matches({cel.text(_OFFICIAL)})",
        f"image.matches({cel.text(expression)})",
    )
    return " &&\n".join(conditions), "must be of a repository that the policy is for"


def _spelled(pattern: ImagePattern) -> str:
    """Return an expression for names of images as they are written in pods, up to their tag or digest."""
    repository, digest = parts_of(pattern)
    head, slash, rest = repository.partition("/")
    parts = [_part(part) for part in rest.split("/")] if slash else []
    registry = _HUB if head == "index.docker.io" else _part(head)
    name = "/".join([registry, *parts])
    return rf"{name}(?::[\w.-]+)?@{quoted(digest)}" if digest else name


def _part(part: str) -> str:
    return "[^@]+" if part == "**" else "[^/@]*".join(map(quoted, part.split("*")))


def _images(name: str) -> str:
    """Return an expression for all images that a pod names: containers of every list, and image volumes."""
    spec = f"{name}.spec"
    lists = [f"{spec}.containers.map(one, one.image)"] + [
        f"(has({spec}.{group}) ? {spec}.{group}.map(one, one.image) : [])"
        for group in ("initContainers", "ephemeralContainers")
    ]
    volumes = (
        f"(has({spec}.volumes) ? {spec}.volumes.filter(one, has(one.image) && has(one.image.reference))"
        ".map(one, one.image.reference) : [])"
    )
    return " +\n".join([*lists, volumes])


def _policy(policy: Policy, suffix: str, condition: str, message: str) -> list[Json]:
    """Return a policy that denies images for which the condition does not hold, and its binding."""
    named = metadata(policy, suffix)
    before = f"request.operation == 'UPDATE' ?\n{_images('oldObject')}\n: []\n"
    wrong = f"variables.images.filter(image, !(image in variables.before) && !(\n{condition}))\n"
    told = f"{cel.text(f'policy {policy.name}: ')} + variables.wrong.join(', ') + {cel.text(f': {message}')}"
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": match_constraints(policy.namespaces),
        **match_conditions(policy.namespaces),
        "variables": [
            {"name": "images", "expression": f"{_images('object')}\n"},
            {"name": "before", "expression": before},
            {"name": "wrong", "expression": wrong},
        ],
        "validations": [
            {
                "expression": "size(variables.wrong) == 0",
                "message": f"an image {message}",
                "messageExpression": told,
                "reason": "Forbidden",
            }
        ],
    }
    binding = {"policyName": named["name"], "validationActions": [_ACTIONS[policy.mode]]}
    return [
        {
            "apiVersion": _VERSION,
            "kind": f"ValidatingAdmissionPolicy{kind}",
            "metadata": named,
            "spec": written,
        }
        for kind, written in (("", spec), ("Binding", binding))
    ]
