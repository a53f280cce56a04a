"""How far showing scores to observers has come: claimed across tenants by ids and times, read and noted as the tenant.

A score is its own position: it never changes, and goes out under its own id, so that sending it again is harmless.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.projections import Scope
from libs.database.scores import COLUMNS, ScoreRow
from libs.database.statements import Statement


class Claimed(NamedTuple):
    """A score that a worker has taken. `claim` says that nobody has taken it since."""

    tenant_id: UUID
    run_id: UUID
    id: UUID
    claim: int


class Showable(NamedTuple):
    """A score, of which tenant, how often it could not be sent, and since when its run is traced, if it is."""

    score: ScoreRow
    tenant: str
    failures: int
    traced: bool
    now: datetime


_OF = """
    (CAST(:only AS uuid[]) IS NULL OR tenant_id = ANY (CAST(:only AS uuid[])))
    AND NOT tenant_id = ANY (CAST(:without AS uuid[]))
"""
_CLAIM = Statement(
    f"""
    UPDATE scores SET claim = claim + 1, next_at = clock_timestamp() + make_interval(secs => CAST(:lease AS float8))
    WHERE (tenant_id, run_id, id) IN (
        SELECT tenant_id, run_id, id FROM scores WHERE NOT shown AND next_at <= clock_timestamp() AND {_OF}
        ORDER BY next_at LIMIT CAST(:most AS int) FOR UPDATE SKIP LOCKED
    ) RETURNING tenant_id, run_id, id, claim
    """  # noqa: S608 - put together from constants of this module
)
# Of tenants that nobody is shown. Should that change, what is given from then on is shown, this when it is asked for.
_PASS_OVER = Statement(
    f"""
    UPDATE scores SET next_at = 'infinity'
    WHERE (tenant_id, run_id, id) IN (
        SELECT tenant_id, run_id, id FROM scores WHERE NOT shown AND next_at <= clock_timestamp() AND {_OF}
        ORDER BY next_at LIMIT CAST(:most AS int) FOR UPDATE SKIP LOCKED
    )
    """  # noqa: S608 - put together from constants of this module
)
_TAKE_UP = Statement(
    """
    UPDATE scores SET next_at = clock_timestamp()
    WHERE (tenant_id, run_id, id) IN (
        SELECT tenant_id, run_id, id FROM scores
        WHERE NOT shown AND next_at = 'infinity' AND (CAST(:run AS uuid) IS NULL OR run_id = CAST(:run AS uuid))
        ORDER BY id LIMIT CAST(:most AS int) FOR UPDATE
    ) RETURNING 1
    """
)
_READ = Statement(
    f"""
    SELECT {COLUMNS}, (SELECT t.slug FROM tenants t WHERE t.id = s.tenant_id), s.failures,
        EXISTS (SELECT FROM projections p
            WHERE p.tenant_id = s.tenant_id AND p.run_id = s.run_id AND p.name = CAST(:projection AS text)),
        clock_timestamp()
    FROM scores s WHERE s.run_id = CAST(:run AS uuid) AND s.id = CAST(:id AS uuid)
    """  # noqa: S608 - put together from constants of this module
)
_MINE = "run_id = CAST(:run AS uuid) AND id = CAST(:id AS uuid) AND claim = CAST(:claim AS int)"
_SHOWN = Statement(f"UPDATE scores SET shown = true WHERE {_MINE}")  # noqa: S608 - constants
_PUT_BACK = Statement(
    f"""
    UPDATE scores SET failures = failures + CAST(:failed AS int),
        next_at = clock_timestamp() + make_interval(secs => CAST(:pause AS float8))
    WHERE {_MINE}
    """  # noqa: S608 - put together from constants of this module
)


async def claim(connection: AsyncConnection, scope: Scope, *, most: int, lease: float) -> list[Claimed]:
    """Take scores of these tenants that were not shown, those first that have waited longest; as maintenance."""
    return [Claimed._make(row) for row in await _CLAIM.run(connection, most=most, lease=lease, **scope._asdict())]


async def pass_over(connection: AsyncConnection, scope: Scope, *, most: int) -> None:
    """Do not look at scores of these tenants until somebody asks for it; as maintenance."""
    await _PASS_OVER.run(connection, most=most, **scope._asdict())


async def take_up(connection: AsyncConnection, run_id: UUID | None, *, most: int) -> int:
    """Look at those that were passed over after all, of one run or of all; how many. As the tenant."""
    return len(await _TAKE_UP.run(connection, run=run_id, most=most))


async def read(connection: AsyncConnection, run_id: UUID, id_: UUID, projection: str) -> Showable | None:
    """As the tenant."""
    row = await _READ.one(connection, run=run_id, id=id_, projection=projection)
    return Showable(ScoreRow._make(row[:-4]), *row[-4:]) if row else None


async def note_shown(connection: AsyncConnection, claimed: Claimed) -> None:
    """An observer has it, or refused it; as the tenant."""
    await _SHOWN.run(connection, run=claimed.run_id, id=claimed.id, claim=claimed.claim)


async def put_back(connection: AsyncConnection, claimed: Claimed, pause: float, *, failed: bool) -> None:
    """It cannot be shown now; as the tenant."""
    mine = {"run": claimed.run_id, "id": claimed.id, "claim": claimed.claim}
    await _PUT_BACK.run(connection, **mine, failed=int(failed), pause=pause)
