"""The commands ``keys``: new pairs, public halves, and what verifiers of any kind need to know of our
keys."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chains.assembly.trust import open_listed_keys
from chains.assembly.workspace import load_settings, open_key
from chains.cli.arguments import OK, Parser, add_output, add_password_file
from chains.errors import UsageError
from chains.terminal import say, write_document, write_json, write_line
from signers.keys.keyset import KeyStatus, ListedKey
from signers.sigstore.trusted_root import MAX_BYTES as MAX_ROOT
from storage.files import read_file

_FORMATS = ["pem", "keyset", "configmap", "trusted-root", "trust-root", "policy-controller", "kyverno"]
_ROOTS = ("trusted-root", "trust-root")


def add_keys_export(kinds: Any) -> None:
    """Add ``keys export``."""
    export = kinds.add_parser("export", help="print public keys for verifiers of all kinds")
    export.add_argument(
        "keys", metavar="REF", nargs="*", help="key file (either half), key set, or a key service's key"
    )
    export.option("--format", "the form", twin="CHAINS_KEYS_FORMAT", default="pem", choices=_FORMATS)
    export.option("--retire", "mark the key of this id as retired", action="append", metavar="KEYID")
    export.option("--revoke", "mark the key of this id as revoked", action="append", metavar="KEYID")
    export.option(
        "--namespace",
        "of the ConfigMap",
        twin="CHAINS_KEYS_NAMESPACE",
        default="tekton-chains",
        metavar="NAME",
    )
    export.option("--images", "which images a policy is about", default="**", metavar="GLOB")
    export.option(
        "--form", "how their evidence is stored", default="dsse", choices=["dsse", "sigstore-bundle"]
    )
    export.option("--trusted-root", "trusted roots to merge", action="append", metavar="FILE")
    export.option("--config", "a chains-config, for its login to a key service", metavar="FILE")
    export.set_defaults(command=_keys_export)


def _keys_export(options: argparse.Namespace) -> int:
    """Print the keys in one format."""
    from chains.evidence.key_documents import (  # noqa: PLC0415 - fast --help
        Where,
        export_keys,
        merge_trusted_roots,
        trust_root,
    )

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
    config = load_settings(options.config).config
    keys = _marked(open_listed_keys(options.keys, config, private=True), options.retire, options.revoke)
    now = datetime.now(UTC)
    if options.format != "keyset":
        for one in keys:
            if one.problem(now):
                say(f"left out: {one.key.keyid}: {one.problem(now)}")
    where = Where(options.namespace, options.images, options.form)
    write_document(export_keys(options.format, keys, where, now).rstrip())
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


def _keys_generate(options: argparse.Namespace) -> int:
    """Make a key pair in two new files."""
    from signers.errors import SignerError  # noqa: PLC0415 - keeps --help fast
    from signers.keys.keyfile import generate_key, write_key_pair  # noqa: PLC0415 - keeps --help fast

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


def _keys_public(options: argparse.Namespace) -> int:
    """Print the public half of a key."""
    from signers.keys.public_key import PublicKey  # noqa: PLC0415 - keeps --help fast

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


def _algorithms() -> list[str]:
    return ["ecdsa-p256", "ecdsa-p384", "rsa-3072", "ed25519"]


def add_keys_commands(commands: Any) -> None:
    """Add the commands ``keys``."""
    keys = commands.add_parser("keys", help="make keys and show public halves")
    kinds = keys.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    generate = kinds.add_parser("generate", help="make a key pair")
    generate.add_argument(
        "private", metavar="FILE", help="where the private key goes; the public one gets .pub"
    )
    generate.option("--algorithm", "the kind of key", default="ecdsa-p256", choices=_algorithms())
    add_output(generate)
    generate.set_defaults(command=_keys_generate)
    public = kinds.add_parser("public", help="print the public half of a key")
    public.add_argument(
        "key", metavar="REF", help="a private key file or a key service's key", nargs="?", default=""
    )
    add_password_file(public)
    add_output(public)
    public.set_defaults(command=_keys_public)
    add_keys_export(kinds)
