"""The keys ``storage.s3.*``, and the URL for the store ``s3`` that is built from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from storage.s3.settings import s3_url


@dataclass(frozen=True, slots=True)
class S3Storage:
    """Keys ``storage.s3.*``. For an empty setting, the AWS SDK chooses."""

    bucket: str
    prefix: str
    region: str
    endpoint: str
    addressing_style: str
    ca_file: str
    sse: str
    sse_kms_key_id: str
    lock_mode: str
    retain_days: str
    legal_hold: str
    snapshots: bool

    @property
    def url(self) -> str:
        """The URL of the store, for :func:`storage.s3.settings.parse_s3_url`."""
        settings = {
            "region": self.region,
            "endpoint": self.endpoint,
            "addressing-style": self.addressing_style,
            "ca-file": self.ca_file,
            "sse": self.sse,
            "sse-kms-key-id": self.sse_kms_key_id,
            "object-lock": self.lock_mode,
            "retain-days": self.retain_days,
            "legal-hold": self.legal_hold,
            "snapshots": "" if self.snapshots else "false",
        }
        return s3_url(self.bucket, self.prefix, settings)


def s3_storage(values: Mapping[str, str]) -> S3Storage:
    """Return the settings from the values of all keys."""
    start = "storage.s3."
    return S3Storage(
        bucket=values[start + "bucket"],
        prefix=values[start + "prefix"],
        region=values[start + "region"],
        endpoint=values[start + "endpoint"],
        addressing_style=values[start + "addressing-style"],
        ca_file=values[start + "ca-file"],
        sse=values[start + "sse"],
        sse_kms_key_id=values[start + "sse-kms-key-id"],
        lock_mode=values[start + "object-lock.mode"],
        retain_days=values[start + "object-lock.retain-days"],
        legal_hold=values[start + "object-lock.legal-hold"],
        snapshots=values[start + "snapshots"] == "true",
    )
