"""The error of this program: something that keeps a release from being made or trusted."""

from __future__ import annotations


class ReleaseError(Exception):
    """What failed, expected and got, and the next step."""
