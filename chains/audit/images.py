"""The other direction: images in use or in a registry, and whether a run of the population made each of them.

Finds what was built outside of Tekton, and runs that no source knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from chains.audit.findings import Audit, ImageUse, State
from chains.audit.population.known import Population
from chains.text import excerpt
from chains.verify.verdict import Verdict, Verification
from chains.verify.verifier import Verifier
from storage.errors import StoreRejected
from storage.formats.reference import parse_image

MOST_PLACES = 10
"""Places of one image that are listed."""
_LONGEST = 300


async def compare_images(
    uses: Mapping[str, Sequence[str]],
    population: Population,
    verifier: Verifier,
    audit: Audit,
    *,
    platforms: Mapping[str, Sequence[str]] | None = None,
    at_once: int,
    advance: Callable[[State], None],
) -> None:
    """Add the images in ``uses``, with the places that use each, of which no run of the population is known.

    An image counts if evidence about its digest verifies and names a run of the population. An index in
    ``platforms`` counts, too, if each of the images of its platforms does. Evidence that a store did not give
    is a problem of the audit.
    """
    below = platforms or {}
    waiting = iter(sorted(uses))

    async def work() -> None:
        for image in waiting:
            why, words = await _judge_all(image, below.get(image, ()), population, verifier)
            if why == "undecided":
                audit.problems.append(f"{image}: {words}")
            elif why:
                more = len(uses[image]) - MOST_PLACES
                where = (*uses[image][:MOST_PLACES], *([f"and {more} more"] if more > 0 else []))
                audit.images.append(ImageUse(image, why, excerpt(words, _LONGEST), where))
            advance(State.MISSING if why else State.EVIDENCED)

    await asyncio.gather(*(work() for _ in range(min(at_once, len(uses)))))
    audit.images_asked = len(uses)
    audit.images.sort(key=lambda one: one.image)


async def _judge_all(
    image: str, platforms: Sequence[str], population: Population, verifier: Verifier
) -> tuple[str, str]:
    """Return why neither an image nor all of its platforms have a known run; both empty if they do."""
    why, words = await _judge(image, population, verifier)
    if not why or why == "undecided" or not platforms:
        return why, words
    known = 0
    for platform in platforms:
        reason, told = await _judge(platform, population, verifier)
        if reason == "undecided":
            return reason, f"{platform}: {told}"
        known += not reason
    if known == len(platforms):
        return "", ""
    return why, f"{words}; of the images of its {len(platforms)} platforms {known} have a known run"


async def _judge(image: str, population: Population, verifier: Verifier) -> tuple[str, str]:
    """Return why an image has no known run, as code and in words; both empty if it has one."""
    try:
        parsed = parse_image(image)
    except StoreRejected as error:
        return "not_an_image", str(error)
    if not parsed.digest:
        return "tag", "it is named by a tag, so nobody can say which image it was"
    found = await verifier.digest(parsed.digest, str(parsed.repository), ref=image)
    if found.verdict is Verdict.INDETERMINATE:
        return "undecided", found.summary
    if found.verdict is not Verdict.VERIFIED:
        return "no_evidence" if found.verdict is Verdict.NOT_FOUND else "evidence_invalid", found.summary
    return _of_run(found, population)


def _of_run(found: Verification, population: Population) -> tuple[str, str]:
    uids = {one.run_uid for one in found.attestations if one.used and one.run_uid}
    if any(population.get(uid) is not None for uid in uids):
        return "", ""
    if not uids:
        return "run_not_named", "its evidence names no run (SLSA v0.2)"
    return "run_unknown", f"no source knows the run that made it: {', '.join(sorted(uids))}"
