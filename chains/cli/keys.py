"""The commands ``keys``: make key pairs, print public keys, and export them for other verifiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from chains.assembly.trust import open_listed_keys
from chains.assembly.workspace import load_settings, open_key
from chains.cli.arguments import FILE, OK, Argument, Option, Options, config, output, password_file
from chains.cli.commands import Command, Group
from chains.errors import UsageError
from chains.evidence.key_documents import (
    Where,
    export_keys,
    merge_trusted_roots,
    trust_root,
)
from chains.terminal import say, write_document, write_json, write_line
from signers.errors import SignerError
from signers.keys.keyfile import generate_key, write_key_pair
from signers.keys.keyset import KeyStatus, ListedKey
from signers.keys.public_key import PublicKey
from signers.sigstore.trusted_root import MAX_BYTES as MAX_ROOT
from storage.files import read_file

_ALGORITHMS = ["ecdsa-p256", "ecdsa-p384", "rsa-3072", "ed25519"]
_FORMATS = ["pem", "keyset", "configmap", "trusted-root", "trust-root", "policy-controller", "kyverno"]
_ROOTS = ("trusted-root", "trust-root")


def _keys_export(options: Options) -> int:
    """Print public keys in one format."""
    if options.format in _ROOTS:
        if options.keys or not options.trusted_root:
            raise UsageError(
                "a trusted root holds logs and authorities and has no place for keys that sign: pass "
                "--trusted-root FILE alone, and give verifiers the keys beside it (--format pem)"
            )
        made = merge_trusted_roots if options.format == "trusted-root" else trust_root
        write_document(made([_root_file(path) for path in options.trusted_root]))
        return 0
    if options.trusted_root:
        raise UsageError(f"--trusted-root goes with --format {' or '.join(_ROOTS)} alone")
    if not options.keys:
        raise UsageError("no key: name a key file, a key set or a key service's key")
    settings = load_settings(options.config)
    listed = open_listed_keys(options.keys, settings.config, private=True)
    chosen = _marked(listed, options.retire, options.revoke)
    now = datetime.now(UTC)
    if options.format != "keyset":
        for one in chosen:
            if one.problem(now):
                say(f"left out: {one.key.keyid}: {one.problem(now)}")
    where = Where(options.namespace, options.images, options.form)
    write_document(export_keys(options.format, chosen, where, now).rstrip())
    return 0


def _root_file(path: str) -> bytes:
    try:
        return read_file(path, MAX_ROOT)
    except OSError as error:
        raise UsageError(f"--trusted-root {path} cannot be read: {error.strerror}") from error


def _marked(
    keys: Sequence[ListedKey], retire: Sequence[str] | None, revoke: Sequence[str] | None
) -> list[ListedKey]:
    statuses = dict.fromkeys(retire or (), KeyStatus.RETIRED) | dict.fromkeys(revoke or (), KeyStatus.REVOKED)
    unknown = sorted(statuses.keys() - {one.key.keyid for one in keys})
    if unknown:
        raise UsageError(f"{unknown[0]} is none of the keys: {', '.join(one.key.keyid for one in keys)}")
    return [replace(one, status=statuses.get(one.key.keyid, one.status)) for one in keys]


def _keys_generate(options: Options) -> int:
    """Make a key pair and write it to two new files."""
    try:
        public = write_key_pair(Path(options.private), generate_key(options.algorithm))
    except SignerError as error:
        raise UsageError(str(error)) from error
    if options.output == "json":
        write_json({"private": options.private, "public": str(public), "algorithm": options.algorithm})
    else:
        write_line(f"private key: {options.private}")
        write_line(f"public key: {public}")
    return OK


def _keys_public(options: Options) -> int:
    """Print the public key of a private key."""
    signer = open_key(options.key, password_file=options.password_file)
    if options.output == "json":
        key = PublicKey.from_pem(signer.public_pem)
        write_json(
            {
                "keyid": key.keyid,
                "algorithm": key.algorithm,
                "version": signer.version,
                "pem": signer.public_pem.decode(),
            }
        )
    else:
        write_document(signer.public_pem.rstrip())
    return OK


generate = Command(
    "generate",
    _keys_generate,
    [
        Argument(
            "private",
            "the file for the private key; the public key gets the extension .pub",
            "FILE",
            type=FILE,
        ),
        Option("--algorithm", "the algorithm of the key", default="ecdsa-p256", choices=_ALGORITHMS),
        output(),
    ],
    text="make a key pair",
)
public = Command(
    "public",
    _keys_public,
    [
        Argument("key", "a private key file, or the reference of a key service", "REF", many="?", type=FILE),
        password_file(),
        output(),
    ],
    text="print the public key of a private key",
)
export = Command(
    "export",
    _keys_export,
    [
        Argument(
            "keys",
            "a key file (private or public), a key set, or the reference of a key service",
            "REF",
            many="*",
            type=FILE,
        ),
        Option("--format", "the format to print", twin="CHAINS_KEYS_FORMAT", default="pem", choices=_FORMATS),
        Option("--retire", "mark the key of this id as retired", repeatable=True, metavar="KEYID"),
        Option("--revoke", "mark the key of this id as revoked", repeatable=True, metavar="KEYID"),
        Option(
            "--namespace",
            "the namespace of the ConfigMap",
            twin="CHAINS_KEYS_NAMESPACE",
            default="tekton-chains",
            metavar="NAME",
        ),
        Option("--images", "the images that a policy applies to", default="**", metavar="GLOB"),
        Option(
            "--form",
            "how the evidence of these images is stored",
            default="dsse",
            choices=["dsse", "sigstore-bundle"],
        ),
        Option(
            "--trusted-root",
            "a trusted root to merge; may be repeated",
            repeatable=True,
            metavar="FILE",
            type=FILE,
        ),
        config("a chains-config, for its login to a key service"),
    ],
    text="print public keys in the formats of other verifiers",
)
keys = Group("keys", [generate, public, export])
