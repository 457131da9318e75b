"""What closes the days of a ledger: opened from a configuration, or refused with the key that is wrong."""

from __future__ import annotations

import asyncio

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from chains.assembly.ledger import open_ledger
from chains.config.parse import lint_config, parse_config
from chains.errors import ConfigError, UnreachableError
from tests.unit.chains.audit.ledger.made import sealer_of
from tests.unit.chains.audit.ledger.witness.test_client import Signer


def data_of(folder, **more):
    sealer_of(folder)
    return {
        "artifacts.taskrun.storage": "oci",
        "artifacts.pipelinerun.storage": "oci",
        "ledger.folder": "/var/lib/ledger",
        "ledger.origin": "chains.example.com/prod",
        "ledger.signer": str(folder / "ledger.pem"),
    } | {key.replace("_", "."): value for key, value in more.items()}


VKEY = Signer("w.example/1").vkey


def test_witnesses_are_opened_with_their_key_and_need_a_key_of_the_ledger_that_they_know(tmp_path):
    data = data_of(tmp_path, ledger_witnesses=f"{VKEY}  https://w.example/sub")
    parts = open_ledger(parse_config(data), {"x509": sealer_of(tmp_path, "runs")})
    assert [(url, key.name) for url, key in parts.witnesses] == [("https://w.example/sub", "w.example/1")]
    key = generate_private_key(SECP256R1())
    (tmp_path / "ledger.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    with pytest.raises(
        ConfigError, match=r"ledger\.witnesses: ecdsa-p256-sha256: witnesses know Ed25519 keys"
    ):
        open_ledger(parse_config(data), {"x509": sealer_of(tmp_path, "runs")})


def test_without_a_folder_there_is_no_ledger(tmp_path):
    assert open_ledger(parse_config({}), {}) is None
    assert open_ledger(parse_config(data_of(tmp_path, ledger_folder="")), {}) is None


def test_a_ledger_has_its_own_signer_and_the_stores_that_are_named(tmp_path):
    data = data_of(tmp_path, ledger_storage="archivista", storage_archivista_url="http://127.0.0.1:1")
    parts = open_ledger(parse_config(data), {"x509": sealer_of(tmp_path, "runs")})
    assert parts.sealer.signer.keyid == sealer_of(tmp_path).signer.keyid
    assert [store.url for store in parts.stores] == ["archivista:http://127.0.0.1:1"]
    asyncio.run(parts.close())


def test_a_key_that_signs_runs_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"ledger\.signer: its key SHA256:\S+ is that of x509, which signs runs"
    ):
        open_ledger(parse_config(data_of(tmp_path)), {"x509": sealer_of(tmp_path)})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param({"ledger_origin": ""}, r"ledger\.origin: '' is no name", id="no origin"),
        pytest.param({"ledger_origin": "https://x"}, r"ledger\.origin: 'https://x' is no name", id="a URL"),
        pytest.param({"ledger_signer": ""}, r"ledger\.signer: is missing", id="no signer"),
        pytest.param({"ledger_signer": "/nowhere.pem"}, r"ledger\.signer: .*nowhere", id="no key"),
        pytest.param({"ledger_transparency": "true"}, r"ledger\.transparency: is true, but", id="no log"),
        pytest.param(
            {"ledger_witnesses": "x https://w"},
            r"ledger\.witnesses: .*NAME\+ID\+KEY",
            id="no key of a witness",
        ),
        pytest.param(
            {"ledger_witnesses": VKEY}, r"ledger\.witnesses: w\.example/1: expected a URL", id="no URL"
        ),
        pytest.param(
            {"ledger_witnesses": f"{VKEY} https://a, {VKEY} https://b"},
            r"is named twice",
            id="a witness twice",
        ),
        pytest.param({"ledger_storage": "s3"}, r"storage\.s3\.bucket|ledger\.storage", id="no bucket"),
    ],
)
def test_a_ledger_that_cannot_be_kept_is_refused(tmp_path, more, message):
    with pytest.raises(ConfigError, match=message) as refused:
        open_ledger(parse_config(data_of(tmp_path, **more)), {})
    assert not isinstance(refused.value, UnreachableError)


@pytest.mark.parametrize("store", ["oci", "tekton", "grafeas"])
def test_a_store_that_takes_images_or_runs_alone_is_refused(tmp_path, store):
    with pytest.raises(ConfigError, match=r"ledger\.storage"):
        parse_config(data_of(tmp_path, ledger_storage=store))


def problems(data):
    return {(problem.key, problem.severity) for problem in lint_config(data)}


def test_lint_finds_nothing_wrong_with_a_whole_ledger(tmp_path):
    assert problems(data_of(tmp_path)) == set()


def test_lint_knows_that_a_ledger_and_further_signers_log_in_to_key_services_too(tmp_path):
    login = {"signers.kms.auth.address": "http://vault:8200"}
    unused = ("signers.kms.auth.address", "warning")
    assert {problem.message for problem in lint_config(data_of(tmp_path) | login)} == {
        "has no effect: no enabled artifact has the signer kms"
    }
    further = '[{"name": "a", "reference": "hashivault://other", "namespaces": ["prod-*"]}]'
    for more in ({"ledger.signer": "hashivault://ledger"}, {"signers.extra": further}):
        (found,) = lint_config(data_of(tmp_path) | login | more)
        assert (found.key, found.severity) == unused
        assert "plain http" in found.message


def test_lint_says_what_a_ledger_lacks_and_which_of_its_keys_have_no_effect(tmp_path):
    data = data_of(
        tmp_path, ledger_origin="", ledger_signer="", ledger_transparency="true", ledger_storage="s3"
    )
    assert problems(data) == {
        ("ledger.origin", "error"),
        ("ledger.signer", "error"),
        ("ledger.transparency", "error"),
        ("storage.s3.bucket", "error"),
    }
    assert problems(data_of(tmp_path, ledger_origin="a b")) == {("ledger.origin", "error")}
    assert problems(data_of(tmp_path, ledger_folder="")) == {
        ("ledger.origin", "warning"),
        ("ledger.signer", "warning"),
    }
