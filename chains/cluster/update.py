"""Read, modify, write: a merge patch that holds for the version that was read, and is made anew otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from chains.cluster.client import Cluster, get_outline
from chains.cluster.errors import ObjectChanged

ATTEMPTS = 10
Metadata = Mapping[str, Any]


async def update(
    cluster: Cluster,
    path: str,
    uid: str,
    metadata: Metadata,
    patch: Callable[[Metadata], Mapping[str, Any] | None],
    *,
    goes_on: Callable[[Metadata], bool] = lambda _: True,
) -> None:
    """Write the merge patch that ``patch`` makes of an object's ``metadata``; None writes nothing.

    If the object has changed since, it is read and patched again, up to :data:`ATTEMPTS` times.

    Args:
        cluster: the API server.
        path: the object's path.
        uid: the object's UID. Another object of the same name is not written.
        metadata: the metadata as they were read; the patch names their version.
        patch: makes the patch.
        goes_on: whether an object with these newer metadata is still to be written.

    Raises:
        ObjectChanged: it changed each time, it is another object now, or ``goes_on`` says no.
        ClusterError: any other failure of a request.
    """
    for tried in range(1, ATTEMPTS + 1):
        body = patch(metadata)
        if body is None:
            return
        try:
            await cluster.patch(path, body)
        except ObjectChanged as error:
            if tried == ATTEMPTS:
                raise ObjectChanged(f"PATCH {path}: it changed {ATTEMPTS} times meanwhile") from error
            metadata = (await get_outline(cluster, path))["metadata"]
            if metadata.get("uid") != uid or not goes_on(metadata):
                raise
        else:
            return
