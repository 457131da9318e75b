"""The runs that are in a cluster now."""

from __future__ import annotations

from collections.abc import Sequence

from chains.audit.population.known import Population, Source
from chains.audit.population.sighting import KINDS, sighting_of
from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError, ObjectGone
from chains.documents.decode import UNREADABLE
from chains.tekton.runs import RESOURCES
from chains.tekton.snapshot import API_VERSION, run_label


async def read_cluster(cluster: Cluster, namespaces: Sequence[str], population: Population) -> Source:
    """Add the runs of a cluster, page by page, in some namespaces or, without any, in all.

    What the account may not list, and a list that breaks off, are problems of the source.
    """
    scopes = [f"/namespaces/{name}" for name in namespaces] or [""]
    paths = [f"/apis/{API_VERSION}{scope}/{RESOURCES[kind]}" for kind in KINDS for scope in scopes]
    source = population.source(
        Source(
            name="cluster",
            kind="cluster",
            shows="the runs that are in the cluster now",
            cannot="runs that were deleted, by a pruner or by anybody who may delete runs",
            query=" ".join(f"GET {path}" for path in paths),
        )
    )
    for path in paths:
        kind = next(kind for kind in KINDS if path.endswith(RESOURCES[kind]))
        try:
            async for item in cluster.list(path, outlines=True):
                _add({"apiVersion": API_VERSION, "kind": kind, **item}, source, population)
        except ObjectGone:
            source.problems.append(f"{path}: the cluster does not serve {RESOURCES[kind]}")
        except ClusterError as error:
            source.problems.append(f"{path}: cannot be listed whole: {error}")
    return source


def _add(raw: dict[str, object], source: Source, population: Population) -> None:
    if UNREADABLE in raw:
        source.notes.append(f"{run_label(raw)}: cannot be read whole: {raw[UNREADABLE]}")
    seen = sighting_of(raw)
    if seen is None:
        source.problems.append(f"{run_label(raw)}: is no run with a name")
        return
    source.finished += seen.is_finished
    source.saw(seen.finished or seen.created)
    population.add(source, seen)
