"""One configuration with the signers and stores that were opened for it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chains.assembly.key_folder import open_key_folder
from chains.assembly.signers import check_extra_signers, check_signers, open_sealers
from chains.assembly.stores import open_configured, open_images
from chains.attest.image_environment import ImageReader
from chains.attest.stores import Stores
from chains.cluster.client import Cluster
from chains.config.parse import Config, parse_config
from chains.controller.permit import Uses
from chains.controller.run_credentials import AccountStores
from chains.statements.redaction import Redaction, open_redaction
from chains.tekton.snapshot import RunSnapshot
from signers.sealer import Sealer
from storage.annotations import AnnotationStore
from storage.base import StoreOptions
from storage.limits.circuits import Circuits


@dataclass(frozen=True, slots=True)
class Flow:
    """What attests: a configuration with signer and stores, replaced as a whole when one of them changes."""

    config: Config
    signer: Mapping[str, Sealer]
    stores: Stores
    annotations: AnnotationStore
    redaction: Redaction = Redaction()  # noqa: RUF009 - frozen
    images: ImageReader | None = None
    accounts: AccountStores | None = None
    number: int = field(default_factory=itertools.count().__next__, compare=False)
    """Tells it from those before and after it."""
    uses: Uses = field(default_factory=Uses, compare=False)
    """The runs in work with it, which are not to be cut short."""

    def stores_for(self, snapshot: RunSnapshot) -> Stores:
        """Return the stores with the registry credentials of the run's own account."""
        return self.stores if self.accounts is None else self.accounts.stores_for(snapshot)

    async def close(self) -> None:
        """Close every connection, and give the signer's threads back."""
        await self.stores.close()
        for sealer in self.signer.values():
            sealer.close()
        if self.images is not None:
            await self.images.close()


def build_flow(
    data: dict[str, str], folder: Path, cluster: Cluster | None = None, circuits: Circuits | None = None
) -> Flow:
    """Return the flow of one configuration; registry credentials of runs come from ``cluster``.

    ``circuits`` tell which hosts answer.

    Raises :class:`ConfigError`.
    """
    config = parse_config(data)
    check_signers(config, key_given=False)
    check_extra_signers(config)
    annotations = AnnotationStore("tekton:", StoreOptions())
    redaction = open_redaction(config.redaction)
    sealers = open_sealers(config, lambda: open_key_folder(folder))
    stores = Stores(open_configured(config, annotations, circuits))
    accounts = None
    if cluster is not None and config.storage.oci.run_credentials:
        accounts = AccountStores(cluster, stores)
    return Flow(config, sealers, stores, annotations, redaction, open_images(config, circuits), accounts)
