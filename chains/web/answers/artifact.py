"""An artifact by its digest: everything that attestations say about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chains.index.codes import Verdict
from chains.index.database import Place
from chains.index.query.answer import Answer, answered
from chains.index.query.detail.evidence import Details, Input, details_of, inputs_of, users_of
from chains.index.query.detail.runs import Run, run_of
from chains.index.query.rows import Hit
from chains.index.query.scope import View
from chains.index.query.terms import Digest, Key, Query, Term
from chains.statements.statement import SLSA_V02, SLSA_V1

MOST = 100
"""Attestations of one artifact that are shown."""
MOST_COUNTED = 60
"""Inputs whose users are counted."""
PROVENANCE = frozenset({SLSA_V1, SLSA_V02})
_GIT = frozenset({"sha1", "gitCommit"})


@dataclass(frozen=True, slots=True)
class UsedInput:
    """An input, and how many attestations name it. ``users`` is None if that was not counted."""

    role: str
    name: str
    digest: str
    users: int | None
    has_more_users: bool = False

    @property
    def is_commit(self) -> bool:
        """Whether its digest is one of git."""
        return self.digest.partition(":")[0] in _GIT


@dataclass(frozen=True, slots=True)
class Artifact:
    """What is known about an artifact. ``main`` is the attestation that the page tells first, or None.

    ``confirmed`` are the attestations that verified when the index checked them, ``unused`` all others.
    """

    digest: str
    names: tuple[str, ...]
    answer: Answer
    details: dict[int, Details]
    main: Hit | None
    run: Run | None
    inputs: tuple[UsedInput, ...]

    @property
    def hits(self) -> Sequence[Hit]:
        """All attestations about it, the newest first."""
        return self.answer.hits

    @property
    def confirmed(self) -> list[Hit]:
        """Those that verified."""
        return [hit for hit in self.hits if hit.verdict is Verdict.VERIFIED]

    @property
    def unused(self) -> list[Hit]:
        """Those that did not, or could not be decided."""
        return [hit for hit in self.hits if hit.verdict is not Verdict.VERIFIED]


def artifact_of(
    view: View, place: Place, digest: str, now: datetime, namespaces: Sequence[str] | None
) -> Artifact:
    """Return what an index has about an artifact, by ``ALGORITHM:HEX``. It may have nothing."""
    algorithm, _, value = digest.partition(":")
    query = Query((Term(Key.IMAGE, Digest(value, algorithm)),))
    answer = answered(place, view, query, now, limit=MOST, namespaces=namespaces)
    ids = [hit.position.id for hit in answer.hits]
    main = main_of(answer.hits)
    names = dict.fromkeys(
        one.name for hit in answer.hits for one in hit.subjects if one.digest == digest and one.name
    )
    run = run_of(view, main.run.uid) if main and main.run and main.run.uid else None
    inputs = used_inputs(view, inputs_of(view, [main.position.id])) if main else ()
    return Artifact(digest, tuple(names), answer, details_of(view, ids), main, run, inputs)


def main_of(hits: Sequence[Hit]) -> Hit | None:
    """Return the attestation that says most: confirmed provenance, then what else is confirmed."""
    ranked = sorted(
        hits, key=lambda hit: (hit.verdict is not Verdict.VERIFIED, hit.predicate not in PROVENANCE)
    )
    return ranked[0] if ranked else None


def used_inputs(view: View, inputs: Sequence[Input]) -> tuple[UsedInput, ...]:
    """Return inputs with the number of their users."""
    found = []
    for number, one in enumerate(inputs):
        users, more = users_of(view, one.digest) if one.digest and number < MOST_COUNTED else (None, False)
        found.append(UsedInput(one.role, one.name, one.digest, users, more))
    return tuple(found)
