"""The table of scores."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)

from libs.database.columns import NEW_ID, metadata
from libs.database.columns import count as _count
from libs.database.columns import time as _time

scores = Table(
    "scores",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("run_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False, server_default=NEW_ID),
    Column("name", Text, nullable=False),
    Column("number", Double),  # one of these three is the value
    Column("truth", Boolean),
    Column("category", Text),
    Column("comment", Text),
    Column("created_by", Text, nullable=False),
    _time("created_at", now=True),
    Column("shown", Boolean, nullable=False, server_default=text("false")),  # an observer took it, or refused it
    _count("claim"),  # counts who took it to show it
    _count("failures"),
    _time("next_at", now=True),  # not shown before
    PrimaryKeyConstraint("tenant_id", "run_id", "id"),
    ForeignKeyConstraint(
        ["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"], name="scores_run_fkey", ondelete="CASCADE"
    ),
    CheckConstraint("num_nonnulls(number, truth, category) = 1", name="scores_value"),
    Index("scores_created_by", "tenant_id", "created_by"),
    Index("scores_due", "next_at", "tenant_id", postgresql_where=text("NOT shown")),
)
