"""What docs/access.md and docs/api.md show is what the program takes and answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from chains.web.access.log import AccessLog
from chains.web.access.reading import check_access
from chains.web.api.problems import problem
from chains.web.api.routes import routes
from chains.web.api.verify_now import Trusting, VerifyNow
from tests.unit.chains.web.access.gated import NOW, Lines

DOCS = Path(__file__).parents[5] / "docs"
ACCESS, API = (DOCS / "access.md").read_text(), (DOCS / "api.md").read_text()


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("text", blocks(ACCESS, "yaml"), ids=["proxy", "oidc", "tokens"])
def test_each_access_file_of_the_page_counts(tmp_path: Path, text: str) -> None:
    for name in re.findall(r"\S+File: (\S+)", text):
        (tmp_path / Path(name).name).write_text("x" * 64)
        text = text.replace(name, Path(name).name)
    (tmp_path / "access.yaml").write_text(text)
    access, problems = check_access(tmp_path / "access.yaml", NOW)
    assert problems == ()
    assert access is not None


def test_every_key_that_can_be_given_has_a_row() -> None:
    from chains.web.access.reading import _KEYS

    for part in ("", "proxy", "oidc"):
        for key in _KEYS[part]:
            assert re.search(rf"^\| [^|]*`{key}`", ACCESS, re.MULTILINE), (part, key)


def test_the_log_line_of_the_page_has_the_members_of_a_real_one() -> None:
    (shown,) = blocks(ACCESS, "json")
    lines = Lines()
    AccessLog(lines, lambda: NOW).write(
        path="/search",
        query="q=x",
        viewer="a",
        by="session",
        address="10.0.0.9",
        method="GET",
        status=200,
        seconds=0.1,
    )
    assert list(json.loads(shown)) == list(lines.entries[0])


def test_every_path_and_problem_of_the_api_has_a_row() -> None:
    paths = {route.path for route in routes(VerifyNow(Trusting()).handler)}
    for path in paths:
        first = path.partition("{")[0].rstrip("/")
        assert re.search(rf"^\| `{first}[/?`]", API, re.MULTILINE), path
    (shown,) = blocks(API, "json")
    answer = problem(400, "unknown key foo: known keys: hash, digest, …")
    assert json.loads(shown) == json.loads(answer.body)  # type: ignore[arg-type]
    for status in (400, 401, 403, 404, 429, 500, 503):
        name = json.loads(problem(status, "x").body)["type"].rpartition("/")[2]  # type: ignore[arg-type]
        assert re.search(rf"^\| {status} \| [^|]*`{name}`", API, re.MULTILINE), status


def test_the_page_of_the_api_names_the_file_of_its_description() -> None:
    assert "](openapi.json)" in API
    assert yaml.safe_load((DOCS / "openapi.json").read_text())["openapi"] == "3.1.0"
