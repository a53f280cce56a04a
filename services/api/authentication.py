"""Who is calling: access tokens, checked to the letter, and remembered by their digest while their key is published."""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from typing import Any, NamedTuple

from jose import jws

from libs.domain.errors import Unauthenticated
from services.api.keys import Key, KeySet

MAX_TOKEN = 8 * 1024
LEEWAY_SECONDS = 30
REMEMBERED = 4096
FORBIDDEN_HEADERS = frozenset({"crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc"})
_PART = re.compile(r"[A-Za-z0-9_-]+")
_SUBJECT = re.compile(r"[\x20-\x7e]{1,255}")
_HINT = "Get a new access token and send it as `Authorization: Bearer <token>`."


class Identity(NamedTuple):
    """What a token says. `tenant` is an id or a slug, as the issuer wrote it."""

    subject: str
    roles: frozenset[str]
    tenant: str | None
    expires_at: float
    client: str | None = None  # `azp`: whom the token was given to
    of_client: bool = False  # the client is the subject: nobody has signed in


class TokenRefused(Exception):
    """The token is not one of ours; the message says why."""


class TokenVerifier:
    """Verifies once, then looks a token up until it expires or its key is withdrawn."""

    def __init__(self, keys: KeySet, issuer: str, audience: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._known: OrderedDict[bytes, tuple[Identity, str, Key]] = OrderedDict()

    async def identify(self, headers: list[tuple[bytes, bytes]]) -> Identity:
        """The caller, from the raw headers of a request.

        Raises:
            Unauthenticated: no token, more than one, or one that is not good.
            DependencyUnavailable: no token can be checked yet.
        """
        token = _bearer(headers)
        digest = hashlib.sha256(token).digest()
        if known := self._recall(digest):
            return known
        try:
            identity, key_id, key = await self._verify(token.decode("ascii"))
        except TokenRefused as refusal:
            raise Unauthenticated(f"The access token was refused: {refusal}. {_HINT}") from None
        self._known[digest] = identity, key_id, key
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return identity

    def _recall(self, digest: bytes) -> Identity | None:
        known = self._known.get(digest)
        if known is None:
            return None
        identity, key_id, key = known
        if identity.expires_at + LEEWAY_SECONDS > time.time() and self._keys.get(key_id) is key:
            return identity
        del self._known[digest]
        return None

    async def _verify(self, token: str) -> tuple[Identity, str, Key]:
        parts = token.split(".")
        if len(parts) != 3:
            raise TokenRefused("it is not a signed JWT")
        header = _object(_decode(parts[0]))
        _decode(parts[1]), _decode(parts[2])
        if header.get("alg") != "RS256" or FORBIDDEN_HEADERS & header.keys():
            raise TokenRefused("its header is not accepted")
        key_id = header.get("kid")
        if not isinstance(key_id, str):
            raise TokenRefused("its header names no key")
        key = await self._keys.find(key_id)
        if key is None:
            raise TokenRefused("it is signed with a key that the issuer does not publish")
        try:
            payload = jws.verify(token, key, algorithms=["RS256"])
        except Exception:
            # Whatever the library thinks of it: a token that does not verify is refused, never an error of ours.
            raise TokenRefused("its signature is wrong") from None
        return self._judge(_object(payload)), key_id, key

    def _judge(self, claims: dict[str, Any]) -> Identity:
        now = time.time()
        expires_at, issued_at = _moment(claims, "exp"), _moment(claims, "iat")
        if expires_at + LEEWAY_SECONDS <= now:
            raise TokenRefused("it has expired")
        if max(issued_at, _moment(claims, "nbf") if "nbf" in claims else issued_at) > now + LEEWAY_SECONDS:
            raise TokenRefused("it is not valid yet")
        if claims.get("iss") != self._issuer:
            raise TokenRefused("it is of another issuer")
        audience = claims.get("aud")
        if self._audience not in (audience if isinstance(audience, list) else [audience]):
            raise TokenRefused(f"its audience is not {self._audience}")
        if claims.get("typ") != "Bearer":
            raise TokenRefused("it is not an access token")
        subject, tenant = claims.get("sub"), claims.get("tenant_id")
        if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
            raise TokenRefused("it names no subject")
        if tenant is not None and not isinstance(tenant, str):
            raise TokenRefused("its tenant_id is not a text")
        client = claims.get("azp") if isinstance(claims.get("azp"), str) else None
        # Keycloak names the client so in tokens of client credentials only; a person's token has a session.
        of_client = client is not None and claims.get("client_id") == client and "sid" not in claims
        return Identity(subject, _roles(claims), tenant, expires_at, client, of_client)


def _bearer(headers: list[tuple[bytes, bytes]]) -> bytes:
    values = [value for name, value in headers if name == b"authorization"]
    if not values:
        raise Unauthenticated(f"This needs an access token. {_HINT}")
    if len(values) > 1:
        raise Unauthenticated("There is more than one Authorization header. Send exactly one.")
    scheme, _, token = values[0].partition(b" ")
    token = token.strip(b" ")
    if scheme.lower() != b"bearer" or not token:
        raise Unauthenticated(f"The Authorization header holds no bearer token. {_HINT}")
    if len(token) > MAX_TOKEN or not token.isascii():
        raise Unauthenticated(f"The access token was refused: it is too long or not a JWT. {_HINT}")
    return token


def _decode(part: str) -> bytes:
    """Base64url without padding, and only its canonical form."""
    if not _PART.fullmatch(part):
        raise TokenRefused("it is not a signed JWT")
    try:
        decoded = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        raise TokenRefused("it is not a signed JWT") from None
    if urlsafe_b64encode(decoded).rstrip(b"=").decode() != part:
        raise TokenRefused("it is not canonically encoded")
    return decoded


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        raise TokenRefused("it is not made of JSON") from None
    if not isinstance(value, dict):
        raise TokenRefused("it is not made of JSON objects")
    return value


def _moment(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53 or math.isnan(value):
        raise TokenRefused(f"its {name} is not a time")
    return float(value)


def _roles(claims: dict[str, Any]) -> frozenset[str]:
    access = claims.get("realm_access")
    roles = access.get("roles") if isinstance(access, dict) else None
    return frozenset(role for role in roles if isinstance(role, str)) if isinstance(roles, list) else frozenset()
