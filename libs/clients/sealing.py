"""Values sealed for one place: AES-256-GCM, bound to tenant, name and key id, so that a moved row does not open."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

KEY_BYTES = 32
NONCE_BYTES = 12
FORMAT = b"\x01"
_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class BadSecretsKeys(ValueError):
    """SECRETS_KEYS cannot be used; the message says why, without a key in it."""


class CannotBeOpened(Exception):
    """A sealed value is not for this place, was changed, or its key is not there."""


class KeyRing:
    """Keys by id. The first seals, all of them open."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self.newest = next(iter(keys))

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self._keys)})"

    @classmethod
    def parse(cls, text: SecretStr | None) -> KeyRing | None:
        """The keys of SECRETS_KEYS; None when it is not set.

        Raises:
            BadSecretsKeys: it is not of the form ID:KEY,ID:KEY.
        """
        if text is None:
            return None
        keys: dict[str, bytes] = {}
        for number, part in enumerate(re.split(r"[,\s]+", text.get_secret_value().strip()), 1):
            key_id, colon, encoded = part.partition(":")
            if not colon or not _KEY_ID.fullmatch(key_id):
                raise BadSecretsKeys(f"SECRETS_KEYS: entry {number} is not of the form ID:KEY")
            if key_id in keys:
                raise BadSecretsKeys(f"SECRETS_KEYS: the id {key_id} is there twice")
            keys[key_id] = _key(key_id, encoded)
        return cls(keys)

    def seal(self, tenant_id: UUID, name: str, value: str) -> tuple[str, bytes]:
        """The newest key's id, and the value sealed with it."""
        nonce = os.urandom(NONCE_BYTES)
        place = _place(tenant_id, name, self.newest)
        return self.newest, FORMAT + nonce + self._keys[self.newest].encrypt(nonce, value.encode(), place)

    def open(self, tenant_id: UUID, name: str, key_id: str, sealed: bytes) -> str:
        """The value.

        Raises:
            CannotBeOpened: and why.
        """
        key = self._keys.get(key_id)
        if key is None:
            raise CannotBeOpened(f"it was encrypted with the key {key_id}, which is not among SECRETS_KEYS")
        if sealed[:1] != FORMAT:
            raise CannotBeOpened("it is of a form that this release does not know")
        nonce, content = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            return key.decrypt(nonce, content, _place(tenant_id, name, key_id)).decode()
        except (InvalidTag, ValueError):
            raise CannotBeOpened(f"it does not decrypt with the key {key_id}: the key or the row was changed") from None


def _key(key_id: str, encoded: str) -> bytes:
    try:
        key = base64.b64decode(encoded.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise BadSecretsKeys(f"SECRETS_KEYS: the key {key_id} is not {KEY_BYTES} bytes in base64")
    return key


def _place(tenant_id: UUID, name: str, key_id: str) -> bytes:
    """What a sealed value is bound to; no name and no key id holds a NUL."""
    return b"\x00".join([b"agent-runtime secret", tenant_id.bytes.hex().encode(), name.encode(), key_id.encode()])
