"""What ends a build with a sentence for the person who started it."""

from __future__ import annotations


class ImageError(Exception):
    """The image cannot be built. The text says what failed, what was expected, and the next step."""


class NotFetchedError(ImageError):
    """No mirror has a package of the lock any longer, or none answers."""
