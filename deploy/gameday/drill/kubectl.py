"""kubectl, with the limit in front of every write."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from drill.errors import KubectlError, NotFoundError
from drill.limit import Limit
from drill.text import safe

Json = Any
SECONDS = 60
REQUEST_TIMEOUT = "20s"


class Kubectl:
    """One cluster. ``words`` are kubectl and its options for the connection."""

    def __init__(self, words: Sequence[str], limit: Limit) -> None:
        self.words = list(words)
        self.limit = limit

    def get(self, kind: str, name: str = "", *, namespace: str = "", selector: str = "") -> Json:
        """Return an object, or a list without a name.

        Raises :class:`NotFoundError` and :class:`KubectlError`.
        """
        words = ["get", kind, *([name] if name else []), *_in(namespace), "-o", "json"]
        if selector:
            words += ["-l", selector]
        return self._object(words)

    def has(self, kind: str, name: str, *, namespace: str = "") -> bool:
        """Whether an object exists."""
        try:
            self.get(kind, name, namespace=namespace)
        except NotFoundError:
            return False
        return True

    def create(self, thing: Json) -> Json:
        """Create an object and return it."""
        return self._write("create", thing)

    def replace(self, thing: Json) -> Json:
        """Replace an object and return it."""
        return self._write("replace", thing)

    def delete(self, kind: str, name: str, *, namespace: str = "", at_once: bool = False) -> None:
        """Delete an object, if it is there; ``at_once`` without its grace period."""
        self.limit.check("delete", kind, namespace, name)
        words = ["delete", kind, name, *_in(namespace), "--wait=false", "--ignore-not-found"]
        self._run([*words, *(["--grace-period=0", "--force"] if at_once else [])])

    def inside(self, pod: str, namespace: str, command: Sequence[str]) -> tuple[bool, str]:
        """Run a command in a pod that changes nothing there; return whether it succeeded, and its output."""
        words = ["exec", pod, *_in(namespace), "--", *command]
        done = self._call(words, "")
        return done.returncode == 0, done.stdout.strip()

    def context(self) -> str:
        """Return the name of the current context, or nothing, as in a pod."""
        done = self._call(["config", "current-context"], "")
        return done.stdout.strip() if done.returncode == 0 else ""

    def _write(self, verb: str, thing: Json) -> Json:
        metadata = thing["metadata"]
        self.limit.check(verb, thing["kind"].lower(), metadata.get("namespace", ""), metadata["name"])
        return self._object([verb, "-f", "-", "-o", "json"], json.dumps(thing))

    def _object(self, words: Sequence[str], text: str = "") -> Json:
        told = self._run(words, text)
        try:
            return json.loads(told)
        except ValueError:
            raise KubectlError(f"kubectl {' '.join(words[:4])}: the answer is no JSON") from None

    def _run(self, words: Sequence[str], text: str = "") -> str:
        done = self._call(words, text)
        if done.returncode:
            told = safe(done.stderr.strip()) or f"exit code {done.returncode}"
            shown = " ".join(words[:4])
            # kubectl has no exit code of its own for this; the reason in brackets is the API server's
            kind = NotFoundError if "(NotFound)" in done.stderr else KubectlError
            raise kind(f"kubectl {shown}: {told}")
        return done.stdout

    def _call(self, words: Sequence[str], text: str) -> subprocess.CompletedProcess[str]:
        command = [*self.words, f"--request-timeout={REQUEST_TIMEOUT}", *words]
        try:
            # a session of its own: Ctrl-C is for the game day, which has to undo first
            return subprocess.run(
                command, input=text, capture_output=True, text=True, timeout=SECONDS, check=False,
                start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise KubectlError(
                f"cannot run {self.words[0]}: install kubectl, or name it with --kubectl"
            ) from None
        except subprocess.TimeoutExpired:
            raise KubectlError(f"kubectl {' '.join(words[:4])}: no answer within {SECONDS} s") from None


def _in(namespace: str) -> list[str]:
    return ["-n", namespace] if namespace else []
