"""The audit log: appended to by every administrative act in its own transaction, read by its tenant."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement
from libs.domain.audit import state_text
from libs.domain.texts import clean

_APPEND = Statement(
    """
    INSERT INTO audit_log (tenant_id, actor, source, action, target, before, after)
    VALUES (CAST(current_setting('app.tenant_id') AS uuid), CAST(:actor AS text), CAST(:source AS text),
            CAST(:action AS text), CAST(:target AS text), CAST(:before AS text), CAST(:after AS text))
    """
)


async def append(
    connection: AsyncConnection,
    *,
    actor: str,
    source: str,
    action: str,
    target: str,
    before: Any = None,
    after: Any = None,
) -> None:
    """Note who did what, from where, for the tenant of this transaction; true when the transaction commits.

    `action` is the operation's name, `target` like `agent/helper`. `before` and `after` are what the act changed, never
    a secret and never content of a run. Nobody waits: the chain is made afterwards.
    """
    await _APPEND.run(
        connection,
        actor=clean(actor)[0],
        source=clean(source)[0],
        action=action,
        target=clean(target)[0],
        before=state_text(before),
        after=state_text(after),
    )
