"""S3 services: versitygw on a folder, and moto's AWS. Tests create the buckets."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.testbed.build import binary
from tests.testbed.certificates import Certificates
from tests.testbed.cluster import free_ports
from tests.testbed.process import running

REGION = "us-east-1"
ACCESS_KEY = "testbed"
SECRET_KEY = "open-sesame"
READER = ("reader", "read-only-please")
"""An account of versitygw without any permission of its own."""


@dataclass(frozen=True)
class S3Server:
    """A running service that was ready when it was returned."""

    endpoint: str
    pid: int
    folder: Path | None = None
    """The folder with objects as files, ``folder/BUCKET/KEY``; None if there is none."""
    ca_file: Path | None = None

    def environ(self, access: str = ACCESS_KEY, secret: str = SECRET_KEY) -> dict[str, str]:
        """Return the variables by which any AWS SDK finds this service, and no other."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": access,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        }

    @cached_property
    def client(self) -> Any:
        """The owner's client."""
        return self.client_for("s3")

    def client_for(self, service: str) -> Any:
        import boto3

        return boto3.session.Session().client(
            service,
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name=REGION,
            verify=str(self.ca_file) if self.ca_file else None,
        )

    def make_bucket(self, name: str, *, lock: bool = False) -> str:
        """Create a bucket, with or without object lock (and so versioning)."""
        self.client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock)
        return name


@contextmanager
def versitygw(tmp: Path, *, certificates: Certificates | None = None) -> Iterator[S3Server]:
    """Run versitygw, with TLS if ``certificates`` are given. ``tmp`` needs extended attributes."""
    for name in ("data", "versions", "accounts"):
        (tmp / name).mkdir(parents=True, exist_ok=True)
    reader = {"access": READER[0], "secret": READER[1], "role": "user", "userID": 0, "groupID": 0}
    (tmp / "accounts" / "users.json").write_text(json.dumps({"accessAccounts": {READER[0]: reader}}))
    (port,) = free_ports(1)  # with port 0 it does not tell which one it took
    tls: list[str | Path] = []
    if certificates is not None:
        tls = ["--cert", certificates.cert_file, "--key", certificates.key_file]
    command: list[str | Path] = [
        *(binary("versitygw"), "--port", f"127.0.0.1:{port}", "--region", REGION),
        *(
            "--access",
            ACCESS_KEY,
            "--secret",
            SECRET_KEY,
            "--iam-dir",
            tmp / "accounts",
            "--keep-alive",
            *tls,
        ),
        *("posix", "--versioning-dir", tmp / "versions", tmp / "data"),
    ]
    with running(command, tmp / "versitygw.log", r"(https?://127\.0\.0\.1:\d+)") as server:
        ca_file = certificates.ca_file if certificates else None
        yield S3Server(server.address, server.pid, tmp / "data", ca_file)


@contextmanager
def moto(tmp: Path) -> Iterator[S3Server]:
    """Run moto's server."""
    command: list[str | Path] = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with running(command, tmp / "moto.log", r"http://(127\.0\.0\.1:\d+)") as server:
        yield S3Server(f"http://{server.address}", server.pid)
