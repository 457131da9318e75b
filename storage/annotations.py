"""The store in a run's own annotations, as Tekton Chains' ``tekton`` storage writes and reads them.

Nothing is sent from here: what :meth:`AnnotationStore.put` collects goes into the one PATCH that marks the
run, and its receipts are worth nothing without that PATCH. Kubernetes takes 256 KiB of annotations in all.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence

from storage.base import FORM_A, Probe, Store, StoreOptions
from storage.errors import StoreRejected
from storage.formats.chains_document import annotation_key
from storage.record import Failure, Findings, Receipt, Record, Stored

PREFIX = "chains.tekton.dev/"
MAX_BYTES = 256 * 1024
"""What the API server takes for all annotations of one object, keys and values."""
_RESERVE = 16 * 1024
"""Room left for what others write, and for the outcome."""


class AnnotationStore(Store):
    """Collects annotations by run UID; :meth:`take` hands them over once."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        del options
        if url != "tekton:":
            raise StoreRejected(f"unknown store {url!r}: expected tekton:")
        self.url = url
        self._pending: dict[str, dict[str, str]] = {}

    def wants(self, form: str) -> bool:
        """Whether annotations have the form: there is none for bundles."""
        return form == FORM_A

    async def put(self, record: Record) -> Stored:
        """Collect the record's annotations; a failure when they would not fit into one object."""
        key = annotation_key(record)
        written = annotations_of(record, key)
        pending = self._pending.setdefault(record.origin.uid, {})
        size = sum(len(name) + len(value) for name, value in {**pending, **written}.items())
        if size > MAX_BYTES - _RESERVE:
            reason = (
                f"annotations would take {size >> 10} KiB and kubernetes allows {MAX_BYTES >> 10} for all of "
                "an object's; store in oci or another place"
            )
            return Stored(failures=(Failure(self.url, "annotation", "", reason),))
        pending.update(written)
        return Stored((Receipt(self.url, "annotation", "", f"annotation {PREFIX}payload-{key}", ""),))

    def take(self, uid: str) -> Mapping[str, str]:
        """Return and forget what was collected for a run."""
        return self._pending.pop(uid, {})

    async def probe(self, places: Sequence[str] = ()) -> list[Probe]:
        """Say that the right to patch runs is all that is needed."""
        del places
        return [Probe("write", "ok", "goes into the one patch that marks a run")]

    async def find(self, digest: str, reference: str = "") -> Findings:
        """Return nothing: annotations are read from the run, not by digest."""
        del digest, reference
        return Findings()


def annotations_of(record: Record, key: str) -> dict[str, str]:
    """Return the annotations of one record, values in standard base64.

    What Chains calls the signature of an in-toto payload is the whole envelope.
    """
    values = {
        "payload": record.payload,
        "signature": record.signature or record.envelope,
        "cert": record.certificate,
        "chain": record.chain,
    }
    return {
        f"{PREFIX}{name}-{key}": b64encode(value).decode("ascii")
        for name, value in values.items()
        if value or name in {"cert", "chain"}
    }
