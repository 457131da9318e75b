"""From a configuration to the flow that attests with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from chains.assembly.signers import check_signers, open_sealers
from chains.assembly.stores import ClusterNeeded, open_images, open_named_stores, open_url, store_options
from chains.assembly.workspace import one_signer, open_key
from chains.attest.flow import Flow
from chains.attest.stores import Stores
from chains.config.parse import Config, parse_config
from chains.errors import ConfigError
from chains.statements.redaction import open_redaction
from signers.base import Signer
from signers.sealer import Sealer
from storage.base import Store


@asynccontextmanager
async def open_flow(
    config: Config | None = None,
    *,
    stores: Sequence[str | Store] = (),
    signer: str | Signer = "",
    password_file: str = "",
) -> AsyncIterator[Flow]:
    """Open what a configuration names, and return the flow for it. Everything is closed at the end.

    Without ``config`` every key has its default. ``stores`` are URLs (``oci:``, ``oci-layout:PATH``,
    ``s3://BUCKET/PREFIX``, as in ``docs/stores.md``) or open stores, which take everything. Without them the
    stores that the configuration names are opened. ``signer`` replaces every signer of the configuration:
    a key file, the reference of a key in a key service, or an open signer. Without it the configuration's
    signers are opened, and the key of ``x509`` is ``.chains/signing.key`` of the current folder.
    ``password_file`` has the password of an encrypted key file. Raises :class:`UsageError` and
    :class:`ConfigError`.
    """
    config = config or parse_config({})
    check_signers(config, key_given=bool(signer))

    def seal() -> Mapping[str, Sealer]:
        if not signer:
            return open_sealers(config, lambda: open_key("", config, password_file=password_file))
        if isinstance(signer, Signer):
            return one_signer(config, signer)
        return one_signer(config, open_key(signer, config, password_file=password_file))

    options = store_options(config)
    opened = [open_url(store, options) if isinstance(store, str) else store for store in stores]
    try:
        named = Stores({Stores.EVERYTHING: opened}) if opened else open_named_stores(config)
    except ClusterNeeded as error:
        raise ConfigError(f"{error}; pass other stores: stores=['oci:']") from error
    async with flow_of(config, named, seal) as flow:
        yield flow


@asynccontextmanager
async def flow_of(
    config: Config, stores: Stores, seal: Callable[[], Mapping[str, Sealer]]
) -> AsyncIterator[Flow]:
    """Return the flow with these stores, which it closes, and with the sealers that ``seal`` opens.

    ``seal`` runs on a thread, because it may call key services and prompt for a password. Raises
    :class:`ConfigError`, and what ``seal`` raises.
    """
    async with AsyncExitStack() as stack:
        stack.push_async_callback(stores.close)
        redaction = open_redaction(config.redaction)
        images = open_images(config)
        if images is not None:
            stack.push_async_callback(images.close)
        sealers = await asyncio.to_thread(seal)
        stack.pop_all()  # from here on the flow closes them
        async with Flow(config, sealers, stores, images, redaction) as flow:
            yield flow
