"""Further signers for some runs: the key ``signers.extra``, parsed once and evaluated for each run.

Pure: a text becomes a tuple of rules, and a rule decides whether it applies to a run.
:mod:`chains.assembly.workspace` opens the keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from chains.config.selection import parse_labels
from chains.documents.load import load_documents
from chains.errors import InputError

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_GLOB = re.compile(r"[a-z0-9*?\[\]!-]{1,253}")
_FIELDS = {"name": str, "reference": str, "namespaces": list, "labels": str, "instead": bool}
_WORDS = {str: "text", list: "a list of patterns", bool: "true or false"}
_MOST = 100


@dataclass(frozen=True, slots=True)
class ExtraSigner:
    """One further signer, and the runs that it signs: they match its namespaces and its labels.

    ``reference`` is a key file or the reference of a key service. ``namespaces`` has shell patterns (empty:
    any), ``labels`` a selector in kubectl's notation (empty: any). With ``instead``, it replaces the
    artifact's own signer; otherwise both sign.
    """

    name: str
    reference: str = field(repr=False)
    namespaces: tuple[str, ...] = ()
    labels: str = ""
    instead: bool = False

    @property
    def sealer(self) -> str:
        """The name of its sealer. It differs from every value of ``artifacts.*.signer``."""
        return f"extra/{self.name}"

    def is_for(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether it signs runs of this namespace with these labels."""
        if self.namespaces and not any(fnmatchcase(namespace, pattern) for pattern in self.namespaces):
            return False
        return all(matches(labels) for matches in parse_labels(self.labels))


def parse_extra_signers(text: str) -> tuple[ExtraSigner, ...]:
    """Parse a list of signers in JSON or YAML. An empty text has no signers.

    Raises :class:`ValueError` with the signer and the field that is wrong. The text never contains a
    reference.
    """
    if not text.strip():
        return ()
    try:
        documents = load_documents(text.encode(), "signers")
    except InputError as error:
        raise ValueError(str(error)) from error
    if len(documents) != 1 or not isinstance(documents[0], list):
        raise ValueError("expected a list of signers, each with name, reference and namespaces or labels")
    if len(documents[0]) > _MOST:
        raise ValueError(f"expected at most {_MOST} signers, got {len(documents[0])}")
    found = tuple(_read(item, number) for number, item in enumerate(documents[0], 1))
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two signers are called {name}")
    return found


def choose_extra(
    signers: Sequence[ExtraSigner], namespace: str, labels: Mapping[str, str]
) -> tuple[list[ExtraSigner], bool]:
    """Return the signers for a run, and whether the artifact's own signer signs too."""
    chosen = [one for one in signers if one.is_for(namespace, labels)]
    return chosen, not any(one.instead for one in chosen)


def _read(item: Any, number: int) -> ExtraSigner:
    where = f"signer {number}"
    if not isinstance(item, dict):
        text = "expected an object with name, reference and namespaces or labels"
        raise ValueError(f"{where}: {text}")  # noqa: TRY004 - it is the value of the configuration
    for name, value in item.items():
        if name not in _FIELDS:
            raise ValueError(f"{where}: unknown field {name[:40]!r}: expected one of {', '.join(_FIELDS)}")
        if not isinstance(value, _FIELDS[name]):
            raise ValueError(f"{where}: {name} must be {_WORDS[_FIELDS[name]]}")  # noqa: TRY004
    name = item.get("name", "")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{where}: name must be lowercase letters, digits and '-', at most 63")
    where = f"signer {name}"
    if not item.get("reference", "").strip():
        raise ValueError(f"{where}: reference is missing: a key file, or a key service's key")
    namespaces = item.get("namespaces", [])
    for pattern in namespaces:
        if not isinstance(pattern, str) or not _GLOB.fullmatch(pattern):
            raise ValueError(f"{where}: namespaces must be patterns such as team-a or team-*")
    labels = item.get("labels", "")
    try:
        parse_labels(labels)
    except ValueError as error:
        raise ValueError(f"{where}: labels: {error}") from error
    if not namespaces and not labels.strip():
        raise ValueError(f"{where}: say for which runs: namespaces or labels (namespaces: ['*'] for all)")
    return ExtraSigner(name, item["reference"], tuple(namespaces), labels, item.get("instead", False))
