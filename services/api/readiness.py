"""Which of the parts behind the API answer; only the database and the issuer's keys are needed to be ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from libs.database.engine import Database
from libs.domain.errors import DependencyUnavailable
from services.api.keys import KeySet

CHECK_SECONDS = 1.0
BELIEVED_SECONDS = 1.0
REQUIRED = frozenset({"database", "oidc"})

Check = Callable[[], Awaitable[None]]


class Readiness:
    """Checks all parts at once, at most once a second, each with a limit of its own."""

    def __init__(self, checks: dict[str, Check]) -> None:
        self._checks = checks
        self._report: dict[str, Any] = {}
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def report(self) -> tuple[bool, dict[str, Any]]:
        """Whether this process can serve, and the state of each part."""
        async with self._lock:
            if time.monotonic() >= self._until:
                states = await asyncio.gather(*(_state(check) for check in self._checks.values()))
                self._report = {
                    name: {**state, "required": name in REQUIRED}
                    for name, state in zip(self._checks, states, strict=True)
                }
                self._until = time.monotonic() + BELIEVED_SECONDS
        ready = all(part["status"] == "ok" for part in self._report.values() if part["required"])
        return ready, self._report


async def _state(check: Check) -> dict[str, Any]:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except TimeoutError:
        return {"status": "down", "detail": f"no answer within {CHECK_SECONDS:g} s"}
    except DependencyUnavailable as error:
        return {"status": "down", "detail": error.detail}
    except (SQLAlchemyError, OSError) as error:
        return {"status": "down", "detail": type(error).__name__}
    return {"status": "ok"}


def check_database(database: Database) -> Check:
    async def check() -> None:
        async with database.maintenance() as connection:
            await connection.exec_driver_sql("SELECT 1")

    return check


def check_keys(keys: KeySet) -> Check:
    async def check() -> None:
        if not keys.loaded:
            raise DependencyUnavailable("oidc", keys.failure or "the issuer's keys are not loaded")

    return check
