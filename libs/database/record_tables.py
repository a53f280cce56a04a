"""The tables of what outlives what it is about: the audit log and its heads, erasures, the search for lost objects."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from libs.database.columns import NEW_ID, metadata
from libs.database.columns import count as _count
from libs.database.columns import time as _time

audit_log = Table(
    "audit_log",
    metadata,
    Column("tenant_id", Uuid, nullable=False),  # the nil UUID for acts that concern no one tenant
    Column("id", Uuid, nullable=False, server_default=NEW_ID),
    _time("at", now=True),
    Column("actor", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("before", Text),  # canonical JSON text, which the hash is of
    Column("after", Text),
    Column("seq", BigInteger),  # its place in the tenant's chain; null until it is sealed
    Column("previous", Text),
    Column("hash", Text),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "seq", name="audit_log_seq_key"),
    CheckConstraint("num_nulls(seq, previous, hash) IN (0, 3)", name="audit_log_sealed"),
    Index("audit_log_unsealed", "tenant_id", "id", postgresql_where=text("seq IS NULL")),
)

audit_heads = Table(
    "audit_heads",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    _time("sealed_at", now=True),
    PrimaryKeyConstraint("tenant_id"),
)

erasures = Table(
    "erasures",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False, server_default=NEW_ID),
    Column("kind", Text, nullable=False),
    Column("run_id", Uuid),
    Column("subject", Text),
    _time("finished_before"),
    Column("slug", Text),  # of a whole tenant
    Column("requested_by", Text, nullable=False),
    Column("source", Text, nullable=False),
    _time("created_at", now=True),
    _time("started_at"),
    _time("finished_at"),
    _time("accounts_at"),  # when users and clients of a whole tenant were gone from the issuer
    Column("waiting_for", Text),
    Column("found", JSONB),  # counts by store, before anything is removed
    Column("removed", JSONB, nullable=False, server_default=text("'{}'")),
    Column("remaining", JSONB),  # at the last check
    _time("checked_at"),
    _time("next_look_at", now=True),
    _count("looks"),
    PrimaryKeyConstraint("tenant_id", "id"),
    CheckConstraint(
        "CASE kind WHEN 'run' THEN run_id IS NOT NULL WHEN 'subject' THEN subject IS NOT NULL "
        "WHEN 'retention' THEN finished_before IS NOT NULL WHEN 'tenant' THEN slug IS NOT NULL ELSE false END "
        "AND num_nonnulls(run_id, subject, finished_before, slug) = 1",
        name="erasures_kind",
    ),
    Index("erasures_next_look", "next_look_at", postgresql_where=text("finished_at IS NULL")),
    Index(
        "erasures_open",
        "tenant_id",
        "kind",
        text("coalesce(run_id::text, subject, '')"),
        unique=True,
        postgresql_where=text("finished_at IS NULL"),
    ),
)

object_sweeps = Table(
    "object_sweeps",
    metadata,
    Column("id", SmallInteger, nullable=False, server_default=text("1")),
    Column("after", Text, nullable=False, server_default=text("''")),
    _time("next_at", now=True),
    _count("removed", BigInteger),
    PrimaryKeyConstraint("id"),
    CheckConstraint("id = 1", name="object_sweeps_one"),
)
