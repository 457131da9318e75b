"""A Kafka broker in memory (franz-go's), with TLS and logins. Clients cannot tell it from a real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.testbed.build import binary
from tests.testbed.certificates import Certificates
from tests.testbed.process import running

USER = "chains"


@contextmanager
def kafka_broker(
    tmp: Path, *, topic: str = "evidence", certificates: Certificates | None = None, asks_for_certificate: bool = False, mechanism: str = "", password: str = ""
) -> Iterator[str]:  # fmt: skip
    """Yield ``HOST:PORT`` of a broker with one topic; :data:`USER` may log in."""
    command: list[str | Path] = [binary("kafka"), "-topic", topic]
    if certificates is not None:
        command += ["-cert", certificates.cert_file, "-key", certificates.key_file]
        if asks_for_certificate:
            command += ["-clients", certificates.ca_file]
    if mechanism:
        command += ["-mechanism", mechanism, "-user", USER, "-password", password]
    with running(command, tmp / f"kafka-{topic}.log", r"(127\.0\.0\.1:\d+)") as server:
        yield server.address
