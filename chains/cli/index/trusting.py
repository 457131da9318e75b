"""Whom an index trusts: the options of its build, which it keeps for updates."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chains.assembly.trust import open_listed_keys, open_trusted_root
from chains.assembly.workspace import Settings
from chains.cli.arguments import FILE, Option, Options
from chains.cli.revocations import revocation_options, revocations_of
from chains.cli.verify import certificate_options
from chains.documents.load import read_bytes
from chains.errors import UsageError
from chains.verify.criteria import CertificateWanted, Criteria
from signers.keys.keyset import ListedKey

if TYPE_CHECKING:
    from chains.index.reading import Trust

TRUST = (
    "key", "certificate_identity", "certificate_identity_regexp", "certificate_oidc_issuer",
    "certificate_oidc_issuer_regexp", "trusted_root", "require_log", "require_timestamp", "builder_id",
    "build_type", "revocations", "revocations_key", "revocations_state", "revocations_min_version",
)  # fmt: skip
"""The names of the options."""
_PATHS = ("key", "trusted_root", "revocations", "revocations_key", "revocations_state", "policy")
_BESIDE_POLICY = frozenset({"revocations", "revocations_key", "revocations_state", "revocations_min_version"})
"""Options that count beside a policy."""
_LARGEST_ROOT = 16 * 1024 * 1024


def given_trust(options: Options) -> dict[str, Any]:
    """Return the options by their names, with the paths of files made absolute for updates from elsewhere.

    Raises :class:`UsageError` for options that belong to a revocation list without one.
    """
    if options.revocations is None:
        revocations_of(options)
    policy = getattr(options, "policy", None)
    if policy is not None:
        clash = sorted((set(TRUST) - _BESIDE_POLICY) & set(options.given))
        if clash:
            option = f"--{clash[0].replace('_', '-')}"
            raise UsageError(f"pass --policy or {option}: with a policy, the policy says who is trusted")
    given = {name: getattr(options, name) for name in TRUST} | {"policy": policy}
    return given | {name: _absolute(given[name]) for name in _PATHS}


def trust_of(given: dict[str, Any], settings: Settings) -> Trust:
    """Return whom the options trust. Raises :class:`UsageError`."""
    from chains.index.reading import Trust  # noqa: PLC0415 - needed where an index is written

    if given.get("policy") is not None:
        return _by_policy(given, settings)
    listed = open_listed_keys(given["key"], settings.config) if given["key"] else []
    certificate = CertificateWanted.from_options(*(given[name] for name in TRUST[1:5]))
    root = given["trusted_root"]
    criteria = Criteria(
        keys=[one.key for one in listed],
        windows={one.key.keyid: one for one in listed if one != ListedKey(one.key)},
        certificate=certificate,
        trusted_root=None if root is None else open_trusted_root(root),
        require_log=given["require_log"],
        require_timestamp=given["require_timestamp"],
        builder_id=given["builder_id"],
        build_type=given["build_type"],
    )
    revocations = revocations_of(Options(**given, given=frozenset()), settings.config)
    if revocations is not None and (problem := revocations.problem(datetime.now(UTC))):
        raise UsageError(f"the revocation list cannot be used: {problem}")
    keys = [
        {
            "pem": one.key.pem.decode(),
            "status": one.status.value,
            "notBefore": one.not_before and one.not_before.isoformat(),
            "notAfter": one.not_after and one.not_after.isoformat(),
        }
        for one in listed
    ]
    told = {
        "keys": sorted(keys, key=lambda one: str(one["pem"])),
        "certificate": certificate.to_json() if certificate else None,
        "trustedRoot": root and hashlib.sha256(read_bytes(Path(root), _LARGEST_ROOT)).hexdigest(),
        "require": criteria.required,
        "builderId": criteria.builder_id,
        "buildType": criteria.build_type,
        "revocations": revocations.digest if revocations else None,
    }
    return Trust(criteria, told, given, revocations)


def _by_policy(given: dict[str, Any], settings: Settings) -> Trust:
    """Return the trust in whom policies trust."""
    from chains.cli.policies.decide import load_policy  # noqa: PLC0415 - policies take long to import
    from chains.index.reading import Trust  # noqa: PLC0415
    from chains.index.upkeep.by_policy import PolicyTrust  # noqa: PLC0415

    policy = load_policy(given["policy"], settings, Options(**given, given=frozenset()))
    told = {
        "policy": policy.digest,
        "documents": {one.policy.name: one.policy.digest for one in policy.documents},
    }
    return Trust(None, told, given, policy=PolicyTrust(policy))


def trust_options() -> list[Option]:
    """Return the options that say whom to trust."""
    return [
        Option(
            "--key",
            "a public key, certificate, key set or JWKS to trust, named as for verify --key; may be repeated",
            twin="CHAINS_PUBLIC_KEY",
            repeatable=True,
            metavar="PUB",
            type=FILE,
        ),
        *certificate_options(),
        Option("--builder-id", "require this builder of provenance", default=None, metavar="URI"),
        Option("--build-type", "require this build type of provenance", default=None, metavar="URI"),
        *revocation_options(),
    ]


def policy_option(text: str) -> Option:
    """Return the option that names policies."""
    return Option("--policy", text, default=None, metavar="FILE", type=FILE)


def _absolute(value: Any) -> Any:
    """Return references with the paths of files made absolute, so that an update finds them."""
    if isinstance(value, list | tuple):
        return [_absolute(one) for one in value]
    is_path = isinstance(value, str) and value and Path(value).exists()
    return str(Path(value).absolute()) if is_path else value
