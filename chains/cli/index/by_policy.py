"""Pages about images that policies decide about; apart, because policies take long to import."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from chains.assembly.registry_tags import RegistryTags
from chains.assembly.stores import open_url, store_options
from chains.assembly.workspace import Settings
from chains.cli.arguments import Options
from chains.cli.policies.decide import load_policy, namespace_of, refuse_criteria
from chains.errors import UsageError
from chains.inspection.contents import confirmed_by_policy
from chains.inspection.page import Page
from chains.inspection.policy_page import page_of_answer
from chains.policy.document.patterns import read_image
from chains.policy.loaded import UnmatchedError
from chains.policy.reasons import Requirement
from chains.verify.reasons import Result
from chains.verify.verifier import Verifier


async def pages_by_policy(words: Sequence[str], options: Options, settings: Settings) -> list[Page]:
    """Return a page for each image. Raises :class:`UsageError` for what is none, or that no policy is for."""
    refuse_criteria(options)
    policy = load_policy(options.policy, settings, options)
    for word in words:
        if not read_image(word).digest and not options.resolve:
            raise UsageError(f"{word} names a tag, which can be moved: add @sha256:HEX, or pass --resolve")
    place = namespace_of(options)
    found = store_options(settings.config)
    stores = [open_url(url, found) for url in dict.fromkeys(options.store or ("oci:",))]
    now = datetime.now(UTC)
    pages = []
    async with Verifier(
        policy=policy, stores=stores, resolver=RegistryTags(found), clock=lambda: now
    ) as verifier:
        for word in words:
            try:
                answer = await verifier.image(
                    word,
                    resolve=options.resolve,
                    namespace=place.name if place else None,
                    labels=place.labels if place else None,
                )
            except UnmatchedError as error:
                raise UsageError(f"{error}: chains policy explain says why") from error
            one = answer.strictest
            is_found = any(
                check.id == Requirement.EVIDENCE and check.result is Result.PASS for check in one.checks
            )
            pages.append(page_of_answer(answer, confirmed_by_policy(one.attestations if is_found else ())))
    return pages
