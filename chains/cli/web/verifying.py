"""Whom ``chains web`` trusts when its API verifies: the options, else whom the index trusts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chains.assembly.stores import store_options
from chains.assembly.workspace import Settings
from chains.cli.arguments import Options
from chains.cli.index.trusting import TRUST, given_trust, trust_of
from chains.errors import ChainsError
from chains.index.database import Place
from chains.verify.criteria import MissingError

if TYPE_CHECKING:
    from chains.web.api.verify_now import Trusting

_NOBODY = "nobody is named to trust: start chains web with --key PUB, or build the index with it"
_BY_POLICY = "the index is by policies, which are not asked here: start chains web with --key PUB"


def trusting_of(options: Options, place: Place, settings: Settings) -> Trusting:
    """Return whom to trust. Options that cannot be used raise :class:`UsageError`.

    What the index remembers may not be there, as it may have been built elsewhere: then the API says so.
    """
    from chains.index.target import remembered  # noqa: PLC0415 - its packages are an extra
    from chains.web.api.verify_now import Trusting  # noqa: PLC0415

    stores = store_options(settings.config)
    if any(name in options.given for name in TRUST):
        return _opened(given_trust(options), settings)
    try:
        return _opened(remembered(place)[0], settings)
    except (ChainsError, MissingError, OSError) as error:
        told = f"whom the index trusts cannot be read here, so start chains web with --key PUB: {error}"
        return Trusting(options=stores, trouble=told)


def _opened(given: dict[str, Any], settings: Settings) -> Trusting:
    from chains.web.api.verify_now import Trusting  # noqa: PLC0415

    trust = trust_of(given, settings)
    stores = store_options(settings.config)
    if trust.criteria is None:
        return Trusting(options=stores, trouble=_BY_POLICY)
    if not trust.criteria.keys and trust.criteria.certificate is None:
        return Trusting(options=stores, trouble=_NOBODY)
    return Trusting(trust.criteria, trust.revocations, stores)
