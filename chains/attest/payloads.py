"""From a frozen run and a configuration to the payloads to sign: bytes and their subjects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from chains.attest.platforms import Platforms, signed_images, with_platforms
from chains.config.parse import Config
from chains.errors import ConfigError
from chains.isolation.finding import Level
from chains.isolation.judgement import judge_isolation
from chains.statements import dependencies, execution_report, simple_signing, slsa_v1
from chains.statements.formats import FORMATS
from chains.statements.provenance import BUILDERS
from chains.statements.redaction import Redaction
from chains.statements.statement import ResourceDescriptor, Statement
from chains.statements.type_hints import images
from chains.tekton.image_name import ImageDigest
from chains.tekton.snapshot import RunSnapshot
from chains.tekton.surroundings import Surroundings

PROVENANCE = "provenance"
EXECUTION_REPORT = "execution-report"
IMAGE_SIGNATURE = "image-signature"


@dataclass(frozen=True, slots=True)
class Payload:
    """One thing to sign about a run.

    ``kind`` is ``provenance``, ``execution-report`` or ``image-signature``. ``statement`` has the in-toto
    bytes that an envelope wraps. ``image`` is set for an image signature, which uses ``statement`` in form B
    only. ``stores`` are the names of its stores in the configuration.
    """

    kind: str
    predicate_type: str
    statement: bytes
    subjects: tuple[ResourceDescriptor, ...]
    stores: tuple[str, ...]
    image: ImageDigest | None = None


def build_provenance(run: RunSnapshot, config: Config, chosen: str = "", level: str = "") -> Statement:
    """Return the run's provenance in the configured format, or in ``chosen``.

    ``level`` is the run's isolation; a run with ``enforced`` isolation may have its own builder id. Raises
    :class:`ConfigError` for an unknown format.
    """
    artifact = config.taskrun if run.kind == "TaskRun" else config.pipelinerun
    name = chosen or artifact.format
    options = slsa_v1.Options(
        builder_id=(level == Level.ENFORCED and config.hermetic_builder_id) or config.builder_id,
        build_type=config.build_type,
        deep=config.pipelinerun.deep_inspection,
        native=config.native_artifacts,
    )
    build = BUILDERS.get(name)
    if build is not None:
        return build(run, options)
    raise ConfigError(f"unknown format {name!r}: expected one of {', '.join(FORMATS)}")


def build_payloads(
    run: RunSnapshot,
    config: Config,
    surroundings: Mapping[str, Surroundings] | None = None,
    redaction: Redaction = Redaction(),  # noqa: B008 - frozen
    platforms: Platforms | None = None,
) -> list[Payload]:
    """Return everything that the configuration signs about a run; nothing if it disables the run.

    ``surroundings`` are those of each TaskRun, as :func:`chains.isolation.judgement.judge_isolation` takes
    them; ``platforms`` are the images behind indexes, which become subjects and are signed too.
    """
    artifact = config.taskrun if run.kind == "TaskRun" else config.pipelinerun
    found: list[Payload] = []
    if artifact.enabled:
        isolation = judge_isolation(run, surroundings, policies_vouched=config.policies_vouched)
        provenance = build_provenance(run, config, level=isolation.level)
        if platforms:
            provenance = replace(provenance, subjects=with_platforms(provenance.subjects, platforms))
        stores = tuple(artifact.storage)
        found.append(_attestation(PROVENANCE, provenance, stores))
        if config.execution_report:
            report = execution_report.build_execution_report(
                run, provenance.subjects, isolation, redaction, trigger_guarded=config.trigger_guarded
            )
            found.append(_attestation(EXECUTION_REPORT, report, stores))
    if run.kind == "TaskRun" and config.oci.enabled:
        built = signed_images(images(dependencies.run_results(run)), platforms or {})
        found += [_signature(image, tuple(config.oci.storage)) for image in built]
    return found


def _attestation(kind: str, statement: Statement, stores: tuple[str, ...]) -> Payload:
    return Payload(kind, statement.predicate_type, statement.to_bytes(), statement.subjects, stores)


def _signature(image: ImageDigest, stores: tuple[str, ...]) -> Payload:
    statement = simple_signing.build_statement(image)
    return Payload(
        IMAGE_SIGNATURE, statement.predicate_type, statement.to_bytes(), statement.subjects, stores, image
    )


def warnings(run: RunSnapshot) -> list[str]:
    """Return what a user should know: what provenance leaves out, and which children are missing."""
    found = [
        f"{item.name}: {item.reason} ({attribute.lower().replace('_', ' ')})"
        for attribute, item in execution_report.dropped_by_provenance(run)
    ]
    found += [f"child {gap.kind.lower()} {gap.name}: {gap.reason}" for gap in run.gaps]
    return found
