"""CEL of Kyverno's engine about an execution report, beside the provenance of the same run."""

from __future__ import annotations

from chains.policy.document.policy import Requirements
from chains.policy.engines.cel import literal, path, text
from chains.policy.engines.re2 import NOTHING, quoted
from chains.policy.reasons import Requirement
from chains.statements.attributes import Attribute

_OF_REPORTS = frozenset(
    {Requirement.HERMETIC, Requirement.OUTCOME, Requirement.NAMESPACES, Requirement.REJECTED_HINTS}
)
_STEPS = r"\A(?:step|sidecar)/"


def expressed(require: Requirements) -> frozenset[Requirement]:
    """Return the requirements that are compared as a whole; repositories of step images are not."""
    images = require.step_images
    is_whole = images is None or not images.repositories
    return _OF_REPORTS | ({Requirement.STEP_IMAGES} if is_whole else set())


def needs_report(require: Requirements) -> bool:
    """Whether something of this is required that an execution report alone shows."""
    named = (require.hermetic, require.outcome, require.namespaces, require.no_rejected_hints)
    return any(named) or _asks_pins(require)


def _asks_pins(require: Requirements) -> bool:
    return require.step_images is not None and require.step_images.pinned


def report_condition(require: Requirements, report: str, provenance: str) -> str:
    """Return the condition on a report and on provenance of SLSA 1, called by these names.

    As ``chains.statements.claims`` reads reports: an attribute that comes twice says nothing. The old format
    of provenance has no UID of its run, so that no report is its own.
    """
    metadata = f"{provenance}.predicate"
    second = path(metadata, ("runDetails", "metadata", "invocationID"))
    uid = path(metadata, ("runDetails", "metadata", "invocationId"), second)
    outcome = [
        "size(a) == 1",
        f"type({uid}) == string",
        f'{uid} != ""',
        f"{path('a[0]', ('conditions', 'uid'))} == {uid}",
    ]
    if require.outcome is not None:
        outcome.append(f"{path('a[0]', ('conditions', 'outcome'))} == {text(require.outcome.value)}")
    found = [_about(report, [Attribute.RUN_OUTCOME], outcome)]
    if require.hermetic is not None:
        level = f"{path('a[0]', ('conditions', 'level'))} == {text(require.hermetic.value)}"
        found.append(_about(report, [Attribute.HERMETIC_LEVEL], ["size(a) == 1", level]))
    if require.namespaces:
        found.append(_namespaces(require, report))
    if require.no_rejected_hints:
        found.append(_about(report, [Attribute.HINT_REJECTED], ["size(a) == 0"]))
    if _asks_pins(require):
        found.append(_pins(report))
    return " &&\n    ".join(found)


def _pins(report: str) -> str:
    """Return that a report says of every step and sidecar that its image was named by digest."""
    name = path("x", ("target", "name"))
    is_step = f"(type({name}) == string && {name}.matches({text(_STEPS)}))"
    facts = f"{_named(report, [Attribute.CONTAINER_FACTS])}.filter(x, {is_step})"
    steps = f"{_named(report, [Attribute.HERMETIC_EXECUTION])}.filter(x, {is_step})"
    pinned = f"a.all(x, {path('x', ('conditions', 'imagePinned'))} == true)"
    told = f"{steps}.all(s, a.exists(x, {name} == {path('s', ('target', 'name'))}))"
    return f"[{facts}].all(a, size(a) > 0 && {pinned} && {told})"


def _namespaces(require: Requirements, report: str) -> str:
    name = path("a[0]", ("target", "name"))
    # a name with / is that of no namespace
    names = [one for one in require.namespaces if "/" not in one]
    wanted = "|".join("[^/]*".join(map(quoted, one.split("*"))) for one in names)
    pattern = rf"\A(?:taskrun|pipelinerun)/(?:{wanted})/[^/]+\z" if names else NOTHING
    conditions = [
        "size(a) > 0",
        f"a.all(x, {path('x', ('target', 'name'))} == {name})",
        f"type({name}) == string",
        f"{name}.matches({text(pattern)})",
        f'!{name}.contains("//")',
    ]
    return _about(report, [Attribute.RUN_OUTCOME, Attribute.HERMETIC_LEVEL], conditions)


def _about(report: str, attributes: list[Attribute], conditions: list[str]) -> str:
    """Return that conditions hold for the list ``a`` of a report's attributes with these names."""
    return f"[{_named(report, attributes)}].all(a, {' && '.join(conditions)})"


def _named(report: str, attributes: list[Attribute]) -> str:
    listed = path(f"{report}.predicate", ("attributes",), "dyn([])")
    named = f"{path('x', ('attribute',))} in {literal([one.value for one in attributes])}"
    return f"{listed}.filter(x, type(x) == map ? {named} : false)"
