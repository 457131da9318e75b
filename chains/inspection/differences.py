"""What changed between two builds: source, parameters, images, inputs, builder, signer, isolation, results.

Times, the run's own name, its pod and its node differ in every run, so they are not compared. The order of a
list without meaning is no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chains.inspection.facts import Artifact, Confirmed, Facts, to_plain
from chains.inspection.page import Build, Page
from chains.inspection.run_names import own_name, shortened
from chains.text import count
from chains.verify.criteria import PROVENANCE_TYPES
from chains.verify.verdict import Verdict, worst

SCHEMA = "https://provenance.chains/difference/v1"
SAME, DIFFERENT, UNDECIDED = 0, 1, 4
_VOLATILE = frozenset({"pod", "nodeName", "trigger", "owners", "earlierAttempts"})
_STEP_FACTS = ("images pinned", "exit codes")
_GIT = ("git+", "git://", "https://github.com/")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is compared. ``a`` and ``b`` are its values, empty where a side does not have it."""

    section: str
    name: str
    a: tuple[str, ...]
    b: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        """Whether both sides have the same values, in any order."""
        return self.a == self.b

    @property
    def kind(self) -> str:
        """How the sides differ: ``equal``, ``changed``, ``only-a`` or ``only-b``."""
        if self.is_equal:
            return "equal"
        return "changed" if self.a and self.b else "only-a" if self.a else "only-b"


@dataclass(frozen=True, slots=True)
class Side:
    """What was compared of one target; ``statement`` is the digest of the signed bytes."""

    asked: str
    verdict: str
    summary: str
    run: str = ""
    run_uid: str = ""
    finished: str = ""
    statement: str = ""
    predicate_type: str = ""
    signer: str = ""
    other_builds: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """The answer. ``is_compared`` is false if a side has nothing to compare."""

    a: Side
    b: Side
    changes: tuple[Change, ...]
    is_compared: bool
    exit_code: int

    @property
    def different(self) -> tuple[Change, ...]:
        """What differs."""
        return tuple(one for one in self.changes if not one.is_equal)

    @property
    def is_confirmed(self) -> bool:
        """Whether both sides were confirmed."""
        return all(side.verdict == Verdict.VERIFIED for side in (self.a, self.b))

    def to_json(self, *, everything: bool = False) -> dict[str, Any]:
        """Return the answer as it is printed; with ``everything``, also what is equal."""
        shown = self.changes if everything else self.different
        return {
            "schema": SCHEMA,
            "same": (not self.different) if self.is_compared else None,
            "confirmed": self.is_confirmed,
            "exitCode": self.exit_code,
            "a": to_plain(self.a),
            "b": to_plain(self.b),
            "changes": [{**to_plain(one), "kind": one.kind} for one in shown],
        }


def compare(a: Page, b: Page) -> Difference:
    """Return what differs between the builds of two pages; of several builds, :func:`_pair` takes one."""
    pair = _pair(a.builds, b.builds)
    if pair is None:
        return Difference(_side(a, None), _side(b, None), (), False, _code(a, b))
    sides = _side(a, pair[0]), _side(b, pair[1])
    changes = tuple(_changes(*pair))
    if not (a.verdict == b.verdict == Verdict.VERIFIED):
        code = _code(a, b)
    else:
        code = SAME if all(one.is_equal for one in changes) else DIFFERENT
    return Difference(*sides, changes, True, code)


def _code(a: Page, b: Page) -> int:
    """Return the code of the worst side that was not confirmed: 1, 4 or 3."""
    names = {verdict.value: verdict for verdict in Verdict}
    verdicts = (names.get(page.verdict, Verdict.INDETERMINATE) for page in (a, b))
    found = worst(one for one in verdicts if one is not Verdict.VERIFIED)
    return found.exit_code


def _pair(ours: Iterable[Build], theirs: Iterable[Build]) -> tuple[Build, Build] | None:
    """Return a build of each side: with provenance, of the same kind of run, and the latest."""
    pairs = [(one, other) for one in ours for other in theirs]

    def rank(pair: tuple[Build, Build]) -> tuple[object, ...]:
        kinds = [build.facts.run.partition("/")[0].partition(" ")[0] for build in pair]
        return (
            sum(_has_provenance(build) for build in pair),
            kinds[0] == kinds[1],
            kinds.count("pipelinerun"),
            *(f"{build.facts.finished} {build.confirmed[0].statement}" for build in pair),
        )

    return max(pairs, key=rank, default=None)


def _has_provenance(build: Build) -> bool:
    return any(one.predicate_type in PROVENANCE_TYPES for one in build.confirmed)


def _side(page: Page, build: Build | None) -> Side:
    if build is None:
        return Side(page.asked, page.verdict, page.summary, other_builds=len(page.builds))
    first = build.confirmed[0]
    return Side(
        asked=page.asked,
        verdict=page.verdict,
        summary=page.summary,
        run=build.facts.run or build.facts.invocation,
        run_uid=build.facts.run_uid,
        finished=build.facts.finished,
        statement=first.statement,
        predicate_type=first.predicate_type,
        signer=first.signer,
        other_builds=len(page.builds) - 1,
    )


