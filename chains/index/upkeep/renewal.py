"""Reads statements again: where a copy is gone, and where policies have to be asked about an image again.

What is known about a run comes from all of its statements, so all of them are read. A group is written in one
transaction, and only if every store answered: otherwise its statements stay as they are until the next
update.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import select

from chains.index.codes import Role, digest_text, original, uid_text
from chains.index.reading import Entry
from chains.index.rows import by_digest, chunks
from chains.index.tables import artifact, attestation, location, part, run, term, used
from chains.index.upkeep.gone import GonePlace
from chains.verify.search import LARGEST, MOST_BYTES, Query
from storage.base import Store
from storage.errors import StoreRejected
from storage.formats.reference import parse_image
from storage.limits.allowance import Allowance, within
from storage.record import Evidence, Findings

if TYPE_CHECKING:
    from sqlalchemy import Connection

_GROUP = 100
"""Statements that are read again in one transaction, about."""
_MOST_SUBJECTS = 200
"""Subjects of a group that are asked for: a statement is stored for each of its subjects."""
_FEW = 10
"""Subjects of one statement that are asked for."""

Read = Callable[[Sequence[tuple[Evidence, bytes]]], Awaitable[list[Entry]]]
"""Reads and judges pieces of evidence, with the record of their run. What cannot be read is left out."""


T = TypeVar("T")


class Target(Protocol):
    """What writes, see :class:`chains.index.target.Target`."""

    def write(self, work: Callable[[Any], T]) -> T:
        """Do work with a writer."""


@dataclass(slots=True)
class Renewed:
    """What was read again: ``removed`` statements that lie nowhere any more, ``copies`` that are gone.

    ``kept`` are statements that could not be read again and stay as they were; ``problems`` say why.
    """

    removed: int = 0
    copies: int = 0
    kept: int = 0
    problems: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What leads to the statements of a group in stores."""

    queries: tuple[Query, ...]
    uids: tuple[str, ...]
    digests: dict[bytes, int]


def related(
    connection: Connection, numbers: Collection[int], *, by_image: bool, is_build: bool
) -> list[list[int]]:
    """Return groups of statements: these and all of their runs, ``by_image`` those about their artifacts."""
    wanted = set(numbers)
    if by_image:
        wanted |= about_same(connection, wanted, is_build=is_build)
    of: dict[int, int | None] = {}
    for some in chunks(wanted):
        asked = select(attestation.c.id, attestation.c.run).where(attestation.c.id.in_(some))
        of |= {row[0]: row[1] for row in connection.execute(asked)}
    for some in chunks({one for one in of.values() if one is not None}):
        asked = select(attestation.c.id, attestation.c.run).where(attestation.c.run.in_(some))
        of |= {row[0]: row[1] for row in connection.execute(asked)}
    by_run: dict[object, list[int]] = defaultdict(list)
    for number, one in sorted(of.items()):
        by_run[("alone", number) if one is None else one].append(number)
    groups: list[list[int]] = [[]]
    for together in by_run.values():
        if len(groups[-1]) + len(together) > _GROUP and groups[-1]:
            groups.append([])
        groups[-1] += together
    return groups if groups[0] else []


def about_same(connection: Connection, numbers: Iterable[int], *, is_build: bool) -> set[int]:
    """Return the statements about the artifacts of these."""
    digests: set[bytes] = set()
    for some in chunks(numbers):
        asked = (
            select(artifact.c.digest)
            .join(part, part.c.artifact == artifact.c.id)
            .where(part.c.attestation.in_(some), artifact.c.role == Role.SUBJECT, artifact.c.digest != b"")
        )
        digests |= {bytes(one) for one in connection.execute(asked).scalars()}
    return of_digests(connection, digests, is_build=is_build)


def of_digests(
    connection: Connection, digests: Iterable[bytes], last: int | None = None, *, is_build: bool
) -> set[int]:
    """Return the statements about artifacts with these digests; with ``last`` those with an id up to it."""
    found: set[int] = set()
    columns = (artifact.c.digest, artifact.c.id, artifact.c.role)
    artifacts = {
        one for _, one, role in by_digest(connection, set(digests), *columns) if role == Role.SUBJECT
    }
    names = part if is_build else used  # a build fills the other at its end
    for some in chunks(artifacts):
        asked = select(names.c.attestation).where(names.c.artifact.in_(some))
        if last is not None:
            asked = asked.where(names.c.attestation <= last)
        found |= set(connection.execute(asked).scalars())
    return found


async def renew(
    stores: dict[int, Store],
    target: Target,
    read: Read,
    gone: Collection[GonePlace],
    stale: Collection[int],
    checked: int,
    *,
    by_image: bool,
) -> Renewed:
    """Read again what depends on ``gone`` places, and ``stale`` statements. All ``stores`` by their ids."""
    renewed = Renewed()
    numbers = {one.attestation for one in gone} | set(stale)
    if not numbers:
        return renewed
    by_number: dict[int, list[GonePlace]] = defaultdict(list)
    for place in gone:
        by_number[place.attestation].append(place)
    groups = target.write(lambda writer: writer.related(numbers, by_image=by_image))
    for group in groups:
        places = [place for number in group for place in by_number[number]]
        left = await _renew_group(stores, target, read, group, places, checked, renewed)
        if left is None:
            renewed.kept += len(group)
        else:
            renewed.removed += left
            renewed.copies += len(places)
    return renewed


