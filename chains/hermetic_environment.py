"""The environment that a container finally has, by the rules of the kubelet (``makeEnvironmentVariables``).

``envFrom`` comes first, ``env`` after it, and of equal names the last wins. What a pod does not tell stays
unknown: values that come from a reference, and what the image's own ``ENV`` sets for names that the pod
leaves alone. ConfigMaps and Secrets are not read: nothing tells later what they held when the container
started. One can be made immutable afterwards, and whoever may write it may write the times in its managed
fields too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from chains.beside import Json, mapping_at, objects_at, text_at

_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\)|.|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Value:
    """What a variable holds: ``text``, or None where it cannot be known, and ``why``."""

    text: str | None
    why: str = ""


class Environment:
    """The variables of one container."""

    def __init__(self, container: Mapping[str, Json]) -> None:
        self._values: dict[str, Value] = {}
        self._doubts: list[tuple[str, str]] = []
        for source in objects_at(container, "envFrom"):
            self._take_all(source)
        for variable in objects_at(container, "env"):
            self._take(variable)

    def get(self, name: str) -> Value | None:
        """Return what the pod gives a variable; None where it leaves it to the image."""
        if name in self._values:
            return self._values[name]
        why = next((why for prefix, why in self._doubts if name.startswith(prefix)), None)
        return None if why is None else Value(None, why)

    def _take_all(self, source: Mapping[str, Json]) -> None:
        what = _source(source, "configMapRef", "secretRef") or "a source that is not known"
        self._doubts.append((text_at(source, "prefix"), f"envFrom: {what}"))

    def _take(self, variable: Mapping[str, Json]) -> None:
        name, text = text_at(variable, "name"), text_at(variable, "value")
        if text or "valueFrom" not in variable:
            self._values[name] = self._expand(text)
            return
        what = _source(mapping_at(variable, "valueFrom"), "configMapKeyRef", "secretKeyRef")
        self._values[name] = Value(None, f"its value comes from {what or 'a reference'}")

    def _expand(self, text: str) -> Value:
        """Replace ``$(NAME)`` by what came before, as Kubernetes does; ``$$`` stands for one dollar."""
        unknown = ""

        def put(match: re.Match[str]) -> str:
            nonlocal unknown
            if match[1] == "$":
                return "$"
            if match[2] is None:
                return match[0]
            found = self.get(match[2])
            if found is None or found.text is None:
                # a name that nothing sets stays as it is, but the namespace's services set names too
                unknown = unknown or f"it refers to {match[2]}, which is not known"
                return ""
            return found.text

        expanded = _REFERENCE.sub(put, text)
        return Value(None, unknown) if unknown else Value(expanded)


def _source(source: Mapping[str, Json], config_map: str, secret: str) -> str:
    for field, kind in ((config_map, "ConfigMap"), (secret, "Secret")):
        if name := text_at(source, field, "name"):
            return f"{kind} {name}, and what that held when the container started is not recorded"
    return ""
