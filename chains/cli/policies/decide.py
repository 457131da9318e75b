"""``verify --policy``: what policies say about images, instead of criteria that options name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from chains.assembly.registry_tags import RegistryTags
from chains.assembly.stores import open_url, store_options
from chains.assembly.workspace import Settings, load_settings
from chains.cli.arguments import OK, Options
from chains.cli.policies.summary import attest_answers, open_verifier
from chains.errors import UsageError
from chains.policy.answer import answer
from chains.policy.document.load import load_policies
from chains.policy.document.patterns import read_image
from chains.policy.document.policy import Namespace
from chains.policy.opened import OpenedPolicy, open_policy
from chains.policy.render import WIDTH, answers_to_text
from chains.policy.verdict import ImageAnswer, answers_to_json
from chains.terminal import say, terminal_width, write_json, write_text
from chains.verify.verdict import worst
from storage.base import Store
from storage.errors import StoreError
from storage.formats.reference import Image

_OF_CRITERIA = (
    "key",
    "certificate_identity",
    "certificate_identity_regexp",
    "certificate_oidc_issuer",
    "certificate_oidc_issuer_regexp",
    "trusted_root",
    "require_log",
    "require_timestamp",
    "predicate_type",
    "builder_id",
    "build_type",
    "require",
    "digest",
    "blob",
    "namespace",
    "task_ref",
    "pipeline_ref",
    "source",
)
"""Options that say what a policy says; with both, nobody would know which counts."""


async def decide_by_policy(options: Options) -> int:
    """Print what the policies say about every image; the exit code is that of the worst verdict.

    Raises :class:`UsageError` for options that a policy replaces, for what is no image, and for an image that
    no policy is for, unless ``--allow-unmatched`` is given.
    """
    clash = sorted(name for name in _OF_CRITERIA if name in options.given)
    if clash:
        option = f"--{clash[0].replace('_', '-')}"
        raise UsageError(f"pass --policy or {option}: with a policy, the policy says what is demanded")
    settings = load_settings(options.config)
    policies = open_policies(options.policy, settings)
    verifier = open_verifier(options, settings, policies)
    images = [await _image(word, options, settings) for word in options.targets]
    urls = list(dict.fromkeys(options.store or ("oci:",)))
    stores = [open_url(url, store_options(settings.config)) for url in urls]
    try:
        found = await _answers(policies, images, stores, namespace_of(options))
        unmatched = [image for image, one in zip(images, found, strict=True) if one is None]
        if unmatched and not options.allow_unmatched:
            _refuse(unmatched[0])
        answers = [one for one in found if one is not None]
        if verifier is not None:
            await attest_answers(answers, verifier, stores, options)
    finally:
        for store in stores:
            await store.close()
        if verifier is not None:
            verifier.sealer.close()
    for image in unmatched:
        say(f"no policy is for {image.repository}@{image.digest}: allowed unseen")
    return show_answers(answers, options)


def _refuse(image: Image) -> None:
    raise UsageError(
        f"no policy is for {image.repository}: chains policy explain says why; --allow-unmatched takes such "
        "images for allowed"
    )


def open_policies(path: str, settings: Settings) -> list[OpenedPolicy]:
    """Read and open the policies of a file or folder."""
    return [open_policy(policy, settings.config) for policy in load_policies(Path(path))]


def show_answers(answers: Sequence[ImageAnswer], options: Options) -> int:
    """Print answers and return their exit code."""
    if options.output == "json":
        write_json(answers_to_json(answers) if answers else {"results": []}, indent=True)
    elif answers:
        width = min(WIDTH, terminal_width() or WIDTH)
        write_text(answers_to_text(answers, verbose=options.verbose, width=width))
    counting = [one.strictest for one in answers if one.strictest.exit_code != OK]
    return worst(one.verdict for one in counting).exit_code if counting else OK


async def _image(word: str, options: Options, settings: Settings) -> Image:
    image = read_image(word)
    if image.digest:
        return image
    if not options.resolve:
        raise UsageError(f"{word} names a tag, which can be moved: add @sha256:HEX, or pass --resolve")
    try:
        digest = await RegistryTags(store_options(settings.config)).resolve(word)
    except StoreError as error:
        raise UsageError(f"{word}: the tag cannot be resolved: {error}") from error
    return replace(image, digest=digest)


def namespace_of(options: Options) -> Namespace | None:
    """Return the namespace that the options name. Raises :class:`UsageError`."""
    labels = {}
    for word in options.namespace_label or ():
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise UsageError(f"--namespace-label: expected NAME=VALUE, got {word!r}")
        labels[name] = value
    if options.for_namespace is None:
        if labels:
            raise UsageError("--namespace-label belongs to --for-namespace NAME")
        return None
    return Namespace(options.for_namespace, labels)


async def _answers(
    policies: Sequence[OpenedPolicy],
    images: Sequence[Image],
    stores: Sequence[Store],
    namespace: Namespace | None,
) -> list[ImageAnswer | None]:
    now = datetime.now(UTC)
    return [await answer(policies, image, stores=stores, now=now, namespace=namespace) for image in images]
