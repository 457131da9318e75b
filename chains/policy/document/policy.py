"""A policy as the program uses it: read, checked, its patterns compiled; its keys not yet opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

from chains.policy.document.format import Consequence, HermeticWanted, Mode, Operator, OutcomeWanted
from chains.policy.document.patterns import ImagePattern, wildcard_matches
from chains.policy.document.sources import SourceAllowed
from chains.policy.reasons import Requirement
from chains.verify.criteria import CertificateWanted
from storage.formats.reference import Image


@dataclass(frozen=True, slots=True)
class KeyWanted:
    """A public key to trust, in PEM or as a reference that is opened later, and when it signs."""

    pem: str = ""
    ref: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class SignerWanted:
    """Who may sign: any of the keys, or the certificate identity."""

    keys: tuple[KeyWanted, ...] = ()
    identity: CertificateWanted | None = None


@dataclass(frozen=True, slots=True)
class TrustEntry:
    """A signer, the only builder it signs for, and the highest SLSA build level of that pair.

    Source: SLSA 1.2, verifying artifacts: roots of trust map (key identity, builder.id) to a level.
    """

    name: str
    signer: SignerWanted
    builder_id: str
    max_level: int


@dataclass(frozen=True, slots=True)
class AcceptedVerifier:
    """A signer, the only verifier it signs for, and which of that verifier's summaries count.

    ``policy_digest`` is ``sha256:HEX``, and empty where a summary of every version of the policy counts.
    Source: SLSA 1.2, Verification Summary Attestation, how to verify.
    """

    name: str
    signer: SignerWanted
    verifier_id: str
    policy_uri: str
    max_level: int
    policy_digest: str = ""
    max_age: timedelta | None = None
    verified_levels: tuple[str, ...] = ()


NAME_LABEL = "kubernetes.io/metadata.name"
"""The label with its name that the API server gives each namespace."""


@dataclass(frozen=True, slots=True)
class LabelCondition:
    """One expression of a label selector."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it, as Kubernetes decides: an absent label is ``NotIn`` everything."""
        value = labels.get(self.key)
        if self.operator is Operator.IN:
            return value is not None and value in self.values
        if self.operator is Operator.NOT_IN:
            return value is None or value not in self.values
        return (value is not None) is (self.operator is Operator.EXISTS)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace in which an image runs or is about to. ``labels`` is None if they are not known."""

    name: str
    labels: Mapping[str, str] | None = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NamespacesWanted:
    """The namespaces that a policy is for; all conditions must hold."""

    names: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    conditions: tuple[LabelCondition, ...] = ()

    def fits(self, namespace: Namespace) -> bool:
        """Whether a namespace is one of these, or may be one if its labels are not known."""
        if self.names and not any(wildcard_matches(name, namespace.name) for name in self.names):
            return False
        if namespace.labels is None or not (self.labels or self.conditions):
            return True
        labels = {NAME_LABEL: namespace.name, **namespace.labels}
        if any(labels.get(key) != value for key, value in self.labels.items()):
            return False
        return all(condition.fits(labels) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class StepImagesWanted:
    """What the images of steps must be."""

    pinned: bool = False
    repositories: tuple[ImagePattern, ...] = ()


@dataclass(frozen=True, slots=True)
class TasksWanted:
    """Where tasks and pipelines must come from."""

    resolvers: tuple[str, ...] = ()
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Requirements:
    """What evidence must show beside a trusted signature; an empty field demands nothing."""

    predicates: tuple[str, ...] = ()
    level: int = 0
    build_types: tuple[str, ...] = ()
    sources: tuple[SourceAllowed, ...] = ()
    external_parameters: Mapping[str, Any] | None = None
    hermetic: HermeticWanted | None = None
    outcome: OutcomeWanted | None = None
    namespaces: tuple[str, ...] = ()
    max_age: timedelta | None = None
    log: bool = False
    timestamp: bool = False
    step_images: StepImagesWanted | None = None
    tasks: TasksWanted | None = None
    no_rejected_hints: bool = False
    every_store: bool = False

    @property
    def demanded(self) -> tuple[Requirement, ...]:
        """Every requirement that is made, whatever it is: a field that demands something has no default."""
        names = {one.name: one.name.title().replace("_", "") for one in fields(self)}
        names["no_rejected_hints"] = "RejectedHints"
        return tuple(
            Requirement(names[one.name][0].lower() + names[one.name][1:])
            for one in fields(self)
            if getattr(self, one.name) != one.default
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition in CEL; ``message`` says what is wrong where it is not true."""

    name: str
    cel: str
    message: str
    guidance: str = ""


@dataclass(frozen=True, slots=True)
class Exemption:
    """Requirements and rules that do not count for some images, until a time, for a reason."""

    image: ImagePattern
    rules: tuple[str, ...]
    until: datetime
    reason: str
    reference: str

    def covers(self, image: Image, rule: str) -> bool:
        """Whether it is about this rule and this image; :meth:`is_over` says whether it still counts."""
        return rule in self.rules and self.image.matches(image)

    def is_over(self, now: datetime) -> bool:
        """Whether its time has passed."""
        return now >= self.until

    def to_json(self) -> dict[str, Any]:
        """Return the exemption as printed."""
        return {
            "image": self.image.text,
            "rules": list(self.rules),
            "until": self.until.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "reason": self.reason,
            "reference": self.reference,
        }


@dataclass(frozen=True, slots=True)
class RevocationsWanted:
    """The revocation list that a policy reads, the keys that may sign it, and its least version."""

    path: str
    keys: tuple[KeyWanted, ...]
    minimum: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy document. ``digest`` is the SHA-256 of its file's bytes, ``sha256:HEX``.

    ``folder`` is where its relative references begin.
    """

    name: str
    images: tuple[ImagePattern, ...]
    trust: tuple[TrustEntry, ...]
    require: Requirements = field(default_factory=Requirements)
    namespaces: NamespacesWanted | None = None
    mode: Mode = Mode.ENFORCE
    missing: Consequence = Consequence.DENY
    unavailable: Consequence = Consequence.DENY
    cache_seconds: int = 300
    trusted_root: str = ""
    signers: Mapping[str, SignerWanted] = field(default_factory=dict)
    revocations: RevocationsWanted | None = None
    rules: tuple[Rule, ...] = ()
    exemptions: tuple[Exemption, ...] = ()
    accept: tuple[AcceptedVerifier, ...] = ()
    """Whose verification summaries count in place of provenance."""
    digest: str = ""
    file: str = ""
    folder: str = ""

    def matches(self, image: Image, namespace: Namespace | None = None) -> bool:
        """Whether the policy is for an image.

        Without a namespace the policy's namespaces are not compared: the stricter reading, since it adds
        policies and never leaves one out.
        """
        return any(pattern.matches(image) for pattern in self.images) and self.is_for(namespace)

    def is_for(self, namespace: Namespace | None) -> bool:
        """Whether the policy is for a namespace; see :meth:`matches` for none."""
        return namespace is None or self.namespaces is None or self.namespaces.fits(namespace)

    def may_match(self, image: Image) -> bool:
        """Whether the policy is for the image, or for some digest of an image without one."""
        return any(
            pattern.matches(replace(image, digest=image.digest or pattern.digest)) for pattern in self.images
        )
