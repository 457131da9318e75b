"""The testbed's Sigstore is one that its own clients accept, and refuse where they should."""

import json
from pathlib import Path

import pytest
from sigstore.dsse import Statement
from sigstore.models import ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import Signer, SigningContext

from tests.testbed.cosign import Cosign
from tests.testbed.sigstore import SigstoreServices

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def bundle(sigstore_services: SigstoreServices, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle made by sigstore-python."""
    config = ClientTrustConfig.from_json(sigstore_services.client_trust_config)
    token = IdentityToken(sigstore_services.issuer.token())
    digest = {"sha256": "0" * 64}
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "app", "digest": digest}],
        "predicateType": "https://example.com/predicate/v1",
        "predicate": {},
    }
    before = sigstore_services.log_size()
    signer = Signer(token, SigningContext.from_trust_config(config))
    made = signer.sign_dsse(Statement(json.dumps(statement).encode()))
    assert sigstore_services.log_size() == before + 1
    path = tmp_path_factory.mktemp("bundle") / "bundle.json"
    path.write_text(made.to_json())
    return path


@pytest.mark.parametrize("account", ["tekton-chains-controller", "somebody-else"])
def test_cosign_takes_the_right_identity_alone(
    sigstore_services: SigstoreServices, cosign: Cosign, bundle: Path, account: str
) -> None:
    identity = sigstore_services.issuer.identity(account=account)
    done = cosign(
        "verify-blob-attestation", "--bundle", bundle, "--trusted-root", sigstore_services.trusted_root,
        "--certificate-identity", identity, "--certificate-oidc-issuer", sigstore_services.issuer.url,
        "--type", "https://example.com/predicate/v1", "--digest", "0" * 64, "--digestAlg", "sha256",
        check=False,
    )  # fmt: skip
    right = account == "tekton-chains-controller"
    assert (done.returncode == 0) is right, done.stderr
    assert right or "expected SAN value" in done.stderr
