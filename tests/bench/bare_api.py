"""The floor of the benchmarks: FastAPI and asyncpg, one INSERT, and a stream of one event; tuned like ours.

Beside it, what a run with a log costs at least (`tests.bench.bare_log`).
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse
from temporalio.client import Client

from tests.bench import bare_log
from tests.bench.bare_worker import LOGGED, QUEUE

TABLE = "CREATE TABLE IF NOT EXISTS bare_runs (id uuid PRIMARY KEY DEFAULT uuidv7(), input text NOT NULL)"


class NewRun(BaseModel):
    input: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    pool = await asyncpg.create_pool(os.environ["BENCH_DATABASE_URL"], min_size=10, max_size=20)
    await pool.execute(TABLE)
    await pool.execute(bare_log.TABLES)
    temporal = await Client.connect(os.environ["TEMPORAL_ADDRESS"], namespace=os.environ["TEMPORAL_NAMESPACE"])
    followers = bare_log.Followers(pool, bare_log.open_redis())
    listening = asyncio.create_task(followers.listen())
    yield {"pool": pool, "temporal": temporal, "followers": followers}
    listening.cancel()
    await pool.close()


app = FastAPI(lifespan=lifespan)


@app.post("/runs", status_code=202)
async def create_run(run: NewRun, request: Request) -> dict[str, str]:
    row = await request.state.pool.fetchrow("INSERT INTO bare_runs (input) VALUES ($1) RETURNING id", run.input)
    return {"id": str(row["id"])}


@app.post("/logged-runs", status_code=202)
async def create_logged_run(run: NewRun, request: Request) -> JSONResponse:
    id_ = str(await request.state.pool.fetchval(bare_log.CREATE, run.input))

    async def start() -> None:
        await request.state.temporal.start_workflow(LOGGED, args=[run.input, id_], id=f"bare-{id_}", task_queue=QUEUE)

    return JSONResponse({"id": id_}, 202, background=BackgroundTask(start))


@app.get("/logged-runs/{run}/events")
async def logged_events(run: str, request: Request) -> StreamingResponse:
    return StreamingResponse(request.state.followers.stream(run), media_type="text/event-stream")


@app.get("/events")
async def events() -> StreamingResponse:
    async def one() -> AsyncIterator[str]:
        yield 'id: 1\nevent: run.completed\ndata: {"output": "The answer is forty-two."}\n\n'

    return StreamingResponse(one(), media_type="text/event-stream")


if __name__ == "__main__":
    gc.freeze()
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", log_level="warning",
        access_log=False,
    )  # fmt: skip
