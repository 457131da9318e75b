"""The store ``kafka``: one message per record, with body and headers of Tekton Chains' ``pubsub``.

The body is the signature: the DSSE envelope, or the raw signature of an image. The header ``payload`` is the
payload in base64, the header ``signature`` the body again. A receipt names partition and offset and is
returned when all in-sync replicas have the message. Storing a record again sends it again, so consumers must
expect duplicates. A topic cannot be searched; read it with a consumer. The URL is
``kafka://HOST:PORT[,HOST:PORT]/TOPIC``.
"""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Sequence
from typing import Any

from storage.base import Probe, Store, StoreOptions
from storage.errors import StoreError, StoreRejected, StoreUnavailable
from storage.formats.chains_document import document_of
from storage.formats.digest import sha256
from storage.kafka.settings import parse_kafka_url
from storage.record import Failure, Findings, Receipt, Record, Stored
from storage.threads import Blocking

_LOGIN = "the broker refused the login: check storage.pubsub.kafka.sasl.* and the password"
_TLS = (
    "TLS failed: check storage.pubsub.kafka.ssl.ca-file, and the client certificate if the broker needs one"
)
_LOOK_SECONDS = 0.005
"""Seconds between two checks whether a message was delivered."""
_LARGEST = 256 * 1024 * 1024
"""The largest message in bytes that the client accepts. The broker has its own limit."""


