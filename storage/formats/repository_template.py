"""The repository that collects evidence: one for all runs, or one per namespace, kind or name.

``registry.example/evidence/{namespace}`` is expanded with the fields of the run that a record comes from. A
path component may have one placeholder, with or without fixed text around it, but not two: two runs could
otherwise get the same repository.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from storage.errors import StoreRejected
from storage.formats.reference import Repository, parse_repository
from storage.record import Origin

PLACEHOLDERS = ("namespace", "kind", "name")
KINDS = ("taskrun", "pipelinerun")
_KEY = "storage.oci.repository"
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
# The grammar of Kubernetes names; it has no slash, so no value can change the number of path components.
_VALUE = re.compile(r"[a-z0-9]+(?:(?:\.|-+)[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Gathered:
    """A checked value of the key ``storage.oci.repository``. ``fields`` are the placeholders in it."""

    text: str
    fields: frozenset[str]

    def expand(self, origin: Origin) -> Repository:
        """Return the repository for evidence from ``origin``.

        Raises :class:`StoreRejected` if a needed field is empty or cannot be part of a repository name.
        """
        values = {field: str(getattr(origin, field)) for field in PLACEHOLDERS if field in self.fields}
        for field, value in values.items():
            if not _VALUE.fullmatch(value):
                raise StoreRejected(
                    f"{_KEY} {self.text!r} needs the run's {field}: {value[:100]!r} names no repository"
                )
        return parse_repository(_PLACEHOLDER.sub(lambda match: values[match[1]], self.text))

    def places(self, origin: Origin | None) -> tuple[Repository, ...]:
        """Return the repositories that may have evidence from ``origin``.

        If the kind is needed but unknown, there is one per kind. Raises :class:`StoreRejected` with the next
        step if the namespace or name is needed but unknown.
        """
        known = origin or Origin("", "", "", "")
        missing = sorted(field for field in self.fields - {"kind"} if not getattr(known, field))
        if missing:
            raise StoreRejected(
                f"{_KEY} is {self.text!r}, so where to look depends on the run's {' and '.join(missing)}: "
                "pass --namespace, verify the run's file, or name the store oci://REGISTRY/REPOSITORY"
            )
        kinds = (known.kind,) if known.kind or "kind" not in self.fields else KINDS
        return tuple(self.expand(Origin(kind, known.namespace, known.name, known.uid)) for kind in kinds)


def parse_gathered(text: str) -> Gathered:
    """Parse ``REGISTRY/REPOSITORY`` with placeholders. Raises :class:`StoreRejected` with the next step."""
    fields = _PLACEHOLDER.findall(text)
    known = ", ".join(f"{{{field}}}" for field in PLACEHOLDERS)
    unknown = [field for field in fields if field not in PLACEHOLDERS]
    if unknown:
        raise StoreRejected(f"{_KEY} {text!r}: unknown placeholder {{{unknown[0][:100]}}}, known are {known}")
    bare = text.removeprefix("oci://").removeprefix("docker://")
    registry, *components = bare.split("/")
    if any(mark in registry for mark in "{}"):
        raise StoreRejected(f"{_KEY} {text!r}: the registry is fixed; write {known} after it")
    if any(len(_PLACEHOLDER.findall(component)) > 1 for component in components):
        raise StoreRejected(
            f"{_KEY} {text!r}: two placeholders in one component could give two runs the same repository; "
            "put / between them"
        )
    # Check the rest of the name with a placeholder value; this also refuses stray braces.
    parse_repository(_PLACEHOLDER.sub("x", text))
    return Gathered(text, frozenset(fields))
