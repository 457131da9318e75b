"""Which policies are for an image and what they demand, in sentences; no evidence is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chains.policy.accepted import unstated_by_summaries
from chains.policy.document.policy import (
    AcceptedVerifier,
    Namespace,
    Policy,
    SignerWanted,
    StepImagesWanted,
)
from chains.text import count
from storage.formats.reference import Image


def explain(policies: Sequence[Policy], image: Image, namespace: Namespace | None = None) -> list[str]:
    """Return lines that say for each policy whether it is for the image, why, and what it demands then."""
    lines: list[str] = []
    for policy in policies:
        lines += _about(policy, image, namespace)
    fitting = sum(policy.matches(image, namespace) for policy in policies)
    told = f"{count(fitting, 'policy', 'policies')} of {len(policies)} match {image.repository}"
    return [told, *lines]


def _about(policy: Policy, image: Image, namespace: Namespace | None) -> Iterator[str]:
    pattern = next((one.text for one in policy.images if one.matches(image)), None)
    if pattern is None:
        wanted = ", ".join(one.text for one in policy.images)
        yield f"Policy {policy.name} is not for this image: none of its patterns matches ({wanted})."
        return
    if namespace is not None and not policy.matches(image, namespace):
        yield f"Policy {policy.name} is not for namespace {namespace.name}, although {pattern} matches."
        return
    yield f"Policy {policy.name} is for this image: it matches {pattern}. Its mode is {policy.mode.value}."
    if policy.namespaces is not None and namespace is None:
        yield "  It is for some namespaces alone; no namespace was given, so it counts."
    for entry in policy.trust:
        yield (
            f"  Trusted as {entry.name}: builder {entry.builder_id} up to level {entry.max_level}, "
            f"signed by {_signer(entry.signer)}."
        )
    for accepted in policy.accept:
        yield from (f"  {sentence}" for sentence in _accepted(accepted))
    if policy.revocations is not None:
        least = f", from version {policy.revocations.minimum} on" if policy.revocations.minimum else ""
        yield f"  What the revocation list {policy.revocations.path} names does not count{least}."
    for demand in _demands(policy):
        yield f"  {demand}"
    if policy.accept and (unstated := unstated_by_summaries(policy)):
        yield f"  No verification summary meets: {', '.join(unstated)}. Only provenance can show it."
    for rule in policy.rules:
        yield f"  Rule {rule.name}: {' '.join(rule.cel.split())}"
    for exemption in policy.exemptions:
        if exemption.image.matches(image):
            yield (
                f"  Exempt from {', '.join(exemption.rules)} until "
                f"{exemption.until:%Y-%m-%dT%H:%M:%SZ}: {exemption.reason} ({exemption.reference})."
            )


def _accepted(entry: AcceptedVerifier) -> Iterator[str]:
    version = f"with {entry.policy_digest}" if entry.policy_digest else "in any version"
    yield (
        f"Accepted as {entry.name} in place of provenance: a verification summary that says PASSED, by "
        f"verifier {entry.verifier_id}, signed by {_signer(entry.signer)}, up to level {entry.max_level}."
    )
    age = f"It was verified within {entry.max_age}" if entry.max_age else "It may be of any age"
    yield f"  It was made by policy {entry.policy_uri} {version}. {age}."
    if entry.verified_levels:
        yield f"  It states {' and '.join(entry.verified_levels)}."


def _signer(signer: SignerWanted) -> str:
    keys = [key.ref or "a key in the policy" for key in signer.keys]
    return " or ".join(keys + ([str(signer.identity)] if signer.identity else []))


def _demands(policy: Policy) -> Iterator[str]:
    """Give one sentence for each requirement that the policy makes."""
    require = policy.require
    images, tasks, external = require.step_images, require.tasks, require.external_parameters
    sentences: Sequence[tuple[object, str]] = (
        (require.predicates, f"A verified statement of each of: {', '.join(require.predicates)}."),
        (require.level, f"SLSA build level {require.level} or more."),
        (require.build_types, f"Build type: {' or '.join(require.build_types)}."),
        (require.sources, f"Every git source is one of: {', '.join(map(str, require.sources))}."),
        (external is not None, f"No other external parameters than: {', '.join(external or ()) or 'none'}."),
        (require.hermetic, "An execution report that proves hermetic execution."),
        (require.outcome, f"The run's outcome: {require.outcome}."),
        (require.namespaces, f"The run's namespace: {' or '.join(require.namespaces)}."),
        (require.max_age, f"Signed within {require.max_age}, by a verified time."),
        (require.log, "A verified transparency log entry."),
        (require.timestamp, "A verified RFC 3161 timestamp."),
        (images and images.repositories, f"Step images from {_patterns(images)}."),
        (images and images.pinned, "Step images named by digest."),
        (
            tasks and tasks.resolvers,
            f"Tasks and pipeline by {' or '.join(tasks.resolvers if tasks else ())}.",
        ),
        (tasks and tasks.pinned, "Tasks and pipeline with a digest or commit."),
        (require.no_rejected_hints, "No result that looks like an artifact and was rejected."),
        (require.every_store, "The provenance in every store that is asked."),
    )
    return (sentence for demanded, sentence in sentences if demanded)


def _patterns(images: StepImagesWanted | None) -> str:
    return ", ".join(one.text for one in images.repositories) if images else ""