def _changes(a: Build, b: Build) -> Iterator[Change]:
    """Yield everything that is compared, section by section."""
    ours, theirs = _sections(a), _sections(b)
    if _is_nameless(a.facts) or _is_nameless(b.facts):
        ours["step images"], theirs["step images"] = _images(a.facts), _images(b.facts)
    for section in _STEP_FACTS:
        if not (ours[section] and theirs[section]):  # only the record of a run or of its pod has them
            ours[section] = theirs[section] = {}
    for section in ours:
        names = dict.fromkeys((*ours[section], *theirs[section]))
        for name in sorted(names):
            values = (tuple(sorted(side[section].get(name, ()))) for side in (ours, theirs))
            yield Change(section, name, *values)


def _sections(build: Build) -> dict[str, Mapping[str, tuple[str, ...]]]:
    facts = build.facts
    return {
        "source": _artifacts(facts.sources),
        "definition": _artifacts(facts.definitions),
        "parameters": _grouped((_named(one.task, one.name), one.value) for one in facts.parameters),
        "step images": _grouped(
            (_named(step.task, step.name), f"{step.image}@{step.digest}" if step.digest else step.image)
            for step in facts.steps
        ),
        "images pinned": _grouped(
            (_named(step.task, step.name), "yes" if step.pinned else "no")
            for step in facts.steps
            if step.pinned is not None
        ),
        "exit codes": _grouped(
            (_named(step.task, step.name), str(step.exit_code))
            for step in facts.steps
            if step.exit_code is not None
        ),
        "inputs": _artifacts(facts.inputs),
        "builder": _grouped(_builder(facts)),
        "type": _grouped((_kind(one), one.predicate_type) for one in build.confirmed),
        "signer": _grouped((_kind(one), one.signer or "nobody who was confirmed") for one in build.confirmed),
        "isolation": _grouped(_isolation(facts)),
        "outcome": _grouped([("outcome", facts.outcome)]),
        "results": _grouped((_named(one.task, one.name), one.value) for one in facts.results),
        "made": _artifacts(facts.subjects)
        if facts.subjects[:1] and facts.subjects[0].name != facts.run
        else {},
    }


def _kind(one: Confirmed) -> str:
    return "provenance" if one.predicate_type in PROVENANCE_TYPES else "execution report"


def _builder(facts: Facts) -> Iterator[tuple[str, str]]:
    yield "builder", facts.builder
    yield "build type", facts.build_type
    yield "service account", facts.service_account
    yield from ((one.name, one.value) for one in facts.circumstances if one.name not in _VOLATILE)


def _isolation(facts: Facts) -> Iterator[tuple[str, str]]:
    yield "hermetic level", facts.hermetic_level
    yield from ((one.name, one.value.partition(" ")[0]) for one in facts.network)
    own = own_name(facts)
    for child in facts.hermetic_children:
        yield f"{shortened(child.name.rpartition('/')[2], own)}, hermetic level", child.level
    for step in facts.steps:
        answers = (("requested", step.requested), ("enforced", step.enforced), ("observed", step.observed))
        for name, answer in answers:
            if answer is not None:
                yield f"{_named(step.task, step.name)}, {name}", answer.value


def _is_nameless(facts: Facts) -> bool:
    return any(not step.name for step in facts.steps)


def _images(facts: Facts) -> Mapping[str, tuple[str, ...]]:
    """Return the images by their names, where one side does not say which step ran which image."""
    found = _grouped((step.image, step.digest) for step in facts.steps)
    return {name: tuple(set(values)) for name, values in found.items()}


def _artifacts(found: Iterable[Artifact]) -> Mapping[str, tuple[str, ...]]:
    """Return artifacts by role and name. What comes after the name of a repository is its revision."""
    pairs = []
    for one in found:
        uri, revision = _split(one.uri)
        role = "" if one.role in {"source", "subject"} else one.role
        name = " ".join(filter(None, (role, one.name, uri, one.path)))
        pairs.append((name, " ".join(filter(None, (revision, *one.digests))) or "no digest"))
    return _grouped(pairs)


def _split(uri: str) -> tuple[str, str]:
    """Return a git repository and the revision in its URI; of other URIs, all of it and nothing."""
    _, scheme, rest = uri.partition("://")
    name, at, revision = rest.rpartition("@")
    is_git = uri.startswith(_GIT) and bool(scheme)
    # before the first slash, an @ ends a user's name
    if not (is_git and at and "/" in name):
        return uri, ""
    return uri.removesuffix(f"@{revision}"), revision


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Return the values by name, without empty ones."""
    found: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        if value:
            found[name] = (*found.get(name, ()), value)
    return found


def _named(task: str, name: str) -> str:
    return f"{task}/{name}" if task else name


def summary_of(found: Difference) -> str:
    """Return the first line of the answer."""
    if not found.is_compared:
        return "NOT COMPARED a side has nothing that can be compared"
    number = len(found.different)
    told = f"DIFFERENT {count(number, 'difference')}" if number else "SAME no difference"
    return told if found.is_confirmed else f"{told}, as claimed: not both sides were confirmed"
