"""Write the manifests of a release: ``python deploy/write_release.py --image NAME@sha256:… --output FOLDER``.

``release.yaml``
    The objects of ``deploy/base``, in the order that one ``kubectl apply -f`` needs, with the image
    pinned by its digest. Neither the Namespace nor ``chains-config`` is in it: both are the user's. So no
    apply overwrites a setting, and no ``kubectl delete -f`` removes the Secrets.
``chains-config.yaml``
    The first configuration, for one ``kubectl create -f``.
``uninstall.yaml``
    The objects of ``deploy/uninstall``, for after ``kubectl delete -f release.yaml``.

Exit codes: 0 written, 2 usage, or a manifest that is not as expected.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import yaml

DEPLOY = Path(__file__).parent
CONFIGURATION = ("ConfigMap", "chains-config")
ORDER = (
    "ServiceAccount",
    "ConfigMap",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "StatefulSet",
    "Job",
)
"""What a pod or a binding needs comes before it; the controller starts when all else is there."""
_IMAGE = re.compile(r"^( +image: )registry\.example\.com/provenance-chains:\S+$", re.MULTILINE)
_PINNED = re.compile(r"[a-z0-9][\w.:/-]*@sha256:[0-9a-f]{64}")


class ManifestError(Exception):
    """A manifest of ``deploy/`` is not as a release needs it."""


def documents(folder: Path) -> list[str]:
    """Return the text of every document of a kustomization that only lists files, comments included."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if further := set(kustomization) - {"apiVersion", "kind", "resources"}:
        raise ManifestError(f"{folder}: {', '.join(sorted(further))}: only resources are expected")
    return [
        text.strip("\n")
        for name in kustomization["resources"]
        for text in (folder / name).read_text().split("\n---\n")
    ]


def kind_and_name(text: str) -> tuple[str, str]:
    """Return kind and name of a document."""
    found = yaml.safe_load(text)
    return found["kind"], found["metadata"]["name"]


def joined(texts: list[str], image: str) -> str:
    """Return documents in their order, with the image in each place. Raises :class:`ManifestError`."""
    if unknown := {kind_and_name(text)[0] for text in texts} - set(ORDER):
        raise ManifestError(f"no place in the order of a release: {', '.join(sorted(unknown))}")
    ordered = sorted(texts, key=lambda text: ORDER.index(kind_and_name(text)[0]))
    text, count = _IMAGE.subn(rf"\g<1>{image}", "\n---\n".join(ordered))
    if count != 1:
        raise ManifestError(f"expected the image once, found it {count} times")
    return text + "\n"


def release(image: str) -> dict[str, str]:
    """Return the files of a release by their names. Raises :class:`ManifestError`."""
    base = {kind_and_name(text): text for text in documents(DEPLOY / "base")}
    theirs = {key: text for key, text in base.items() if key[0] == "Namespace" or key == CONFIGURATION}
    if len(theirs) != 2:  # noqa: PLR2004 - the Namespace and the configuration
        raise ManifestError(f"deploy/base: expected a Namespace and chains-config, found {sorted(theirs)}")
    return {
        "release.yaml": joined([text for key, text in base.items() if key not in theirs], image),
        "chains-config.yaml": theirs[CONFIGURATION] + "\n",
        "uninstall.yaml": joined(documents(DEPLOY / "uninstall"), image),
    }


def main() -> int:
    """Write the files; return the exit code."""
    parser = argparse.ArgumentParser(description="write the manifests of a release", allow_abbrev=False)
    parser.add_argument("--image", required=True, help="the image, as NAME@sha256:…")
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="where they are written")
    options = parser.parse_args()
    if not _PINNED.fullmatch(options.image):
        parser.error(f"--image {options.image}: expected NAME@sha256: and 64 hexadecimal digits")
    try:
        files = release(options.image)
    except ManifestError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    options.output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (options.output / name).write_text(text)
        sys.stdout.write(f"{options.output / name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
