"""``python -m tests.conformance FOLDER [NAME…]``: the bundle cases of the public sigstore-conformance suite.

``FOLDER`` is ``test/assets/bundle-verify`` of a checkout of that suite. Each case is verified by ``chains
verify BUNDLE --blob ARTIFACT`` in an empty folder, with the case's own key, identity and trusted root, and
else with those that the suite's README names and the public instance's root that the sigstore package ships.
A case whose name ends with ``_fail`` has to be refused with exit code 1 or 2, any other has to be VERIFIED.
Exit code 1 when one of them disagrees.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from base64 import b64decode
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

IDENTITY = (
    "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/"
    "extremely-dangerous-oidc-beacon.yml@refs/heads/main"
)
ISSUER = "https://token.actions.githubusercontent.com"
REFUSED = {1, 2}
_PUBLIC_ROOT = "_store/https%3A%2F%2Ftuf-repo-cdn.sigstore.dev/trusted_root.json"
_CHAINS = Path(sys.executable).with_name("chains")


def command_of(case: Path) -> list[str]:
    """Return the command that verifies a case's bundle."""
    given = {name: case / name for name in ("artifact", "identity", "issuer", "key.pub", "trusted_root.json")}
    there = {name: path.resolve() for name, path in given.items() if path.exists()}
    artifact = there.get("artifact", (case.parent / "a.txt").resolve())
    bundle = (case / "bundle.sigstore.json").resolve()
    command = [str(_CHAINS), "verify", str(bundle), "--blob", str(artifact)]
    if (kind := _predicate_type(bundle)) is not None:
        command += ["--predicate-type", kind]
    if key := there.get("key.pub"):
        root = there.get("trusted_root.json")
        return [*command, "--key", str(key), *(["--trusted-root", str(root)] if root else [])]
    identity = there["identity"].read_text().strip() if "identity" in there else IDENTITY
    issuer = there["issuer"].read_text().strip() if "issuer" in there else ISSUER
    root = there.get("trusted_root.json") or Path(str(files("sigstore") / _PUBLIC_ROOT))
    return [
        *command,
        *("--certificate-identity", identity, "--certificate-oidc-issuer", issuer),
        *("--trusted-root", str(root)),
    ]


def _predicate_type(bundle: Path) -> str | None:
    """Return the type that a bundle's statement says it has: the suite asks for none in particular."""
    try:
        payload = json.loads(bundle.read_bytes())["dsseEnvelope"]["payload"]
        return str(json.loads(b64decode(payload))["predicateType"])
    except (ValueError, KeyError, TypeError):
        return None


def agrees(case: Path, code: int) -> bool:
    """Whether an exit code is what the suite wants of a case."""
    return code in REFUSED if case.name.endswith("_fail") else code == 0


def main(arguments: Sequence[str]) -> int:
    """Run the cases, print a line for each, return the exit code."""
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    folder, names = Path(arguments[0]), set(arguments[1:])
    cases = [path for path in sorted(folder.iterdir()) if path.is_dir() and (not names or path.name in names)]
    if not cases:
        print(f"{folder} holds no case: expected folders with a bundle.sigstore.json", file=sys.stderr)
        return 2
    wrong = 0
    with tempfile.TemporaryDirectory() as empty:
        for case in cases:
            done = subprocess.run(command_of(case), cwd=empty, capture_output=True, text=True, check=False)
            is_right = agrees(case, done.returncode)
            wrong += not is_right
            last = (done.stdout.strip() or done.stderr.strip()).splitlines()[-1:]
            print(f"{'ok' if is_right else 'WRONG':5} {done.returncode} {case.name}: {''.join(last)[:160]}")
    print(f"{len(cases) - wrong} of {len(cases)} cases agree")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
