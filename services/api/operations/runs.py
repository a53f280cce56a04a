"""Starting, reading and listing runs."""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.clients.object_store import ObjectStore
from libs.database import admission, agents, idempotency, runs
from libs.database.admission import Given, NoPlace, Places
from libs.database.idempotency import Key
from libs.database.runs import NewRun, Recorded, RunContent, RunFilter, RunRow
from libs.domain.agents import AgentSpec, Limits
from libs.domain.errors import (
    AgentArchived,
    DependencyUnavailable,
    NoPromotedVersion,
    NotFound,
    TenantSuspended,
    TooManyRuns,
)
from libs.domain.texts import LARGE, clean, clean_value, dump
from services.api.answers import Answer
from services.api.callers import Caller, check_standing
from services.api.counting import ACCEPTED
from services.api.dependencies import Call
from services.api.operations.allowances import require_model
from services.api.operations.idempotency import read_winner, reused
from services.api.schemas.runs import RunCreate, new_run_json, run_json
from services.api.services import Services

REMEMBERED_TERMS = 4096
ADMITTED_AT_ONCE = 50
FULL_RETRY_SECONDS = 5


class Terms(NamedTuple):
    """What a version says that a new run has to know."""

    model: str
    limits: Limits


_terms_of_versions: OrderedDict[tuple[UUID, UUID, int], Terms] = OrderedDict()  # versions never change


async def start_run(call: Call, wanted: RunCreate) -> Answer:
    """Record a run and answer; its workflow is started behind the answer.

    The row is committed first: a run that was never started can be found and started again, a workflow without a row
    cannot be explained to anyone.
    """
    text, replaced = _input_text(wanted.input)
    stored = None
    if len(text) > LARGE // 4 and len(body := text.encode()) > LARGE:
        if call.key and (answer := await _answered_before(call, wanted, text)):
            return answer
        stored = await _store(call.services.objects, call.tenant_id, body)
    try:
        return await _accept(call, wanted, text, stored, replaced, exactly=False)
    except NoPlace:  # near the limit every place counts
        return await _accept(call, wanted, text, stored, replaced, exactly=True)


async def _accept(
    call: Call, wanted: RunCreate, text: str, stored: str | None, replaced: int, *, exactly: bool
) -> Answer:
    """Raises `NoPlace` where it has to be counted exactly; nothing was kept then, the key neither."""
    starts, tenant_id = call.services.starts, call.tenant_id
    admitted: list[Given] = []
    async with call.services.database.tenant(tenant_id) as connection:
        run, places = await _prepare(connection, call, wanted, text, stored, replaced, exactly=exactly)
        try:
            recorded = await _record(connection, run, places, call.key)
        except NoPlace:
            raise _full() if places.exact else NoPlace from None
        if recorded is None and call.key:
            return await _replay(connection, call.key, wanted.agent, text)
        assert recorded is not None  # noqa: S101 - without a key there is nobody to lose to
        if recorded.room and not recorded.admitted:  # others waited before; the transaction holds the tenant's lock
            admitted = await admission.admit(connection, tenant_id, ADMITTED_AT_ONCE)
    ACCEPTED.inc()
    if recorded.admitted:
        starts.start(tenant_id, recorded.id, recorded.deadline_at, run.priority)
    for given in admitted:
        starts.admitted(tenant_id, given)
    return Answer(202, new_run_json(wanted.agent, run, recorded, text), f"/v1/runs/{recorded.id}")


def _full() -> TooManyRuns:
    return TooManyRuns(
        "As many runs of your tenant as its plan allows wait for their turn. Try again when some have ended.",
        FULL_RETRY_SECONDS,
    )


async def get_run(services: Services, caller: Caller, run_id: UUID, wait: float) -> str:
    """The run as JSON text, when it has finished or the wait is over."""
    found = await _read(services, caller, run_id)
    if wait > 0 and found[0].finished_at is None:
        await _wait_for_end(services, caller, run_id, wait)
        found = await _read(services, caller, run_id)
    row, content = found
    return run_json(
        row,
        input=await _text(services.objects, content.input, content.input_object),
        output=await _text(services.objects, content.output, content.output_object),
    )


async def list_runs(services: Services, caller: Caller, wanted: RunFilter, limit: int) -> list[RunRow]:
    async with services.database.tenant(caller.tenant_id) as connection:
        return await runs.page(connection, wanted._replace(subject=caller.sees_only), limit)


def missing_run() -> NotFound:
    return NotFound("There is no run with this id, or it is not yours.")


def _input_text(value: Any) -> tuple[str, int]:
    """JSON text that can be stored, and how many characters had to be replaced for that; mostly none."""
    text = dump(value)
    if "\\u0000" not in text and not clean(text)[1]:
        return text, 0
    cleaned, replaced = clean_value(value)
    return dump(cleaned), replaced


