"""Parses a ``chains-config`` into one frozen, typed tree.

:func:`parse_config` accepts exactly what Tekton Chains v0.29 accepts, with the same meaning, and our own
keys. It reports all refused values together. :func:`lint_config` finds what Tekton Chains ignores without an
error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chains.config.extra_signers import ExtraSigner, parse_extra_signers
from chains.config.file import load_config_file, read_config_file
from chains.config.key import read_duration
from chains.config.keys import KEYS, read_values, unknown_keys
from chains.config.ledger import LedgerSettings, ledger_settings
from chains.config.lint import lint_config, value_problem
from chains.config.pubsub import PubsubStorage, pubsub_storage
from chains.config.s3 import S3Storage, s3_storage
from chains.config.selection import Selection
from chains.errors import ConfigError, Problem
from chains.statements.redaction_settings import RedactionSettings
from storage.errors import StoreRejected
from storage.formats.repository_template import parse_gathered

__all__ = ["Config", "Problem", "lint_config", "lint_file", "load_config", "load_config_file", "parse_config"]


@dataclass(frozen=True, slots=True)
class Artifact:
    """Format, stores and signer of one kind of artifact; ``storage`` has the sorted names of the stores."""

    format: str
    storage: tuple[str, ...]
    signer: str

    @property
    def enabled(self) -> bool:
        """Whether the artifact is attested. The signer ``none`` or an empty storage key disables it."""
        return self.signer != "none" and bool(self.storage)


@dataclass(frozen=True, slots=True)
class PipelineRunArtifact(Artifact):
    """Format, stores and signer of PipelineRuns."""

    deep_inspection: bool


@dataclass(frozen=True, slots=True)
class OciStorage:
    """Keys ``storage.oci.*``."""

    repository: str
    bundles_in_repository: bool
    attach_to_platforms: bool
    insecure: bool
    encoding_format: str
    ca_file: str
    run_credentials: bool
    wait_for_image: float
    """Seconds after the end of the run."""


@dataclass(frozen=True, slots=True)
class DocdbStorage:
    """Keys ``storage.docdb.*``. Of the MongoDB settings, the path overrides the folder, and both the URL."""

    url: str
    mongo_server_url: str = field(repr=False)
    mongo_server_url_dir: str
    mongo_server_url_path: str


@dataclass(frozen=True, slots=True)
class GrafeasStorage:
    """Keys ``storage.grafeas.*``. An empty ``note_id`` means ``tekton-`` and the namespace of the run."""

    project_id: str
    note_id: str
    note_hint: str


@dataclass(frozen=True, slots=True)
class Storage:
    """Keys ``storage.*``."""

    oci: OciStorage
    gcs_bucket: str
    docdb: DocdbStorage
    grafeas: GrafeasStorage
    archivista_url: str
    pubsub: PubsubStorage
    s3: S3Storage


@dataclass(frozen=True, slots=True)
class KmsSigner:
    """Keys ``signers.kms.*``. ``token_path`` overrides ``token``."""

    ref: str
    address: str
    token: str = field(repr=False)
    token_path: str
    oidc_path: str
    oidc_role: str
    oidc_token_path: str
    spire_sock: str
    spire_audience: str


@dataclass(frozen=True, slots=True)
class X509Signer:
    """Keys ``signers.x509.*``. An empty ``fulcio_provider`` means that all providers are tried."""

    fulcio_enabled: bool
    fulcio_address: str
    fulcio_issuer: str
    fulcio_provider: str
    identity_token_file: str
    tuf_mirror_url: str
    tuf_root: str
    trusted_root: str
    signing_config: str


@dataclass(frozen=True, slots=True)
class Signers:
    """Keys ``signers.*``."""

    kms: KmsSigner
    x509: X509Signer
    timestamp_url: str = ""
    """Key ``signers.timestamp.url``; empty for none."""
    extra: tuple[ExtraSigner, ...] = ()
    """Key ``signers.extra``."""


@dataclass(frozen=True, slots=True)
class Transparency:
    """Keys ``transparency.*``. With ``manual``, only runs that request it are logged."""

    enabled: bool
    manual: bool
    url: str
    version: int = 1


@dataclass(frozen=True, slots=True)
class Config:
    """One ``chains-config``, with the default of every absent key. ``unknown`` has the unknown keys."""

    taskrun: Artifact
    pipelinerun: PipelineRunArtifact
    oci: Artifact
    storage: Storage
    signers: Signers
    transparency: Transparency
    builder_id: str
    hermetic_builder_id: str
    build_type: str
    execution_report: bool
    policies_vouched: bool
    image_environments: bool
    trigger_guarded: bool
    redaction: RedactionSettings
    native_artifacts: bool
    selection: Selection
    backlog_rate: float
    ledger: LedgerSettings
    unknown: tuple[str, ...] = ()
    index_url: str = ""


def load_config(path: str | Path) -> Config:
    """Read a configuration file: a ``chains-config`` ConfigMap, or its data alone; ``-`` is standard input.

    Raises :class:`ConfigError` with every problem.
    """
    return parse_config(load_config_file(Path(path)))


def parse_config(data: Mapping[str, str]) -> Config:
    """Parse the data of a ConfigMap.

    Raises :class:`ConfigError` with all refused values. As in Tekton Chains, unknown keys and invalid
    booleans are not refused: unknown keys are listed in ``unknown``, and an invalid boolean gets its default.
    """
    values, unreadable = read_values(data)
    problems = [value_problem(key, data[key.name]) for key in unreadable if not key.lenient]
    problems += _placeholder_problems(values)
    if problems:
        raise ConfigError("the configuration cannot be used:", problems)
    return _build(values, unknown_keys(data))


def lint_file(path: Path) -> list[Problem]:
    """Return all problems of a configuration file, errors first.

    Raises :class:`ConfigError` for a file without a configuration.
    """
    file = read_config_file(path)
    problems = [*file.unusable, *file.problems, *lint_config(file.data)]
    return sorted(problems, key=lambda problem: problem.severity != "error")


def _build(values: Mapping[str, str], unknown: tuple[str, ...]) -> Config:
    return Config(
        taskrun=_artifact(values, "taskrun"),
        pipelinerun=_pipelinerun(values),
        oci=_artifact(values, "oci"),
        storage=_storage(values),
        signers=Signers(
            _kms(values),
            _x509(values),
            values["signers.timestamp.url"],
            parse_extra_signers(values["signers.extra"]),
        ),
        transparency=Transparency(
            enabled=values["transparency.enabled"] != "false",
            manual=values["transparency.enabled"] == "manual",
            url=values["transparency.url"],
            version=int(values["transparency.version"]),
        ),
        builder_id=values["builder.id"],
        hermetic_builder_id=values["builder.id.hermetic"],
        build_type=values["builddefinition.buildtype"],
        execution_report=_flag(values, "execution.report"),
        policies_vouched=_flag(values, "execution.network-policies.enforced"),
        image_environments=_flag(values, "execution.image-environments"),
        trigger_guarded=_flag(values, "execution.trigger.guarded"),
        redaction=_redaction(values),
        native_artifacts=_flag(values, "artifacts.native.enabled"),
        selection=Selection(
            managed_by=_words(values["filter.managed-by"]),
            labels=values["filter.labels"],
            skip=values["filter.skip"].strip(),
            since=values["backlog.since"].strip(),
        ),
        backlog_rate=float(values["backlog.rate"] or 0),
        ledger=ledger_settings(values),
        unknown=unknown,
        index_url=values["index.url"],
    )


def _placeholder_problems(values: Mapping[str, str]) -> list[Problem]:
    """Refuse an invalid template: evidence in a repository with a wrong name would be lost."""
    name = "storage.oci.repository"
    if "{" in values[name] or "}" in values[name]:
        try:
            parse_gathered(values[name])
        except StoreRejected as error:
            return [Problem(name, "error", str(error), "")]
    return []


def _flag(values: Mapping[str, str], name: str) -> bool:
    return values[name] == "true"


def _names(values: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(values[name].split(",")) if values[name] else ()


def _words(text: str) -> frozenset[str]:
    return frozenset(word for word in map(str.strip, text.split(",")) if word)


def _redaction(values: Mapping[str, str]) -> RedactionSettings:
    start = "execution.redaction."
    return RedactionSettings(
        key_file=values[start + "key-file"],
        shown=_words(values[start + "shown-variables"]),
        arguments=values[start + "arguments"],
    )


def _artifact(values: Mapping[str, str], name: str) -> Artifact:
    start = f"artifacts.{name}."
    return Artifact(values[start + "format"], _names(values, start + "storage"), values[start + "signer"])


def _pipelinerun(values: Mapping[str, str]) -> PipelineRunArtifact:
    common = _artifact(values, "pipelinerun")
    deep = _flag(values, "artifacts.pipelinerun.enable-deep-inspection")
    return PipelineRunArtifact(common.format, common.storage, common.signer, deep)


def _storage(values: Mapping[str, str]) -> Storage:
    return Storage(
        oci=OciStorage(
            repository=values["storage.oci.repository"],
            bundles_in_repository=_flag(values, "storage.oci.bundles-in-repository"),
            attach_to_platforms=_flag(values, "storage.oci.attach-to-platforms"),
            insecure=_flag(values, "storage.oci.repository.insecure"),
            encoding_format=values["storage.oci.encoding-format"],
            ca_file=values["storage.oci.ca-file"],
            run_credentials=_flag(values, "storage.oci.run-credentials"),
            wait_for_image=read_duration(values["storage.oci.wait-for-image"] or "0"),
        ),
        gcs_bucket=values["storage.gcs.bucket"],
        docdb=DocdbStorage(
            url=values["storage.docdb.url"],
            mongo_server_url=values["storage.docdb.mongo-server-url"],
            mongo_server_url_dir=values["storage.docdb.mongo-server-url-dir"],
            mongo_server_url_path=values["storage.docdb.mongo-server-url-path"],
        ),
        grafeas=GrafeasStorage(
            project_id=values["storage.grafeas.projectid"],
            note_id=values["storage.grafeas.noteid"],
            note_hint=values["storage.grafeas.notehint"],
        ),
        archivista_url=values["storage.archivista.url"],
        pubsub=pubsub_storage(values),
        s3=s3_storage(values),
    )


def _kms(values: Mapping[str, str]) -> KmsSigner:
    login = "signers.kms.auth.oidc.token-path"
    return KmsSigner(
        ref=values["signers.kms.kmsref"],
        address=values["signers.kms.auth.address"],
        token=values["signers.kms.auth.token"],
        token_path=values["signers.kms.auth.token-path"],
        oidc_path=values["signers.kms.auth.oidc.path"],
        oidc_role=values["signers.kms.auth.oidc.role"],
        # Tekton Chains applies this default only at the login, so an empty value means the default too
        oidc_token_path=values[login] or KEYS[login].default,
        spire_sock=values["signers.kms.auth.spire.sock"],
        spire_audience=values["signers.kms.auth.spire.audience"],
    )


def _x509(values: Mapping[str, str]) -> X509Signer:
    return X509Signer(
        fulcio_enabled=_flag(values, "signers.x509.fulcio.enabled"),
        fulcio_address=values["signers.x509.fulcio.address"],
        fulcio_issuer=values["signers.x509.fulcio.issuer"],
        fulcio_provider=values["signers.x509.fulcio.provider"],
        identity_token_file=values["signers.x509.identity.token.file"],
        tuf_mirror_url=values["signers.x509.tuf.mirror.url"],
        tuf_root=values["signers.x509.tuf.root"],
        trusted_root=values["signers.x509.trusted-root"],
        signing_config=values["signers.x509.signing-config"],
    )


def is_keyless(config: Config) -> bool:
    """Whether an enabled artifact is signed with certificates from Fulcio."""
    artifacts = (config.taskrun, config.pipelinerun, config.oci)
    used = any(artifact.enabled and artifact.signer == "x509" for artifact in artifacts)
    return used and config.signers.x509.fulcio_enabled


def trust_ages(config: Config) -> bool:
    """Whether the trusted root comes from a TUF repository, which updates it when keys are rotated."""
    x509 = config.signers.x509
    return not x509.trusted_root and (is_keyless(config) or bool(x509.tuf_root))
