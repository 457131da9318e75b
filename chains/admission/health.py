"""The health port: ``/livez``, ``/readyz`` and ``/metrics``, on plain HTTP."""

from __future__ import annotations

import asyncio

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from chains.admission.answers import Answers
from chains.admission.certificate import Certificate
from chains.admission.policies import PoliciesInForce
from chains.admission.reporting.metrics import Metrics
from chains.text import told


class Health:
    """Says whether this process lives and can answer requests.

    Refused policies are no reason not to be ready: the last good ones are in force, and all replicas would
    become unready at once.
    """

    def __init__(
        self, policies: PoliciesInForce, certificate: Certificate, answers: Answers, metrics: Metrics
    ) -> None:
        self._policies, self._certificate, self._answers = policies, certificate, answers
        self._metrics = metrics
        self.stopping = asyncio.Event()

    @property
    def trouble(self) -> str:
        """Why the process is not ready, empty if it is."""
        return "the process ends" if self.stopping.is_set() else self._policies.trouble

    def text(self) -> bytes:
        """Return the metrics."""
        metrics, current = self._metrics, self._policies.current
        metrics.policies.clear()
        if current is not None:
            metrics.policies.labels(current.digest).set(len(current.policies))
        metrics.policies_refused.set(bool(self._policies.refused))
        metrics.certificate_expires.set(self._certificate.expires)
        metrics.certificate_refused.set(bool(self._certificate.refused))
        metrics.hits.set(self._answers.hits)
        metrics.misses.set(self._answers.misses)
        metrics.shared.set(self._answers.found_by_others)
        return metrics.text()

    def application(self) -> web.Application:
        """Return the application of the health port."""

        async def live(_: web.Request) -> web.Response:
            return web.Response(text="ok\n")

        async def ready(_: web.Request) -> web.Response:
            if self.trouble:
                return web.Response(status=503, text=f"{told(self.trouble)}\n")
            return web.Response(text="ok\n")

        async def tell(_: web.Request) -> web.Response:
            return web.Response(body=self.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

        found = web.Application()
        found.add_routes([web.get("/livez", live), web.get("/readyz", ready), web.get("/metrics", tell)])
        return found
