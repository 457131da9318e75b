"""What was made with an artifact: the newest products of the runs that used it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from chains.index.codes import Verdict
from chains.index.query.detail.evidence import users_of
from chains.index.query.rows import Hit, Subject, hits
from chains.index.query.scope import View
from chains.index.query.search import Search
from chains.index.query.terms import Digest, Key, Query, Term

MOST = 12
"""Attestations that used the artifact and are looked at."""


@dataclass(frozen=True, slots=True)
class Product:
    """An artifact that was made with another one; ``is_verified``: by a statement that verified."""

    subject: Subject
    run: str
    is_verified: bool


@dataclass(frozen=True, slots=True)
class Made:
    """The newest products, and how many attestations name the artifact as an input."""

    products: tuple[Product, ...]
    users: int
    has_more: bool


def made_with(view: View, digest: str, now: datetime) -> Made:
    """Return what was made with an artifact (``ALGORITHM:VALUE``)."""
    algorithm, _, value = digest.partition(":")
    number, more = users_of(view, digest)
    if not number:
        return Made((), 0, False)
    query = Query((Term(Key.INPUT, Digest(value, algorithm)),))
    found = hits(view, Search(view, query, now).page(MOST))
    products: dict[str, Product] = {}
    for hit in found:
        for subject in hit.subjects:
            if subject.digest == digest or _is_run(hit, subject):
                continue
            is_verified = hit.verdict is Verdict.VERIFIED
            known = products.get(subject.digest)
            if known is None or (is_verified and not known.is_verified):
                products[subject.digest] = Product(subject, hit.run.path if hit.run else "", is_verified)
    return Made(tuple(products.values())[:MOST], number, more)


def _is_run(hit: Hit, subject: Subject) -> bool:
    """Whether a subject is the run itself, as in reports of runs that made nothing."""
    return hit.run is not None and subject.name == f"{hit.run.kind}/{hit.run.path}"
