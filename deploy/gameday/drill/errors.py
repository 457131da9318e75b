"""What can go wrong at a game day."""

from __future__ import annotations


class GameDayError(Exception):
    """Base of the exceptions here. The text is for the user."""


class UsageError(GameDayError):
    """The options make no sense together, or nobody agreed."""


class UndecidedError(GameDayError):
    """It cannot be decided whether something is lost, because the fault or the question did not work."""


class NotApplicableError(GameDayError):
    """The cluster does not have what a scenario would break."""


class OutOfLimitError(GameDayError):
    """Something outside of the limit would have been written."""


class KubectlError(GameDayError):
    """kubectl failed."""


class NotFoundError(KubectlError):
    """The API server has no such object."""


class InterruptedGameError(GameDayError):
    """A signal ended the game day."""
