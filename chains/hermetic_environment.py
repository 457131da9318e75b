"""The environment that a container finally has, by the rules of the kubelet (``makeEnvironmentVariables``).

``envFrom`` comes first, ``env`` after it, and of equal names the last wins. What a pod does not tell stays
unknown: values that come from a reference, ConfigMaps that are gone or may have changed since, and what the
image's own ``ENV`` sets for names that the pod leaves alone.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass

from chains.beside import Beside, Json, began, doubt, mapping_at, objects_at, text_at

_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\)|.|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Value:
    """What a variable holds: ``text``, or None where it cannot be known, and ``why``."""

    text: str | None
    why: str = ""


class Environment:
    """The variables of one container."""

    def __init__(self, container: Mapping[str, Json], beside: Beside) -> None:
        self._beside = beside
        self._moment = began(beside.pod)
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
        prefix = text_at(source, "prefix")
        data, why = self._read(source, "configMapRef", "secretRef")
        if data is None:
            self._doubts.append((prefix, f"envFrom: {why}"))
            for name in self._values:
                if name.startswith(prefix):
                    self._values[name] = Value(None, f"envFrom: {why}")
            return
        for name, value in data.items():
            self._values[prefix + name] = value

    def _take(self, variable: Mapping[str, Json]) -> None:
        name, text = text_at(variable, "name"), text_at(variable, "value")
        if text or "valueFrom" not in variable:
            self._values[name] = self._expand(text)
            return
        source = mapping_at(variable, "valueFrom")
        data, why = self._read(source, "configMapKeyRef", "secretKeyRef")
        key = text_at(source, "configMapKeyRef", "key") or text_at(source, "secretKeyRef", "key")
        if data is None:
            self._values[name] = Value(None, f"its value comes from a reference{why and f': {why}'}")
        elif key in data:
            self._values[name] = data[key]
        # else it is optional, or the container would not have started, and what came before stays

    def _read(
        self, source: Mapping[str, Json], config_map: str, secret: str
    ) -> tuple[Mapping[str, Value] | None, str]:
        """Return the data that a reference names, or None and why it is not known."""
        for field, kind, known in (
            (config_map, "ConfigMap", self._beside.config_maps),
            (secret, "Secret", self._beside.secrets),
        ):
            name = text_at(source, field, "name")
            if not name:
                continue
            item = known.get(name)
            if item is None:
                return None, f"{kind} {name} is gone"
            unsure = doubt(item, self._moment)
            if unsure:
                return None, f"{kind} {name}: {unsure}"
            return _data(item, is_secret=kind == "Secret"), ""
        return None, ""

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


def _data(item: Mapping[str, Json], *, is_secret: bool) -> dict[str, Value]:
    found = {}
    for name, value in mapping_at(item, "data").items():
        text = value if isinstance(value, str) else ""
        found[name] = _decoded(text) if is_secret else Value(text)
    if is_secret:
        plain = mapping_at(item, "stringData")
        found |= {name: Value(value) for name, value in plain.items() if isinstance(value, str)}
    return found


def _decoded(text: str) -> Value:
    try:
        return Value(b64decode(text, validate=True).decode())
    except (Base64Error, UnicodeDecodeError, ValueError):
        return Value(None, "its value is no text")
