"""The state file: how to undo what was done. It is written before anything is done, and holds no secret.

``{"version": 1, "kubectl": [words], "limit": [touches], "steps": [steps]}``; the last step is undone first.
A step is

- ``{"do": "delete", "kind", "namespace", "name"}``: delete an object that the game day created;
- ``{"do": "put-back", "object"}``: give an object the spec that it had, or create it if it is gone;
- ``{"do": "restore-secret", "namespace", "name", "backup"}``: from the copy in the cluster;
- ``{"do": "delete-runs", "namespace", "name"}``: delete the runs of a game day from a namespace that stays;
- ``{"do": "run", "command", "scenario"}``: the user's ``--restore-with``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drill.errors import UsageError
from drill.limit import Limit

Json = Any
VERSION = 1


class Journal:
    """The state file of one game day."""

    def __init__(self, path: Path, words: Sequence[str], limit: Limit, steps: list[Json]) -> None:
        self.path, self.words, self.limit, self.steps = path, list(words), limit, steps

    @classmethod
    def begin(cls, path: Path, words: Sequence[str], limit: Limit) -> Journal:
        """Create the file. Raises :class:`UsageError` if there is one already."""
        try:
            path.open("x").close()
        except FileExistsError:
            raise UsageError(
                f"{path} exists: another game day is being held, or one was killed; then run "
                f"'gameday.py undo --state {path}' first"
            ) from None
        except OSError as error:
            raise UsageError(f"cannot write the state file {path}: {error.strerror}") from None
        found = cls(path, words, limit, [])
        found._write()
        return found

    @classmethod
    def load(cls, path: Path) -> Journal:
        """Read the file of a game day that was killed. Raises :class:`UsageError`."""
        try:
            found = json.loads(path.read_text())
            if found["version"] != VERSION:
                raise UsageError(f"{path}: version {found['version']!r}, expected {VERSION}")
            return cls(path, found["kubectl"], Limit.from_json(found["limit"]), list(found["steps"]))
        except FileNotFoundError:
            raise UsageError(f"{path} does not exist: there is nothing to undo") from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UsageError(f"cannot read the state file {path}: {error!r}") from None

    def allow(self) -> None:
        """Write the limit down after it has grown."""
        self._write()

    def add(self, step: Json) -> None:
        """Note how to undo what is done next."""
        self.steps.append(step)
        self._write()

    def drop(self, step: Json) -> None:
        """Forget a step that is undone."""
        self.steps.remove(step)
        self._write()

    def end(self) -> None:
        """Remove the file: everything is undone."""
        self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        body = {
            "version": VERSION, "kubectl": self.words, "limit": self.limit.to_json(), "steps": self.steps,
        }  # fmt: skip
        new = self.path.with_name(self.path.name + ".new")
        with new.open("w") as file:
            json.dump(body, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
