"""Keys on PKCS #11 tokens (HSMs, smart cards, SoftHSM), through python-pkcs11.

References are the URIs of :mod:`signers.kms.pkcs11_uri`. The token must have the public key too, with the
same label or id as the private key.

python-pkcs11 initializes modules without support for threads (``C_Initialize(NULL)``). So one lock per module
serializes all calls, and one session per token is enough. After a session or token was lost, the module is
initialized again, because only that makes it search for tokens again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, TokenFlag, exceptions
from pkcs11.util.ec import encode_ec_public_key
from pkcs11.util.rsa import encode_rsa_public_key

from signers.base import Signer
from signers.errors import SignerRejected, SignerUnavailable
from signers.keys.public_key import SUPPORTED, PublicKey
from signers.kms.pkcs11_uri import Location, parse_uri, read_pin
from signers.kms.service import (
    KeyService,
    KmsSettings,
    KmsSigner,
    RemoteKey,
    der_signature,
    digest,
    ed25519_key,
    read_public_key,
    refuse_algorithm,
    shown,
)

_SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
"""The DigestInfo prefix of SHA-256 (RFC 8017, section 9.2, note 1). The token only pads and signs."""
_GONE = (
    exceptions.SessionClosed,
    exceptions.SessionHandleInvalid,
    exceptions.UserNotLoggedIn,
    exceptions.DeviceRemoved,
    exceptions.DeviceError,
    exceptions.TokenNotPresent,
    exceptions.TokenNotRecognised,
    exceptions.SlotIDInvalid,
    exceptions.ObjectHandleInvalid,
    exceptions.KeyHandleInvalid,
    exceptions.GeneralError,
    exceptions.FunctionFailed,
    exceptions.OperationActive,
)
_BAD_PIN = (
    exceptions.PinIncorrect,
    exceptions.PinInvalid,
    exceptions.PinLenRange,
    exceptions.PinLocked,
    exceptions.PinExpired,
    exceptions.UserPinNotInitialized,
)
_WARNING = "do not try again before the PIN is checked: tokens lock after a few wrong ones"
T = TypeVar("T")


@dataclass(slots=True)
class _Module:
    """A loaded module. All calls hold its lock; ``loads`` counts its initializations."""

    path: str
    lock: threading.RLock = field(default_factory=threading.RLock)
    loads: int = 0
    sessions: dict[tuple[int, str], Any] = field(default_factory=dict)

    def load(self) -> Any:
        """Load the module. Raises :class:`SignerRejected`."""
        try:
            library = pkcs11.lib(self.path)
        except exceptions.PKCS11Error as exc:
            raise SignerRejected(
                f"pkcs11: the module {self.path} cannot be loaded: {shown(exc) or type(exc).__name__}"
            ) from exc
        self.loads = self.loads or 1
        return library

    def reload(self, loads: int) -> None:
        """Initialize the module again, unless that was done since its ``loads``-th initialization."""
        if self.loads == loads:
            self.sessions.clear()
            self.loads += 1
            pkcs11.lib(self.path).reinitialize()


_modules: dict[str, _Module] = {}
_modules_lock = threading.Lock()


class TokenKey(KeyService):
    """A key on a token."""

    def __init__(self, where: Location) -> None:
        label = where.key.get(Attribute.LABEL) or where.key[Attribute.ID].hex()
        self._where, self._name = where, f"pkcs11 key {label}"
        with _modules_lock:
            self._module = _modules.setdefault(where.module, _Module(where.module))
        self._opened: tuple[Any, Any] | None = None
        self._was_there = False

    def find(self) -> RemoteKey:
        """Read the public key from the token."""
        with self._session() as session:
            public = self._one(session, ObjectClass.PUBLIC_KEY)
            key = self._public(public)
            token = session.token
            serial = bytes(token.serial).decode("ascii", "replace").strip()
            identity = public[Attribute.ID].hex()
            return RemoteKey(f"pkcs11:token={token.label};serial={serial};id={identity}", key)

    def sign(self, key: RemoteKey, data: bytes) -> bytes:
        """Sign the digest, or for Ed25519 the data."""
        with self._session() as session:
            private = self._private(session, key)
            if key.public.algorithm == "ed25519":
                return bytes(private.sign(data, mechanism=Mechanism.EDDSA))
            if key.public.algorithm.startswith("rsa"):
                return bytes(private.sign(_SHA256_INFO + digest(data), mechanism=Mechanism.RSA_PKCS))
            return der_signature(private.sign(digest(data), mechanism=Mechanism.ECDSA))

    def _public(self, public: Any) -> PublicKey:
        """Return the public key of an object. Raises :class:`SignerRejected`."""
        kind = public.key_type
        if kind == KeyType.EC:
            return read_public_key(encode_ec_public_key(public), self._name)
        if kind == KeyType.RSA:
            return read_public_key(encode_rsa_public_key(public), self._name)
        if kind == KeyType.EC_EDWARDS:
            # Some modules wrap the 32 bytes of the point in a DER octet string (04 20), others do not.
            point = bytes(public[Attribute.EC_POINT])
            return ed25519_key(point[2:] if point[:2] == b"\x04\x20" else point, self._name)
        raise refuse_algorithm(self._name, str(kind), SUPPORTED)

    def _one(self, session: Any, kind: ObjectClass, identity: bytes = b"") -> Any:
        """Return the only object of this kind.

        A public key without the label is found by the private key's id.
        """
        wanted = {Attribute.ID: identity} if identity else self._where.key
        objects = list(session.get_objects({Attribute.CLASS: kind, **wanted}))
        # Some tools label the private key only; both keys have the same id.
        if not objects and kind == ObjectClass.PUBLIC_KEY and Attribute.ID not in self._where.key:
            private = self._one(session, ObjectClass.PRIVATE_KEY)
            objects = list(session.get_objects({Attribute.CLASS: kind, Attribute.ID: private[Attribute.ID]}))
        if len(objects) == 1:
            return objects[0]
        what = "private" if kind == ObjectClass.PRIVATE_KEY else "public"
        hint = "name it by its id" if objects else "check object and id, and that the PIN is given"
        raise SignerRejected(f"{self._name}: the token has {len(objects)} such {what} keys: {hint}")

    def _private(self, session: Any, key: RemoteKey) -> Any:
        """Return the private key with the id of the pinned version: a label can be moved to another key."""
        if self._opened is None or self._opened[0] is not session:
            identity = bytes.fromhex(key.version.rpartition(";id=")[2])
            self._opened = (session, self._one(session, ObjectClass.PRIVATE_KEY, identity))
        return self._opened[1]

    @contextmanager
    def _session(self) -> Iterator[Any]:
        """Provide the session of the token under the module's lock.

        A lost session is dropped, so that the next try opens a new one. Exceptions of the module are mapped:
        a wrong PIN is never retried, because tokens lock after a few wrong ones.
        """
        module = self._module
        with module.lock:
            loads = module.loads
            try:
                session = self._open()
                loads = module.loads
                yield session
                self._was_there = True
            except _BAD_PIN as exc:
                raise SignerRejected(
                    f"{self._name}: the token refuses the PIN ({_kind(exc)}): {_WARNING}"
                ) from exc
            # A token that was there before is unavailable; one that never was means a wrong reference.
            except exceptions.NoSuchToken as exc:
                self._reload(loads)
                if self._was_there:
                    raise SignerUnavailable(f"{self._name}: the token is no longer present") from exc
                raise SignerRejected(
                    f"{self._name}: no such token in {self._where.module}: check token, serial and slot-id"
                ) from exc
            except _GONE as exc:
                self._reload(loads)
                raise SignerUnavailable(
                    f"{self._name}: the token does not answer ({_kind(exc)}); it is opened again"
                ) from exc
            except exceptions.PKCS11Error as exc:
                raise SignerRejected(
                    f"{self._name}: the token refuses ({_kind(exc)}): check the key's attributes (sign, "
                    "type) "
                    "and what the module can do"
                ) from exc

    def _reload(self, loads: int) -> None:
        """Initialize the module again."""
        try:
            self._module.reload(loads)
        except exceptions.PKCS11Error:
            return  # the next try raises the same error with an explanation

    def _open(self) -> Any:
        """Return the session of the token; log in if there is none."""
        where, module = self._where, self._module
        pin = read_pin(where.pin_source)
        slot = where.token.get("slot-id", "")
        token = self._token(module.load(), slot)
        # The PIN is part of the key, so a corrected PIN file opens a new session.
        known = (token.slot.slot_id, pin)
        session = module.sessions.get(known)
        if session is None:
            try:
                session = token.open(user_pin=pin or None)
            except exceptions.UserAlreadyLoggedIn:
                session = token.open()  # a login holds for all sessions of the process
            module.sessions[known] = session
        return session

    def _token(self, library: Any, slot: str) -> Any:
        """Return the only token that matches the reference."""
        tokens = [
            token
            for token in library.get_tokens()
            if TokenFlag.TOKEN_INITIALIZED in token.flags
            and _matches(token, self._where.token)
            and (not slot or str(token.slot.slot_id) == slot)
        ]
        if not tokens:
            raise exceptions.NoSuchToken
        if len(tokens) > 1:
            raise SignerRejected(f"{self._name}: {len(tokens)} tokens match: add serial or slot-id")
        return tokens[0]


def _matches(token: Any, wanted: Mapping[str, str]) -> bool:
    """Whether a token has the attributes in the reference."""
    attributes = {
        "token": token.label,
        "manufacturer": token.manufacturer_id,
        "model": token.model,
        "serial": bytes(token.serial).decode("ascii", "replace"),
    }
    return all(attributes[name].strip() == value for name, value in wanted.items() if name in attributes)


def _kind(exc: Exception) -> str:
    return type(exc).__name__


def open_pkcs11(reference: str, settings: KmsSettings | None = None) -> Signer:  # noqa: ARG001 - port
    """Open ``pkcs11:…``. Raises :class:`SignerUnavailable` or :class:`SignerRejected`."""
    where = parse_uri(reference)
    return KmsSigner(TokenKey(where))