async def _renew_group(
    stores: dict[int, Store],
    target: Target,
    read: Read,
    group: Sequence[int],
    places: Sequence[GonePlace],
    checked: int,
    renewed: Renewed,
) -> int | None:
    """Return how many statements were removed; None if the group stays as it is."""
    asked = target.write(lambda writer: writer.look(lambda it: _asked(it, group)))
    entries, problems = await _found(stores, asked, read)
    left: int | None = None
    if not problems:
        left = target.write(lambda writer: writer.renew(group, places, entries, checked))
        problems = ["a store does not find again what it listed"]
    if left is None:
        renewed.problems |= dict.fromkeys(problems)
    return left


def _asked(connection: Connection, group: Sequence[int]) -> _Asked:
    digests = {
        bytes(digest): number
        for number, digest in connection.execute(
            select(attestation.c.id, attestation.c.digest).where(attestation.c.id.in_(group))
        )
    }
    uids = connection.execute(
        select(run.c.uid)
        .distinct()
        .join(attestation, attestation.c.run == run.c.id)
        .where(attestation.c.id.in_(group))
    ).scalars()
    name, algorithm = term.alias("n"), term.alias("al")
    asked = (
        select(part.c.attestation, artifact.c.digest, algorithm.c.text, name.c.text)
        .join(artifact, artifact.c.id == part.c.artifact)
        .join(name, name.c.id == artifact.c.name)
        .join(algorithm, algorithm.c.id == artifact.c.algorithm)
        .where(part.c.attestation.in_(group), artifact.c.role == Role.SUBJECT, artifact.c.digest != b"")
        .order_by(part.c.attestation, artifact.c.digest)
    )
    queries: dict[Query, None] = {}
    counted: dict[int, int] = defaultdict(int)
    for number, digest, of, named in connection.execute(asked):
        counted[number] += 1
        if counted[number] <= _FEW and len(queries) < _MOST_SUBJECTS:
            reference = repository_of(original(named))
            text = f"{original(of)}:{digest_text(bytes(digest))}"
            queries[Query(text, reference, is_optional=not (reference and of == "sha256"))] = None
    return _Asked(tuple(queries), tuple(uid_text(bytes(one)) for one in uids), digests)


def repository_of(name: str) -> str:
    """Return the repository that a name is one of, empty for another name."""
    try:
        return str(parse_image(name).repository)
    except StoreRejected:
        return ""


async def _found(
    stores: dict[int, Store], asked: _Asked, read: Read
) -> tuple[dict[int, list[Entry]], list[str]]:
    """Return the entries of the group by store, and what stores did not answer."""
    entries: dict[int, list[Entry]] = {}
    problems: list[str] = []
    for number, store in stores.items():
        pieces, wrong = await look_up(store, asked.queries, asked.uids)
        problems += wrong
        found = await read(pieces)
        entries[number] = [one for one in found if one.digest in asked.digests]
    return entries, problems


async def look_up(
    store: Store, queries: Iterable[Query], uids: Iterable[str]
) -> tuple[list[tuple[Evidence, bytes]], list[str]]:
    """Return what a store has about artifacts and runs, with records of runs, and what it did not answer."""
    pieces: dict[tuple[str, str, str, bytes], tuple[Evidence, bytes]] = {}
    problems: list[str] = []

    def take(findings: Findings) -> None:
        for one in findings.evidence:
            pieces[one.location, one.digest, one.format, one.signature] = (one, findings.snapshot)

    for query in queries:
        try:
            with within(Allowance(MOST_BYTES, LARGEST)):
                take(await store.find(query.digest, query.reference))
        except StoreRejected as error:
            if not query.is_optional:
                problems.append(f"{store.url}: {error}")
        except Exception as error:  # noqa: BLE001 - one store, however broken, must not end an update
            problems.append(f"{store.url}: {error or type(error).__name__}")
    for uid in uids:
        try:
            with within(Allowance(MOST_BYTES, LARGEST)):
                # the last: what was found by its run comes with the record of the run
                take(await store.find_run(uid))
        except Exception as error:  # noqa: BLE001
            problems.append(f"{store.url}: {error or type(error).__name__}")
    return list(pieces.values()), problems


def unplaced(connection: Connection, numbers: Sequence[int]) -> set[int]:
    """Return those of the statements that lie nowhere."""
    left = set(numbers)
    for some in chunks(numbers):
        asked = select(location.c.attestation).where(location.c.attestation.in_(some))
        left -= set(connection.execute(asked).scalars())
    return left
