"""Parses store URLs ``kafka://HOST:PORT[,HOST:PORT]/TOPIC[?setting=value&…]``.

Settings: ``security-protocol`` (``plaintext``, ``ssl``, ``sasl_plaintext``, ``sasl_ssl``), ``ca-file``,
``cert-file`` and ``key-file`` (of the client), ``sasl-mechanism`` (``PLAIN``, ``SCRAM-SHA-256``,
``SCRAM-SHA-512``), ``sasl-username`` and ``sasl-password-path``, a file. Without that file the password comes
from the environment variable ``KAFKA_SASL_PASSWORD``. The URL never contains the password.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from storage.errors import StoreRejected
from storage.files import read_file
from storage.redacted_url import shown

PASSWORD_VARIABLE = "KAFKA_SASL_PASSWORD"  # noqa: S105 - its name
PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_MOST_PASSWORD = 64 * 1024
"""The largest password file in bytes."""
_URL = re.compile(r"kafka://([^/?#@\s]+)/([A-Za-z0-9._-]{1,249})(?:\?([^#\s]*))?")


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Brokers, topic and login. The fields after ``topic`` are the settings of the URL."""

    servers: str
    topic: str
    security_protocol: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    sasl_mechanism: str = ""
    sasl_username: str = ""
    sasl_password_path: str = ""

    def __post_init__(self) -> None:
        """Check every value. Raises :class:`StoreRejected` with what was expected."""
        protocol = self.security_protocol or "plaintext"
        _check("security-protocol", protocol, PROTOCOLS)
        if self.sasl_mechanism:
            _check("sasl-mechanism", self.sasl_mechanism, MECHANISMS)
        logs_in = protocol.startswith("sasl_")
        if logs_in and not self.sasl_username:
            raise StoreRejected(f"security-protocol {protocol} needs sasl-username")
        if not logs_in and (self.sasl_mechanism or self.sasl_username or self.sasl_password_path):
            raise StoreRejected("sasl-* settings need security-protocol sasl_ssl or sasl_plaintext")
        if not protocol.endswith("ssl") and (self.ca_file or self.cert_file or self.key_file):
            raise StoreRejected("ca-file, cert-file and key-file need security-protocol ssl or sasl_ssl")
        if bool(self.cert_file) is not bool(self.key_file):
            raise StoreRejected("cert-file and key-file must be set together")

    @property
    def url(self) -> str:
        """``kafka://HOST:PORT/TOPIC``, the name of the store in receipts and messages."""
        return f"kafka://{self.servers}/{self.topic}"

    def password(self) -> str:
        """Return the current password; empty without a user.

        Raises :class:`StoreRejected` if it is missing.
        """
        if not self.sasl_username:
            return ""
        if not self.sasl_password_path:
            password = os.environ.get(PASSWORD_VARIABLE, "")
            if not password:
                raise StoreRejected(
                    f"{self.url}: no password: set storage.pubsub.kafka.sasl.password-path, or the variable "
                    f"{PASSWORD_VARIABLE}"
                )
            return password
        try:
            return read_file(self.sasl_password_path, _MOST_PASSWORD).decode().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise StoreRejected(f"{self.url}: password file {self.sasl_password_path}: {why}") from None

    def client(self, password: str) -> dict[str, Any]:
        """Return the configuration for librdkafka."""
        configuration = {
            "bootstrap.servers": self.servers,
            "security.protocol": self.security_protocol,
            "ssl.ca.location": self.ca_file,
            "ssl.certificate.location": self.cert_file,
            "ssl.key.location": self.key_file,
        }
        if password:
            configuration |= {
                "sasl.mechanisms": self.sasl_mechanism or "SCRAM-SHA-512",
                "sasl.username": self.sasl_username,
                "sasl.password": password,
            }
        return {name: value for name, value in configuration.items() if value}


def parse_kafka_url(url: str) -> KafkaSettings:
    """Parse a ``kafka:`` URL. Raises :class:`StoreRejected`."""
    match = _URL.fullmatch(url)
    if match is None:
        raise StoreRejected(
            f"unknown store {shown(url)[:100]!r}: expected kafka://HOST:PORT/TOPIC, without a password"
        )
    servers, topic, query = match.groups()
    # The first two fields are the brokers and the topic, which are not settings.
    known = {field.name.replace("_", "-"): field.name for field in fields(KafkaSettings)[2:]}
    given = {}
    for name, value in parse_qsl(query or "", keep_blank_values=True):
        if name not in known:
            raise StoreRejected(f"unknown setting {name[:40]!r}: expected one of {', '.join(known)}")
        given[known[name]] = value
    return KafkaSettings(servers, topic, **given)


def kafka_url(servers: str, topic: str, settings: dict[str, str]) -> str:
    """Return the URL with the ``settings`` that are not empty; :func:`parse_kafka_url` reads it."""
    given = {name: value for name, value in settings.items() if value}
    query = urlencode(given, quote_via=quote, errors="replace")
    return f"kafka://{servers}/{topic}" + (f"?{query}" if query else "")


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise StoreRejected(f"{name} {value[:40]!r}: expected one of {', '.join(known)}")