async def _prepare(
    connection: AsyncConnection,
    call: Call,
    wanted: RunCreate,
    text: str,
    stored: str | None,
    replaced: int,
    *,
    exactly: bool,
) -> tuple[NewRun, Places]:
    runnable = await agents.runnable(connection, wanted.agent, wanted.version, exactly=exactly)
    if runnable is None or runnable.tenant_status != "active":
        raise TenantSuspended("Your tenant is suspended. Ask the administrator of the platform.")
    if runnable.agent_id is None:
        raise NotFound(f"There is no agent {wanted.agent}.")
    if runnable.archived:
        raise AgentArchived(f"The agent {wanted.agent} is archived; it takes no new runs.")
    if runnable.number is None:
        if wanted.version is not None:
            raise NotFound(f"The agent {wanted.agent} has no version {wanted.version}.")
        raise NoPromotedVersion(f"The agent {wanted.agent} has no promoted version. Promote one, or name a version.")
    terms = await _terms(connection, call.tenant_id, runnable.agent_id, runnable.number)
    require_model(runnable.allowed_models, terms.model)
    limits = terms.limits
    if wanted.limits is not None:
        limits = limits.within(wanted.limits)
    queued = {"agent": wanted.agent, "version": runnable.number, "by": call.caller.subject}
    if replaced:
        queued["replaced"] = replaced
    run = NewRun(
        tenant_id=call.tenant_id,
        agent_id=runnable.agent_id,
        version=runnable.number,
        by=call.caller.subject,
        input=None if stored else text,
        input_object=stored,
        labels=dump(wanted.labels),
        priority=wanted.priority,
        limit_steps=limits.steps,
        limit_tokens=limits.tokens,
        limit_cost=limits.cost_usd,
        seconds=limits.seconds,
        data=dump(queued),
    )
    return run, runnable.places


async def _terms(connection: AsyncConnection, tenant_id: UUID, agent_id: UUID, number: int) -> Terms:
    version = tenant_id, agent_id, number
    terms = _terms_of_versions.get(version)
    if terms is None:
        spec = AgentSpec.model_validate_json(await agents.spec(connection, agent_id, number))
        terms = _terms_of_versions[version] = Terms(spec.model, spec.limits)
        if len(_terms_of_versions) > REMEMBERED_TERMS:
            _terms_of_versions.popitem(last=False)
    return terms


async def _record(connection: AsyncConnection, run: NewRun, places: Places, key: Key | None) -> Recorded | None:
    if key is None:
        return await runs.add(connection, run, places)
    return await runs.add_once(
        connection, run, places, subject=key.subject, operation=key.operation, key=key.key, digest=key.digest
    )


async def _answered_before(call: Call, wanted: RunCreate, text: str) -> Answer | None:
    """Looked up before a large input is stored: a repeated request needs no object store."""
    assert call.key is not None  # noqa: S101 - asked for keyed requests only
    async with call.services.database.tenant(call.tenant_id) as connection:
        if await idempotency.read(connection, call.key) is None:
            return None
        return await _replay(connection, call.key, wanted.agent, text)


async def _replay(connection: AsyncConnection, key: Key, agent: str, text: str) -> Answer:
    """The first answer, built from the row as it was; the input is the one just sent, since the digests are equal."""
    winner = await read_winner(connection, key)
    if winner.digest != key.digest or winner.resource_id is None:
        raise reused()
    row = await runs.find(connection, winner.resource_id, None)
    if row is None:
        raise NotFound("The run of the first request is no longer kept. Use a new Idempotency-Key.")
    unused = (None,) * 6
    run = NewRun(
        key.tenant_id, row.id, row.version, row.created_by, None, None, row.labels, row.priority, *unused[:4], ""
    )
    body = new_run_json(agent, run, Recorded(row.id, row.created_at, row.deadline_at), text)
    return Answer(202, body, f"/v1/runs/{row.id}", replayed=True)


async def _store(objects: ObjectStore, tenant_id: UUID, body: bytes) -> str:
    key = f"{tenant_id}/inputs/{uuid4()}"
    await objects.put(key, body, "application/json")
    return dump({"key": key, "size": len(body), "sha256": hashlib.sha256(body).hexdigest()})


async def _read(services: Services, caller: Caller, run_id: UUID) -> tuple[RunRow, RunContent]:
    async with services.database.tenant(caller.tenant_id) as connection:
        found = await runs.get(connection, run_id, caller.sees_only)
    if found is None:
        raise missing_run()
    return found


async def _wait_for_end(services: Services, caller: Caller, run_id: UUID, wait: float) -> None:
    """Until the run's end, at most so long; who may stay no longer is told so.

    Raises:
        Forbidden: the caller was blocked meanwhile.
    """
    live = services.live
    end = time.monotonic() + min(wait, caller.expires_at - time.time())
    with live.follow(caller.tenant_id, run_id) as follower, services.standing.watch(caller, follower.leave):
        while (left := end - time.monotonic()) > 0 and not live.stopping:
            await follower.wait(min(left, live.poll_seconds))
            if follower.gone:
                await check_standing(caller, services.tenancy)
            async with services.database.tenant(caller.tenant_id) as connection:
                row = await runs.find(connection, run_id, caller.sees_only)
            if row is None or row.finished_at is not None:
                return


async def _text(objects: ObjectStore, inline: str | None, stored: str | None) -> str:
    """JSON text of a value, from the row or from the object store."""
    if stored is None:
        return inline if inline is not None else "null"
    try:
        return (await objects.get(json.loads(stored)["key"])).decode()
    except NotFound:
        raise DependencyUnavailable("object_store", "The object store does not have this run's content.") from None
