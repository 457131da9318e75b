"""What the API server, or the way to it, refuses.

:class:`ClusterError`
 ├─ :class:`ClusterUnavailable`  network, 429, 5xx: trying again can help
 ├─ :class:`ObjectLarge`         it was asked for small objects alone
 ├─ :class:`ObjectGone`          404: there is no such object
 ├─ :class:`ObjectChanged`       409: it changed since it was read
 └─ :class:`ClusterRejected`     everything else: it cannot
     ├─ :class:`ClusterUnauthorized`  401: the token or certificate is not taken
     ├─ :class:`ClusterForbidden`     403: the account lacks a permission
     ├─ :class:`ListExpired`          410: the rest of a list cannot be had any more
     ├─ :class:`ObjectUnreadable`     what is there cannot be decoded, whoever tries
     └─ :class:`ObjectRefused`        413, 422, and etcd's limit: the object would be too large or not valid
"""

from __future__ import annotations

from typing import Any

from chains.errors import ChainsError


class ClusterError(ChainsError):
    """Base of what the API server, or the way to it, refuses."""


class ClusterUnavailable(ClusterError):  # noqa: N818 - "unavailable" and "rejected" are the words of every port here
    """The API server cannot be reached or is busy."""


class ObjectLarge(ClusterError):  # noqa: N818
    """The object takes more memory than was reckoned with; ``weight`` is that of :func:`weight_of`."""

    def __init__(self, text: str, weight: int) -> None:
        super().__init__(text)
        self.weight = weight


class ClusterRejected(ClusterError):  # noqa: N818
    """The request is not allowed or not understood."""


class ClusterUnauthorized(ClusterRejected):
    """The API server does not know who we are."""


class ClusterForbidden(ClusterRejected):
    """The account may not do this."""


class ListExpired(ClusterRejected):
    """A list took so long that its next page is forgotten; begin again."""


class ObjectUnreadable(ClusterRejected):
    """The object cannot be decoded; ``outline`` has what can be told of it, see
    :mod:`chains.documents.decode`."""

    def __init__(self, reason: str, outline: dict[str, Any]) -> None:
        super().__init__(reason)
        self.outline = outline


class ObjectRefused(ClusterRejected):
    """The object would be too large, or not be valid."""


class ObjectGone(ClusterError):  # noqa: N818
    """There is no such object, or no longer."""


class ObjectChanged(ClusterError):  # noqa: N818
    """The object is not the one that was read."""
