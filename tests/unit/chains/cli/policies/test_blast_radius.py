"""``blast-radius``: its exit codes and forms, what it says first, and the page that teaches it."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from chains.cli.main import run as chains
from chains.cli.policies import blast_radius
from chains.text import plain
from signers.formats.dsse import Envelope
from storage.base import StoreOptions
from storage.open import open_store
from storage.record import Origin, Record, Subject
from tests.unit.chains.cli.test_progress import Terminal
from tests.unit.chains.lineage.made import COMMIT, attest, digest, run_of
from tests.unit.chains.lineage.test_forms import HOSTILE, hostile

ROOT = Path(__file__).parents[5]
PAGE = (ROOT / "docs" / "blast-radius.md").read_text()
OS, APP = "registry.example.com/base/os", "registry.example.com/shop/app"
STORE = ("--store", "oci-layout:layout")


@pytest.fixture(autouse=True)
def _attested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Stand in a folder with the evidence of a base image and of an image made from it."""
    monkeypatch.chdir(tmp_path)
    assert chains(["keys", "generate", "signing.key"]) == 0
    attest(
        tmp_path,
        "oci-layout:layout",
        run_of("os", OS, git=("https://git.example.com/base/os.git", COMMIT)),
        run_of("app", APP, made_from=[OS]),
    )
    capsys.readouterr()


def test_the_page_is_true_from_the_first_command_to_the_last(tmp_path: Path) -> None:
    folder = tmp_path / "page"
    folder.mkdir()
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    told = subprocess.run(
        ["bash", "-uo", "pipefail", "-c", shell],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "EXAMPLES": str(ROOT / "examples"),
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert "error:" not in told.stderr, told.stderr
    assert told.stdout.count("TOUCHED 1 artifact: ") == 2, told.stdout + told.stderr
    assert "TOUCHED 4 artifacts: 4 by verified statements, 0 by claims" in told.stdout
    assert len((folder / "touched.csv").read_text().splitlines()) > 1
    ET.parse(folder / "touched.svg")


def test_the_page_tells_every_option_and_exit_code() -> None:
    for option in blast_radius.blast_radius.params:
        if option.name not in {"config", "output", "store"}:
            assert f"`{option.opts[-1]}" in PAGE, option.name
    for code in "01234":
        assert f"| {code} |" in PAGE


def test_the_text_leads_with_the_answer_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["blast-radius", "--commit", COMMIT, *STORE]) == 1
    lines = capsys.readouterr().out.split("\n")
    assert lines[0] == "TOUCHED 2 artifacts: 0 by verified statements, 2 by claims"
    assert lines[1:4] == [
        f"asked:    commit {COMMIT}",
        "read:     12 pieces of evidence, 8 statements, 1 of them match",
        "verified: nothing: every statement is a claim of whoever can write to the stores",
    ]
    assert [line for line in lines if line.startswith("do: ")] == [
        "do:       see which of them are in use: chains preflight POLICY --cluster",
        "do:       build these artifacts again from another commit, nearest first",
        "do:       pass --trusted-key or --certificate-identity: tells verified statements from claims",
    ]
    table = [re.split(r"  +", line) for line in lines if line.startswith(("ARTIFACT", "registry"))]
    assert table == [
        ["ARTIFACT", "STATE", "RUNS", "TIME", "WHY"],
        [
            f"{OS}@{digest(OS)}", "claimed", "0", "2026-11-18T09:15:11Z stated",
            f"commit git+https://git.example.com/base/os.git@sha1:{COMMIT}",
        ],
        [f"{APP}@{digest(APP)}", "claimed", "1", "2026-11-18T09:15:11Z stated", f"made from {digest(OS)}"],
    ]  # fmt: skip


