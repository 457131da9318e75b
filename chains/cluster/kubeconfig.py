"""Kubeconfigs as kubectl reads them, with the ``kubernetes`` package.

The package is imported only for a kubeconfig. In a pod with a service account it is not needed and not
installed. A setting that would have no effect here is refused by name, because ignoring it could mean to act
as somebody else. The rules are those of client-go.

https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/#merging-kubeconfig-files
"""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

from chains.cluster.access import Access
from chains.errors import UsageError
from chains.extras import install_hint

DEFAULT = "~/.kube/config"
_CONTEXT = frozenset({"cluster", "user", "namespace", "extensions"})
_CLUSTER = frozenset({
    "server", "certificate-authority", "certificate-authority-data", "insecure-skip-tls-verify",
    "tls-server-name", "proxy-url", "disable-compression", "extensions",
})  # fmt: skip
_IMPERSONATION = ("as", "as-uid", "as-groups", "as-user-extra")
_USER = frozenset({
    "client-certificate", "client-certificate-data", "client-key", "client-key-data", "token", "tokenFile",
    "username", "password", "exec", "extensions", *_IMPERSONATION,
})  # fmt: skip
_EXEC = frozenset({
    "apiVersion", "command", "args", "env", "installHint", "provideClusterInfo", "interactiveMode",
})  # fmt: skip
_PROXIES = frozenset({"http", "https"})


