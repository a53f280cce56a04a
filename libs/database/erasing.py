"""What an erasure covers, in rows: found and deleted as maintenance, under policies that let nothing else be deleted.

Content is read, and runs are cancelled, as the tenant.
"""

# ruff: noqa: S608 - what is put into the statements are constants of this module and names of tables

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.erasures import ErasureRow
from libs.database.statements import Statement
from libs.database.tables import metadata

# Of the runs of the tenant of the transaction, those that an erasure means.
_MEANT = """
    (CAST(:kind AS text) = 'tenant' OR (r.created_at <= CAST(:created AS timestamptz) AND (
        r.id = CAST(:run AS uuid) OR r.created_by = CAST(:subject AS text)
        OR r.finished_at < CAST(:finished_before AS timestamptz))))
"""
_MEANT_UPLOADS = """
    a.run_id IS NULL AND (CAST(:kind AS text) = 'tenant' OR (a.created_at <= CAST(:created AS timestamptz) AND (
        a.created_by = CAST(:subject AS text) OR a.created_at < CAST(:finished_before AS timestamptz))))
"""
_LIVE = Statement(
    f"SELECT r.id FROM runs r WHERE r.finished_at IS NULL AND {_MEANT} ORDER BY r.id LIMIT CAST(:limit AS int)"
)
_UNASKED = Statement(
    f"""
    SELECT r.id FROM runs r WHERE r.finished_at IS NULL AND r.desired <> 'cancelled' AND {_MEANT}
    ORDER BY r.id LIMIT CAST(:limit AS int)
    """
)
_ENDED = Statement(
    f"SELECT r.id FROM runs r WHERE r.finished_at IS NOT NULL AND {_MEANT} ORDER BY r.id LIMIT CAST(:limit AS int)"
)
_UPLOADS = Statement(
    f"SELECT a.id, a.object_key FROM artifacts a WHERE {_MEANT_UPLOADS} ORDER BY a.id LIMIT CAST(:limit AS int)"
)
_COUNT = Statement(
    f"""
    SELECT (SELECT count(*) FROM runs r WHERE {_MEANT}), (SELECT count(*) FROM artifacts a WHERE {_MEANT_UPLOADS})
    """
)
# Every key of the store that the rows of these runs name.
_OBJECTS = Statement(
    """
    SELECT DISTINCT key FROM (
        SELECT input_object ->> 'key' FROM runs WHERE id = ANY (CAST(:runs AS uuid[]))
        UNION ALL SELECT output_object ->> 'key' FROM runs WHERE id = ANY (CAST(:runs AS uuid[]))
        UNION ALL SELECT object_key FROM artifacts WHERE run_id = ANY (CAST(:runs AS uuid[]))
        UNION ALL SELECT ref.value ->> 'key' FROM run_events e, jsonb_each(e.refs) AS ref
            WHERE e.run_id = ANY (CAST(:runs AS uuid[])) AND e.refs IS NOT NULL
    ) AS named (key) WHERE key IS NOT NULL
    """
)
_ROWS_OF_RUNS = Statement(
    """
    SELECT (SELECT count(*) FROM run_events WHERE run_id = ANY (CAST(:runs AS uuid[]))),
           (SELECT count(*) FROM model_calls WHERE run_id = ANY (CAST(:runs AS uuid[]))),
           (SELECT count(*) FROM cost_corrections WHERE run_id = ANY (CAST(:runs AS uuid[]))),
           (SELECT count(*) FROM artifacts WHERE run_id = ANY (CAST(:runs AS uuid[]))),
           (SELECT count(*) FROM projections WHERE run_id = ANY (CAST(:runs AS uuid[]))),
           (SELECT count(*) FROM refusals WHERE run_id = ANY (CAST(:runs AS uuid[]))),
           (SELECT count(*) FROM scores WHERE run_id = ANY (CAST(:runs AS uuid[])))
    """
)
_DELETE_RUNS = Statement(
    "DELETE FROM runs WHERE tenant_id = CAST(:tenant AS uuid) AND id = ANY (CAST(:ids AS uuid[])) RETURNING 1"
)
_DELETE_FILES_OF_RUNS = Statement(
    "DELETE FROM artifacts WHERE tenant_id = CAST(:tenant AS uuid) AND run_id = ANY (CAST(:ids AS uuid[]))"
)
_DELETE_UPLOADS = Statement(
    "DELETE FROM artifacts WHERE tenant_id = CAST(:tenant AS uuid) AND id = ANY (CAST(:ids AS uuid[])) RETURNING 1"
)
_KEYS = Statement(
    """
    SELECT count(*) FROM idempotency_keys
    WHERE subject = CAST(:subject AS text) AND created_at <= CAST(:created AS timestamptz)
    """
)
_DELETE_KEYS = Statement(
    """
    DELETE FROM idempotency_keys WHERE ctid IN (
        SELECT ctid FROM idempotency_keys
        WHERE subject = CAST(:subject AS text) AND created_at <= CAST(:created AS timestamptz)
        LIMIT CAST(:limit AS int)
    ) RETURNING 1
    """
)
# What the subject said of anybody's runs. What is deleted is named again by the policy: an open erasure covers it.
_COUNT_SCORES = Statement(
    """
    SELECT count(*) FROM scores
    WHERE created_by = CAST(:subject AS text) AND created_at <= CAST(:created AS timestamptz)
    """
)
_SCORES = Statement(
    """
    SELECT run_id, id FROM scores
    WHERE created_by = CAST(:subject AS text) AND created_at <= CAST(:created AS timestamptz)
    LIMIT CAST(:limit AS int)
    """
)
_DELETE_SCORES = Statement(
    """
    DELETE FROM scores WHERE tenant_id = CAST(:tenant AS uuid)
        AND run_id = ANY (CAST(:runs AS uuid[])) AND id = ANY (CAST(:ids AS uuid[])) RETURNING 1
    """
)
_UNPROMOTE = Statement("UPDATE agents SET promoted_version = NULL WHERE promoted_version IS NOT NULL")
_UNSEALED = Statement("SELECT count(*) FROM audit_log WHERE seq IS NULL")
_DELETE_AUDIT = Statement(
    """
    DELETE FROM audit_log WHERE tenant_id = CAST(:tenant AS uuid) AND id IN (
        SELECT id FROM audit_log WHERE tenant_id = CAST(:tenant AS uuid) AND seq IS NOT NULL
        ORDER BY seq LIMIT CAST(:limit AS int)
    ) RETURNING 1
    """
)
_DELETE_TENANT = Statement("DELETE FROM tenants WHERE id = CAST(:tenant AS uuid) RETURNING 1")
_INPUTS_NAMED = Statement(
    "SELECT input_object ->> 'key' FROM runs "
    "WHERE input_object IS NOT NULL AND input_object ->> 'key' = ANY (CAST(:keys AS text[]))"
)
_UPLOADS_NAMED = Statement("SELECT object_key FROM artifacts WHERE object_key = ANY (CAST(:keys AS text[]))")
_UNENDED = Statement("SELECT id FROM runs WHERE id = ANY (CAST(:runs AS uuid[])) AND finished_at IS NULL")
_CLAIM_SWEEP = Statement(
    """
    UPDATE object_sweeps SET next_at = clock_timestamp() + make_interval(secs => CAST(:lease AS float8))
    WHERE next_at <= clock_timestamp() RETURNING after
    """
)
_NOTE_SWEEP = Statement(
    """
    UPDATE object_sweeps SET after = CAST(:after AS text), removed = removed + CAST(:removed AS bigint),
        next_at = clock_timestamp() + make_interval(secs => CAST(:pause AS float8))
    """
)
# What goes with its run or by a statement of its own, and what stays: the head of the audit log, the erasure itself.
_WITH_RUN = ("run_events", "model_calls", "cost_corrections", "artifacts", "projections", "refusals", "scores")
_APART = frozenset({"runs", *_WITH_RUN, "audit_log", "audit_heads", "erasures"})
KEPT = frozenset({"audit_heads", "erasures"})


