"""Uploading, finding and reading artifacts."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from uuid import UUID, uuid4

from libs.clients.object_store import ObjectStore
from libs.database import artifacts, idempotency, runs, storage, tenants
from libs.database.artifacts import ArtifactRow
from libs.database.engine import Database
from libs.database.idempotency import Key
from libs.domain.errors import DependencyUnavailable, InvalidRequest, NotFound, PayloadTooLarge, QuotaExceeded
from services.api.answers import Answer
from services.api.callers import Caller
from services.api.dependencies import Call
from services.api.operations.idempotency import read_winner, reused
from services.api.operations.runs import missing_run
from services.api.schemas.artifacts import artifact_json

MAX_ARTIFACT = 32 * 1024 * 1024
UPLOAD_SECONDS = 600


async def create_artifact(call: Call, name: str, media_type: str, body: AsyncIterator[bytes]) -> Answer:
    """Store what arrives as it arrives, then record it. An upload that fails leaves no row, and frees its key."""
    key = call.key
    database = call.services.database
    if key is None:
        return await _upload(call, name, media_type, body)
    async with database.tenant(call.tenant_id) as connection:
        claimed = await idempotency.claim(connection, key)
    if not claimed:
        return await _replay(database, key, body)
    try:
        return await _upload(call, name, media_type, body)
    except BaseException:
        await asyncio.shield(_release(database, key))
        raise


async def list_artifacts(
    database: Database, caller: Caller, run_id: UUID | None, before: UUID | None, limit: int
) -> list[ArtifactRow]:
    async with database.tenant(caller.tenant_id) as connection:
        found = await artifacts.page(connection, run_id, caller.sees_only, before, limit)
        if not found and run_id and await runs.find(connection, run_id, caller.sees_only) is None:
            raise missing_run()
        return found


async def get_artifact(database: Database, caller: Caller, artifact_id: UUID) -> ArtifactRow:
    async with database.tenant(caller.tenant_id) as connection:
        row = await artifacts.find(connection, artifact_id, caller.sees_only)
    if row is None:
        raise NotFound("There is no artifact with this id, or it is not yours.")
    return row


async def _upload(call: Call, name: str, media_type: str, body: AsyncIterator[bytes]) -> Answer:
    object_key = f"{call.tenant_id}/uploads/{uuid4()}"
    size, sha256 = await _store(call, object_key, media_type, body, await _room(call))
    try:
        return await _record(call, name, media_type, object_key, size, sha256)
    except QuotaExceeded:
        await asyncio.shield(_discard(call.services.objects, object_key))
        raise


async def _record(call: Call, name: str, media_type: str, object_key: str, size: int, sha256: str) -> Answer:
    quota = _quota(call)
    async with call.services.database.tenant(call.tenant_id) as connection:
        if quota is not None and await storage.lock(connection, call.tenant_id) + size > quota:
            raise _no_room(quota)
        artifact_id = await tenants.new_id(connection)
        row = await artifacts.add(
            connection,
            call.tenant_id,
            artifact_id,
            name=name,
            media_type=media_type,
            size=size,
            sha256=sha256,
            object_key=object_key,
            by=call.caller.subject,
        )
        answer = Answer(201, artifact_json(row), f"/v1/artifacts/{row.id}")
        if call.key:
            sealed = call.key._replace(digest=_with_content(call.key, sha256))
            await idempotency.record(connection, sealed, answer.status, answer.location, answer.body)
    return answer


def _quota(call: Call) -> int | None:
    """Bytes that the tenant's artifacts may have together."""
    plan = call.services.tenancy.plan(call.tenant_id)
    return plan.artifact_bytes if plan else None


async def _room(call: Call) -> int | None:
    """Bytes that are left as it seems now; whether that is so is decided when the upload is recorded."""
    quota = _quota(call)
    if quota is None:
        return None
    async with call.services.database.tenant(call.tenant_id) as connection:
        room = quota - await storage.artifact_bytes(connection, call.tenant_id)
    if room <= 0:
        raise _no_room(quota)
    return room


async def _store(
    call: Call, object_key: str, media_type: str, body: AsyncIterator[bytes], room: int | None
) -> tuple[int, str]:
    most = MAX_ARTIFACT if room is None else min(MAX_ARTIFACT, room)
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            return await call.services.objects.put_stream(object_key, body, media_type, most)
    except TimeoutError:
        raise InvalidRequest(f"The upload took longer than {UPLOAD_SECONDS} seconds.") from None
    except PayloadTooLarge:
        raise (_too_large() if most == MAX_ARTIFACT else _no_room(_quota(call) or 0)) from None


async def _discard(objects: ObjectStore, object_key: str) -> None:
    """Nothing refers to the object; where it cannot be deleted now, it is garbage like any other."""
    with suppress(DependencyUnavailable):
        await objects.delete([object_key])


def _no_room(quota: int) -> QuotaExceeded:
    return QuotaExceeded(
        f"Your tenant's plan allows {quota:,} bytes of artifacts, and with this one there would be more. "
        "Delete runs that are no longer needed, or ask the administrator of the platform for another plan."
    )


async def _replay(database: Database, key: Key, body: AsyncIterator[bytes]) -> Answer:
    """What was sent is read to its end, to know whether it is the same."""
    async with database.tenant(key.tenant_id) as connection:
        winner = await read_winner(connection, key)
    seen, size = hashlib.sha256(), 0
    async for chunk in body:
        size += len(chunk)
        if size > MAX_ARTIFACT:
            raise _too_large()
        seen.update(chunk)
    if winner.digest != _with_content(key, seen.hexdigest()):
        raise reused()
    return Answer(winner.status or 201, winner.response or "", winner.location, replayed=True)


async def _release(database: Database, key: Key) -> None:
    async with database.tenant(key.tenant_id) as connection:
        await idempotency.release(connection, key)


def _with_content(key: Key, sha256: str) -> str:
    return hashlib.sha256(f"{key.digest}\n{sha256}".encode()).hexdigest()


def _too_large() -> PayloadTooLarge:
    return PayloadTooLarge(f"An artifact may have at most {MAX_ARTIFACT} bytes.")


def describe(call: Call, name: str, media_type: str) -> Call:
    """The call with its name and media type among what its key stands for."""
    if call.key is None:
        return call
    described = f"{call.key.digest}\n{name}\n{media_type}"
    return replace(call, key=call.key._replace(digest=hashlib.sha256(described.encode()).hexdigest()))
