"""The command ``verify``: its options alone decide what is valid evidence."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from chains.assembly.registry_tags import RegistryTags
from chains.assembly.stores import open_url, store_options
from chains.assembly.trust import open_listed_keys, open_trusted_root
from chains.assembly.workspace import LAYOUT, Settings, load_settings
from chains.cli.arguments import (
    FILE,
    Argument,
    Option,
    Options,
    config,
    namespace_options,
    output,
    store,
    summary_options,
)
from chains.cli.commands import Command
from chains.cli.revocations import revocation_options, revocations_of
from chains.cli.trust import OPTIONS, Trusted, where_to_look, whom_to_trust
from chains.documents.load import read_bytes
from chains.errors import InputError, UsageError
from chains.loop import carry_out
from chains.report.names import is_report
from chains.terminal import say, terminal_width, write_json, write_text
from chains.verify.criteria import Criteria, MissingError
from chains.verify.render import WIDTH, many_to_text
from chains.verify.targets import FileTarget, parse_target
from chains.verify.verdict import Verification, many_to_json, worst
from chains.verify.verifier import Verifier, verify_all
from chains.verify.wanted_run import (
    ReferenceWanted,
    SourceWanted,
    namespace_wanted,
)
from signers.keys.keyset import ListedKey
from storage.record import Origin

T = TypeVar("T")

MOST_BLOB_BYTES = 512 * 1024 * 1024
"""The largest file for ``--blob``. It is held in memory, because Ed25519 signs the bytes and not a digest."""


def _verify(options: Options) -> int:
    """Verify targets and print why or why not."""
    if options.policy is not None:
        from chains.cli.policies.decide import decide_by_policy  # noqa: PLC0415 - policies are needed with --policy alone

        return carry_out(decide_by_policy(options))
    _refuse_policy_options(options)
    try:
        found = carry_out(_verify_async(options, load_settings(options.config)))
    except MissingError as error:
        raise UsageError(f"{error}: {OPTIONS[error.missing]}") from error
    if options.output == "json":
        write_json(many_to_json(found), indent=True)
    else:
        width = min(WIDTH, terminal_width() or WIDTH)
        write_text(many_to_text(found, verbose=options.verbose, width=width))
    return worst(each.verdict for each in found).exit_code


def _refuse_policy_options(options: Options) -> None:
    for name in ("allow_unmatched", "for_namespace", "namespace_label", "attest_vsa"):
        if name in options.given:
            raise UsageError(f"--{name.replace('_', '-')} belongs to --policy FILE")


async def _verify_async(options: Options, settings: Settings) -> list[Verification]:
    if options.digest == "":
        raise UsageError("--digest is empty: pass sha256: and 64 hex digits, or leave it out")
    if options.digest and options.blob:
        raise UsageError("pass --digest or --blob: the file's digest is computed from it")
    if any(map(is_report, options.targets)):
        return await _verify_reports(options, settings)
    blob = None if options.blob is None else read_blob(options.blob)
    targets = [parse_target(word, resolve=options.resolve) for word in options.targets]
    criteria = criteria_of(options, settings, whom_to_trust(options, targets))
    urls = [where_to_look(options, target) for target in targets]
    known = dict.fromkeys(url for each in urls for url in each)
    if not options.store and LAYOUT in known:
        say(f"looking in {LAYOUT}")
    origin = Origin("", options.namespace or "", "", "")
    stores = {url: open_url(url, store_options(settings.config)) for url in known}
    within = {url: store.within(origin) for url, store in stores.items()}
    now = datetime.now(UTC)
    verifier = Verifier(
        criteria,
        resolver=RegistryTags(store_options(settings.config)),
        clock=lambda: now,
        revocations=revocations_of(options, settings.config),
    )
    asked = [
        (verifier.within([within[url] for url in dict.fromkeys(each)]), target)
        for target, each in zip(targets, urls, strict=True)
    ]
    try:
        return await verify_all(asked, digest=options.digest or "", blob=blob)
    finally:
        for store in stores.values():
            await store.close()


async def _verify_reports(options: Options, settings: Settings) -> list[Verification]:
    from chains.report.verifying import about_reports, verify_report  # noqa: PLC0415 - reports alone need it

    if not all(map(is_report, options.targets)):
        raise UsageError("reports and other targets are verified apart: they are signed about other things")
    if options.digest or options.blob:
        raise UsageError("--digest and --blob belong to bundle files: a report is its own file")
    # the same signers are asked for as for a bundle file
    targets = [FileTarget(word, "bundle", b"", Path(word)) for word in options.targets]
    criteria = about_reports(criteria_of(options, settings, whom_to_trust(options, targets)))
    found = store_options(settings.config)
    stores = [open_url(url, found) for url in dict.fromkeys(options.store or ())]
    now = datetime.now(UTC)
    revocations = revocations_of(options, settings.config)
    async with Verifier(criteria, stores, clock=lambda: now, revocations=revocations) as verifier:
        return [await verify_report(word, verifier) for word in options.targets]


def criteria_of(options: Options, settings: Settings, trusted: Trusted) -> Criteria:
    """Return what the options demand of evidence. Raises :class:`UsageError`."""
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


def _asked(options: Options, name: str, read: Callable[[str, str], T]) -> T | None:
    """Return the parsed value of an option, or None if it is not given. Raises :class:`UsageError`."""
    text: str | None = getattr(options, name)
    return None if text is None else read(text, f"--{name.replace('_', '-')}")


def read_blob(path: str) -> bytes:
    """Return the content of the file of ``--blob``. Raises :class:`UsageError`."""
    try:
        return read_bytes(Path(path), MOST_BLOB_BYTES)
    except InputError as error:
        raise UsageError(f"--blob: {error}") from error


def question_options() -> list[Option]:
    """Return the options that say who is trusted, what is demanded and where evidence is."""
    return [
        config("a chains-config, for its registry settings"),
        *signer_options(),
        store(
            "the store to search (default: an image's registry; for run files in this folder, .chains/layout)"
        ),
        *demand_options(),
        *revocation_options(),
        Option(
            "--policy",
            "let the policies of this file or folder decide about images, in place of the options above",
            default=None,
            metavar="FILE",
            type=FILE,
        ),
    ]


def certificate_options() -> list[Option]:
    """Return the options about certificates, logs and timestamps."""
    options = []
    for name, what in (
        ("identity", "a certificate's identity"),
        ("oidc-issuer", "the OIDC issuer of that identity"),
    ):
        text = f"{what}, as a regular expression that matches all of it"
        options += [
            Option(f"--certificate-{name}", f"{what}, exactly", default=None, metavar="NAME"),
            Option(f"--certificate-{name}-regexp", text, default=None, metavar="REGEXP"),
        ]
    text = "a trusted_root.json with the trusted authorities and logs"
    return [
        *options,
        Option("--trusted-root", text, default=None, metavar="FILE", type=FILE),
        Option("--require-log", "require an entry in a transparency log", flag=True),
        Option("--require-timestamp", "require an RFC 3161 timestamp", flag=True),
    ]


def _run_options() -> list[Option]:
    text = "require a run of this namespace; its evidence is searched where storage.oci.repository puts it"
    options = [Option("--namespace", text, default=None, metavar="NAME")]
    for kind in ("task", "pipeline"):
        text = f"require a run of the {kind} that this resolver returned, with this digest"
        form = "RESOLVER@ALGORITHM:HEX[#PATH]"
        options.append(Option(f"--{kind}-ref", text, default=None, metavar=form))
    text = "require this source among the inputs (the task itself names them)"
    return [*options, Option("--source", text, default=None, metavar="URI[@ALGORITHM:HEX]")]


def signer_options() -> list[Option]:
    """Return the options that say who is trusted."""
    return [
        Option(
            "--key",
            "a public key, certificate, key set or JWKS to trust: a file, a key service's key, env://NAME, "
            "k8s://NAMESPACE/NAME or https://URL#sha256:HEX (default, for run files in this folder alone: "
            ".chains/signing.pub); may be repeated",
            twin="CHAINS_PUBLIC_KEY",
            repeatable=True,
            metavar="PUB",
            type=FILE,
        ),
        *certificate_options(),
    ]


def demand_options() -> list[Option]:
    """Return the options that say what evidence must be besides being signed."""
    return [
        Option(
            "--predicate-type", "require this predicate type; may be repeated", repeatable=True, metavar="URI"
        ),
        Option("--builder-id", "require this builder", default=None, metavar="URI"),
        Option("--build-type", "require this build type", default=None, metavar="URI"),
        Option("--require", "require proof that the run had no network", choices=["hermetic"]),
        Option(
            "--digest",
            "the artifact that a bundle file must be about",
            default=None,
            metavar="sha256:HEX",
        ),
        Option(
            "--blob",
            "the file that a bundle file must be about: a subject of its statement, or the signed file "
            "itself",
            default=None,
            metavar="FILE",
            type=FILE,
        ),
        *_run_options(),
    ]


verify = Command(
    "verify",
    _verify,
    [
        Argument(
            "targets",
            "an image with digest, a digest, a run file, a bundle file or a report",
            "TARGET",
            many="+",
            type=FILE,
        ),
        *question_options(),
        Option("--allow-unmatched", "take images that no policy is for as allowed", flag=True),
        *namespace_options(),
        *summary_options(),
        Option(
            "--resolve",
            "take targets as images, resolve a tag to its digest once, and verify that digest",
            flag=True,
        ),
        Option("--verbose", "print every criterion, check and piece of evidence", flag=True),
        output(),
    ],
)
