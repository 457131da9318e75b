"""The images of each platform in the indexes that a run built, read from their registry.

With ``storage.oci.attach-to-platforms`` they are subjects too, so that the digest that a node pulls can be
verified as well. An index names them by digest, so the statement is the same each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from chains.config.parse import Config
from chains.errors import ConfigError
from chains.statements import dependencies
from chains.statements.statement import ResourceDescriptor
from chains.statements.type_hints import images
from chains.tekton.image_name import ImageDigest
from chains.tekton.snapshot import RunSnapshot
from storage.base import Store
from storage.errors import StoreUnavailable, SubjectAbsent

Platforms = Mapping[ImageDigest, tuple[ImageDigest, ...]]


async def read_platforms(
    run: RunSnapshot, config: Config, stores: Sequence[Store]
) -> tuple[Platforms, dict[ImageDigest, str]]:
    """Return the images that each image of the run lists, and for each absent image the reason.

    Both are empty unless the configuration requests them. An image is absent if its registry does not have
    it. Raises :class:`StoreError` if a registry does not answer, :class:`ConfigError` without a store that
    knows images.
    """
    if not config.storage.oci.attach_to_platforms:
        return {}, {}
    runs = [run, *(dependencies.executed_tasks(run) if run.kind == "PipelineRun" else ())]
    built = dict.fromkeys(image for one in runs for image in images(dependencies.run_results(one)))
    found = await asyncio.gather(*(_ask(stores, image) for image in built))
    known, absent = {}, {}
    for image, answer in zip(built, found, strict=True):
        if isinstance(answer, SubjectAbsent):
            absent[image] = str(answer)
        else:
            known[image] = answer
    return known, absent


async def _ask(stores: Sequence[Store], image: ImageDigest) -> tuple[ImageDigest, ...] | SubjectAbsent:
    closed: StoreUnavailable | None = None
    for store in stores:
        try:
            listed = await store.platforms(f"sha256:{image.hex}", image.repository)
        except SubjectAbsent as absent:
            return absent
        except StoreUnavailable as error:
            closed = error
            continue
        if listed is not None:
            return tuple(ImageDigest(image.repository, one.digest.removeprefix("sha256:")) for one in listed)
    if closed is not None:
        raise closed
    raise ConfigError("storage.oci.attach-to-platforms needs the store oci")


def with_platforms(
    subjects: Iterable[ResourceDescriptor], platforms: Platforms
) -> tuple[ResourceDescriptor, ...]:
    """Return ``subjects``, and after each index its images under the same name."""
    found: dict[tuple[str, str], ResourceDescriptor] = {}
    for subject in subjects:
        digest = (subject.digest or {}).get("sha256", "")
        found.setdefault((subject.name, digest or repr(subject)), subject)
        for image in platforms.get(ImageDigest(subject.name, digest), ()):
            key = (subject.name, image.hex)
            found.setdefault(key, ResourceDescriptor(name=subject.name, digest={"sha256": image.hex}))
    return tuple(found.values())


def signed_images(built: Iterable[ImageDigest], platforms: Platforms) -> list[ImageDigest]:
    """Return the images to sign, each once: each index, then its images."""
    return list(dict.fromkeys(one for image in built for one in (image, *platforms.get(image, ()))))
