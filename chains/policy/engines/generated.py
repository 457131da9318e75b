"""What a target returns: documents for an engine, and everything that they do not express; both as YAML."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import yaml

from chains.policy.document.policy import Policy
from chains.text import plain

_WIDTH = 110
_LONGEST_NAME = 48
"""Characters of a document's name. Kyverno's own limit is 63; a suffix of a few characters may follow."""
_PLAIN = re.compile(r"[A-Za-z][A-Za-z/.-]*[A-Za-z]")
_WORDS = frozenset({"yes", "no", "on", "off", "true", "false", "null"})


class Effect(StrEnum):
    """What follows where the engine does not express something.

    ``weaker``: it admits what the policy denies. ``stricter``: it denies what the policy admits.
    ``setup``: the engine must be set up as described, or its answer differs; nothing is lost.
    """

    WEAKER = "weaker"
    STRICTER = "stricter"
    SETUP = "setup"


@dataclass(frozen=True, slots=True)
class Limit:
    """Something of a policy that an engine's documents do not express; ``what`` is its name in the policy."""

    effect: Effect
    what: str
    text: str

    def __str__(self) -> str:
        return f"{self.effect}: {self.what}: {self.text}"


@dataclass(frozen=True, slots=True)
class Generated:
    """An engine's documents for one policy, in the order of applying, and what they do not express."""

    policy: Policy
    documents: Sequence[Mapping[str, Any]]
    limits: Sequence[Limit] = field(default=())

    @property
    def is_equal(self) -> bool:
        """Whether the engine, set up as described, admits what the policy admits and nothing else."""
        return all(limit.effect is Effect.SETUP for limit in self.limits)


def document_name(policy: Policy) -> str:
    """Return the policy's name as Kubernetes allows it: what had to change gets a digest of the name."""
    name = re.sub(r"[^a-z0-9]+", "-", policy.name.lower())[:_LONGEST_NAME].strip("-")
    if name == policy.name:
        return name
    return f"{name}-{hashlib.sha256(policy.name.encode()).hexdigest()[:8]}"


def metadata(policy: Policy, suffix: str = "") -> dict[str, Any]:
    """Return the metadata of a document: its name, and which policy it was written from."""
    annotations = {"provenance.chains/policy": policy.name, "provenance.chains/policy-digest": policy.digest}
    return {"name": document_name(policy) + suffix, "annotations": annotations}


def to_yaml(generated: Iterable[Generated], target: str) -> str:
    """Return the documents of all policies as YAML, each policy's limits as comments above its first one.

    A document that several policies share is written once.
    """
    parts: list[str] = []
    written: list[Mapping[str, Any]] = []
    for one in generated:
        comments = [f"Written by chains policy generate --for {target} from policy {one.policy.name}."]
        if one.policy.digest:
            comments.append(f"Digest of the policy's file: {one.policy.digest}")
        comments += map(str, one.limits)
        head = "".join(f"# {_comment(line)}\n" for line in comments)
        new = [document for document in one.documents if document not in written]
        written += new
        bodies = [_document(document) for document in new]
        parts.append(head + "---\n".join(bodies))
    return "---\n".join(parts)


def _comment(text: str) -> str:
    """Return a text on one line of printable ASCII: YAML has more line breaks than one."""
    return plain(text).encode("ascii", "backslashreplace").decode()


class _Dumper(yaml.SafeDumper):
    """Quotes every text that a YAML reader of any version could take for something else."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - as PyYAML calls it
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        style = None
    else:
        style = "|" if "\n" in value and value.isascii() and value.endswith("\n") else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_multi_representer(str, _text)


def _document(document: Mapping[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=_WIDTH, default_flow_style=False)
