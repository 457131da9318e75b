"""The library: its names are one list, typed, shipped, and ``docs/python.md`` runs as it is written."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

import chains
import signers
import storage
from chains.cli.main import run as command

ROOT = Path(__file__).parents[3]
NAMES = {
    chains: [
        "Config", "parse_config", "load_config", "lint_config",
        "RunSnapshot", "take_snapshot", "Runs", "read_runs", "Surroundings", "parse_surroundings",
        "Statement", "ResourceDescriptor", "parse_statement", "build_provenance", "build_execution_report",
        "Isolation", "judge_isolation",
        "Flow", "open_flow", "Outcome", "Entry",
        "Criteria", "CertificateWanted", "NameWanted", "Verifier", "Verification", "Verdict", "Check", "Reason",
        "Revocations", "open_revocations",
        "Policy", "ImageAnswer", "PolicyVerdict", "PolicyCheck", "PolicyReason", "Decision",
        "ChainsError", "UsageError", "ConfigError", "InputError", "EvidenceError", "VerificationFailed",
        "PolicyError", "UnmatchedError",
    ],
    signers: [
        "Signer", "open_signer", "PublicKey", "load_public_keys", "Envelope", "Bundle", "TrustedRoot",
        "SignerError", "SignerUnavailable", "SignerRejected", "FormatError", "VerificationError",
    ],
    storage: [
        "Store", "open_store", "StoreOptions", "Record", "Receipt", "Failure", "Evidence", "Findings",
        "StoreError", "StoreUnavailable", "StoreRejected", "SubjectAbsent", "BadContent",
    ],
}  # fmt: skip
PACKAGES = pytest.mark.parametrize("package", NAMES, ids=lambda package: package.__name__)
HEAVY = (
    "aiohttp",
    "cryptography",
    "nacl",
    "orjson",
    "yaml",
    "kopf",
    "kubernetes",
    "click",
    "rich",
    "asyncio",
)


@PACKAGES
def test_the_public_names_are_one_list_and_each_can_be_imported(package: ModuleType) -> None:
    assert sorted(package.__all__) == sorted(NAMES[package])
    for name in package.__all__:
        found = getattr(importlib.import_module(package.__name__), name)
        assert found.__name__ == name
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018 - asking for it is the test


@PACKAGES
def test_a_type_checker_gets_each_name_from_where_it_is_imported(package: ModuleType) -> None:
    tree = ast.parse(Path(str(package.__file__)).read_text())
    (block,) = (
        one for one in tree.body if isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING"
    )
    typed = {
        alias.name: str(line.module)
        for line in block.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
    assert typed == {name: home for home, names in package._HOMES.items() for name in names}
    assert set(typed) == set(package.__all__)


@PACKAGES
def test_a_plain_import_loads_no_heavy_module(package: ModuleType) -> None:
    code = (
        f"import sys; before = set(sys.modules); import {package.__name__}; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = done.stdout.split()
    assert package.__name__ in loaded
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)
    assert not [name for name in loaded if name.startswith(("chains.", "signers.", "storage."))]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site-packages of an environment that has our wheel and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    return packages


def test_the_wheel_says_that_all_three_packages_are_typed(site: Path) -> None:
    for package in NAMES:
        assert (site / package.__name__ / "py.typed").read_bytes() == b""


PROGRAM = """
import asyncio

import chains
import signers
import storage


async def main(store: storage.Store) -> None:
    config = chains.load_config("chains-config.yaml")
    runs = chains.read_runs("runs.json")
    async with chains.open_flow(config, stores=["oci:", store], signer="signing.key") as flow:
        for run in runs:
            reveal_type(await flow.attest(run, runs.surroundings(run), lambda: None))
    criteria = chains.Criteria(keys=signers.load_public_keys("signing.pub"))
    async with chains.Verifier(criteria, stores=["oci:", store]) as verifier:
        reveal_type(await verifier.image("registry.example.com/app@sha256:00"))
        reveal_type((await verifier.digest("sha256:00")).require().statement)
        reveal_type(await verifier.bundle(b"", digest="sha256:00"))
    policy = chains.Policy.load("policies")
    async with chains.Verifier(policy=policy) as asked:
        answer = await asked.image("registry.example.com/app@sha256:00", namespace="shop")
        reveal_type(answer)
        reveal_type(answer.decision)
        await asked.digest("sha256:00")


def keep(verifier: chains.Verifier) -> chains.Verifier:
    return verifier


asyncio.run(main(storage.open_store("oci:")))
wrong: int = chains.open_flow()
"""


def test_a_strict_type_checker_knows_the_installed_library(site: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    python = site.parents[2] / "bin" / "python"
    words = [
        "--strict",
        "--python-executable",
        str(python),
        "--cache-dir",
        str(tmp_path / "cache"),
        str(program),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "MYPYPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *words],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert re.findall(r'Revealed type is "([^"]+)"', done.stdout) == [
        "chains.attest.outcome.Outcome",
        "chains.verify.verdict.Verification",
        "chains.statements.statement.Statement | None",
        "chains.verify.verdict.Verification",
        "chains.policy.verdict.ImageAnswer",
        "chains.policy.verdict.Decision",
    ], done.stdout
    errors = [line for line in done.stdout.splitlines() if " error: " in line]
    assert len(errors) == 2, done.stdout
    assert "Invalid self argument" in errors[0]
    assert "Incompatible types in assignment" in errors[1]
    assert str(site) not in done.stdout


def test_the_page_of_the_library_runs_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "python.md").read_text()
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in blocks] == ["sh", *["python"] * 6]
    assert command(blocks[0][1].split()[1:]) == 0
    capsys.readouterr()
    names: dict[str, object] = {"__name__": "page"}
    told = []
    for _, code in blocks[1:]:
        exec(compile(code, "docs/python.md", "exec"), names)
        told.append(capsys.readouterr().out)
    attested, verified, failed, of_runs, decided, unsigned = told
    assert attested.count(" signed ") == 2
    assert "provenance oci-layout:evidence stored" in attested
    assert verified == "https://slsa.dev/provenance/v1 https://ci.example.com/tekton\n"
    assert failed.startswith("FAILED 1\n")
    assert (
        "builder fail builder_not_trusted https://other.example.com https://ci.example.com/tekton" in failed
    )
    assert of_runs.count(" VERIFIED ") == 2
    assert decided.startswith("FAILED deny 1\nevidence pass None ")
    assert (
        "\nlevel fail level_too_low SLSA build level 3 level 2 of trust entry tekton build with " in decided
    )
    assert unsigned.endswith("https://in-toto.io/attestation/scai/v0.3\n")
