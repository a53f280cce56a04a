"""The tables of projections: where each run's trace stands, and what an observer refused."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from libs.database.columns import NEW_ID, metadata
from libs.database.columns import count as _count
from libs.database.columns import time as _time

projections = Table(
    "projections",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("run_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    _count("seq"),  # the last event that was shown
    Column("finished", Boolean, nullable=False, server_default=text("false")),  # the end of the run was shown
    Column("corrected", Boolean, nullable=False, server_default=text("false")),  # what was shown has changed
    _count("claim"),  # counts who took it: only the last one moves it
    _count("failures"),
    _time("next_at", now=True),  # not taken before
    _time("repeated_at"),  # when it went back, since what was shown had changed
    PrimaryKeyConstraint("tenant_id", "run_id", "name"),
    ForeignKeyConstraint(
        ["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"], name="projections_run_fkey", ondelete="CASCADE"
    ),
    Index("projections_due", "name", "next_at", postgresql_where=text("NOT finished")),
)

projection_reads = Table(
    "projection_reads",
    metadata,
    Column("name", Text, nullable=False),
    _time("read_to", now=True),
    _time("next_at", now=True),
    PrimaryKeyConstraint("name"),
)

refusals = Table(
    "refusals",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False, server_default=NEW_ID),
    Column("kind", Text, nullable=False),  # trace, …
    Column("run_id", Uuid, nullable=False),
    Column("item", Text, nullable=False),  # of a trace: FIRST-LAST, events whose spans were refused
    Column("project", Text, nullable=False),  # the observer, by its name in the configuration
    Column("status", Integer),  # of HTTP; null: of another kind
    Column("reason", Text, nullable=False),  # our words: never what the observer answered, which may quote content
    Column("attempts", Integer, nullable=False, server_default=text("1")),
    _time("refused_at", now=True),
    _time("retry_at"),  # somebody asked for another attempt
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "run_id", "kind", "item", name="refusals_item"),
    CheckConstraint("length(reason) <= 500", name="refusals_reason"),
    ForeignKeyConstraint(
        ["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"], name="refusals_run_fkey", ondelete="CASCADE"
    ),
    Index("refusals_retry", "kind", "retry_at", postgresql_where=text("retry_at IS NOT NULL")),
)
