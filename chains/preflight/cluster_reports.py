"""Writes reports into a cluster: all are tried first, and what is the same as before is not written.

Server-side apply with a field manager of our own. Needs ``list``, ``create``, ``patch`` and ``delete`` on
``reports``, and on ``clusterreports`` unless the look is limited to namespaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError, ClusterForbidden, ObjectGone
from chains.preflight.openreports import Report, is_written, labels_of, unchanged_times
from chains.text import count

Json = Any
MANAGER = "provenance-chains-preflight"
_API = "/apis/openreports.io/v1alpha1"
_TERMINATED = "because it is being terminated"
_INSTALL = "the cluster does not serve openreports.io/v1alpha1: install the CRDs of openreports/reports-api"


@dataclass(slots=True)
class Written:
    """What happened to the reports, by their labels. ``failure`` is empty where all went well.

    ``skipped`` are those of namespaces that are gone or going.
    """

    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    unchanged: int = 0
    failure: str = ""
    dry_run: bool = False

    def to_json(self) -> dict[str, Json]:
        """Return it as printed."""
        return {
            "dryRun": self.dry_run,
            "written": list(self.written),
            "removed": list(self.removed),
            "skipped": list(self.skipped),
            "unchanged": self.unchanged,
            "failure": self.failure or None,
        }

    def __str__(self) -> str:
        told = f"{count(len(self.written), 'report')} written, {len(self.removed)} removed"
        gone = f", {len(self.skipped)} of namespaces that are gone" if self.skipped else ""
        return f"{told}, {self.unchanged} unchanged{gone}" + (" (dry run)" if self.dry_run else "")


@dataclass(frozen=True, slots=True)
class _Change:
    """One report to apply, or to delete where ``body`` is None. ``known`` says that it exists and is ours."""

    label: str
    path: str
    body: dict[str, Json] | None = None
    is_known: bool = False
    uid: str = ""


async def write_reports(
    cluster: Cluster, reports: Sequence[Report], name: str, namespaces: Sequence[str], *, dry_run: bool
) -> Written:
    """Write the reports of a name, and remove those of that name which are not among them.

    Every change is tried by a dry run of the API server first; if one is refused, nothing is written. Never
    raises :class:`ClusterError`: the result says what failed.
    """
    done = Written(dry_run=dry_run)
    try:
        changes = await _changes(cluster, reports, name, namespaces, done)
        possible = [change for change in changes if await _carry_out(cluster, change, done, dry_run=True)]
    except ClusterError as error:
        done.failure = f"reports cannot be written, and nothing was: {error}"
        return done
    for at, change in enumerate(possible):
        try:
            if dry_run or await _carry_out(cluster, change, done, dry_run=False):
                (done.removed if change.body is None else done.written).append(change.label)
        except ClusterError as error:
            missing = ", ".join(one.label for one in possible[at:])
            done.failure = f"reports are written in part, without {missing}: {error}"
            return done
    return done


async def _changes(
    cluster: Cluster, reports: Sequence[Report], name: str, namespaces: Sequence[str], done: Written
) -> list[_Change]:
    existing = await _existing(cluster, name, namespaces)
    found = []
    for report in reports:
        path = _path(report.namespace, report.name)
        known = existing.pop(path, None)
        if known is not None:
            report = unchanged_times(report, known)  # noqa: PLW2901 - the same report with the times it has
            if is_written(report, known):
                done.unchanged += 1
                continue
        found.append(_Change(report.label, path, report.to_json(), known is not None))
    for path, known in existing.items():
        metadata = known["metadata"]
        label = Report(metadata.get("namespace", ""), metadata["name"], {}).label
        found.append(_Change(label, path, uid=metadata["uid"]))
    return found


async def _existing(cluster: Cluster, name: str, namespaces: Sequence[str]) -> dict[str, dict[str, Json]]:
    """Return the reports of a name by their paths. Raises :class:`ClusterError`."""
    if namespaces:
        places = [f"{_API}/namespaces/{quote(namespace, safe='')}/reports" for namespace in namespaces]
    else:
        places = [f"{_API}/reports", f"{_API}/clusterreports"]
    selector = ",".join(f"{key}={value}" for key, value in labels_of(name).items())
    found = {}
    for place in places:
        try:
            async for item in cluster.list(place, selector, outlines=True):
                metadata = item["metadata"]
                found[_path(metadata.get("namespace", ""), metadata["name"])] = item
        except ObjectGone as error:
            raise ObjectGone(_INSTALL) from error
    return found


def _path(namespace: str, name: str) -> str:
    if namespace:
        return f"{_API}/namespaces/{quote(namespace, safe='')}/reports/{quote(name, safe='')}"
    return f"{_API}/clusterreports/{quote(name, safe='')}"


async def _carry_out(cluster: Cluster, change: _Change, done: Written, *, dry_run: bool) -> bool:
    """Apply or delete; False if there is nothing to do any more, because the namespace or report is gone."""
    try:
        if change.body is None:
            await cluster.delete(change.path, uid=change.uid, dry_run=dry_run)
        else:
            # a report of another owner is not taken over
            await cluster.apply(
                change.path, change.body, manager=MANAGER, force=change.is_known, dry_run=dry_run
            )
    except ObjectGone:
        if change.body is not None:
            done.skipped.append(change.label)
        return False
    except ClusterForbidden as error:
        if _TERMINATED not in str(error):
            raise
        done.skipped.append(change.label)
        return False
    return True
