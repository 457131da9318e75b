"""The exceptions of requests to the API server.

:class:`ClusterError`
 ├─ :class:`ClusterUnavailable`  network, 429, 5xx: a retry can help
 ├─ :class:`ObjectLarge`         only small objects were asked for
 ├─ :class:`ObjectGone`          404: there is no such object
 ├─ :class:`ObjectChanged`       409: it changed after it was read
 └─ :class:`ClusterRejected`     everything else: a retry cannot help
     ├─ :class:`ClusterUnauthorized`  401: the token or certificate is refused
     ├─ :class:`ClusterForbidden`     403: the account lacks a permission
     ├─ :class:`ListExpired`          410: the rest of a list is no longer available
     ├─ :class:`ObjectUnreadable`     the object cannot be decoded
     └─ :class:`ObjectRefused`        413, 422, and etcd's limit: the object would be too large or invalid
"""

from __future__ import annotations

from typing import Any

from chains.errors import ChainsError


class ClusterError(ChainsError):
    """The base class of what the API server, or the way to it, refuses."""


class ClusterUnavailable(ClusterError):  # noqa: N818 - "unavailable" and "rejected" are the words of every port here
    """The API server cannot be reached or is busy."""


class ObjectLarge(ClusterError):  # noqa: N818
    """The object takes more memory than was reserved. ``weight`` is that of :func:`weight_of`."""

    def __init__(self, text: str, weight: int) -> None:
        super().__init__(text)
        self.weight = weight


class ClusterRejected(ClusterError):  # noqa: N818
    """The request is not allowed or not understood."""


class ClusterUnauthorized(ClusterRejected):
    """The API server does not accept the token or certificate."""


class ClusterForbidden(ClusterRejected):
    """The account does not have this permission."""


class ListExpired(ClusterRejected):
    """The list took so long that its next page is no longer available. Start again."""


class ObjectUnreadable(ClusterRejected):
    """The object cannot be decoded. ``outline`` has what can be read, see :mod:`chains.documents.decode`."""

    def __init__(self, reason: str, outline: dict[str, Any]) -> None:
        super().__init__(reason)
        self.outline = outline


class ObjectRefused(ClusterRejected):
    """The object would be too large or invalid."""


class ObjectGone(ClusterError):  # noqa: N818
    """The object does not exist, or no longer."""


class ObjectChanged(ClusterError):  # noqa: N818
    """The object is not the version that was read."""
