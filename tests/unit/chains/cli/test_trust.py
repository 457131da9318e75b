"""The folder one stands in decides nothing: whom to trust and where to look come from options, and an option
takes the place of its environment twin."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from chains.cli.trust import OPTIONS
from chains.verify.criteria import Missing
from signers.keys.public_key import PublicKey

Json = Any
ROOT = Path(__file__).parents[4]
IMAGE_RUN = ROOT / "examples" / "taskrun-image.json"
IMAGE = "registry.example.com/shop/storefront"
DIGEST = "sha256:ce186a56c342a80bd2ec3ec4233810f49a93e5f60660922d3dad49cf6c987e35"
TRUSTED_ROOT = str(ROOT / "tests" / "faults" / "verify" / "forged" / "trusted_root.json")
LAYOUT = "oci-layout:.chains/layout"
# nobody listens there, so what is looked for in a registry ends without an answer
NOWHERE = f"127.0.0.1:9/team/app@{DIGEST}"


@pytest.fixture(autouse=True)
def _checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a checkout that brings a run with its own key and layout; ``mine`` is the user's own key."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    monkeypatch.chdir(folder)
    shutil.copy(IMAGE_RUN, "run.json")
    assert chains(["attest", "run.json"]) == 0
    assert chains(["keys", "generate", "../mine.key"]) == 0


def keyid(path: str) -> str:
    return PublicKey.from_pem(Path(path).read_bytes()).keyid


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Json:
    capsys.readouterr()
    code = chains(["verify", *arguments, "--output", "json"])
    found = json.loads(capsys.readouterr().out)
    assert code == found["exitCode"]
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what is told of a command that must be wrong usage, before anything is verified."""
    capsys.readouterr()
    assert chains([*arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    return told.err


def bundle() -> str:
    """Write the bundle of the folder's own provenance to a file."""
    assert chains(["attest", "run.json", "--key", ".chains/signing.key", "--store", "file:files"]) == 0
    found = next(Path("files").rglob("*provenance-v1.bundle.json"))
    shutil.copy(found, "evidence.sigstore.json")
    return "evidence.sigstore.json"


def test_a_run_file_of_the_folder_is_verified_with_the_folders_key_and_layout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert chains(["verify", "run.json"]) == 0
    told = capsys.readouterr().err
    assert "trusting .chains/signing.pub" in told
    assert "looking in oci-layout:.chains/layout" in told
    Path("deep").mkdir()
    shutil.copy("run.json", "deep/run.json")
    assert answer(capsys, "deep/run.json")["verdict"] == "VERIFIED"


@pytest.mark.parametrize("target", [f"{IMAGE}@{DIGEST}", DIGEST, f"docker://{IMAGE}@{DIGEST}", "evidence"])
def test_neither_an_image_a_digest_nor_a_bundle_is_verified_with_the_folders_key(
    target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    word = bundle() if target == "evidence" else target
    told = refused(capsys, "verify", word)
    assert f"{word}: nobody to trust: pass --key PUB, or --certificate-identity" in told
    # whatever else is asked in the same command, and wherever it is told to look
    assert "nobody to trust" in refused(capsys, "verify", "run.json", word)
    assert "nobody to trust" in refused(capsys, "verify", word, "--store", LAYOUT)
    with_key = answer(capsys, word, "--store", LAYOUT, "--key", ".chains/signing.pub")
    assert with_key["verdict"] == "VERIFIED"


def test_a_run_file_from_elsewhere_is_not_verified_with_the_folders_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "run.json"
    shutil.copy("run.json", elsewhere)
    Path("link.json").symlink_to(elsewhere)
    Path("out").symlink_to(tmp_path)
    for word in (str(elsewhere), "../run.json", "link.json", "out/run.json"):
        assert f"{word} is not in this folder: nobody to trust" in refused(capsys, "verify", word)
        told = refused(capsys, "verify", word, "--key", ".chains/signing.pub")
        assert f"{word} is not in this folder: no store to look for evidence in: pass --store URL" in told
        named = answer(capsys, word, "--key", ".chains/signing.pub", "--store", LAYOUT)
        assert named["verdict"] == "VERIFIED"
    with elsewhere.open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert "standard input is not in this folder: nobody to trust" in refused(capsys, "verify", "-")


def test_a_file_of_the_folder_by_its_full_path_is_of_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, str(Path("run.json").resolve()))["verdict"] == "VERIFIED"


def test_an_image_is_looked_for_in_its_registry_and_not_in_the_folder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = answer(capsys, NOWHERE, "--key", ".chains/signing.pub")
    assert (found["verdict"], found["criteria"]["stores"]) == ("INDETERMINATE", ["oci:"])
    found = answer(capsys, NOWHERE.partition("@")[0], "--resolve", "--key", ".chains/signing.pub")
    assert (found["verdict"], found["criteria"]["stores"]) == ("INDETERMINATE", ["oci:"])
    mixed = answer(capsys, "run.json", NOWHERE, "--key", ".chains/signing.pub")
    assert [each["criteria"]["stores"] for each in mixed["results"]] == [[LAYOUT], ["oci:"]]
    told = refused(capsys, "verify", DIGEST, "--key", ".chains/signing.pub")
    assert f"{DIGEST}: no store to look for evidence in: pass --store URL" in told


@pytest.mark.parametrize("name", ["registry.example.com/team/app:v1", "registry.example.com/team/app", "app:v1", "localhost:5000/app"])  # fmt: skip
def test_a_file_named_like_an_image_is_refused_with_both_spellings(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy("run.json", name)
    told = refused(capsys, "verify", name)
    assert f"write ./{name} for the file" in told
    assert f"{name}@sha256:" in told
    assert "--resolve" in told
    assert answer(capsys, f"./{name}")["verdict"] == "VERIFIED"


def test_a_file_named_like_an_image_with_its_digest_is_never_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in (NOWHERE, f"app@{DIGEST}", DIGEST, DIGEST[7:]):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("run.json", name)
        assert "nobody to trust" in refused(capsys, "verify", name)
        found = answer(capsys, name, "--key", "../mine.pub", "--store", "file:empty")
        assert found["subject"]["digest"] == {"sha256": DIGEST[7:]}
    for name in (f"app@sha512:{'0' * 128}", f"registry.example.com/app@SHA256:{'0' * 64}"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("run.json", name)
        assert "is no image with digest" in refused(capsys, "verify", name)


def test_resolve_means_an_image_whatever_files_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("127.0.0.1:9/team/app:v1", "127.0.0.1:9/run.json"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("run.json", name)
        assert "nobody to trust" in refused(capsys, "verify", name, "--resolve")
        found = answer(capsys, name, "--resolve", "--key", ".chains/signing.pub")
        assert (found["verdict"], found["criteria"]["stores"]) == ("INDETERMINATE", ["oci:"])
    shutil.copy("run.json", "alpine:3")
    assert "names no registry" in refused(capsys, "verify", "alpine:3", "--resolve")
    # what has no form of an image is a file all the same
    assert answer(capsys, "run.json", "--resolve")["verdict"] == "VERIFIED"


def test_an_option_takes_the_place_of_its_twin_and_adds_no_trust(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHAINS_PUBLIC_KEY", ".chains/signing.pub")
    monkeypatch.setenv("CHAINS_STORE", LAYOUT)
    monkeypatch.setenv("CHAINS_PREDICATE_TYPE", "https://slsa.dev/provenance/v1")
    by_twins = answer(capsys, DIGEST)
    assert by_twins["verdict"] == "VERIFIED"
    other = answer(capsys, DIGEST, "--key", "../mine.pub")
    assert other["verdict"] == "FAILED"
    assert [each["keyid"] for each in other["criteria"]["signer"]["key"]] == [keyid("../mine.pub")]
    both = answer(capsys, DIGEST, "--key", "../mine.pub", "--key", ".chains/signing.pub")
    assert len(both["criteria"]["signer"]["key"]) == 2
    assert answer(capsys, DIGEST, "--store", "file:empty")["criteria"]["stores"] == ["file:empty"]
    typed = answer(capsys, DIGEST, "--predicate-type", "urn:other")
    assert typed["criteria"]["predicateType"] == ["urn:other"]


IDENTITY = ("--certificate-identity", "urn:builder")
ISSUER = ("--certificate-oidc-issuer", "urn:issuer")
BY_REGEXP = ("--certificate-identity-regexp", ".*")


@pytest.mark.parametrize(
    ("environment", "options", "keys", "certificate"),
    [
        ({"PUBLIC_KEY": "../mine.pub"}, (*IDENTITY, *ISSUER), 0, ("identity", "urn:builder")),
        ({"CERTIFICATE_IDENTITY_REGEXP": ".*", "CERTIFICATE_OIDC_ISSUER": "i"}, ("--key", "../mine.pub"), 1, None),
        ({"CERTIFICATE_IDENTITY_REGEXP": ".*", "CERTIFICATE_OIDC_ISSUER": "i"}, IDENTITY, 0, ("identity", "urn:builder")),
        ({"CERTIFICATE_IDENTITY": "urn:env", "CERTIFICATE_OIDC_ISSUER": "i"}, BY_REGEXP, 0, ("identityRegexp", ".*")),
        ({"CERTIFICATE_IDENTITY": "urn:env", "CERTIFICATE_OIDC_ISSUER_REGEXP": ".*"}, ISSUER, 0, ("issuer", "urn:issuer")),
        ({"PUBLIC_KEY": "../mine.pub", "CERTIFICATE_IDENTITY": "urn:env", "CERTIFICATE_OIDC_ISSUER": "i"}, (), 1, ("identity", "urn:env")),
        ({}, ("--key", "../mine.pub", *IDENTITY, *ISSUER), 1, ("identity", "urn:builder")),
    ],
)  # fmt: skip
def test_where_options_say_whom_to_trust_the_environment_adds_nobody(
    environment: dict[str, str],
    options: tuple[str, ...],
    keys: int,
    certificate: tuple[str, str] | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"CHAINS_{name}", value)
    found = answer(capsys, DIGEST, *options, "--store", "file:empty", "--trusted-root", TRUSTED_ROOT)
    signer = found["criteria"]["signer"]
    assert len(signer["key"]) == keys
    told = signer.get("certificate", {})
    assert told == {} if certificate is None else told[certificate[0]] == certificate[1]


def test_two_spellings_of_one_demand_on_the_command_line_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = refused(capsys, "verify", DIGEST, *IDENTITY, *BY_REGEXP, *ISSUER)
    assert "pass one of --certificate-identity and --certificate-identity-regexp" in told


def test_what_a_question_lacks_is_told_with_the_option_that_gives_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert set(OPTIONS) == set(Missing)
    trusted = ("--key", ".chains/signing.pub")
    told = refused(capsys, "verify", DIGEST, *trusted, "--store", LAYOUT, "--require-log")
    assert "verified with a trusted root: pass --trusted-root FILE" in told
    told = refused(capsys, "verify", DIGEST, *trusted, "--store", LAYOUT, "--require", "hermetic")
    assert "that it made this artifact: add --namespace NAME, --task-ref" in told
    told = refused(capsys, "verify", DIGEST, *IDENTITY)
    assert "together with its issuer alone: pass --certificate-identity" in told


def test_get_looks_for_an_image_in_its_registry(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["get", NOWHERE]) == 1
    assert "127.0.0.1:9" in capsys.readouterr().err
    assert "pass --store URL" in refused(capsys, "get", NOWHERE, "ci/run")
    assert chains(["get", DIGEST]) == 0
    assert "looking in oci-layout:.chains/layout" in capsys.readouterr().err


def test_only_the_folders_own_runs_are_exported_with_the_folders_key(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert chains(["export", "pack"]) == 0
    for words in ((DIGEST,), (f"{IMAGE}@{DIGEST}",), ("--store", LAYOUT)):
        assert "no key: pass --key PUB" in refused(capsys, "export", "other", *words)
    assert chains(["export", "other", DIGEST, "--key", ".chains/signing.pub"]) == 0


def test_keys_for_verifiers_are_exported_by_name_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no key: name a key file" in refused(capsys, "keys", "export", "--format", "kyverno")
    assert chains(["keys", "export", ".chains/signing.pub"]) == 0


def test_a_key_set_of_revoked_keys_does_not_copy_everything(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    revoke = ("--revoke", keyid("../mine.pub"))
    assert chains(["keys", "export", "../mine.pub", "--format", "keyset", *revoke]) == 0
    Path("revoked.json").write_text(capsys.readouterr().out)
    assert "all are revoked" in refused(capsys, "copy", LAYOUT, "file:copied", "--key", "revoked.json")
    assert not Path("copied").exists()
