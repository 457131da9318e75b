"""``verify --policy``: what policies say about images, instead of criteria that options name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from chains.assembly.registry_tags import RegistryTags
from chains.assembly.stores import open_url, store_options
from chains.assembly.workspace import Settings, load_settings
from chains.cli.arguments import OK, Options
from chains.cli.revocations import revocations_of
from chains.errors import UsageError
from chains.policy.document.patterns import read_image
from chains.policy.document.policy import Namespace
from chains.policy.loaded import Policy, UnmatchedError
from chains.policy.opened import OpenedPolicy
from chains.policy.render import WIDTH, answers_to_text
from chains.policy.verdict import ImageAnswer, answers_to_json
from chains.terminal import say, terminal_width, write_json, write_text
from chains.verify.verdict import worst
from chains.verify.verifier import Verifier

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
_OF_SUMMARY = ("vsa_key", "verifier_id", "policy_uri")
_ALL_OF_SUMMARY = (*_OF_SUMMARY, "attest_failures", "vsa_folder")


def refuse_criteria(options: Options) -> None:
    """Raise :class:`UsageError` for an option that a policy replaces."""
    clash = sorted(name for name in _OF_CRITERIA if name in options.given)
    if clash:
        option = f"--{clash[0].replace('_', '-')}"
        raise UsageError(f"pass --policy or {option}: with a policy, the policy says what is demanded")


def refuse_summary_options(options: Options) -> None:
    """Raise :class:`UsageError` for options that need ``--attest-vsa``, and for what it lacks."""
    if not options.attest_vsa:
        for name in _ALL_OF_SUMMARY:
            if name in options.given:
                raise UsageError(f"--{name.replace('_', '-')} belongs to --attest-vsa")
        return
    missing = [f"--{name.replace('_', '-')}" for name in _OF_SUMMARY if not getattr(options, name)]
    if missing:
        raise UsageError(f"--attest-vsa needs {' and '.join(missing)}: none of them has a default")


async def decide_by_policy(options: Options) -> int:
    """Print what the policies say about every image; the exit code is that of the worst verdict.

    Raises :class:`UsageError` for options that a policy replaces, for what is no image, and for an image that
    no policy is for, unless ``--allow-unmatched`` is given.
    """
    refuse_criteria(options)
    settings = load_settings(options.config)
    policy = load_policy(options.policy, settings, options)
    refuse_summary_options(options)
    summarizer = None
    if options.attest_vsa:
        from chains.cli.policies.summary import open_verifier  # noqa: PLC0415 - few ask for it

        summarizer = open_verifier(options, settings, policy.documents)
    for word in options.targets:
        if not read_image(word).digest and not options.resolve:
            raise UsageError(f"{word} names a tag, which can be moved: add @sha256:HEX, or pass --resolve")
    place = namespace_of(options)
    found = store_options(settings.config)
    stores = [open_url(url, found) for url in dict.fromkeys(options.store or ("oci:",))]
    now = datetime.now(UTC)
    answers: list[ImageAnswer] = []
    unmatched: list[str] = []
    try:
        async with Verifier(
            policy=policy, stores=stores, resolver=RegistryTags(found), clock=lambda: now
        ) as verifier:
            for word in options.targets:
                try:
                    answer = await verifier.image(
                        word,
                        resolve=options.resolve,
                        namespace=place.name if place else None,
                        labels=place.labels if place else None,
                    )
                except UnmatchedError as error:
                    if not options.allow_unmatched:
                        raise UsageError(
                            f"{error}: chains policy explain says why; --allow-unmatched takes such images "
                            "for allowed"
                        ) from error
                    unmatched.append(error.image)
                else:
                    answers.append(answer)
            if summarizer is not None:
                from chains.cli.policies.summary import attest_answers  # noqa: PLC0415

                await attest_answers(answers, summarizer, stores, options)
    finally:
        if summarizer is not None:
            summarizer.sealer.close()
    for image in unmatched:
        say(f"no policy is for {image}: allowed unseen")
    return show_answers(answers, options)


def load_policy(path: str, settings: Settings, options: Options) -> Policy:
    """Read and open the policies of a file or folder, with the revocation list that options name."""
    return Policy.load(
        path,
        config=settings.config,
        revocations=revocations_of(options, settings.config),
        revocations_state=options.revocations_state,
    )


def open_policies(path: str, settings: Settings, options: Options) -> list[OpenedPolicy]:
    """Read and open the policies of a file or folder, one for each document; as :func:`load_policy`."""
    return list(load_policy(path, settings, options).documents)


def show_answers(answers: Sequence[ImageAnswer], options: Options) -> int:
    """Print answers and return their exit code."""
    if options.output == "json":
        write_json(answers_to_json(answers) if answers else {"results": []}, indent=True)
    elif answers:
        width = min(WIDTH, terminal_width() or WIDTH)
        write_text(answers_to_text(answers, verbose=options.verbose, width=width))
    counting = [one.strictest for one in answers if one.strictest.exit_code != OK]
    return worst(one.verdict for one in counting).exit_code if counting else OK


def namespace_of(options: Options) -> Namespace | None:
    """Return the namespace that the options name. Raises :class:`UsageError`.

    Without labels these are not known, so that no policy is left out because of them.
    """
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
    return Namespace(options.for_namespace, labels or None)