def test_a_leaked_key_is_checked_and_leads_to_the_runbook(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["blast-radius", "--key", "signing.pub", *STORE]) == 1
    told = capsys.readouterr().out
    assert told.startswith("TOUCHED 2 artifacts: 2 by verified statements, 0 by claims\n")
    (runbook,) = re.findall(r"docs/runbooks/\S+", told)
    assert (ROOT / runbook).is_file()
    assert chains(["blast-radius", "--key", "signing.key", *STORE]) == 1, "a private key has a public half"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--commit", "c" * 40], 0, "NOT TOUCHED no artifact"),
        (
            ["--builder", "https://ci.example.com/tekton", "--trusted-key", "signing.pub"],
            1,
            "TOUCHED 2 artifacts: 2",
        ),
        (
            ["--commit", COMMIT, "--to", "2026-01-01"],
            0,
            "NOT TOUCHED no artifact in this period; 1 matching statement outside of it",
        ),
        (["--identity", "a", "--identity-regexp", "b.*", "--issuer", "c"], 0, "NOT TOUCHED no artifact"),
        (
            ["--key", f"SHA256:{'A' * 43}", "--issuer-regexp", "c", "--identity", "a"],
            0,
            "NOT TOUCHED no artifact",
        ),
        (["--commit", COMMIT, "--store", "file:empty"], 3, "NO EVIDENCE"),
        (
            ["--commit", "c" * 40, *STORE, "--store", "oci:"],
            4,
            "UNDECIDED nothing touched was found, but 1 thing",
        ),
        (["--commit", COMMIT, *STORE, "--store", "oci:"], 4, "and not everything could be read"),
    ],
)
def test_the_exit_code_says_what_the_first_line_says(
    arguments: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    stores = [] if "--store" in arguments else [*STORE]
    assert chains(["blast-radius", *arguments, *stores]) == code
    assert told in capsys.readouterr().out.split("\n")[0]


def test_a_store_that_cannot_be_listed_is_named_with_the_next_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert chains(["blast-radius", "--commit", COMMIT, "--store", "oci:"]) == 4
    told = capsys.readouterr().out
    assert "unread:   oci: cannot list its repositories: name oci://REGISTRY/REPOSITORY" in told
    assert "note:     oci: a registry lists only tags" in told
    assert "do:       make what is unread readable or remove it, and ask again" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "nothing to look for: pass one of --key, --identity, --builder"),
        (["--commit", "abc"], "all 40 or 64 hex digits"),
        (["--commit", COMMIT, "--from", "yesterday"], "--from: 'yesterday' is no time"),
        (["--commit", COMMIT, "--from", "1d", "--to", "2d"], "--from is not before --to"),
        (["--identity", "a"], "an identity counts together with its issuer alone"),
        (["--issuer", "a"], "an identity counts together with its issuer alone"),
        (["--identity", "a", "--issuer", "b", "--issuer-regexp", "c"], "one of --issuer and --issuer-regexp"),
        (["--identity-regexp", "(", "--issuer", "b"], "is no regular expression"),
        (["--key", "missing.pub"], "missing.pub"),
        (["--commit", COMMIT, "--trusted-key", "missing.pub"], "missing.pub"),
        (["--commit", COMMIT, "--certificate-identity", "a"], "pass --certificate-identity or"),
        (
            ["--commit", COMMIT, "--certificate-identity", "a", "--certificate-oidc-issuer", "b"],
            "certificates are verified with a trusted root: pass --trusted-root FILE",
        ),
        (["--commit", COMMIT, "--store", "nowhere:"], "expected one of"),
    ],
)
def test_wrong_usage_is_told_with_the_next_step(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stores = [] if "--store" in arguments else [*STORE]
    assert chains(["blast-radius", *arguments, *stores]) == 2
    assert told in capsys.readouterr().err


def test_without_a_store_the_layout_of_this_folder_is_searched_or_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert chains(["blast-radius", "--commit", COMMIT]) == 2
    assert "no store to search: pass --store URL" in capsys.readouterr().err
    attest(Path(), "oci-layout:.chains/layout", run_of("os", OS))
    assert chains(["blast-radius", "--step-image", "registry.example.com/mirror/alpine"]) == 1
    assert "looking in oci-layout:.chains/layout" in capsys.readouterr().err


def test_the_environment_variable_of_the_signing_key_is_not_what_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHAINS_KEY", "signing.key")
    monkeypatch.setenv("CHAINS_PUBLIC_KEY", "signing.pub")
    assert chains(["blast-radius", *STORE]) == 2
    monkeypatch.setenv("CHAINS_BLAST_RADIUS_COMMIT", COMMIT)
    assert chains(["blast-radius", *STORE]) == 1
    assert "TOUCHED 2 artifacts: 2 by verified statements" in capsys.readouterr().out


def test_json_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--commit", COMMIT, "--since", "2026-01-01", "--output", "json"]
    assert chains(["blast-radius", *arguments, *STORE]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["touched"], found["claimed"], found["isWhole"], found["exitCode"]) == (2, 2, True, 1)
    assert (found["wanted"], found["since"]) == ({"commit": [COMMIT]}, "2026-01-01T00:00:00Z")
    first, second = found["artifacts"]
    assert first["because"] == {
        "commit": {"value": f"git+https://git.example.com/base/os.git@sha1:{COMMIT}", "isClaimed": False}
    }
    assert (second["digest"], second["names"], second["through"]) == (digest(APP), [APP], [digest(OS)])
    assert {place["store"] for place in second["statement"]["evidence"]} == {"oci-layout:layout"}
    assert "no time was verified without a trusted root" in " ".join(found["summary"])


@pytest.mark.parametrize("form", ["csv", "dot", "svg"])
def test_a_file_has_nothing_but_its_form_and_the_summary_is_beside_it(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chains(["blast-radius", "--commit", COMMIT, "--output", form, *STORE]) == 1
    out, told = capsys.readouterr()
    assert "chains: TOUCHED 2 artifacts" in told
    if form == "csv":
        assert [row[1] for row in csv.reader(io.StringIO(out))] == ["digest", digest(OS), digest(APP)]
    elif form == "svg":
        assert ET.fromstring(out).tag == "{http://www.w3.org/2000/svg}svg"
    else:
        assert out.startswith("digraph blast_radius {\n")
        assert out.endswith("}\n")


def test_a_long_table_is_cut_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(blast_radius, "MOST_ROWS", 1)
    assert chains(["blast-radius", "--commit", COMMIT, *STORE]) == 1
    assert capsys.readouterr().out.endswith("and 1 more: --output json and csv have all of them\n")


def test_a_terminal_shows_how_much_of_the_store_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("chains.cli.progress.watched_error", lambda: stream)
    assert chains(["blast-radius", "--commit", COMMIT, *STORE]) == 1
    assert re.search(r"(\d+)/\1 parts of the store", stream.getvalue())


@pytest.mark.parametrize("form", ["text", "json", "csv", "dot", "svg"])
def test_hostile_text_of_a_store_never_reaches_a_terminal_or_a_spreadsheet(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One statement for each hostile text, in every field of it and of its run, through a real store."""

    async def write() -> None:
        async with open_store("oci-layout:hostile", StoreOptions(encoding_format="dsse")) as store:
            for number, text in enumerate(HOSTILE.values(), 1):
                made = hostile(text, number)
                payload = Envelope.from_bytes(made.data).payload
                name = text[:1000]
                stored = await store.put(
                    Record(
                        Origin(name, name, name, f"uid-{number}"),
                        (Subject(name, {"sha256": f"{number:x}" * 64}),),
                        payload,
                        "application/vnd.in-toto+json",
                        "https://slsa.dev/provenance/v1",
                        b"",
                        made.data,
                        created=name,
                    )
                )
                assert stored.receipts, stored.failures

    asyncio.run(write())
    arguments = ["--dependency", f"sha256:{'0' * 64}", "--store", "oci-layout:hostile", "--output", form]
    assert chains(["blast-radius", *arguments]) == 1
    out, told = capsys.readouterr()
    for text in (out, told):
        assert not [
            char for char in text if char != "\n" and (not char.isprintable() or char in "\u202e\u2066")
        ]
        assert all(line == plain(line) for line in text.split("\n"))
    if form == "csv":
        rows = list(csv.reader(io.StringIO(out)))
        assert len(rows) == len(HOSTILE) + 1
        assert not [cell for row in rows for cell in row if re.match(r"\s*[=+\-@|%\uff1d]", cell)]
    if form == "text":
        assert sum(line.startswith(" ") or "claimed" in line for line in out.split("\n")) >= len(HOSTILE)
