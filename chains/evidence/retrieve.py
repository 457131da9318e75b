"""Finds evidence in stores by what a user names: digests, images, UIDs and runs."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from chains.errors import UsageError
from storage.base import Store
from storage.record import Findings, ListedRun, Origin

_DIGEST = re.compile(r"(?P<algorithm>[A-Za-z0-9_]{1,40}):(?P<hex>[0-9a-f]{2,256})")
_LENGTHS = {"sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}
"""Hex digits by algorithm. A shorter digest would find nothing and look like missing evidence."""
_IMAGE = re.compile(r"(?P<name>[^@\s]+)@(?P<digest>sha256:[0-9a-f]{64})")
_UID = re.compile(r"[0-9a-fA-F-]{8,64}")
_RUN = re.compile(r"(?:(?P<kind>[a-z]+)/)?(?P<namespace>[a-z0-9.-]+)/(?P<name>[A-Za-z0-9.-]+)")
_NOBODY = ListedRun(Origin("", "", "", ""), "")


@dataclass(frozen=True, slots=True)
class Window:
    """Selects runs by namespace, name and end. ``since`` and ``until`` are RFC 3339 in UTC; empty is any."""

    namespace: str = ""
    name: str = ""
    since: str = ""
    until: str = ""
    kind: str = ""

    def has(self, run: ListedRun) -> bool:
        """Whether a run is selected, as far as it is known: an unknown field matches."""
        origin = run.origin
        pairs = ((self.kind, origin.kind), (self.namespace, origin.namespace), (self.name, origin.name))
        return all(not wanted or not known or wanted == known for wanted, known in pairs) and (
            run.ended_within(self.since, self.until)
        )


@dataclass(frozen=True, slots=True)
class Found:
    """The evidence of one store about one run or subject; ``run`` is the store's listing of it, if any."""

    what: str
    store: str
    findings: Findings
    run: ListedRun = _NOBODY


def names_image(target: str) -> bool:
    """Whether a target is an image with a digest."""
    return _IMAGE.fullmatch(target) is not None


def names_artifact(target: str) -> bool:
    """Whether a target is an artifact (an image or a digest) and not a run."""
    return names_image(target) or _DIGEST.fullmatch(target) is not None


async def retrieve(stores: Sequence[Store], targets: Sequence[str], window: Window) -> AsyncIterator[Found]:
    """Yield the evidence about each target, or about every run of ``window`` without targets.

    A target is a digest (``sha256:…``), an image with one, a run's UID, or ``[KIND/]NAMESPACE/NAME``. Raises
    :class:`UsageError` for other words, and what the stores raise.
    """
    for target in targets:
        _check_target(target)
    for each in stores:
        store = each.within(Origin(window.kind, window.namespace, window.name, ""))
        for target in targets:
            async for found in _about(store, target, window):
                yield found
        if not targets:
            async for found in _runs(store, window):
                yield found


def _check_target(target: str) -> None:
    """Raise :class:`UsageError` for a word that is no target, before any store is asked."""
    if digest := _DIGEST.fullmatch(target):
        expected = _LENGTHS.get(digest["algorithm"])
        if expected not in {None, len(digest["hex"])}:
            raise UsageError(
                f"{target[:100]!r}: {digest['algorithm']} has {expected} hex digits, got {len(digest['hex'])}"
            )
    elif not any(form.fullmatch(target) for form in (_IMAGE, _RUN, _UID)):
        raise UsageError(
            f"{target[:100]!r}: expected sha256:HEX, IMAGE@sha256:HEX, a run's UID or NAMESPACE/NAME"
        )


async def _about(store: Store, target: str, window: Window) -> AsyncIterator[Found]:
    if image := _IMAGE.fullmatch(target):
        yield Found(target, store.url, await store.find(image["digest"], image["name"]))
    elif _DIGEST.fullmatch(target):
        yield Found(target, store.url, await store.find(target))
    elif run := _RUN.fullmatch(target):
        named = Window(run["namespace"], run["name"], window.since, window.until, run["kind"] or "")
        async for found in _runs(store, named):
            yield found
    else:
        yield Found(target, store.url, await store.find_run(target))


async def _runs(store: Store, window: Window) -> AsyncIterator[Found]:
    async for run in store.list_runs(window.since, window.until):
        if not window.has(run):
            continue
        findings = await store.find_run(run.origin.uid)
        known = next((one for one in findings.evidence if one.origin is not None), None)
        if known is not None and known.origin is not None:
            run = ListedRun(known.origin, known.created or run.created)  # noqa: PLW2901
            if not window.has(run):
                continue
        yield Found(f"{run.origin.kind}/{run.origin.namespace}/{run.origin.name}", store.url, findings, run)
