"""What evidence must satisfy: who may sign it, and what is demanded besides."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from chains.documents.whole_match import whole_match
from chains.errors import UsageError
from chains.statements.statement import SLSA_V02, SLSA_V1
from chains.verify.wanted_run import ReferenceWanted, SourceWanted
from signers.keys.keyset import ListedKey
from signers.keys.public_key import PublicKey

if TYPE_CHECKING:
    from signers.sigstore.trusted_root import TrustedRoot

PROVENANCE_TYPES = (SLSA_V1, SLSA_V02)
"""What counts as provenance when no predicate type is asked for."""
LONGEST_NAME = 2048
"""Characters of the longest identity or issuer that is matched with a regular expression."""


class Missing(StrEnum):
    """What is missing in a question. The command knows which option provides it."""

    SIGNER = "signer"
    ISSUER = "issuer"
    TRUSTED_ROOT = "trusted-root"
    STORE = "store"
    WHOSE_RUN = "whose-run"
    BUNDLE = "bundle"


class MissingError(UsageError):
    """A question for a verification is incomplete; ``missing`` says what is missing."""

    def __init__(self, message: str, missing: Missing) -> None:
        super().__init__(message)
        self.missing = missing


@dataclass(frozen=True, slots=True)
class NameWanted:
    """An identity or an issuer: exactly ``value``, or fully matched by that regular expression."""

    value: str
    is_regexp: bool = False

    def __post_init__(self) -> None:
        if not self.value:
            raise UsageError("an identity or issuer to demand must not be empty")
        if self.is_regexp:
            try:
                re.compile(self.value)
            except re.error as error:
                raise UsageError(f"{self.value!r} is no regular expression: {error}") from error
            if whole_match(self.value) is None:
                # strangers choose the names of certificates
                raise UsageError(
                    f"{self.value!r} cannot be compared with every name in bounded time: it has look-around, "
                    "references, edges of words, a flag for lines, an atomic group, or too many parts; write "
                    "it simpler, or give the exact name"
                )

    def matches(self, name: str) -> bool:
        """Whether ``name`` matches as a whole: ``a.example`` does not match ``a.example.x``."""
        if not name or not self.is_regexp:
            return name == self.value
        return len(name) <= LONGEST_NAME and _matches(self.value, name)

    def __str__(self) -> str:
        return f"matching {self.value}" if self.is_regexp else self.value


@lru_cache(maxsize=1024)
def _matches(pattern: str, name: str) -> bool:
    """Whether a name fits an expression as a whole. Strangers choose the names of certificates."""
    expression = whole_match(pattern)
    return expression is not None and expression.matches(name)


def _name_wanted(what: str, exact: str | None, regexp: str | None) -> NameWanted | None:
    if exact is not None and regexp is not None:
        raise UsageError(f"{what} is either one name or a regular expression, not both")
    if regexp is not None:
        return NameWanted(regexp, is_regexp=True)
    return None if exact is None else NameWanted(exact)


@dataclass(frozen=True, slots=True)
class CertificateWanted:
    """The trusted certificates: those of this identity, certified by this issuer. Both must match."""

    identity: NameWanted
    issuer: NameWanted

    @classmethod
    def from_options(
        cls,
        identity: str | None = None,
        identity_regexp: str | None = None,
        issuer: str | None = None,
        issuer_regexp: str | None = None,
    ) -> CertificateWanted | None:
        """Return what some options demand, None without any. Raises :class:`MissingError` for half of it."""
        wanted = _name_wanted("a certificate's identity", identity, identity_regexp)
        vouching = _name_wanted("a certificate's issuer", issuer, issuer_regexp)
        if wanted is None and vouching is None:
            return None
        if wanted is None or vouching is None:
            raise MissingError("an identity counts together with its issuer alone", Missing.ISSUER)
        return cls(wanted, vouching)

    def to_json(self) -> dict[str, str]:
        """Return it as it is printed."""
        return {
            "identityRegexp" if self.identity.is_regexp else "identity": self.identity.value,
            "issuerRegexp" if self.issuer.is_regexp else "issuer": self.issuer.value,
        }

    def __str__(self) -> str:
        return f"{self.identity} (issuer {self.issuer})"


@dataclass(frozen=True, slots=True)
class Criteria:
    """What evidence must satisfy. Only the criteria say who is trusted, never the evidence.

    A signature by one of ``keys`` counts, or one by a certificate as ``certificate`` describes.
    ``trusted_root`` has the authorities and logs; log entries and timestamps are verified with it.
    ``require_log`` and ``require_timestamp`` (RFC 3161) demand one of each.

    Without ``predicate_types``, provenance of either SLSA version satisfies. ``builder_id`` and
    ``build_type`` are compared exactly. A statement about its builder is as trustworthy as the key that
    signed it. ``require_hermetic`` demands an execution report that proves that the run had no network.
    ``namespace``, ``task_ref``, ``pipeline_ref`` and ``source`` demand a certain run, because a task itself
    chooses which artifacts it claims.

    Raises :class:`MissingError` if nobody is trusted, or if certificates, logs or timestamps are demanded
    without a trusted root; :class:`UsageError` for an empty predicate type, builder id or build type.
    """

    keys: Sequence[PublicKey] = ()
    predicate_types: Sequence[str] = ()
    builder_id: str | None = None
    build_type: str | None = None
    require_hermetic: bool = False
    windows: Mapping[str, ListedKey] = field(default_factory=dict)
    """The entry of a key set by key id. A key without an entry has no time window."""
    certificate: CertificateWanted | None = None
    trusted_root: TrustedRoot | None = None
    require_log: bool = False
    require_timestamp: bool = False
    namespace: str | None = None
    task_ref: ReferenceWanted | None = None
    pipeline_ref: ReferenceWanted | None = None
    source: SourceWanted | None = None

    def __post_init__(self) -> None:
        # what is known of evidence is kept by these criteria, which must stay what they are
        object.__setattr__(self, "keys", tuple(self.keys))
        object.__setattr__(self, "predicate_types", tuple(self.predicate_types))
        if not self.keys and self.certificate is None:
            raise MissingError("nobody to trust", Missing.SIGNER)
        asks = self.certificate is not None or self.require_log or self.require_timestamp
        if asks and self.trusted_root is None:
            raise MissingError(
                "certificates, log entries and timestamps are verified with a trusted root",
                Missing.TRUSTED_ROOT,
            )
        if not all(self.predicate_types) or "" in {self.builder_id, self.build_type}:
            raise UsageError("a predicate type, builder id or build type to demand must not be empty")

    @property
    def wanted_types(self) -> tuple[str, ...]:
        """The predicate types that satisfy the criteria."""
        return tuple(self.predicate_types) or PROVENANCE_TYPES

    @property
    def asks_for_statement(self) -> bool:
        """Whether something is demanded that only a statement can prove."""
        asked = (self.builder_id, self.build_type, self.predicate_types or None)
        return self.require_hermetic or any(one is not None for one in asked)

    def to_json(self) -> dict[str, Any]:
        """Return the criteria as they are printed."""
        return {
            "predicateType": list(self.wanted_types),
            "signer": self._signer_to_json(),
            "builderId": self.builder_id,
            "buildType": self.build_type,
            **self.run_wanted,
            "require": self.required,
        }

    @property
    def run_wanted(self) -> dict[str, str | None]:
        """The demands on the run, except its builder, by their names in JSON; None without a demand."""
        asked = {
            "namespace": self.namespace,
            "taskRef": self.task_ref,
            "pipelineRef": self.pipeline_ref,
            "source": self.source,
        }
        return {name: None if value is None else str(value) for name, value in asked.items()}

    @property
    def says_whose_run(self) -> bool:
        """Whether anything distinguishes the wanted run from another run that claims the same artifact."""
        return self.builder_id is not None or any(self.run_wanted.values())

    @property
    def required(self) -> list[str]:
        """The names of what is required in addition to a signature."""
        asked = {
            "hermetic": self.require_hermetic,
            "log": self.require_log,
            "timestamp": self.require_timestamp,
        }
        return [name for name, is_asked in asked.items() if is_asked]

    def _signer_to_json(self) -> dict[str, Any]:
        keys = [{"keyid": key.keyid, "algorithm": key.algorithm} for key in self.keys]
        return {"key": keys} | ({"certificate": self.certificate.to_json()} if self.certificate else {})

    @property
    def signers(self) -> str:
        """Who may sign, in words."""
        names = [key.keyid for key in self.keys] + ([str(self.certificate)] if self.certificate else [])
        return "signed by " + " or ".join(names)