class KafkaStore(Store):
    """Sends records to the topic of its URL."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        self._settings = parse_kafka_url(url)
        self.url, self._topic = self._settings.url, self._settings.topic
        self._options = options
        self._threads = Blocking("kafka", _explain)
        self._making = threading.Lock()
        self._client: Any = None
        self._password = ""
        self._trouble: StoreError | None = None

    async def put(self, record: Record) -> Stored:
        """Send one message and wait until the broker acknowledges it; see :meth:`Store.put`."""
        try:
            document = document_of(record)
            headers = {"payload": base64.b64encode(document.payload), "signature": document.signature}
            location = await self._send(document.signature, headers)
        except StoreError as error:
            transient = isinstance(error, StoreUnavailable)
            return Stored(failures=(Failure(self.url, "message", "", str(error), transient),))
        return Stored((Receipt(self.url, "message", "", location, sha256(document.signature)),))

    async def _send(self, body: bytes, headers: dict[str, bytes]) -> str:
        """Send one message and return its location."""

        def work() -> str:
            done = threading.Event()
            result: list[Any] = []

            def delivered(error: Any, message: Any) -> None:
                result.extend((error, message))
                done.set()

            producer = self._made()
            producer.produce(self._topic, value=body, headers=headers, on_delivery=delivered)
            # No time limit here: the client itself reports a message as failed after its delivery timeout.
            while not done.wait(0):
                # poll() in another thread may run our callback, so wake up often enough to notice that.
                producer.poll(_LOOK_SECONDS)
            error, message = result
            if error is not None:
                raise self._refused(f"send to {self.url}") or _explain_code(error, f"send to {self.url}")
            self._trouble = None
            return f"{self.url}#{message.partition()}@{message.offset()}"

        return await self._threads.run(f"send to {self.url}", work)

    async def find(self, digest: str, reference: str = "") -> Findings:
        """Raise :class:`StoreRejected`: a topic cannot be searched by digest."""
        del digest, reference
        raise StoreRejected(f"{self.url} cannot be searched: read the topic with a consumer")

    async def find_run(self, uid: str) -> Findings:
        """Raise :class:`StoreRejected`: a topic cannot be searched by run."""
        return await self.find(uid)

    async def probe(self, places: Sequence[str] = ()) -> list[Probe]:
        """Ask the broker for the topic. A write is not tried, because a message cannot be deleted."""
        del places

        def look() -> int:
            topic = self._made().list_topics(self._topic, timeout=self._options.timeout).topics[self._topic]
            if topic.error is not None:
                raise _explain_code(topic.error, f"look for the topic of {self.url}")
            return len(topic.partitions)

        def reach() -> int:
            try:
                return look()
            except Exception:
                self._made().poll(0)  # runs the client's error callback, which has the cause
                if refused := self._refused(f"reach {self.url}"):
                    raise refused from None
                raise

        try:
            count = await self._threads.run(f"reach {self.url}", reach)
        except StoreError as error:
            return [
                Probe("reach", "failed", str(error), "check storage.pubsub.*, and that the topic is there")
            ]
        return [
            Probe("reach", "ok", f"the topic has {count} partitions; whether it takes messages is not tried")
        ]

    async def close(self) -> None:
        """Send waiting messages and release connections. A later call opens new ones."""
        # Taken first, so that a call during the flush makes a new client.
        client, self._client = self._client, None
        if client is not None:
            await asyncio.to_thread(client.flush, self._options.timeout)
        await self._threads.close()

    def _made(self) -> Any:
        """Return the client; make a new one for the first call and after a change of the password."""
        with self._making:
            try:
                password = self._settings.password()
            except StoreRejected:
                if self._client is None:
                    raise
                password = self._password  # the file cannot be read: keep the last password
            # A changed password needs a new client; messages under way stay with the old one.
            if self._client is None or password != self._password:
                try:
                    from confluent_kafka import Producer  # noqa: PLC0415
                except ImportError as exc:
                    raise StoreRejected(f"{exc}: install provenance-chains with its extra kafka") from exc
                self._password = password
                self._client = Producer(
                    {
                        **self._settings.client(password),
                        "error_cb": self._note,
                        # A receipt needs the acknowledgement of all in-sync replicas. Idempotence keeps the
                        # client's own retries from sending a message twice.
                        "acks": "all",
                        "enable.idempotence": True,
                        "delivery.timeout.ms": int(self._options.timeout * 1000),
                        "request.timeout.ms": int(self._options.timeout * 1000),
                        "socket.connection.setup.timeout.ms": int(min(10.0, self._options.timeout) * 1000),
                        "message.max.bytes": _LARGEST,
                        "linger.ms": 0,
                        "client.id": "provenance-chains",
                        "log_level": 0,
                    }
                )
            return self._client

    def _note(self, error: Any) -> None:
        """Remember what the client reports about its connections.

        The error of a message says only that its time ran out.
        """
        problem = _trouble(str(error.name()), str(error.str()))
        if problem is not None and not isinstance(self._trouble, StoreRejected):
            self._trouble = problem

    def _refused(self, action: str) -> StoreError | None:
        """Return why the broker refuses connections, if it does."""
        problem = self._trouble
        return type(problem)(f"{action}: {problem}") if problem is not None else None


def _trouble(name: str, text: str) -> StoreError | None:
    """Return the error for a connection problem that does not end by waiting; None for others."""
    if name == "_AUTHENTICATION":
        return StoreRejected(_LOGIN)
    if name == "_SSL":
        return StoreRejected(_TLS)
    # Some brokers close the connection instead of answering; an outage looks the same, so it may pass.
    if "SASL authentication" in text:
        return StoreUnavailable(_LOGIN)
    return StoreUnavailable(_TLS) if "SSL routines" in text else None


def _explain(error: Exception, action: str) -> StoreError:
    """Return the :class:`StoreError` for an exception of the client."""
    from confluent_kafka import KafkaException  # noqa: PLC0415

    if isinstance(error, KafkaException):
        return _explain_code(error.args[0], action)
    if isinstance(error, BufferError):
        return StoreUnavailable(f"{action}: too many messages wait for the broker")
    return StoreRejected(f"{action}: {type(error).__name__}")


def _explain_code(error: Any, action: str) -> StoreError:
    """Return the :class:`StoreError` for an error code of Kafka.

    Names that begin with an underscore, such as ``_MSG_TIMED_OUT``, are the client's own.
    """
    name = str(error.name())
    if "AUTHORIZATION_FAILED" in name:
        return StoreRejected(
            f"{action}: {name}: not allowed: the principal needs WRITE and DESCRIBE on the topic"
        )
    rejected = {
        "MSG_SIZE_TOO_LARGE",
        "UNKNOWN_TOPIC_OR_PART",
        "_UNKNOWN_TOPIC",
        "TOPIC_EXCEPTION",
        "_INVALID_ARG",
    }
    # All other codes, such as timeouts and lost leaders, may pass.
    kind = StoreRejected if name in rejected else StoreUnavailable
    return kind(f"{action}: {name}: {str(error.str())[:200]}")
