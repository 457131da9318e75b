"""Images named by package URL (``pkg:oci/…``, ``pkg:docker/…``), as scanners do.

Source: the types ``oci`` and ``docker`` of the package URL specification
(https://github.com/package-url/purl-spec/tree/main/types).
"""

from __future__ import annotations

from storage.errors import StoreRejected

SCHEME = "pkg:"
_DOCKER_HUB = "docker.io"


def image_reference(text: str) -> str:
    """Return ``registry/repository[:tag][@sha256:hex]`` for the package URL of an image.

    ``pkg:oci/NAME@DIGEST?repository_url=REGISTRY/REPOSITORY&tag=TAG`` needs ``repository_url``, with or
    without the name at its end. ``pkg:docker/NAMESPACE/NAME@DIGEST-OR-TAG?repository_url=REGISTRY`` means
    Docker Hub if it has none. Raises :class:`StoreRejected` for other types and if no repository is named.
    """
    # Imported here because it takes a tenth of a second and few subjects are package URLs.
    from packageurl import PackageURL  # noqa: PLC0415

    try:
        purl = PackageURL.from_string(text)
    except ValueError as error:
        raise StoreRejected(f"{text!r} is not a package URL: {error}") from error
    qualifiers = purl.qualifiers if isinstance(purl.qualifiers, dict) else {}
    place = str(qualifiers.get("repository_url") or "")
    place = place.removeprefix("https://").removeprefix("http://").removeprefix("oci://").rstrip("/")
    path = f"{purl.namespace}/{purl.name}" if purl.namespace else purl.name
    if purl.type == "oci":
        if not place:
            raise StoreRejected(f"{text!r} names no repository: expected ?repository_url=REGISTRY/REPOSITORY")
        last = place.rpartition("/")[2]
        # The specification gives repository_url with the name at its end, but some tools omit it.
        image = place if "/" in place and last.lower() == purl.name.lower() else f"{place}/{path}"
    elif purl.type == "docker":
        image = f"{place or _DOCKER_HUB}/{path}"
    else:
        raise StoreRejected(f"{text!r} names no image: expected pkg:oci/ or pkg:docker/")
    version = purl.version or ""
    # A version with a colon is a digest, any other one a tag.
    if ":" in version:
        return f"{image}@{version}"
    return f"{image}:{version}" if version else image