def read_kubeconfig(paths: str, context: str = "") -> Access:
    """Return the access of a context, by default of the current one.

    ``paths`` are files separated as in ``$KUBECONFIG``. Of two entries with one name the first counts, and
    missing files are skipped. Raises :class:`UsageError`, whose text never holds a secret.
    """
    try:
        from kubernetes.client import Configuration  # noqa: PLC0415 - an extra, and a second to import
        from kubernetes.config import ConfigException, kube_config  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(
            f"kubeconfigs are read with the module {error.name}, which is missing: {install_hint('cluster')}"
        ) from error
    try:
        merged = kube_config.KubeConfigMerger(paths)
        if merged.config is None:
            raise UsageError(f"kubeconfig {paths}: there is no such file")
        name = context or _current_context(merged.config_files)
        chosen = merged.config["contexts"].get_with_name(name)["context"]
        cluster = merged.config["clusters"].get_with_name(chosen["cluster"])
        user = merged.config["users"].get_with_name(chosen["user"]) if chosen.safe_get("user") else None
        where = f"kubeconfig {cluster.path}: context {name!r}"
        settings = _checked(cluster["cluster"].value, _CLUSTER, f"{where}: cluster")
        who = {} if user is None else _checked(user["user"].value or {}, _USER, f"{where}: user")
        _checked(chosen.value, _CONTEXT, where)
        _check_values(settings, who, where)
        authority = _authority(settings, Path(cluster.path).parent)
        if "exec" not in who:
            # The loader would write the CA into a file, and there may be no folder for it.
            # Only a plugin needs it.
            for field in ("certificate-authority", "certificate-authority-data"):
                settings.pop(field, None)
        loader = kube_config.KubeConfigLoader(merged.config, active_context=name, config_base_path=None)
        found = Configuration()
        loader.load_and_set(found)
    except ConfigException as error:
        raise UsageError(f"kubeconfig {paths}: {error}") from error
    except (
        OSError,
        UnicodeDecodeError,
        yaml.YAMLError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        # a parser's error may quote a line of the file, which has secrets
        raise UsageError(f"kubeconfig {paths}: {_trouble(error)}") from error
    if "exec" in who and not found.api_key and not found.cert_file:
        hint = who["exec"].get("installHint") or "run it by hand to see why, or log in again"
        raise UsageError(f"{where}: the plugin {who['exec'].get('command')!r} gave no credentials: {hint}")
    folder = Path(user.path).parent if user is not None else Path()
    token_file = folder / who["tokenFile"] if who.get("tokenFile") else None
    return Access(
        server=str(found.host).rstrip("/"),
        ca_data=authority,
        insecure=not found.verify_ssl,
        token_file=token_file,
        authorize=None if token_file is not None else _authorize(found),
        certificate=Path(found.cert_file) if found.cert_file else None,
        key=Path(found.key_file) if found.key_file else None,
        proxy=settings.get("proxy-url") or "",
        server_name=settings.get("tls-server-name") or "",
        headers=_impersonation(who),
        source=f"context {name} of {cluster.path}",
    )


def find_kubeconfig(environ: Mapping[str, str] = os.environ) -> str:
    """Return the files of ``$KUBECONFIG``, else the file in the home folder if it exists, else ``""``."""
    if named := environ.get("KUBECONFIG", "").strip():
        return named
    home = environ.get("HOME", "")
    default = Path(home, *Path(DEFAULT).parts[1:]) if home else None
    return str(default) if default is not None and default.is_file() else ""


def _current_context(files: Mapping[str, Any]) -> str:
    """Return the current context of the first file that names one, as client-go does."""
    for content in files.values():
        if name := content.get("current-context"):
            return str(name)
    raise UsageError(f"kubeconfig {', '.join(files)}: there is no current-context: pass --context NAME")


def _checked(found: Any, known: frozenset[str], where: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise UsageError(f"{where}: expected an object")
    unknown = sorted(name for name, value in found.items() if name not in known and value not in (None, ""))
    if unknown:
        raise UsageError(
            f"{where}: {unknown[0]} is not honoured here: use a token, a certificate or an exec plugin"
        )
    return found


def _check_values(cluster: Mapping[str, Any], user: Mapping[str, Any], where: str) -> None:
    """Raise :class:`UsageError` for values that contradict each other or cannot be used."""
    insecure = cluster.get("insecure-skip-tls-verify")
    authorities = [
        name for name in ("certificate-authority", "certificate-authority-data") if cluster.get(name)
    ]
    if insecure and authorities:
        raise UsageError(f"{where}: insecure-skip-tls-verify and {authorities[0]} exclude each other")
    if not isinstance(cluster.get("server"), str) or urlsplit(cluster["server"]).scheme not in _PROXIES:
        raise UsageError(f"{where}: server: expected a URL that begins with https:// or http://")
    proxy = cluster.get("proxy-url")
    if proxy and urlsplit(str(proxy)).scheme not in _PROXIES:
        raise UsageError(f"{where}: proxy-url: only proxies by http:// and https:// are honoured")
    # the two halves may come in different forms, one inline and one as a file
    for part in ("client-certificate", "client-key"):
        for name in (part, f"{part}-data"):
            other = "client-key" if part == "client-certificate" else "client-certificate"
            if user.get(name) and not (user.get(other) or user.get(f"{other}-data")):
                raise UsageError(f"{where}: {name} without {other}: give both")
    if bool(user.get("username")) != bool(user.get("password")):
        raise UsageError(f"{where}: username and password go together")
    impersonated = [name for name in _IMPERSONATION[1:] if user.get(name)]
    if impersonated and not user.get("as"):
        raise UsageError(f"{where}: {impersonated[0]} without as: say whom to impersonate")
    if (plugin := user.get("exec")) is not None:
        _checked(plugin, _EXEC, f"{where}: exec")


def _authority(cluster: Mapping[str, Any], folder: Path) -> str:
    """Return the PEM of the server's CA. The inline value wins over the file, as in client-go."""
    if data := cluster.get("certificate-authority-data"):
        return b64decode(data).decode()
    file = cluster.get("certificate-authority")
    return (folder / file).read_text() if file else ""


def _authorize(found: Any) -> Callable[[], str] | None:
    """Return a function for the Authorization header. A plugin runs again when its token has expired."""
    if not found.api_key:
        return None

    def header() -> str:
        if found.refresh_api_key_hook is not None:
            found.refresh_api_key_hook(found)
        return str(found.api_key.get("BearerToken", ""))

    return header


def _impersonation(user: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the headers of the API's user impersonation, with the values of the file."""
    found = [("Impersonate-User", str(user["as"]))] if user.get("as") else []
    if user.get("as-uid"):
        found.append(("Impersonate-Uid", str(user["as-uid"])))
    found += [("Impersonate-Group", str(group)) for group in user.get("as-groups") or ()]
    for key, values in (user.get("as-user-extra") or {}).items():
        found += [(f"Impersonate-Extra-{quote(str(key), safe='')}", str(value)) for value in values]
    return tuple(found)


def _trouble(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror or 'cannot be read'}"
    if isinstance(error, yaml.YAMLError):
        return "not YAML"
    return "names a context, cluster or user that it does not have, or is no kubeconfig"
