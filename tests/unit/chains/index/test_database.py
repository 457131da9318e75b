"""Opening an index: what is there, what is not, and what is of another version."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from chains.errors import UsageError
from chains.index import tables
from chains.index.codes import SCHEMA
from chains.index.database import engine_of, place_of, reading
from chains.index.errors import IndexAbsent, IndexUnavailable
from chains.index.query.reader import reading as open_reader
from chains.index.target import building
from tests.unit.chains.index.made import Signer, trust

TRUST = trust(Signer())


def made(path: Path, schema: str = str(SCHEMA)) -> Path:
    engine = engine_of(place_of(str(path)))
    with engine.begin() as connection:
        tables.metadata.create_all(connection)
        connection.execute(tables.meta.insert(), {"key": "schema", "value": schema})
    engine.dispose()
    return path


def test_an_index_is_read_and_cannot_be_changed_by_a_reader(tmp_path: Path) -> None:
    place = place_of(str(made(tmp_path / "an index?#%41.db")))
    with reading(place) as connection:
        assert set(inspect(connection).get_table_names()) == set(tables.metadata.tables)
    with pytest.raises(IndexUnavailable, match="readonly"), reading(place) as connection:
        connection.execute(text("DELETE FROM meta"))


def test_every_index_of_the_schema_is_made(tmp_path: Path) -> None:
    with reading(place_of(str(made(tmp_path / "index.db")))) as connection:
        names = "SELECT name FROM sqlite_master WHERE type = 'index'"
        found = set(connection.execute(text(names)).scalars())
    assert {index.name for index in (*tables.LOOKUPS, *tables.INDEXES)} <= found


def test_where_no_index_is_the_error_says_how_to_build_one(tmp_path: Path) -> None:
    place = place_of(str(tmp_path / "no index"))
    with (
        pytest.raises(IndexAbsent, match=r"there is no index at .*`chains index build --index '.*no index'`"),
        reading(place),
    ):
        pass
    assert not (tmp_path / "no index").exists()


@pytest.mark.parametrize("table", ["notes (text)", "meta (id)", "meta (key, value)"])
def test_the_database_of_another_program_is_never_replaced_by_an_index(tmp_path: Path, table: str) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE {table}")
        connection.execute("CREATE TABLE attestation (id)")
        connection.commit()
    before = path.read_bytes()
    place = place_of(str(path))
    with pytest.raises(UsageError, match="is there and is no index"), building(place, TRUST):
        pass
    assert path.read_bytes() == before


def test_a_reader_is_not_told_to_build_an_index_where_another_program_has_its_database(
    tmp_path: Path,
) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text)")
    with pytest.raises(IndexAbsent) as told, reading(place_of(str(path))):
        pass
    assert str(told.value) == (
        f"there is no index in {path}: name one with --index, or build one with another name"
    )


def test_an_index_of_another_schema_may_be_built_anew(tmp_path: Path) -> None:
    place = place_of(str(made(tmp_path / "index.db", "0")))
    with building(place, TRUST):
        pass
    with reading(place):
        pass


def test_the_default_index_needs_no_option() -> None:
    assert place_of(".chains/index.db").build_command == "chains index build"


def test_an_index_of_another_schema_is_refused(tmp_path: Path) -> None:
    place = place_of(str(made(tmp_path / "index.db", "0")))
    with (
        pytest.raises(
            IndexAbsent, match=rf"has schema 0, and this version reads {SCHEMA}: build it anew with"
        ),
        reading(place),
    ):
        pass


def test_a_database_without_an_index_is_refused(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (a)")
    with (
        pytest.raises(IndexAbsent, match="there is no index in"),
        reading(place_of(str(tmp_path / "other.db"))),
    ):
        pass


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database" * 100)
    with pytest.raises(IndexUnavailable, match="build it anew"), reading(place_of(str(tmp_path / "text"))):
        pass


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (".chains/index.db", ".chains/index.db"),
        ("sqlite:///a/b.db", "a/b.db"),
        ("sqlite:////a/b.db", "/a/b.db"),
        (
            "postgresql://index:secret@db.example/evidence?sslmode=require",
            "postgresql://index@db.example/evidence",
        ),
        ("postgres://index:se@cret@db.example/evidence", "postgresql://index@db.example/evidence"),
        ("postgresql:///evidence?password=secret", "postgresql:///evidence"),
    ],
)
def test_a_place_is_shown_without_its_password(given: str, shown: str) -> None:
    assert str(place_of(given)) == shown
    assert "secret" not in repr(place_of(given))


@pytest.mark.parametrize("given", ["mysql://x/y", "http://x", "sqlite:///", "", "a\0b"])
def test_other_databases_are_a_usage_error(given: str) -> None:
    with pytest.raises(UsageError, match="expected a file, sqlite:///FILE or postgresql://"):
        place_of(given)


@pytest.mark.parametrize(
    ("package", "url", "extra"),
    [
        ("sqlalchemy", "index.db", "needs SQLAlchemy: .*sqlalchemy"),
        ("psycopg", "postgresql:///x", "needs psycopg: .*psycopg"),
    ],
)
def test_a_missing_package_is_told_with_the_command_that_installs_it(
    package: str, url: str, extra: str
) -> None:
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from chains.index.database import engine_of, place_of\n"
        f"engine_of(place_of({url!r}))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "UsageError" in ended.stderr
    import re

    assert re.search(extra, ended.stderr)


def test_the_room_is_imported_without_sqlalchemy() -> None:
    program = "import sys, chains.index.database, chains.index.codes; sys.exit('sqlalchemy' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_url_that_the_driver_cannot_read_is_told_without_its_password() -> None:
    with (
        pytest.raises(UsageError) as told,
        open_reader(place_of("postgresql://reader:se%cret@127.0.0.1:1/evidence"), 5.0),
    ):
        pass
    assert "write special characters of its password as %XX" in str(told.value)
    assert "cret" not in str(told.value)
    assert told.value.__cause__ is None
