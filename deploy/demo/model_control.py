"""Client of a scripted model's control routes, for whoever directs it from another process."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import httpx


class ModelControl:
    """Talks to the scripted model at `url` (http://127.0.0.1:PORT)."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=130)

    async def __aenter__(self) -> ModelControl:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def add(self, model: str, turns: list[dict[str, Any]]) -> None:
        """Add a script, or replace the one of this name."""
        answer = await self._http.post("/control/scripts", json={"model": model, "turns": turns})
        answer.raise_for_status()

    async def requests(
        self, model: str | None = None, state: str | None = None, count: int = 1, wait: float = 0
    ) -> list[dict[str, Any]]:
        """The requests that fit; with `wait` (seconds), as soon as there are `count` of them."""
        query = {"model": model, "state": state, "count": count, "wait": wait}
        answer = await self._http.get(
            "/control/requests", params={name: value for name, value in query.items() if value is not None}
        )
        items: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
        return items

    async def request(self, number: int) -> dict[str, Any]:
        """One record, with the request's body."""
        record: dict[str, Any] = (await self._http.get(f"/control/requests/{number}")).raise_for_status().json()
        return record

    async def release(self, model: str | None = None, request: int | None = None) -> int:
        """Let held streams go on; gives how many there were."""
        chosen = {"model": model, "request": request}
        body = {name: value for name, value in chosen.items() if value is not None}
        released: int = (await self._http.post("/control/release", json=body)).raise_for_status().json()["released"]
        return released

    async def forget(self) -> None:
        """Forget finished requests and every count of attempts."""
        (await self._http.delete("/control/requests")).raise_for_status()
