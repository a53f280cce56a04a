"""What `keycloak-jwt` does with Kong's libraries, done with Python's: keys fetched, a signature verified."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import httpx
from jose import jws

from tests.conformance.gateway.decisions import VERDICT, Decisions

# As in plugins/keycloak-jwt/schema.lua.
DEFAULTS: dict[str, Any] = {
    "algorithms": ["RS256"],
    "leeway": 5,
    "jwks_ttl": 300,
    "jwks_retry": 10,
    "jwks_max_stale": 3600,
    "jwks_min_refresh": 10,
    "service_account_prefix": "",
    "tenant_claim": "tenant_id",
    "realm": "api",
}


class Refused(Exception):
    """The request is not let through: status, body and headers of the answer."""

    def __init__(self, status: int, body: Any, headers: dict[str, str]) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers


class TokenCheck:
    """The plugin, for one issuer."""

    def __init__(self, decisions: Decisions, client: httpx.AsyncClient) -> None:
        self._decisions = decisions
        self._client = client
        self._keys: dict[str, dict[str, Any]] = {}
        self._fetched = -1e9

    async def identify(self, config: dict[str, Any], authorization: list[str]) -> dict[str, Any]:
        """Who calls, as `verdict.identity` says.

        Raises:
            Refused: nobody that may.
        """
        conf = {**DEFAULTS, **config}
        sent = authorization if len(authorization) > 1 else (authorization[0] if authorization else None)
        token, unusable, _ = self._ask("bearer", sent)
        if token is None:
            raise self._refused(conf, 401, unusable or "no bearer token", "invalid_request" if unusable else None)
        claims = await self._verify(conf, token)
        who, refused, _ = self._ask("identity", conf, claims)
        if who is None:
            raise self._refused(conf, 403, refused, "insufficient_scope")
        found: dict[str, Any] = who
        return found

    async def _verify(self, conf: dict[str, Any], token: str) -> Any:
        try:
            header, claims = (_decode(part) for part in token.split(".")[:2])
        except ValueError:
            raise self._refused(conf, 401, "malformed token", "invalid_token") from None
        if flaw := self._ask("header_flaw", conf, header, claims)[0]:
            raise self._refused(conf, 401, flaw, "invalid_token")
        key = await self._key(conf, header["kid"])
        if key is None:
            raise self._refused(conf, 401, "unknown key", "invalid_token")
        if flaw := self._ask("key_flaw", key, header)[0]:
            raise self._refused(conf, 401, flaw, "invalid_token")
        try:
            jws.verify(token, key, algorithms=conf["algorithms"])
        except Exception:
            raise self._refused(conf, 401, "bad signature", "invalid_token") from None
        if flaw := self._ask("claims_flaw", conf, claims, int(time.time()))[0]:
            raise self._refused(conf, 401, flaw, "invalid_token")
        return claims

    async def _key(self, conf: dict[str, Any], key_id: str) -> dict[str, Any] | None:
        age = time.monotonic() - self._fetched
        if age > conf["jwks_ttl"] or (key_id not in self._keys and age > conf["jwks_min_refresh"]):
            try:
                answer = await self._client.get(conf["jwks_uri"], timeout=2)
            except httpx.TransportError:
                if not self._keys:
                    raise self._refused(conf, 503, "identity provider unavailable", "invalid_token") from None
            else:
                keys = answer.json()["keys"]
                self._keys = {key["kid"]: key for key in keys if self._ask("signing_key", key)[0]}
                self._fetched = time.monotonic()
        return self._keys.get(key_id)

    def _ask(self, function: str, *arguments: Any) -> list[Any]:
        return self._decisions.ask(VERDICT, function, *arguments)

    def _refused(self, conf: dict[str, Any], status: int, detail: str, code: str | None) -> Refused:
        return Refused(*self._ask("refusal", conf, status, detail, code))


def _decode(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
