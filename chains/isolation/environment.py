"""The environment that a container finally has, by the rules of the kubelet (``makeEnvironmentVariables``).

``envFrom`` comes first, ``env`` after it, and of equal names the last wins. What a pod does not tell stays
unknown: values that come from a reference, and what the image's own ``ENV`` sets for names that the pod
leaves alone. ConfigMaps and Secrets are not read: nothing tells later what they held when the container
started. One can be made immutable afterwards, and whoever may write it may write the times in its managed
fields too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chains.tekton.container import Container, EnvironmentSource, Variable

_LONGEST = 128 * 1024
"""Bytes of one variable that Linux gives to a process (``MAX_ARG_STRLEN``)."""
_MOST = 1024 * 1024
"""Characters of all variables together. Each may refer twice to the one before it, so that a short pod asks
for more than there is memory; a kubelet that tries cannot start the container."""
_TOO_LONG = "the environment is longer than one that is read"


@dataclass(frozen=True, slots=True)
class Value:
    """What a variable holds: ``text``, or None where it cannot be known, and ``why``."""

    text: str | None
    why: str = ""


class Environment:
    """The variables of one container."""

    def __init__(self, container: Container) -> None:
        self._values: dict[str, Value] = {}
        self._doubts: dict[str, tuple[int, str]] = {}
        """By prefix: which source it is, and what it may set."""
        self._sizes: set[int] = set()
        """Lengths of the prefixes."""
        self._left = _MOST
        for source in container.env_from:
            self._take_all(source)
        for variable in container.env:
            self._take(variable)

    def get(self, name: str) -> Value | None:
        """Return what the pod gives a variable; None where it leaves it to the image."""
        if name in self._values:
            return self._values[name]
        doubts = [doubt for size in self._sizes if (doubt := self._doubts.get(name[:size])) is not None]
        return Value(None, min(doubts)[1]) if doubts else None

    def _take_all(self, source: EnvironmentSource) -> None:
        what = _source(source) or "a source that is not known"
        self._doubts.setdefault(source.prefix, (len(self._doubts), f"envFrom: {what}"))
        self._sizes.add(len(source.prefix))

    def _take(self, variable: Variable) -> None:
        if variable.value or not variable.has_source:
            self._values[variable.name] = self._expand(variable.value)
            return
        what = _source(variable) or "a reference"
        self._values[variable.name] = Value(None, f"its value comes from {what}")

    def _expand(self, text: str) -> Value:
        """Replace ``$(NAME)`` by what came before, as Kubernetes does; ``$$`` stands for one dollar."""
        most = min(_LONGEST, self._left)
        parts: list[str] = []
        size = 0
        for part in self._parts(text):
            if isinstance(part, Value):
                return part
            size += len(part)
            if size > most:
                return Value(None, _TOO_LONG)
            parts.append(part)
        self._left -= size
        return Value("".join(parts))

    def _parts(self, text: str) -> Iterator[str | Value]:
        """Yield what a text expands to, piece by piece; a :class:`Value` where that cannot be known."""
        at, last = 0, text.rfind(")")  # no reference begins behind it
        while (begin := text.find("$", at)) >= 0:
            yield text[at:begin]
            following = text[begin + 1 : begin + 2]
            at = begin + 1 + len(following)
            if following != "(" or begin > last:
                yield "$" if following == "$" else text[begin:at]
                continue
            end = text.index(")", at)
            name, at = text[at:end], end + 1
            found = self.get(name)
            if found is None or found.text is None:
                # a name that nothing sets stays as it is, but the namespace's services set names too
                yield Value(None, f"it refers to {name}, which is not known")
                return
            yield found.text
        yield text[at:]


def _source(source: EnvironmentSource | Variable) -> str:
    for kind, name in (("ConfigMap", source.config_map), ("Secret", source.secret)):
        if name:
            return f"{kind} {name}, and what that held when the container started is not recorded"
    return ""
