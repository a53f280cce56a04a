"""The issuer's public keys: fetched in the background, kept while the issuer is away, refetched for unknown key ids."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from typing import Any

import httpx

from libs.domain.errors import DependencyUnavailable
from libs.settings.oidc import OidcSettings

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 300.0
RETRY_SECONDS = 2.0  # while there are no keys at all
UNKNOWN_KEY_SECONDS = 10.0  # at most one fetch in so long because of key ids that nobody knows
FETCH_SECONDS = 3.0
MAX_BYTES = 1_048_576

Key = dict[str, Any]


class KeySet:
    """Signing keys by key id. A key object is the same as long as the issuer publishes it unchanged."""

    def __init__(self, settings: OidcSettings, client: httpx.AsyncClient | None = None) -> None:
        self._url = settings.oidc_jwks_url
        verify = ssl.create_default_context(cafile=settings.oidc_ca_file) if settings.oidc_ca_file else True
        self._client = client or httpx.AsyncClient(verify=verify, timeout=FETCH_SECONDS, trust_env=False)
        self._keys: dict[str, Key] = {}
        self._fetching: asyncio.Task[None] | None = None
        self._refetched_at = float("-inf")
        self._failure: str | None = "they were not fetched yet"

    @property
    def loaded(self) -> bool:
        return bool(self._keys)

    @property
    def failure(self) -> str | None:
        """Why the last fetch failed; the keys from before are still good."""
        return self._failure

    def get(self, key_id: str) -> Key | None:
        return self._keys.get(key_id)

    async def find(self, key_id: str) -> Key | None:
        """The key, after a fetch if it is not known.

        Raises:
            DependencyUnavailable: there are no keys at all.
        """
        if key_id not in self._keys:
            await self._refetch()
        if not self._keys:
            raise DependencyUnavailable("oidc", "Access tokens cannot be checked: the issuer's keys are not there yet.")
        return self._keys.get(key_id)

    async def keep_fresh(self) -> None:
        """Fetch until cancelled."""
        while True:
            await self._fetch_once()
            await asyncio.sleep(REFRESH_SECONDS if self._keys else RETRY_SECONDS)

    async def close(self) -> None:
        await self._client.aclose()

    async def _refetch(self) -> None:
        pause = UNKNOWN_KEY_SECONDS if self._keys else RETRY_SECONDS
        if self._fetching is None and time.monotonic() - self._refetched_at < pause:
            return
        self._refetched_at = time.monotonic()
        await self._fetch_once()

    async def _fetch_once(self) -> None:
        """One fetch at a time; whoever comes meanwhile waits for it."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch())
            self._fetching.add_done_callback(self._fetched)
        await asyncio.shield(self._fetching)

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                response = await self._client.get(self._url, headers={"Accept": "application/json"})
            response.raise_for_status()
            if len(response.content) > MAX_BYTES:
                raise ValueError("the key set is too long")
            found = signing_keys(response.json())
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError, ValueError, RecursionError) as error:
            self._failure = f"the last fetch failed: {type(error).__name__}"
            logger.warning("the issuer's keys could not be fetched: %s", type(error).__name__)
            return
        if not found:
            self._failure = "the issuer published no key that signs RS256"
            return
        # Unchanged keys stay the same objects, by which cached tokens are known.
        self._keys = {key_id: _same(self._keys.get(key_id), key) for key_id, key in found.items()}
        self._failure = None


def _same(old: Key | None, new: Key) -> Key:
    return old if old == new else new


def signing_keys(document: Any) -> dict[str, Key]:
    """The keys of a JWKS that sign RS256, by key id."""
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise ValueError("not a key set")
    return {
        key["kid"]: {"kty": "RSA", "alg": "RS256", "n": key["n"], "e": key["e"]}
        for key in keys
        if isinstance(key, dict)
        and all(isinstance(key.get(name), str) for name in ("kid", "n", "e"))
        and key.get("kty") == "RSA"
        and key.get("use", "sig") == "sig"
        and key.get("alg", "RS256") == "RS256"
    }
