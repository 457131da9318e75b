"""What a template of a chart is made of: a manifest, and replacements of its text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

NAMESPACE = "{{ .Release.Namespace }}"
IMAGE_NAME, VERSION = "registry.example.com/provenance-chains", "VERSION"
"""The image of the manifests, and what stands in place of the project's version."""
KEEP = """\
  annotations:
    # an uninstallation keeps it
    helm.sh/resource-policy: keep
"""


class StaleError(Exception):
    """A manifest is not what the replacements here expect."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A text of a manifest and the text of the template in its place."""

    old: str
    new: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class Template:
    """A template and the manifest that it is made from."""

    name: str
    source: str
    edits: tuple[Edit, ...] = ()
    conditions: Mapping[str, str] | None = None
    """Kind of a document, ``*`` for every kind, to the condition under which it is rendered."""
    loop: str = ""
    """A list of names. The documents are rendered for each, as ``$name``."""
    namespace: str = "tekton-chains"
    """The namespace of the manifest, in whose place the release's is. Empty: it stays."""


def optional(path: str, key: str, indent: int) -> str:
    """Return a mapping entry that is there if the value is."""
    space = " " * indent
    return (
        f"{space}{{{{- with .Values.{path} }}}}\n"
        f"{space}{key}: {{{{- toYaml . | nindent {indent + 2} }}}}\n"
        f"{space}{{{{- end }}}}\n"
    )


def further(path: str, indent: int) -> str:
    """Return the further items of a list, which stand as deep as its first ones."""
    return f"{{{{- with .Values.{path} }}}}{{{{- toYaml . | nindent {indent} }}}}{{{{- end }}}}\n"


def image(indent: int) -> Edit:
    """Return the edit of a container's image."""
    space = " " * indent
    return Edit(
        f"{space}image: {IMAGE_NAME}:{VERSION}\n",
        f'{space}image: {{{{ include "chains.image" . }}}}\n'
        f"{space}{{{{- with .Values.image.pullPolicy }}}}\n"
        f"{space}imagePullPolicy: {{{{ . }}}}\n"
        f"{space}{{{{- end }}}}\n",
    )


def condition(path: str, text: str, indent: int) -> str:
    """Return lines that are there if the value is true."""
    space = " " * indent
    return f"{space}{{{{- if .Values.{path} }}}}\n{text}{space}{{{{- end }}}}\n"


IMAGE = image(10)
"""The image of a container of a workload."""
PLACEMENT = (
    optional("nodeSelector", "nodeSelector", 6)
    + optional("tolerations", "tolerations", 6)
    + optional("image.pullSecrets", "imagePullSecrets", 6)
)
"""Where pods run and how their image is pulled."""
