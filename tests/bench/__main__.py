"""``python -m tests.bench``: speed and memory of ``chains attest``; ``controllers`` first: of the controller,
``hostile``: under attack, ``preflight``: of ``chains preflight`` over many pods."""

from __future__ import annotations

import sys

from tests.bench import attest, controllers, hostile, preflight

if __name__ == "__main__":
    if sys.argv[1:2] == ["hostile"]:
        sys.exit(hostile.main(sys.argv[2:]))
    if sys.argv[1:2] == ["controllers"]:
        sys.exit(controllers.main(sys.argv[2:]))
    if sys.argv[1:2] == ["preflight"]:
        sys.exit(preflight.main(sys.argv[2:]))
    attest.main(sys.argv[1:])
