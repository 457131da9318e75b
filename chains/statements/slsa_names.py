"""Names in Chains' provenance of SLSA 1.0, apart from what writes it, so that readers start fast."""

from __future__ import annotations

BUILD_TYPES = ("https://tekton.dev/chains/v2/slsa", "https://tekton.dev/chains/v2/slsa-tekton")
INPUT = "inputs/result"
"""The name of a dependency that the task itself called an input."""
