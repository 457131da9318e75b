"""The images of whole repositories and registries: those that a tag names, with the platforms of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chains.errors import UsageError
from chains.text import count, excerpt
from storage.base import StoreOptions
from storage.errors import StoreError, StoreRejected
from storage.formats.reference import Repository, parse_image
from storage.limits.together import together
from storage.oci.registry import RegistryClient
from storage.oci.scan import OF_IMAGE, images_of
from storage.record import Skipped

MOST_IMAGES = 100_000
"""Images that are listed."""
_AT_ONCE = 16
"""Tags that are read at the same time."""
_LONGEST = 300
_SCHEMES = ("oci://", "docker://")
UNSEEN = "a registry lists only tags, so images without a tag were not asked about"


@dataclass(slots=True)
class RegistryImages:
    """Images as ``REPOSITORY@DIGEST`` with their tags, and the images of the platforms of each index.

    ``unlisted`` counts the repositories and registries of which not every image is known; ``problems`` say
    why.
    """

    tags: dict[str, list[str]] = field(default_factory=dict)
    platforms: dict[str, list[str]] = field(default_factory=dict)
    unlisted: int = 0
    problems: list[str] = field(default_factory=list)

    def lack(self, place: str, why: str) -> None:
        """Note that not every image of a place is known."""
        self.unlisted += 1
        self.problems.append(f"{place}: {excerpt(why, _LONGEST)}: its images are not all known")


def place_of(text: str) -> str | Repository:
    """Return the registry or the repository that a user named. Raises :class:`UsageError`."""
    bare = text
    for scheme in _SCHEMES:
        bare = bare.removeprefix(scheme)
    bare = bare.rstrip("/")
    shown = excerpt(text, _LONGEST)
    expected = f"repository {shown}: expected REGISTRY or REGISTRY/REPOSITORY, without tag and digest"
    try:
        # a registry alone is no reference of an image
        found = parse_image(bare if "/" in bare else f"{bare}/x").repository
    except StoreRejected as error:
        raise UsageError(f"{expected}: {error}") from error
    last = bare.rpartition("/")[2]
    if "/" in bare and ("@" in last or ":" in last):
        raise UsageError(expected)
    return found if "/" in bare else found.registry


async def list_images(places: Sequence[str | Repository], options: StoreOptions) -> RegistryImages:
    """Return the images that the tags of repositories, or of all repositories of registries, name."""
    found = RegistryImages()
    async with RegistryClient(options) as client:
        repositories: dict[Repository, None] = {}
        for place in places:
            if isinstance(place, Repository):
                repositories[place] = None
            else:
                repositories |= dict.fromkeys(await _catalog(client, place, found))
        for repository in repositories:
            await _tagged(client, repository, found)
    return found


async def _catalog(client: RegistryClient, registry: str, found: RegistryImages) -> list[Repository]:
    try:
        names, cut = await client.repositories(registry)
    except StoreError as error:
        found.lack(registry, f"{error}; name its repositories one by one")
        return []
    if cut:
        found.lack(registry, cut)
    repositories = []
    for name in names:
        try:
            repositories.append(parse_image(f"{registry}/{name}").repository)
        except StoreRejected as error:
            found.lack(registry, str(error))
    return repositories


async def _tagged(client: RegistryClient, repository: Repository, found: RegistryImages) -> None:
    """Add the images of a repository. Tags of evidence name no images."""
    try:
        tags, cut = await client.tags(repository)
        if cut:
            found.lack(str(repository), cut)
        images = [tag for tag in tags if not OF_IMAGE.fullmatch(tag)]
        lost: list[str] = []
        for start in range(0, len(images), _AT_ONCE):
            some = images[start : start + _AT_ONCE]
            if len(found.tags) >= MOST_IMAGES:
                lost.append(f"{count(len(images) - start, 'tag')} beyond the first {MOST_IMAGES:,} images")
                break
            for tag, listed in zip(
                some, await together(images_of(client, repository, tag) for tag in some), strict=True
            ):
                if isinstance(listed, Skipped):
                    lost.append(f"tag {tag}: {listed.reason}")
                elif listed:
                    first, *others = (f"{repository}@{digest}" for digest in listed)
                    found.tags.setdefault(first, []).append(f"{repository}:{tag}")
                    found.platforms[first] = others
    except StoreError as error:
        lost = [str(error)]
    if lost:
        more = f" (and {len(lost) - 1} more)" if lost[1:] else ""
        found.lack(str(repository), f"{lost[0]}{more}")
