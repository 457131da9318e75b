"""One configuration with the signers and stores that were opened for it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from chains.assembly.key_folder import open_key_folder
from chains.assembly.ledger import LedgerParts, open_ledger
from chains.assembly.signers import check_extra_signers, check_signers, open_sealers
from chains.assembly.stores import open_configured, open_images
from chains.attest.flow import Flow
from chains.attest.stores import Stores
from chains.cluster.client import Cluster
from chains.config.parse import Config, parse_config
from chains.controller.permit import Uses
from chains.controller.run_credentials import AccountStores
from chains.statements.redaction import open_redaction
from chains.tekton.snapshot import RunSnapshot
from signers.sealer import Sealer
from storage.annotations import AnnotationStore
from storage.base import StoreOptions
from storage.limits.circuits import Circuits


@dataclass(frozen=True, slots=True)
class FlowInForce:
    """A flow that the controller works with, replaced as a whole when configuration or key change."""

    flow: Flow
    annotations: AnnotationStore
    """The store ``tekton`` of the flow: what it was given goes into the patch that marks the run."""
    accounts: AccountStores | None = None
    """Gives the stores with the registry credentials of a run's own account."""
    ledger: LedgerParts | None = None
    """What closes the days of the ledger; None without one."""
    data: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """The data of the configuration. Values may be secret."""
    number: int = field(default_factory=itertools.count().__next__, compare=False)
    """Differs from that of every flow before and after."""
    uses: Uses = field(default_factory=Uses, compare=False)
    """The runs in work with it, which a change must not cut short."""

    @property
    def config(self) -> Config:
        """The configuration."""
        return self.flow.config

    @property
    def stores(self) -> Stores:
        """The stores, with the controller's own credentials."""
        return self.flow.stores

    def of(self, run: RunSnapshot) -> Flow:
        """Return the flow for one run, whose stores have the credentials of the run's own account."""
        if self.accounts is None:
            return self.flow
        return self.flow.with_stores(self.accounts.stores_for(run))

    def without_cut_off(self) -> FlowInForce:
        """Return this flow, which attests runs of any age."""
        selection = replace(self.config.selection, since="")
        return replace(self, flow=self.flow.with_config(replace(self.config, selection=selection)))

    def is_current(self) -> bool:
        """Whether every reference to a key still names the key that was opened."""
        own = [self.ledger.sealer] if self.ledger is not None else []
        return all(sealer.is_current() for sealer in (*self.all_sealers(), *own))

    def all_sealers(self) -> Sequence[Sealer]:
        """Return the sealers that sign runs."""
        sealers = self.flow.sealers
        return [sealers] if isinstance(sealers, Sealer) else list(sealers.values())

    async def close(self) -> None:
        """Close the flow."""
        await self.flow.close()
        if self.ledger is not None:
            await self.ledger.close()


def build_flow(
    data: dict[str, str], folder: Path, cluster: Cluster | None = None, circuits: Circuits | None = None
) -> FlowInForce:
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
    ledger = open_ledger(config, sealers, circuits)
    stores = Stores(open_configured(config, annotations, circuits))
    accounts = None
    if cluster is not None and config.storage.oci.run_credentials:
        accounts = AccountStores(cluster, stores)
    flow = Flow(config, sealers, stores, open_images(config, circuits), redaction)
    return FlowInForce(flow, annotations, accounts, ledger, data)
