"""The keys ``storage.pubsub.*``, and the URL for the store ``kafka`` that is built from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from storage.kafka.settings import kafka_url


@dataclass(frozen=True, slots=True)
class PubsubStorage:
    """Keys ``storage.pubsub.*``."""

    provider: str
    topic: str
    kafka_bootstrap_servers: str
    kafka_security_protocol: str
    kafka_ca_file: str
    kafka_cert_file: str
    kafka_key_file: str
    kafka_sasl_mechanism: str
    kafka_sasl_username: str
    kafka_sasl_password_path: str

    @property
    def url(self) -> str:
        """The URL of the store, for :func:`storage.kafka.settings.parse_kafka_url`, without a password."""
        logs_in = self.kafka_security_protocol.startswith("sasl_")
        settings = {
            "security-protocol": self.kafka_security_protocol,
            "ca-file": self.kafka_ca_file,
            "cert-file": self.kafka_cert_file,
            "key-file": self.kafka_key_file,
            "sasl-mechanism": self.kafka_sasl_mechanism if logs_in else "",
            "sasl-username": self.kafka_sasl_username,
            "sasl-password-path": self.kafka_sasl_password_path,
        }
        return kafka_url(self.kafka_bootstrap_servers, self.topic, settings)


def pubsub_storage(values: Mapping[str, str]) -> PubsubStorage:
    """Return the settings from the values of all keys."""
    kafka = "storage.pubsub.kafka."
    return PubsubStorage(
        provider=values["storage.pubsub.provider"],
        topic=values["storage.pubsub.topic"],
        kafka_bootstrap_servers=values[kafka + "bootstrap.servers"],
        kafka_security_protocol=values[kafka + "security.protocol"],
        kafka_ca_file=values[kafka + "ssl.ca-file"],
        kafka_cert_file=values[kafka + "ssl.cert-file"],
        kafka_key_file=values[kafka + "ssl.key-file"],
        kafka_sasl_mechanism=values[kafka + "sasl.mechanism"],
        kafka_sasl_username=values[kafka + "sasl.username"],
        kafka_sasl_password_path=values[kafka + "sasl.password-path"],
    )
