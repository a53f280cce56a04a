"""Indexes of tables that may be large already: built while everybody goes on writing."""

from __future__ import annotations

from alembic import op


def create_index(name: str, on: str) -> None:
    """Build an index outside the revision's transaction; what a build that broke off left is removed first.

    To be called before the first statement of a revision: what came before is committed by it.
    """
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # it waits for old transactions, and nobody waits behind it
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {on}")
        op.execute("RESET lock_timeout")
