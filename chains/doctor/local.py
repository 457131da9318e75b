"""The checks of ``chains doctor`` without a cluster: configuration, keys, stores, and services.

Each check has what was tried, the result, and the next step. No text contains a secret.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from chains.assembly.key_folder import KEY_FILES, open_key_folder
from chains.assembly.sealers import open_sealer
from chains.assembly.signers import check_signers, kms_settings, open_kms
from chains.assembly.stores import open_configured
from chains.config.parse import Config, is_keyless, lint_config, parse_config
from chains.doctor.report import DoctorCheck
from chains.errors import ChainsError, ConfigError
from signers.base import Signer
from signers.errors import SignerError, SignerUnavailable
from signers.keys.public_key import PublicKey, load_public_keys
from signers.open import open_signer
from storage.annotations import AnnotationStore
from storage.base import Store, StoreOptions
from storage.errors import StoreError

_MEND_FOLDER = (
    "put a key of 'chains keys generate x509.pem' into the Secret signing-secrets, which is mounted here"
)
_MEND_SERVICE = "correct signers.kms.kmsref, the login or the permissions; see docs/signers.md"
_MEND_EXTRA = "correct its reference in signers.extra, the login or the permissions, or mount its key file"
_MEND_REFERENCE = "pass a key file or a reference that docs/signers.md lists"
_PROBE = b"chains doctor: a probe, not evidence"
_OTHERS = stat.S_IRWXO
_SECONDS = 10.0
_SERVER_ERROR = 500


def check_config(data: Mapping[str, str]) -> tuple[Config | None, list[DoctorCheck]]:
    """Parse and lint the data of a ConfigMap. The configuration is None if the parser refuses it."""
    mend = "correct it; 'chains config lint FILE' checks it offline, docs/configuration.md lists every key"
    found = [
        DoctorCheck(f"configuration: {problem.key}", "failed", str(problem), mend)
        if problem.severity == "error"
        else DoctorCheck(f"configuration: {problem.key}", "warning", str(problem))
        for problem in lint_config(data)
    ]
    try:
        config = parse_config(data)
    except ConfigError:
        return None, found  # lint reports everything that the parser refuses
    try:
        check_signers(config, key_given=False)
    except ConfigError as error:
        found.insert(0, DoctorCheck("configuration", "failed", str(error), mend))
    if not any(check.state == "failed" for check in found):
        found.insert(
            0, DoctorCheck("configuration", "ok", f"{len(data)} keys are set, the others have their default")
        )
    return config, found


async def check_key(folder: Path, reference: str = "", config: Config | None = None) -> list[DoctorCheck]:
    """Open the keys as the controller does, sign with them, verify, and check their file permissions.

    With ``reference``, only that key is checked. ``config`` has the signers of the artifacts; without it, the
    key of the folder is checked.
    """
    settings = kms_settings(config)
    if reference:
        return (await _try_key("key", lambda: open_signer(reference, settings=settings), _MEND_REFERENCE))[1]
    found: list[DoctorCheck] = []
    artifacts = (config.taskrun, config.pipelinerun, config.oci) if config else ()
    names = {artifact.signer for artifact in artifacts if artifact.enabled}
    if config is not None and "kms" in names:
        named = config
        found += (await _try_key("key service", lambda: open_kms(named), _MEND_SERVICE))[1]
    if config is not None and is_keyless(config):
        found += await check_identity(config)
    elif not found or "x509" in names:
        public, told = await _try_key("key", lambda: open_key_folder(folder), _MEND_FOLDER)
        found += told
        if public is not None:
            found += await asyncio.to_thread(_look_around, folder, public)
    for one in config.signers.extra if config else ():
        opener = partial(open_signer, one.reference, settings=settings)
        found += (await _try_key(f"signer {one.name}", opener, _MEND_EXTRA))[1]
    return found


async def _try_key(
    name: str, opener: Callable[[], Signer], mend: str
) -> tuple[PublicKey | None, list[DoctorCheck]]:
    """Open a key, sign with it and verify. Return the public key, or None if that failed, and the checks."""
    try:
        signer = await asyncio.to_thread(opener)
        signature = await asyncio.to_thread(signer.sign, _PROBE)
        public = PublicKey.from_pem(signer.public_pem)
        public.verify(signature, _PROBE)
    except SignerUnavailable as error:
        return None, [DoctorCheck(name, "failed", str(error), "try again when the key service answers")]
    except (ChainsError, SignerError, OSError) as error:
        return None, [DoctorCheck(name, "failed", str(error), mend)]
    version = f", version {signer.version}" if signer.version else ""
    detail = f"{signer.keyid} ({public.algorithm}{version}) signs, and its public half verifies"
    return public, [DoctorCheck(name, "ok", detail)]


async def check_identity(config: Config) -> list[DoctorCheck]:
    """Request a certificate as the controller does for keyless signing."""
    try:
        sealer = await asyncio.to_thread(open_sealer, config, None)
    except ChainsError as error:
        return [
            DoctorCheck("identity", "failed", str(error), "see docs/keyless.md for token, issuer and trust")
        ]
    return [DoctorCheck("identity", "ok", f"signs as {sealer.identity}")]


def _look_around(folder: Path, public: PublicKey) -> list[DoctorCheck]:
    found = []
    present = [folder / name for name in (*KEY_FILES, "cosign.password") if (folder / name).is_file()]
    for path in present:
        if path.stat().st_mode & _OTHERS:
            step = "set defaultMode 0440 on the volume and fsGroup on the pod"
            found.append(DoctorCheck("key files", "warning", f"{path} can be read by every user", step))
    if (folder / KEY_FILES[0]).is_file() and (folder / KEY_FILES[1]).is_file():
        detail = f"{folder} has {' and '.join(KEY_FILES)}; only {KEY_FILES[0]} is used"
        found.append(DoctorCheck("key files", "warning", detail, "remove the other one"))
    beside = folder / "cosign.pub"
    if beside.is_file():
        found.append(_compare(beside, public))
    return found


def _compare(path: Path, public: PublicKey) -> DoctorCheck:
    try:
        keys = load_public_keys(path)
    except (SignerError, OSError) as error:
        return DoctorCheck(
            "public key", "warning", str(error), "replace it: verifiers could be given this file"
        )
    if public in keys:
        return DoctorCheck("public key", "ok", f"{path} is the public half")
    detail = f"{path} is {keys[0].keyid}, the key that signs is {public.keyid}"
    step = (
        "everyone who verifies with this file refuses the signatures: replace it with the matching public key"
    )
    return DoctorCheck("public key", "failed", detail, step)


async def check_stores(config: Config, places: Sequence[str]) -> list[DoctorCheck]:
    """Open each configured store separately and test it."""
    artifacts = (config.taskrun, config.pipelinerun, config.oci)
    names = sorted({name for artifact in artifacts if artifact.enabled for name in artifact.storage})
    if not names:
        step = "set artifacts.taskrun.storage or artifacts.pipelinerun.storage"
        return [
            DoctorCheck(
                "stores", "warning", "the configuration disables all artifacts, so nothing is stored", step
            )
        ]
    found = []
    for name in names:
        found += await _check_store(name, config, places)
    return found


async def _check_store(name: str, config: Config, places: Sequence[str]) -> list[DoctorCheck]:
    try:
        opened = open_configured(_only(config, name), AnnotationStore("tekton:", StoreOptions()))
    except ChainsError as error:
        return [
            DoctorCheck(f"store {name}", "failed", str(error), "correct the configuration keys of this store")
        ]
    stores: list[Store] = opened.get(name, [])
    found = []
    for store in stores:
        try:
            probes = await store.probe(places)
        finally:
            try:
                await store.close()
            except StoreError as error:
                found.append(DoctorCheck(f"store {name}", "failed", str(error)))
        found += [
            DoctorCheck(f"store {name}: {probe.what}", probe.state, probe.detail, probe.next_step)
            for probe in probes
        ] or [DoctorCheck(f"store {name}", "ok", "opens")]
    return found


def _only(config: Config, name: str) -> Config:
    """Return the configuration with one store only, so that a broken store does not hide the others."""
    one = (name,)
    return replace(
        config,
        taskrun=replace(config.taskrun, storage=one, signer="x509"),
        pipelinerun=replace(config.pipelinerun, storage=()),
        oci=replace(config.oci, storage=()),
    )


@dataclass(frozen=True, slots=True)
class Service:
    """A configured server, and a path that answers a plain GET."""

    name: str
    url: str
    path: str
    key: str


def services(config: Config) -> list[Service]:
    """Return the servers for certificates, timestamps and the log that signing needs.

    A signing configuration takes precedence over the keys. Raises :class:`SignerError` if it cannot be read.
    """
    x509, transparency, start = config.signers.x509, config.transparency, "signers.x509."
    fulcio, log, stamps = x509.fulcio_address, transparency.url, config.signers.timestamp_url
    if x509.signing_config:
        from signers.sigstore.signing_config import load_signing_config  # noqa: PLC0415 - of the extra keyless

        named = load_signing_config(Path(x509.signing_config))
        fulcio, log, stamps = named.fulcio or fulcio, named.log or log, stamps or named.timestamp
    found = []
    if x509.fulcio_enabled:
        found.append(Service("fulcio", fulcio, "/api/v2/trustBundle", f"{start}fulcio.address"))
        if not x509.trusted_root:
            mirror = x509.tuf_mirror_url
            found.append(Service("trusted root", mirror, "/timestamp.json", f"{start}tuf.mirror.url"))
    if transparency.enabled:
        found.append(Service("log", log, "/api/v1/log", "transparency.url"))
    if stamps:
        found.append(Service("timestamps", stamps, "", "signers.timestamp.url"))
    return found


async def check_services(config: Config) -> list[DoctorCheck]:
    """Send a plain GET to each server of :func:`services`. Every status below 500 means that it works."""
    try:
        named = services(config)
    except SignerError as error:
        step = "correct signers.x509.signing-config"
        return [DoctorCheck("signing configuration", "failed", str(error), step)]
    found = []
    if not config.transparency.enabled:
        found.append(DoctorCheck("log", "skipped", "the configuration names no transparency log"))
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=_SECONDS), trust_env=True
    ) as session:
        found += await asyncio.gather(*(_ask(session, service) for service in named))
    return found


async def _ask(session: aiohttp.ClientSession, service: Service) -> DoctorCheck:
    host = urlsplit(service.url).hostname or "(no host)"
    step = f"check {service.key}, the network policy and HTTPS_PROXY"
    try:
        async with session.get(service.url.rstrip("/") + service.path, allow_redirects=False) as answer:
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        # the text of the library can contain the whole URL, with a password
        return DoctorCheck(service.name, "failed", f"{host} cannot be reached ({type(error).__name__})", step)
    if status >= _SERVER_ERROR:
        return DoctorCheck(service.name, "failed", f"{host} answered {status}", "see the log of the server")
    return DoctorCheck(service.name, "ok", f"{host} answered {status}")
