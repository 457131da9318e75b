"""Images named by package URL: ``pkg:oci/…`` and ``pkg:docker/…``, as scanners name them.

Source: the types ``oci`` and ``docker`` of the package URL specification
(https://github.com/package-url/purl-spec/tree/main/types).
"""

from __future__ import annotations

from storage.errors import StoreRejected

SCHEME = "pkg:"
_DOCKER_HUB = "docker.io"


def image_reference(text: str) -> str:
    """Return ``registry/repository[:tag][@sha256:hex]`` for a package URL of an image.

    ``pkg:oci/NAME@DIGEST?repository_url=REGISTRY/REPOSITORY&tag=TAG`` needs its repository URL, which may
    lack the name at its end. ``pkg:docker/NAMESPACE/NAME@DIGEST-OR-TAG?repository_url=REGISTRY`` means Docker
    Hub without one. Raises :class:`StoreRejected` for other types and for what names no repository.
    """
    # a tenth of a second to import, and most subjects are named as images
    from packageurl import PackageURL  # noqa: PLC0415

    try:
        found = PackageURL.from_string(text)
    except ValueError as error:
        raise StoreRejected(f"{text!r} is not a package URL: {error}") from error
    qualifiers = found.qualifiers if isinstance(found.qualifiers, dict) else {}
    place = str(qualifiers.get("repository_url") or "")
    place = place.removeprefix("https://").removeprefix("http://").removeprefix("oci://").rstrip("/")
    path = f"{found.namespace}/{found.name}" if found.namespace else found.name
    if found.type == "oci":
        if not place:
            raise StoreRejected(f"{text!r} names no repository: expected ?repository_url=REGISTRY/REPOSITORY")
        last = place.rpartition("/")[2]
        image = place if "/" in place and last.lower() == found.name.lower() else f"{place}/{path}"
    elif found.type == "docker":
        image = f"{place or _DOCKER_HUB}/{path}"
    else:
        raise StoreRejected(f"{text!r} names no image: expected pkg:oci/ or pkg:docker/")
    version = found.version or ""
    if ":" in version:
        return f"{image}@{version}"
    return f"{image}:{version}" if version else image