class Upload(NamedTuple):
    id: UUID
    object_key: str


def tables_of_tenants() -> list[str]:
    """Every table with a tenant, those that refer to others first."""
    return [table.name for table in reversed(metadata.sorted_tables) if "tenant_id" in table.columns]


def _meaning(erasure: ErasureRow) -> dict[str, object]:
    return {
        "kind": erasure.kind,
        "created": erasure.created_at,
        "run": erasure.run_id,
        "subject": erasure.subject,
        "finished_before": erasure.finished_before,
    }


async def live_runs(connection: AsyncConnection, erasure: ErasureRow, limit: int) -> list[UUID]:
    """Runs that it means and that have not ended."""
    return [row[0] for row in await _LIVE.run(connection, **_meaning(erasure), limit=limit)]


async def uncancelled_runs(connection: AsyncConnection, erasure: ErasureRow, limit: int) -> list[UUID]:
    """Of those, the ones that nobody has asked to end."""
    return [row[0] for row in await _UNASKED.run(connection, **_meaning(erasure), limit=limit)]


async def ended_runs(connection: AsyncConnection, erasure: ErasureRow, limit: int) -> list[UUID]:
    return [row[0] for row in await _ENDED.run(connection, **_meaning(erasure), limit=limit)]


async def uploads(connection: AsyncConnection, erasure: ErasureRow, limit: int) -> list[Upload]:
    """Files of no run."""
    return [Upload._make(row) for row in await _UPLOADS.run(connection, **_meaning(erasure), limit=limit)]


async def objects_of_runs(connection: AsyncConnection, runs: Sequence[UUID]) -> list[str]:
    return [row[0] for row in await _OBJECTS.run(connection, runs=list(runs))]


async def rows_of_runs(connection: AsyncConnection, runs: Sequence[UUID]) -> dict[str, int]:
    """How many rows go with these runs."""
    row = await _ROWS_OF_RUNS.one(connection, runs=list(runs))
    return {f"database.{table}": count for table, count in zip(_WITH_RUN, row, strict=True)}


