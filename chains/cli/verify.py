"""The sub-command ``verify``: what counts as evidence comes from its options alone."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from chains.assembly.stores import open_url, store_options
from chains.assembly.trust import open_listed_keys, open_trusted_root
from chains.assembly.workspace import LAYOUT, Settings, load_settings
from chains.cli.arguments import Parser, add_output, add_store
from chains.errors import InputError, UsageError
from chains.loop import carry_out
from chains.terminal import say, terminal_width, write_json, write_text

if TYPE_CHECKING:
    from chains.cli.trust import Trusted
    from chains.verify.criteria import Criteria
    from chains.verify.verdict import Verification

T = TypeVar("T")

MOST_BLOB_BYTES = 512 * 1024 * 1024
"""Of a file given with ``--blob``, which is held in memory: Ed25519 signs bytes and no digest."""


def _verify(options: argparse.Namespace) -> int:
    """Verify targets and print why or why not."""
    from chains.verify.render import WIDTH, many_to_text  # noqa: PLC0415 - keeps --help fast
    from chains.verify.verdict import many_to_json, worst  # noqa: PLC0415 - keeps --help fast

    found = carry_out(_verify_async(options, load_settings(options.config)))
    if options.output == "json":
        write_json(many_to_json(found), indent=True)
    else:
        width = min(WIDTH, terminal_width() or WIDTH)
        write_text(many_to_text(found, verbose=options.verbose, width=width))
    return worst(each.verdict for each in found).exit_code


async def _verify_async(options: argparse.Namespace, settings: Settings) -> list[Verification]:
    from chains.assembly.registry_tags import RegistryTags  # noqa: PLC0415 - keeps --help fast
    from chains.cli.trust import where_to_look, whom_to_trust  # noqa: PLC0415 - keeps --help fast
    from chains.verify.targets import parse_target  # noqa: PLC0415 - keeps --help fast
    from chains.verify.verifier import verify_parsed  # noqa: PLC0415 - keeps --help fast
    from storage.record import Origin  # noqa: PLC0415 - keeps --help fast

    if options.digest == "":
        raise UsageError("--digest is empty: pass sha256: and 64 hex digits, or leave it out")
    if options.digest and options.blob:
        raise UsageError("pass --digest or --blob: the file's digest is computed from it")
    blob = None if options.blob is None else _read_blob(options.blob)
    targets = [parse_target(word, resolve=options.resolve) for word in options.targets]
    criteria = _criteria(options, settings, whom_to_trust(options, targets))
    urls = [where_to_look(options, target) for target in targets]
    known = dict.fromkeys(url for each in urls for url in each)
    if not options.store and LAYOUT in known:
        say(f"looking in {LAYOUT}")
    origin = Origin("", options.namespace or "", "", "")
    stores = {url: open_url(url, store_options(settings.config)) for url in known}
    within = {url: store.within(origin) for url, store in stores.items()}
    try:
        return await verify_parsed(
            [
                (target, [within[url] for url in dict.fromkeys(each)])
                for target, each in zip(targets, urls, strict=True)
            ],
            criteria=criteria,
            now=datetime.now(UTC),
            resolver=RegistryTags(store_options(settings.config)),
            digest=options.digest or "",
            blob=blob,
        )
    finally:
        for store in stores.values():
            await store.close()


def _criteria(options: argparse.Namespace, settings: Settings, trusted: Trusted) -> Criteria:
    from chains.verify.criteria import Criteria  # noqa: PLC0415 - keeps --help fast
    from chains.verify.wanted_run import (  # noqa: PLC0415 - keeps --help fast
        ReferenceWanted,
        SourceWanted,
        namespace_wanted,
    )
    from signers.keys.keyset import ListedKey  # noqa: PLC0415 - keeps --help fast

    listed = open_listed_keys(trusted.keys, settings.config)
    return Criteria(
        keys=[one.key for one in listed],
        windows={one.key.keyid: one for one in listed if one != ListedKey(one.key)},
        certificate=trusted.certificate,
        trusted_root=None if options.trusted_root is None else open_trusted_root(options.trusted_root),
        require_log=options.require_log,
        require_timestamp=options.require_timestamp,
        predicate_types=options.predicate_type or (),
        builder_id=options.builder_id,
        build_type=options.build_type,
        require_hermetic=options.require == "hermetic",
        namespace=_asked(options, "namespace", namespace_wanted),
        task_ref=_asked(options, "task_ref", ReferenceWanted.from_option),
        pipeline_ref=_asked(options, "pipeline_ref", ReferenceWanted.from_option),
        source=_asked(options, "source", SourceWanted.from_option),
    )


def _asked(options: argparse.Namespace, name: str, read: Callable[[str, str], T]) -> T | None:
    """Return what an option demands, None where it is not given. Raises :class:`UsageError`."""
    text: str | None = getattr(options, name)
    return None if text is None else read(text, f"--{name.replace('_', '-')}")


def _read_blob(path: str) -> bytes:
    from chains.documents.load import read_bytes  # noqa: PLC0415 - keeps --help fast

    try:
        return read_bytes(Path(path), MOST_BLOB_BYTES)
    except InputError as error:
        raise UsageError(f"--blob: {error}") from error


def add_verify_command(commands: Any) -> None:
    """Add the sub-command."""
    verify = commands.add_parser("verify", help="verify evidence and say why or why not")
    verify.add_argument(
        "targets", metavar="TARGET", nargs="+", help="image with digest, digest, run or bundle file"
    )
    verify.option("--config", "a chains-config, for its registry settings", metavar="FILE")
    text = (
        "a public key, certificate, key set or JWKS to trust: a file, a key service's key, env://NAME, "
        "k8s://NAMESPACE/NAME or https://URL#sha256:HEX (default, for run files in this folder alone: "
        ".chains/signing.pub)"
    )
    verify.option("--key", text, twin="CHAINS_PUBLIC_KEY", action="append", metavar="PUB")
    _add_certificates(verify)
    add_store(verify, "look here (default: an image's registry; for run files in this folder .chains/layout)")
    verify.option("--predicate-type", "demand this predicate type", action="append", metavar="URI")
    verify.option("--builder-id", "demand this builder", default=None, metavar="URI")
    verify.option("--build-type", "demand this build type", default=None, metavar="URI")
    verify.option("--require", "demand proof that the run had no network", choices=["hermetic"])
    verify.option(
        "--digest", "the artifact that a bundle file must speak for", default=None, metavar="sha256:HEX"
    )
    text = "the file that a bundle file must be about: a subject of its statement, or what was signed itself"
    verify.option("--blob", text, default=None, metavar="FILE")
    _add_run(verify)
    verify.option(
        "--resolve",
        "take words for images, look up a tag's digest once, and verify that",
        action="store_true",
    )
    verify.option("--verbose", "tell every criterion, check and item of evidence", action="store_true")
    add_output(verify)
    verify.set_defaults(command=_verify)


def _add_certificates(verify: Parser) -> None:
    names = (("identity", "a certificate's identity"), ("oidc-issuer", "the issuer that vouches for it"))
    for name, what in names:
        verify.option(f"--certificate-{name}", f"{what}, exactly", default=None, metavar="NAME")
        text = f"{what}, as a regular expression that all of it has to match"
        verify.option(f"--certificate-{name}-regexp", text, default=None, metavar="REGEXP")
    text = "a trusted_root.json: whose certificates, log entries and timestamps count"
    verify.option("--trusted-root", text, default=None, metavar="FILE")
    verify.option("--require-log", "demand an entry in a transparency log", action="store_true")
    verify.option("--require-timestamp", "demand an RFC 3161 timestamp", action="store_true")


def _add_run(verify: Parser) -> None:
    text = "demand a run of this namespace; evidence is looked for where storage.oci.repository puts it"
    verify.option("--namespace", text, default=None, metavar="NAME")
    form = "RESOLVER@ALGORITHM:HEX[#PATH]"
    for kind in ("task", "pipeline"):
        text = f"demand a run of the {kind} that this resolver brought, with this digest"
        verify.option(f"--{kind}-ref", text, default=None, metavar=form)
    text = "demand this source among the inputs, which the task names itself"
    verify.option("--source", text, default=None, metavar="URI[@ALGORITHM:HEX]")
