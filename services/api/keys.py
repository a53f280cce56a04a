"""The issuer's public keys: fetched in the background, kept while the issuer is away, refetched for unknown key ids."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections import deque
from typing import Any

import httpx

from libs.domain.errors import DependencyUnavailable
from libs.settings.oidc import OidcSettings

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 300.0  # how long a withdrawn key can be believed
RETRY_SECONDS = 2.0  # while there are no keys at all
AWAY_SECONDS = 10.0  # while the issuer is away and the keys from before are used
# Fetches because of key ids that nobody knows: a few soon after each other, so that a rotated key is found at once also
# when somebody has just sent nonsense; under a flood of nonsense one in so many seconds.
UNKNOWN_KEY_BURST, BURST_SECONDS, UNKNOWN_KEY_PAUSE = 5, 45.0, 1.0
UNKNOWN_KEY_SECONDS = 9.0
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
        self._refetched: deque[float] = deque(maxlen=UNKNOWN_KEY_BURST)
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
            kept = AWAY_SECONDS if self._failure else REFRESH_SECONDS
            await asyncio.sleep(kept if self._keys else RETRY_SECONDS)

    async def close(self) -> None:
        await self._client.aclose()

    async def _refetch(self) -> None:
        if self._fetching is None and not self._may_refetch():
            return
        await self._fetch_once()

    def _may_refetch(self) -> bool:
        """Take one of the fetches that unknown key ids may cause."""
        now = time.monotonic()
        since = now - self._refetched[-1] if self._refetched else float("inf")
        if self._keys:
            calm = len(self._refetched) < UNKNOWN_KEY_BURST or now - self._refetched[0] >= BURST_SECONDS
            allowed = since >= (UNKNOWN_KEY_PAUSE if calm else UNKNOWN_KEY_SECONDS)
        else:
            allowed = since >= RETRY_SECONDS
        if allowed:
            self._refetched.append(now)
        return allowed

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
        # Unchanged keys stay the same objects, by which cached tokens are known. An empty set withdraws them all.
        self._keys = {key_id: _same(self._keys.get(key_id), key) for key_id, key in found.items()}
        self._failure = None if found else "the issuer publishes no key that signs RS256"


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
