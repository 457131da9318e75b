"""Fetches the trusted root from a TUF repository, starting from a pinned TUF root.

Source: the TUF specification, through python-tuf. The TUF root of the public good instance is
sigstore-python's copy.
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
"""The largest pinned ``root.json`` in bytes."""
PUBLIC_GOOD = "https://tuf-repo-cdn.sigstore.dev"
TARGET = "trusted_root.json"


def fetch_trusted_root(url: str, pinned: Path | None = None, folder: Path | None = None) -> TrustedRoot:
    """Return the trusted root that the repository at ``url`` has now.

    ``pinned`` is a trustworthy ``root.json`` of that repository; only the public good instance needs none.
    Verified files are cached in ``folder``, by default in the user's cache folder. Raises
    :class:`SignerUnavailable` when the repository does not answer, and :class:`SignerRejected` when it does
    not verify with the pinned root or no root is given.
    """
    url = url.rstrip("/")
    folder = folder or cache_folder() / "tuf" / quote(url, safe="")
    root = _pinned(url, pinned)
    targets = folder / "targets"
    try:
        targets.mkdir(parents=True, exist_ok=True)
        # The bootstrap root is always the pinned one: a root in the cache folder must not be trusted by
        # itself.
        updater = Updater(str(folder), f"{url}/", str(targets), f"{url}/targets/", bootstrap=root)
        updater.refresh()
        info = updater.get_targetinfo(TARGET)
        if info is None:
            raise SignerRejected(
                f"tuf repository {shown_url(url)} has no {TARGET}: give signers.x509.trusted-root"
            )
        path = updater.find_cached_target(info) or updater.download_target(info)
    except DownloadError as error:
        problem = getattr(error, "status_code", None) or type(error).__name__
        raise SignerUnavailable(f"tuf repository {shown_url(url)} does not answer: {problem}") from None
    except RepositoryError as error:
        raise SignerRejected(
            f"tuf repository {shown_url(url)} does not verify with the pinned root: {error}; check "
            "signers.x509.tuf.root"
        ) from error
    except OSError as error:
        raise SignerUnavailable(
            f"tuf: cannot write the fetched files to {folder}: {error.strerror}; set XDG_CACHE_HOME to a "
            "folder that this process may write, and TMPDIR to another"
        ) from error
    return TrustedRoot.from_path(Path(path))


def cache_folder() -> Path:
    """Return the folder for files that can be fetched again.

    Raises :class:`SignerRejected` if there is no home folder.
    """
    try:
        return Path(user_cache_dir("provenance-chains"))
    except RuntimeError:
        raise SignerRejected(
            "tuf: there is no cache folder: neither XDG_CACHE_HOME nor HOME is set, and this uid is not in "
            "/etc/passwd; set XDG_CACHE_HOME to a folder that this process may write"
        ) from None


def _pinned(url: str, pinned: Path | None) -> bytes:
    """Return the bytes of the pinned ``root.json``. Raises :class:`SignerRejected`."""
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
