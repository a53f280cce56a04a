"""Sends scores to LangFuse; never tries again by itself, and says what became of each.

LangFuse 3 takes a score as an object; the SDK of version 4 sends a list. Which of the two a server takes is found out.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import httpx

from libs.clients.otlp import RETRYABLE, Away, Outcome, Refused, Sent, retry_after
from libs.settings.traces import Destination

PATH = "/api/public/scores"


class ScoreReceiver:
    """A LangFuse project, as far as it takes scores."""

    def __init__(self, destination: Destination, seconds: float, connections: int, ca_file: str | None = None) -> None:
        self._as_list = False
        self._url = destination.project.url + PATH
        self._seconds = seconds
        self._http = httpx.AsyncClient(
            headers={"Authorization": destination.headers["Authorization"]},
            timeout=httpx.Timeout(seconds),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            verify=ssl.create_default_context(cafile=ca_file) if self._url.startswith("https") else False,
            trust_env=False,
        )

    async def send(self, score: dict[str, Any]) -> Outcome:
        """Send one score; under the same id and timestamp it is the same score."""
        as_list = self._as_list  # others send at the same time
        outcome = await self._post([score] if as_list else score)
        if isinstance(outcome, Refused) and outcome.status == 400:
            other = await self._post(score if as_list else [score])
            if isinstance(other, Sent):
                self._as_list = not as_list
            if not isinstance(other, Refused):  # also when nobody knows: it is refused only if both are
                return other
        return outcome

    async def _post(self, body: Any) -> Outcome:
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._http.post(self._url, json=body)
                return _judged(answer)
        except (TimeoutError, httpx.TimeoutException):
            return Away(f"no answer within {self._seconds:g} s")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Away(f"cannot be reached: {type(error).__name__}")

    async def close(self) -> None:
        await self._http.aclose()


def _judged(answer: httpx.Response) -> Outcome:
    status = answer.status_code
    if status in RETRYABLE or status >= 500:
        return Away(f"answered {status}", retry_after(answer.headers.get("Retry-After")))
    if status >= 400:
        return Refused(status, _help(status))
    if status >= 300:
        return Away(f"answered {status}, which is followed nowhere: check the address")
    if status == 207 and _rejected(answer):
        return Refused(status, _help(400))
    return Sent()


def _rejected(answer: httpx.Response) -> bool:
    """Whether a list was taken without its one score. Why is not passed on: it may quote the score."""
    try:
        return bool(answer.json().get("rejected"))
    except (ValueError, AttributeError):
        return False


def _help(status: int) -> str:
    return {
        400: "It does not accept the score: a score config of this name may want another type or range.",
        401: "It does not accept the keys: check the project's public and secret key.",
        403: "The keys may not write scores.",
        404: "It has no such endpoint: check the address.",
    }.get(status, "It refuses the score.")
