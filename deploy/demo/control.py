"""How tests, the demo and benchmarks direct a scripted model: add scripts, look at requests, release held streams."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deploy.demo.journal import Journal, Record
from deploy.demo.scripts import Script, ScriptData

MAX_WAIT_SECONDS = 120.0
_SCRIPTS: TypeAdapter[ScriptData | list[ScriptData]] = TypeAdapter(ScriptData | list[ScriptData])


class _Release(BaseModel):
    """Which streams go on: this one, those of a model, or all that are held."""

    model_config = ConfigDict(extra="forbid")

    request: int | None = None
    model: str | None = None


def control_routes(scripts: MutableMapping[str, Script], journal: Journal) -> list[Route]:
    """Routes under /control."""
    control = _Control(scripts, journal)
    return [
        Route("/control/scripts", control.add, methods=["POST"]),
        Route("/control/scripts/{model:path}", control.remove, methods=["DELETE"]),
        Route("/control/requests", control.requests, methods=["GET"]),
        Route("/control/requests", control.forget, methods=["DELETE"]),
        Route("/control/requests/{number:int}", control.request, methods=["GET"]),
        Route("/control/release", control.release, methods=["POST"]),
    ]


class _Control:
    def __init__(self, scripts: MutableMapping[str, Script], journal: Journal) -> None:
        self._scripts = scripts
        self._journal = journal

    async def add(self, request: Request) -> Response:
        """Body: one script or a list of them; a script of the same name is replaced."""
        try:
            given = _SCRIPTS.validate_json(await request.body())
        except ValidationError as error:
            raise _unacceptable(error) from error
        added = given if isinstance(given, list) else [given]
        for data in added:
            self._scripts[data.model] = data.script()
        return JSONResponse({"models": [data.model for data in added]}, 201)

    async def remove(self, request: Request) -> Response:
        self._scripts.pop(request.path_params["model"], None)
        return Response(status_code=204)

    async def requests(self, request: Request) -> Response:
        """`?model=&state=&count=1&wait=10` waits until so many requests fit."""
        query = request.query_params
        model, state = query.get("model"), query.get("state")
        count, wait = int(query.get("count", 1)), float(query.get("wait", 0))

        def found() -> list[Record]:
            return self._journal.find(model, state)

        await self._journal.wait_for(lambda: len(found()) >= count, min(wait, MAX_WAIT_SECONDS))
        return JSONResponse({"items": [record.data() for record in found()]})

    async def request(self, request: Request) -> Response:
        """One record with the request's body, as long as that is kept."""
        record = self._journal.get(request.path_params["number"])
        if record is None:
            raise HTTPException(404, "no such request")
        body = None if record.body is None else record.body.decode("utf-8", "replace")
        return JSONResponse(record.data() | {"body": body})

    async def forget(self, request: Request) -> Response:
        self._journal.forget()
        return Response(status_code=204)

    async def release(self, request: Request) -> Response:
        try:
            wanted = _Release.model_validate_json(await request.body() or b"{}")
        except ValidationError as error:
            raise _unacceptable(error) from error

        def chosen(record: Record) -> bool:
            return wanted.request in (None, record.id) and wanted.model in (None, record.model)

        return JSONResponse({"released": self._journal.release(chosen)})


def _unacceptable(error: ValidationError) -> HTTPException:
    flaws: list[Any] = error.errors(include_url=False, include_context=False, include_input=False)
    return HTTPException(422, "; ".join(f"{'.'.join(map(str, flaw['loc']))}: {flaw['msg']}" for flaw in flaws))
