"""The policies of a library user and of every command: read, opened, and asked about images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from os import PathLike
from pathlib import Path

from chains.config.parse import Config
from chains.errors import UsageError
from chains.policy.answer import answer, matching
from chains.policy.document.load import load_policies, load_text
from chains.policy.document.policy import Namespace
from chains.policy.opened import OpenedPolicy, open_policy
from chains.policy.verdict import ImageAnswer
from chains.revocation.revocations import Revocations
from storage.base import Store
from storage.formats.reference import Image


class UnmatchedError(UsageError):
    """No policy is for an image, so that nothing was decided; ``image`` is ``REGISTRY/REPOSITORY@DIGEST``."""

    def __init__(self, image: Image) -> None:
        self.image = f"{image.repository}@{image.digest}"
        super().__init__(f"no policy is for {image.repository}")


class Policy:
    """All policy documents of a file, a folder or a text, with their keys, roots and rules opened.

    A :class:`chains.verify.verifier.Verifier` asks it about images. It never changes, so that any number of
    verifications may use it at the same time; files and keys that changed are read by loading it again.
    """

    def __init__(self, documents: Sequence[OpenedPolicy]) -> None:
        self.documents = tuple(documents)

    @classmethod
    def load(
        cls,
        path: str | PathLike[str] | None = None,
        *,
        text: str | bytes | None = None,
        folder: str | PathLike[str] = "",
        config: Config | None = None,
        revocations: Revocations | None = None,
        revocations_state: str | PathLike[str] = "",
    ) -> Policy:
        """Read and open the policies of a file or folder, or those of a text.

        ``folder`` is where relative names of key files begin for a text; those of a file begin beside it.
        ``config`` has the logins to key services. ``revocations`` count beside the lists that the documents
        name, whose versions are remembered in ``revocations_state``, as by :func:`chains.open_revocations`.
        Reads files, and asks key services and clusters where a policy names keys in them, so it may block.
        Raises :class:`chains.PolicyError` with every problem, :class:`InputError` for what cannot be read,
        and :class:`UsageError` for a key that cannot be opened.
        """
        if (path is None) is (text is None):
            raise UsageError("a policy is loaded from a path or from a text: give one of them")
        if path is not None:
            policies = load_policies(Path(path))
        else:
            data = text.encode() if isinstance(text, str) else text or b""
            policies = load_text(data, str(folder))
        revoked, state = revocations or Revocations(), str(revocations_state)
        return cls([open_policy(policy, config, revocations=revoked, state=state) for policy in policies])

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all documents."""
        return tuple(opened.policy.name for opened in self.documents)

    @cached_property
    def digest(self) -> str:
        """``sha256:HEX`` of what decides: all documents and everything that they trust, in any order.

        Two policies with one digest answer alike, so it belongs into the key of every cache of answers.
        """
        told = sorted(
            "\n".join((opened.policy.name, opened.policy.digest, *opened.trust_digests))
            for opened in self.documents
        )
        return "sha256:" + hashlib.sha256("\n\n".join(told).encode()).hexdigest()

    @property
    def trust_digests(self) -> tuple[str, ...]:
        """What is trusted, each once: ids, times and status of keys, and digests of trusted roots."""
        return tuple(sorted({one for opened in self.documents for one in opened.trust_digests}))

    def matching(
        self, image: Image, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> tuple[OpenedPolicy, ...]:
        """Return the documents for an image, in a namespace with these labels or in any; often none."""
        return tuple(matching(self.documents, image, _namespace(namespace, labels)))

    async def decide(
        self,
        image: Image,
        *,
        stores: Sequence[Store],
        now: datetime,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> ImageAnswer:
        """Return what the matching policies say about an image with a digest, the strictest answer first.

        Never raises for what stores and evidence hold. Raises :class:`UnmatchedError` where no policy is for
        the image, and :class:`UsageError` for one without a digest.
        """
        place = _namespace(namespace, labels)
        found = await answer(self.documents, image, stores=stores, now=now, namespace=place)
        if found is None:
            raise UnmatchedError(image)
        return found


def _namespace(name: str | None, labels: Mapping[str, str] | None) -> Namespace | None:
    if name is None:
        if labels is not None:
            raise UsageError("labels belong to a namespace: give its name, too")
        return None
    return Namespace(name, labels)
