"""``python -m tests.bench``: speed and memory of ``chains attest``; ``controllers`` first: of the controller,
``hostile``: under attack, ``preflight``: of ``chains preflight`` over many pods, ``policies``: of
evaluations, ``admission``: of the webhook, ``index``: of an index,
``web``: of pages."""

from __future__ import annotations

import sys

from tests.bench import admission, attest, controllers, hostile, index, policies, preflight, web

BENCHMARKS = {
    "hostile": hostile.main,
    "controllers": controllers.main,
    "preflight": preflight.main,
    "policies": policies.main,
    "admission": admission.main,
    "index": index.main,
    "web": web.main,
}

if __name__ == "__main__":
    if (measured := BENCHMARKS.get(" ".join(sys.argv[1:2]))) is not None:
        sys.exit(measured(sys.argv[2:]))
    attest.main(sys.argv[1:])
