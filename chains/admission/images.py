"""The images that an object asks to run: those that are new or changed by the request. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chains.admission.review import Review
from chains.errors import UsageError
from chains.tekton.workloads import WORKLOADS, NamedImage, Puller, named_images, puller_of, spec_at

Kinds = Mapping[tuple[str, str], tuple[str, ...]]
"""API group and kind, and the path to the pod's specification."""
_LONGEST_PATH = 16
MOST_IMAGES = 1000
"""Images of one object that are judged. In 1.5 MiB there is room for 20,000, which would take seconds."""
_POD = ("", "Pod")


class UnknownKind(ValueError):  # noqa: N818 - says what is wrong with it
    """It is not known where an object of this kind names images."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks to run.

    ``images`` has each image once with the first place that names it. ``problems`` says which places cannot
    be read. ``is_pod`` is false for a template, whose images run only after their pod is admitted. ``puller``
    says whose Secrets they are pulled with.
    """

    images: Mapping[str, str]
    problems: Sequence[str] = ()
    is_pod: bool = True
    puller: Puller | None = None


def kinds_with(extra: Sequence[str]) -> Kinds:
    """Return the known kinds and further ones, each written ``GROUP/KIND=PATH.OF.THE.POD.TEMPLATE``.

    The group of core kinds is empty (``/Kind=…``). Raises :class:`UsageError`.
    """
    found = dict(WORKLOADS)
    for word in extra:
        name, equals, path = word.partition("=")
        group, slash, kind = name.partition("/")
        parts = tuple(path.split("."))
        if not (equals and slash and kind) or not all(parts) or len(parts) > _LONGEST_PATH:
            raise UsageError(
                f"{word[:200]!r}: expected GROUP/KIND=PATH, such as argoproj.io/Rollout=spec.template"
            )
        if found.get((group, kind), (*parts, "spec")) != (*parts, "spec"):
            raise UsageError(f"{word[:200]!r}: the pod template of this kind is known to be elsewhere")
        found[group, kind] = (*parts, "spec")
    return found


def asked_images(review: Review, kinds: Kinds) -> Asked:
    """Return the images of a CREATE, and of an UPDATE those that the old object does not have in that place.

    Raises :class:`UnknownKind` for a kind whose images cannot be found.
    """
    path = kinds.get((review.group, review.kind))
    if path is None:
        name = f"{review.kind}.{review.group}" if review.group else review.kind
        raise UnknownKind(
            f"it is not known where an object of kind {name} names images; remove it from the rules of the "
            "webhook's configuration, or name it with --workload"
        )
    old = set(named_images(spec_at(review.old, path))) if review.operation == "UPDATE" else set()
    images: dict[str, str] = {}
    problems: list[str] = []
    if not isinstance(review.object, Mapping):
        problems.append("the request has no object")
    spec, is_pod = spec_at(review.object, path), (review.group, review.kind) == _POD
    for place in named_images(spec):
        if place.problem:
            problems.append(place.problem)
        elif place.image and place not in old:
            images.setdefault(place.image, _shown(place))
        if len(images) + len(problems) > MOST_IMAGES:
            images, problems = {}, [f"it names more than {MOST_IMAGES} images: none of them is judged"]
            break
    return Asked(images, problems, is_pod, puller_of(spec, review.namespace, is_pod=is_pod))


def _shown(place: NamedImage) -> str:
    noun = {"initContainers": "init container", "ephemeralContainers": "ephemeral container"}
    return f"{noun.get(place.group, place.group.removesuffix('s'))} {place.name}".strip()
