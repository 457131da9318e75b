"""The environment of a container, by the rules of the kubelet (``makeEnvironmentVariables``).

``envFrom`` comes first, ``env`` second, and of equal names the last one wins. Values that a pod does not show
stay unknown: values from a reference, and variables of the image's own ``ENV`` that the pod does not set.
ConfigMaps and Secrets are not read, because nothing proves later what they held when the container started.
One can be made immutable afterwards, and whoever may write it may also write the times in its managed fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chains.tekton.container import Container, EnvironmentSource, Variable

_LONGEST = 128 * 1024
"""The longest variable in bytes that Linux passes to a process (``MAX_ARG_STRLEN``)."""
_MOST = 1024 * 1024
"""The most characters of all variables together. Each variable may refer twice to the one before it, so a
short pod can expand to more than there is memory. A kubelet that tries this cannot start the container."""
_TOO_LONG = "the environment is longer than one that is read"


@dataclass(frozen=True, slots=True)
class Value:
    """The value of a variable: ``text``, or None with the reason in ``why`` if it cannot be known."""

    text: str | None
    why: str = ""


class Environment:
    """The variables of one container."""

    def __init__(self, container: Container) -> None:
        self._values: dict[str, Value] = {}
        self._doubts: dict[str, tuple[int, str]] = {}
        """By prefix: the number of the source, and what it may set."""
        self._sizes: set[int] = set()
        """The lengths of all prefixes, so that :meth:`get` tries each length once."""
        self._left = _MOST
        for source in container.env_from:
            self._take_all(source)
        for variable in container.env:
            self._take(variable)

    def get(self, name: str) -> Value | None:
        """Return the value that the pod gives a variable; None if the pod leaves it to the image."""
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
        """Replace each ``$(NAME)`` by an earlier variable, as Kubernetes does; ``$$`` is one dollar."""
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
        """Yield the parts of an expanded text; a :class:`Value` where a part cannot be known."""
        at, last = 0, text.rfind(")")  # no reference begins after the last bracket
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
                # Kubernetes leaves an unknown name as it is, but services of the namespace set variables too,
                # so the kubelet may know the name
                yield Value(None, f"it refers to {name}, which is not known")
                return
            yield found.text
        yield text[at:]


def _source(source: EnvironmentSource | Variable) -> str:
    for kind, name in (("ConfigMap", source.config_map), ("Secret", source.secret)):
        if name:
            return f"{kind} {name}, and what that held when the container started is not recorded"
    return ""
