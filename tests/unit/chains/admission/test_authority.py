"""The webhook's own CA: what it issues is accepted by TLS clients, and is renewed before it ends."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from chains.admission.authority import Pair, certificates_of, new_authority, new_leaf, plan

NAMES = ["door.shop.svc", "door.shop", "door.shop.svc.cluster.local"]
NOW = datetime.now(UTC)
DAYS = 90


def handshake(folder: Path, leaf: Pair, ca: bytes, name: str) -> None:
    """Let a client that trusts a CA connect to a server with a certificate. Raises ssl.SSLError."""
    (folder / "tls.crt").write_bytes(leaf.certificate)
    (folder / "tls.key").write_bytes(leaf.key)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    asking = ssl.create_default_context(cadata=ca.decode())
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(down, up, server_hostname=name)
    server = serving.wrap_bio(up, down, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue


@pytest.mark.parametrize("name", NAMES)
def test_a_certificate_is_accepted_by_whoever_trusts_the_ca(tmp_path: Path, name: str) -> None:
    made = plan(None, None, NAMES, NOW, DAYS)
    assert (made.is_new_authority, made.is_new_leaf, made.why) == (True, True, "there is no CA")
    handshake(tmp_path, made.leaf, made.authority.certificate, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, made.leaf, made.authority.certificate, "other.shop.svc")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, made.leaf, new_authority(NOW).certificate, name)


def test_the_ca_may_sign_servers_alone_and_the_certificate_nothing() -> None:
    made = plan(None, None, NAMES, NOW, DAYS)
    ca, leaf = (x509.load_pem_x509_certificate(one.certificate) for one in (made.authority, made.leaf))
    constraints = [one.extensions.get_extension_for_class(x509.BasicConstraints) for one in (ca, leaf)]
    assert [(one.critical, one.value.ca, one.value.path_length) for one in constraints] == [
        (True, True, 0),
        (True, False, None),
    ]
    assert leaf.not_valid_after_utc == (NOW + timedelta(days=DAYS)).replace(microsecond=0)


def test_what_is_good_stays() -> None:
    made = plan(None, None, NAMES, NOW, DAYS)
    again = plan(made.authority, made.leaf, NAMES, NOW + timedelta(days=59), DAYS)
    assert (again.is_new_authority, again.is_new_leaf) == (False, False)
    assert (again.authority, again.leaf) == (made.authority, made.leaf)


def test_a_certificate_is_renewed_by_the_same_ca_when_a_third_of_its_time_is_left(tmp_path: Path) -> None:
    made = plan(None, None, NAMES, NOW, DAYS)
    again = plan(made.authority, made.leaf, NAMES, NOW + timedelta(days=60), DAYS)
    assert (again.is_new_authority, again.is_new_leaf, again.why) == (False, True, "the certificate ends")
    assert again.authority == made.authority


def test_a_ca_is_renewed_when_a_certificate_would_outlive_it() -> None:
    made = plan(None, None, NAMES, NOW, DAYS)
    later = NOW + timedelta(days=3650 - 90)
    fresh = new_leaf(made.authority, NAMES, later, DAYS)
    assert not plan(made.authority, fresh, NAMES, later - timedelta(days=1), DAYS).is_new_authority
    again = plan(made.authority, fresh, NAMES, later, DAYS)
    assert (again.is_new_authority, again.is_new_leaf, again.why) == (True, True, "the CA ends")


def test_what_does_not_belong_together_is_made_anew() -> None:
    made, other = plan(None, None, NAMES, NOW, DAYS), plan(None, None, NAMES, NOW, DAYS)
    mixed = Pair(made.leaf.certificate, other.leaf.key)
    for leaf in (
        None,
        other.leaf,
        mixed,
        Pair(b"x", b"y"),
        Pair(made.leaf.certificate, b"y"),
        made.authority,
    ):
        again = plan(made.authority, leaf, NAMES, NOW, DAYS)
        assert (again.is_new_authority, again.is_new_leaf) == (False, True)
    for authority in (
        None,
        Pair(b"x", b"y"),
        Pair(made.authority.certificate, other.authority.key),
        made.leaf,
    ):
        assert plan(authority, made.leaf, NAMES, NOW, DAYS).is_new_authority
    assert plan(made.authority, made.leaf, [*NAMES, "more.shop.svc"], NOW, DAYS).is_new_leaf


def test_a_pair_does_not_show_its_key() -> None:
    made = new_authority(NOW)
    assert "PRIVATE" not in repr(made) + str([made])


def test_a_bundle_gives_each_certificate_once() -> None:
    a, b = new_authority(NOW).certificate, new_authority(NOW + timedelta(days=1)).certificate
    assert certificates_of(b"# comment\n" + a + b + a) == [a, b]
    with pytest.raises(ValueError, match="PEM"):
        certificates_of(b"none")
