"""The images for each platform behind the indexes that a run built, asked of their registry on request.

With ``storage.oci.attach-to-platforms`` they are subjects beside their index, so that evidence is there, and
can be verified, for the digest that a node pulls too. An index names them by digest, so the statement is the
same each time.
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
    """Return for each image of the run those that it lists, and why that is not known of which.

    Both are empty unless the configuration asks for them; not known is what the registry does not have.
    Raises :class:`StoreError` when the registry cannot tell, :class:`ConfigError` without a store that can.
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
            digests = await store.platforms(f"sha256:{image.hex}", image.repository)
        except SubjectAbsent as absent:
            return absent
        except StoreUnavailable as error:
            closed = error
            continue
        if digests is not None:
            return tuple(ImageDigest(image.repository, one.removeprefix("sha256:")) for one in digests)
    if closed is not None:
        raise closed
    raise ConfigError("storage.oci.attach-to-platforms needs the store oci")


def with_platforms(
    subjects: Iterable[ResourceDescriptor], platforms: Platforms
) -> tuple[ResourceDescriptor, ...]:
    """Return ``subjects``, each index with its images behind it under the same name."""
    found: dict[tuple[str, str], ResourceDescriptor] = {}
    for subject in subjects:
        digest = (subject.digest or {}).get("sha256", "")
        found.setdefault((subject.name, digest or repr(subject)), subject)
        for image in platforms.get(ImageDigest(subject.name, digest), ()):
            key = (subject.name, image.hex)
            found.setdefault(key, ResourceDescriptor(name=subject.name, digest={"sha256": image.hex}))
    return tuple(found.values())


def signed_images(built: Iterable[ImageDigest], platforms: Platforms) -> list[ImageDigest]:
    """Return the images to sign: each index, then its images, each once."""
    return list(dict.fromkeys(one for image in built for one in (image, *platforms.get(image, ()))))
