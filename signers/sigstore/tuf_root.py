"""The trusted root from a TUF repository, whose own root is pinned.

Source: the TUF specification, through python-tuf; sigstore-python's copy of the public good instance's root.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from platformdirs import user_cache_dir
from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.ngclient.updater import Updater

from signers.errors import SignerRejected, SignerUnavailable
from signers.files import read_file
from signers.sigstore.service import shown_url
from signers.sigstore.trusted_root import TrustedRoot

_MAX_ROOT = 512 * 1024
PUBLIC_GOOD = "https://tuf-repo-cdn.sigstore.dev"
TARGET = "trusted_root.json"


def fetch_trusted_root(url: str, pinned: Path | None = None, folder: Path | None = None) -> TrustedRoot:
    """Return the trusted root that the repository at ``url`` has now.

    ``pinned`` is a ``root.json`` of that repository, known to be right; only the public good instance needs
    none. What was verified is kept in ``folder``, by default below the user's cache. Raises
    :class:`SignerUnavailable` when it does not answer, and :class:`SignerRejected` for one that is not the
    pinned root's, or without a pinned root.
    """
    url = url.rstrip("/")
    folder = folder or cache_folder() / "tuf" / quote(url, safe="")
    root = _pinned(url, pinned)
    targets = folder / "targets"
    try:
        targets.mkdir(parents=True, exist_ok=True)
        updater = Updater(str(folder), f"{url}/", str(targets), f"{url}/targets/", bootstrap=root)
        updater.refresh()
        info = updater.get_targetinfo(TARGET)
        if info is None:
            raise SignerRejected(
                f"tuf repository {shown_url(url)} has no {TARGET}: give signers.x509.trusted-root"
            )
        path = updater.find_cached_target(info) or updater.download_target(info)
    except DownloadError as error:
        told = getattr(error, "status_code", None) or type(error).__name__
        raise SignerUnavailable(f"tuf repository {shown_url(url)} does not answer: {told}") from None
    except RepositoryError as error:
        raise SignerRejected(
            f"tuf repository {shown_url(url)} is not the one of the pinned root: {error}; check "
            "signers.x509.tuf.root"
        ) from error
    except OSError as error:
        raise SignerUnavailable(
            f"tuf: cannot keep what was fetched in {folder}: {error.strerror}; set XDG_CACHE_HOME to a "
            "folder that this process may write, and TMPDIR to another"
        ) from error
    return TrustedRoot.from_path(Path(path))


def cache_folder() -> Path:
    """Return the folder for what may be fetched again.

    Raises :class:`SignerRejected` where there is no home.
    """
    try:
        return Path(user_cache_dir("provenance-chains"))
    except RuntimeError:
        raise SignerRejected(
            "tuf: there is no cache folder: neither XDG_CACHE_HOME nor HOME is set, and this uid is not in "
            "/etc/passwd; set XDG_CACHE_HOME to a folder that this process may write"
        ) from None


def _pinned(url: str, pinned: Path | None) -> bytes:
    if pinned is not None:
        try:
            return read_file(pinned, _MAX_ROOT)
        except OSError as error:
            raise SignerRejected(f"tuf root {pinned} cannot be read: {error.strerror}") from error
    if url != PUBLIC_GOOD:
        raise SignerRejected(
            f"tuf repository {shown_url(url)} is not the public one: give its root.json in "
            "signers.x509.tuf.root, or the trusted root itself in signers.x509.trusted-root"
        )
    return _public_good_root()


@cache
def _public_good_root() -> bytes:
    return files("sigstore").joinpath("_store", quote(PUBLIC_GOOD, safe=""), "root.json").read_bytes()
