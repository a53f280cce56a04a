"""An upstream that tells what reached it: `python -m tests.conformance.gateway.echo PORT`, in the API's place.

/v1/runs/<id>/events?gap=1&count=3   events with a pause between them; closed ones are counted in /v1/aborted
/v1/limited                          429 with limits of its own
anything else                        method, path, headers and the body's length as JSON
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

LIMITS = {"RateLimit-Limit": "5", "RateLimit-Remaining": "0", "RateLimit-Reset": "1", "Retry-After": "1"}
aborted = 0


async def events(request: Request) -> Response:
    gap, count = float(request.query_params.get("gap", "0")), int(request.query_params.get("count", "3"))

    async def frames() -> AsyncIterator[bytes]:
        global aborted
        done = False
        try:
            for number in range(1, count + 1):
                yield f"id: {number}\ndata: {number}\n\n".encode()
                await asyncio.sleep(gap if number < count else 0)
            done = True
        finally:
            aborted += not done

    return StreamingResponse(frames(), media_type="text/event-stream")


async def count_aborted(request: Request) -> Response:
    return JSONResponse(aborted)


async def limited(request: Request) -> Response:
    return JSONResponse({"status": 429, "code": "rate_limited"}, 429, LIMITS, "application/problem+json")


async def echo(request: Request) -> Response:
    length = 0
    async for piece in request.stream():
        length += len(piece)
    headers: dict[str, list[str]] = {}
    for name, value in request.headers.items():
        headers.setdefault(name, []).append(value)
    path = request.scope["raw_path"].decode("latin-1")
    return JSONResponse({"method": request.method, "path": path, "headers": headers, "length": length})


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
app = Starlette(
    routes=[
        Route("/v1/runs/{run}/events", events),
        Route("/v1/aborted", count_aborted),
        Route("/v1/limited", limited),
        Route("/{path:path}", echo, methods=METHODS),
    ]
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", timeout_keep_alive=75)
