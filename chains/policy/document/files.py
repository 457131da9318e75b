"""The files of a folder of policies: which are policies, and which are what policies name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from chains.documents.load import read_bytes
from chains.documents.places import load_placed
from chains.errors import InputError
from chains.policy.document.format import KIND, LARGEST
from chains.policy.document.policy import Policy
from chains.text import why_of

_SUFFIXES = (".yaml", ".yml", ".json")
MOST_FILES = 1000
"""Files of one folder of policies."""


def policy_files(path: Path) -> Sequence[Path]:
    """Return the files of policies: the file itself, or those of a folder. Raises :class:`InputError`."""
    if not path.is_dir():
        return [path]
    try:
        # a pipe, or a link to nothing, is no folder: reading it tells what is wrong, so none is left out
        found = sorted(
            file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES and not file.is_dir()
        )
    except OSError as error:
        raise InputError(f"{path}: {why_of(error)}") from error
    if not found:
        raise InputError(f"{path}: no policies: expected files that end in {', '.join(_SUFFIXES)}")
    if len(found) > MOST_FILES:
        raise InputError(f"{path}: {len(found)} files, expected at most {MOST_FILES}")
    return found


def says_policy(file: Path) -> bool:
    """Whether a document of a file has the kind of policies, whatever else is wrong with it."""
    try:
        documents = load_placed(read_bytes(file, LARGEST), str(file))
    except InputError:
        return False
    return any(isinstance(one.value, Mapping) and one.value.get("kind") == KIND for one in documents)


def files_of(policy: Policy) -> Iterator[Path]:
    """Give the files beside a policy that it names: keys, trusted root, revocation list."""
    signers = (
        *(entry.signer for entry in policy.trust),
        *(entry.signer for entry in policy.accept),
        *policy.signers.values(),
    )
    keys = [key for signer in signers for key in signer.keys]
    names = [policy.trusted_root]
    if policy.revocations is not None:
        keys += policy.revocations.keys
        names.append(policy.revocations.path)
    names += [key.ref for key in keys]
    return (Path(policy.folder) / name for name in names if name and "://" not in name)
