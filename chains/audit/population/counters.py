"""The counters of Tekton's controller: an independent number, without names and namespaces.

``tekton_pipelines_controller_pipelinerun_total{status="success"} 12`` counts the finished runs since the
controller's start. Source: https://tekton.dev/docs/pipelines/metrics/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp

from chains.audit.population.sighting import KINDS
from chains.cluster.paging import read_some
from chains.errors import InputError

_SAMPLE = re.compile(
    r"^tekton_pipelines_controller_(taskrun|pipelinerun)_total(?:\{[^}\n]*\})?\s+([0-9.eE+]+)(?:\s+[0-9.]+)?\s*$",
    re.MULTILINE | re.ASCII,
)
_MOST = 1e12
_SECONDS = 30.0
_LARGEST = 64 * 1024 * 1024
CANNOT = "counters begin again with the controller, and have no period, no namespace and no name"


@dataclass(frozen=True, slots=True)
class Counters:
    """How many finished runs the controller counted since its start, by kind, and where that was read."""

    name: str
    finished: Mapping[str, int]

    def compare(self, finished: Mapping[str, int]) -> list[str]:
        """Return in words where the sources know another number of finished runs. It decides nothing."""
        told = []
        for kind, counted in self.finished.items():
            known = finished.get(kind, 0)
            if known != counted:
                told.append(
                    f"{self.name}: the controller counted {counted:,} finished {kind}s since its start, the "
                    f"sources know {known:,}; {CANNOT}"
                )
        return told


async def fetch_counters(url: str) -> Counters:
    """Read the counters of a metrics page. Raises :class:`InputError` if it cannot be read."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            data = await read_some(answer, _LARGEST)
            if answer.status != HTTPStatus.OK:
                raise InputError(f"{url}: expected a metrics page, got status {answer.status}")
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise InputError(f"{url}: cannot be read: {error or type(error).__name__}") from error
    if data is None:
        raise InputError(f"{url}: larger than {_LARGEST >> 20} MiB")
    return parse_counters(data.decode(errors="replace"), url)


def parse_counters(text: str, name: str) -> Counters:
    """Read the counters of a metrics page in the text format of Prometheus.

    Raises :class:`InputError` if it has none of them.
    """
    kinds = {kind.lower(): kind for kind in KINDS}
    found: dict[str, int] = {}
    for word, value in _SAMPLE.findall(text):
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 <= number < _MOST:
            raise InputError(f"{name}: {value[:40]!r} is no count")
        found[kinds[word]] = found.get(kinds[word], 0) + int(number)
    if not found:
        raise InputError(
            f"{name}: has no tekton_pipelines_controller_taskrun_total and no …_pipelinerun_total: name the "
            "metrics page of Tekton's controller (port 9090, /metrics)"
        )
    return Counters(name, found)
