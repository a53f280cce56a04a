"""Access tokens of the embedded issuer, shaped like Keycloak's; for embedded stacks and tests only."""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from deploy.embedded.failures import StateRefused, UnknownRole
from deploy.embedded.state import StateDirectory

AUDIENCE = "agent-runtime-api"
LIFETIME_SECONDS = 300
# As in the realm of Keycloak: an operator is a user too, an administrator is neither.
ROLES = {"admin": ("admin",), "operator": ("operator", "user"), "user": ("user",)}
_SUBJECTS = uuid.UUID("5b3c7f9e-0f6e-5c0e-9f1d-3f1f6a4c1d52")


class TokenSigner:
    """The issuer's key, kept in the state directory, and what it signs."""

    def __init__(self, state: StateDirectory, issuer: str) -> None:
        self.issuer = issuer
        pem = state.made_once("secrets/issuer.pem", _new_key)
        key = serialization.load_pem_private_key(pem.encode(), password=None)
        if not isinstance(key, RSAPrivateKey):
            raise StateRefused(f"{state.path}/secrets/issuer.pem holds no RSA key; delete it, and a new one is made")
        self._key = key
        numbers = key.public_key().public_numbers()
        self._modulus, self._exponent = _number(numbers.n), _number(numbers.e)
        self._key_id = hashlib.sha256(self._modulus.encode()).hexdigest()[:32]

    def key_set(self) -> dict[str, Any]:
        """The public key as a JSON Web Key Set."""
        key = {"kid": self._key_id, "kty": "RSA", "alg": "RS256", "use": "sig", "n": self._modulus, "e": self._exponent}
        return {"keys": [key]}

    @staticmethod
    def subject(tenant: str | None, name: str) -> str:
        """The `sub` that follows from a name."""
        return str(uuid.uuid5(_SUBJECTS, f"{tenant or ''}/{name}"))

    def verify(self, token: str) -> dict[str, Any] | None:
        """The claims of a token that was signed here and has not expired; the administration asks."""
        try:
            signed, _, signature = token.rpartition(".")
            public = self._key.public_key()
            public.verify(_unbase64url(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
            claims: dict[str, Any] = json.loads(_unbase64url(signed.partition(".")[2]))
        except (ValueError, InvalidSignature):
            return None
        return claims if claims.get("typ") == "Bearer" and claims["exp"] > time.time() else None

    def mint(
        self,
        *,
        role: str | None,
        tenant: str | None = None,
        subject: str = "local",
        client: str = "agent-runtime-cli",
        lifetime: int = LIFETIME_SECONDS,
        claims: dict[str, Any] | None = None,
    ) -> str:
        """Sign a token; `subject` is a name, from which the same `sub` follows each time.

        `claims` replaces claims, which tests of refused tokens need; a value of None leaves one out.
        """
        if role is not None and role not in ROLES:
            raise UnknownRole(f"there is no role {role!r}; roles are {', '.join(ROLES)}")
        now = int(time.time())
        content: dict[str, Any] = {
            "iss": self.issuer,
            "exp": now + lifetime,
            "iat": now,
            "jti": str(uuid.uuid4()),
            "aud": AUDIENCE,
            "sub": self.subject(tenant, subject),
            "typ": "Bearer",
            "azp": client,
            "scope": "profile email",
            "preferred_username": subject,
            "realm_access": {"roles": list(ROLES[role]) if role else []},
            "tenant_id": tenant,
            **(claims or {}),
        }
        present = {name: value for name, value in content.items() if value is not None}
        header = {"alg": "RS256", "typ": "JWT", "kid": self._key_id}
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, present))
        return f"{signed}.{_base64url(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _new_key() -> str:
    key = generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode()


def _number(number: int) -> str:
    return _base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _unbase64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