async def count(connection: AsyncConnection, erasure: ErasureRow) -> dict[str, int]:
    """What there is of it, in rows."""
    if erasure.kind == "tenant":
        return {f"database.{table}": await _count_of(connection, table) for table in _counted()}
    runs, files = await _COUNT.one(connection, **_meaning(erasure))
    counts = {"database.runs": runs, "database.artifacts": files}
    if erasure.subject is not None:
        [keys] = await _KEYS.one(connection, subject=erasure.subject, created=erasure.created_at)
        [scores] = await _COUNT_SCORES.one(connection, subject=erasure.subject, created=erasure.created_at)
        counts |= {"database.idempotency_keys": keys, "database.scores": scores}
    return counts


def _counted() -> list[str]:
    return [*(table for table in tables_of_tenants() if table not in KEPT), "tenants"]


async def _count_of(connection: AsyncConnection, table: str) -> int:
    row = await _statement(f"SELECT count(*) FROM {table}").one(connection)
    return int(row[0])


@cache
def _statement(sql: str) -> Statement:
    return Statement(sql)


async def delete_runs(connection: AsyncConnection, tenant_id: UUID, runs: Sequence[UUID]) -> int:
    """With their events, calls and artifacts; as maintenance."""
    await _DELETE_FILES_OF_RUNS.run(connection, tenant=tenant_id, ids=list(runs))
    return len(await _DELETE_RUNS.run(connection, tenant=tenant_id, ids=list(runs)))


async def delete_uploads(connection: AsyncConnection, tenant_id: UUID, ids: Sequence[UUID]) -> int:
    """As maintenance."""
    return len(await _DELETE_UPLOADS.run(connection, tenant=tenant_id, ids=list(ids)))


async def delete_keys(connection: AsyncConnection, erasure: ErasureRow, limit: int) -> int:
    """Kept answers to the subject; as the tenant."""
    rows = await _DELETE_KEYS.run(connection, subject=erasure.subject, created=erasure.created_at, limit=limit)
    return len(rows)


async def scores_of(connection: AsyncConnection, erasure: ErasureRow, limit: int) -> list[tuple[UUID, UUID]]:
    """(run, score) of what the subject said of runs, its own or others'."""
    rows = await _SCORES.run(connection, subject=erasure.subject, created=erasure.created_at, limit=limit)
    return [(row[0], row[1]) for row in rows]


async def delete_scores(connection: AsyncConnection, tenant_id: UUID, scores: Sequence[tuple[UUID, UUID]]) -> int:
    """As maintenance."""
    runs, ids = [run for run, _ in scores], [id_ for _, id_ in scores]
    return len(await _DELETE_SCORES.run(connection, tenant=tenant_id, runs=runs, ids=ids))


async def unpromote(connection: AsyncConnection) -> None:
    """No agent refers to a version any longer; as the tenant."""
    await _UNPROMOTE.run(connection)


async def unsealed(connection: AsyncConnection) -> int:
    """Entries of the tenant's audit log that have no place yet."""
    row = await _UNSEALED.one(connection)
    return int(row[0])


async def delete_table(connection: AsyncConnection, table: str, tenant_id: UUID) -> int:
    """All rows of a tenant in one of `rest_of_tenant`; as maintenance."""
    deletion = _statement(f"DELETE FROM {table} WHERE tenant_id = CAST(:tenant AS uuid) RETURNING 1")
    return len(await deletion.run(connection, tenant=tenant_id))


def rest_of_tenant() -> list[str]:
    """Tables that are emptied whole, in an order that no reference forbids."""
    return [table for table in tables_of_tenants() if table not in _APART]


async def delete_audit(connection: AsyncConnection, tenant_id: UUID, limit: int) -> int:
    """The oldest sealed entries; as maintenance."""
    return len(await _DELETE_AUDIT.run(connection, tenant=tenant_id, limit=limit))


async def delete_tenant(connection: AsyncConnection, tenant_id: UUID) -> int:
    """The tenant's own row; as maintenance."""
    return len(await _DELETE_TENANT.run(connection, tenant=tenant_id))


async def inputs_named(connection: AsyncConnection, keys: Sequence[str]) -> set[str]:
    """Those of these keys of the store that are the input of a run."""
    return {row[0] for row in await _INPUTS_NAMED.run(connection, keys=list(keys))}


async def uploads_named(connection: AsyncConnection, keys: Sequence[str]) -> set[str]:
    """Those of these keys of the store that are the content of an artifact."""
    return {row[0] for row in await _UPLOADS_NAMED.run(connection, keys=list(keys))}


async def unended(connection: AsyncConnection, runs: Sequence[UUID]) -> set[UUID]:
    """Those of these runs that may still write."""
    return {row[0] for row in await _UNENDED.run(connection, runs=list(runs))}


async def claim_sweep(connection: AsyncConnection, lease: float) -> str | None:
    """Go on with the search for objects that nobody refers to, after this key; None while another worker does."""
    row = await _CLAIM_SWEEP.one(connection, lease=lease)
    return None if row is None else str(row[0])


async def note_sweep(connection: AsyncConnection, after: str, removed: int, pause: float) -> None:
    """How far it has come, and when it goes on."""
    await _NOTE_SWEEP.run(connection, after=after, removed=removed, pause=pause)
