"""The tables, as SQLAlchemy metadata, which `alembic check` compares; policies and grants are in the migrations."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from libs.database.columns import NEW_ID
from libs.database.columns import count as _count
from libs.database.columns import metadata as metadata
from libs.database.columns import time as _time
from libs.database.projection_tables import projection_reads as projection_reads
from libs.database.projection_tables import projections as projections
from libs.database.projection_tables import refusals as refusals
from libs.database.record_tables import audit_heads as audit_heads
from libs.database.record_tables import audit_log as audit_log
from libs.database.record_tables import erasures as erasures
from libs.database.record_tables import object_sweeps as object_sweeps
from libs.database.score_tables import scores as scores
from libs.database.usage_tables import cost_corrections as cost_corrections
from libs.database.usage_tables import erased_usage as erased_usage
from libs.database.usage_tables import model_prices as model_prices
from libs.database.usage_tables import re_ratings as re_ratings

plans = Table(
    "plans",
    metadata,
    Column("slug", Text, nullable=False),
    Column("requests_per_second", Integer),  # null, here and below: no limit
    Column("running_runs", Integer),
    Column("queued_runs", Integer),
    Column("artifact_bytes", BigInteger),
    Column("allowed_models", ARRAY(Text)),  # patterns: provider/model, provider/*
    Column("agents", Integer),
    Column("agent_versions", Integer),  # of each agent
    Column("secrets", Integer),
    Column("service_accounts", Integer),
    Column("users", Integer),
    _time("created_at", now=True),
    _time("updated_at", now=True),
    PrimaryKeyConstraint("slug"),
)

tenants = Table(
    "tenants",
    metadata,
    Column("id", Uuid, nullable=False, server_default=NEW_ID),
    Column("slug", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'active'")),
    Column("retention_days", Integer),  # null: for ever
    _time("created_at", now=True),
    Column("plan", Text, nullable=False, server_default=text("'default'")),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("slug", name="tenants_slug_key"),
    ForeignKeyConstraint(["plan"], ["plans.slug"], name="tenants_plan_fkey"),
    CheckConstraint("status IN ('active', 'suspended', 'deleting')", name="tenants_status"),
    CheckConstraint("retention_days BETWEEN 1 AND 36500", name="tenants_retention"),
)

agents = Table(
    "agents",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False, server_default=NEW_ID),
    Column("slug", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=text("''")),
    Column("promoted_version", Integer),
    _time("archived_at"),
    _time("created_at", now=True),
    Column("created_by", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "slug", name="agents_tenant_id_slug_key"),
    ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="agents_tenant_id_fkey"),
    ForeignKeyConstraint(
        ["tenant_id", "id", "promoted_version"],
        ["agent_versions.tenant_id", "agent_versions.agent_id", "agent_versions.number"],
        name="agents_promoted_version_fkey",
        use_alter=True,
    ),
)

agent_versions = Table(
    "agent_versions",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("agent_id", Uuid, nullable=False),
    Column("number", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("spec", Text, nullable=False),  # JSON text as received: jsonb would reorder its keys
    _time("created_at", now=True),
    Column("created_by", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "agent_id", "number"),
    UniqueConstraint("tenant_id", "agent_id", "digest", name="agent_versions_digest_key"),
    ForeignKeyConstraint(
        ["tenant_id", "agent_id"], ["agents.tenant_id", "agents.id"], name="agent_versions_agent_fkey"
    ),
)

RUN_STATES = (
    "queued",
    "running",
    "waiting",
    "pausing",
    "paused",
    "cancelling",
    "completed",
    "failed",
    "cancelled",
)

runs = Table(
    "runs",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False, server_default=NEW_ID),
    Column("agent_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'queued'")),
    Column("waiting_for", Text),
    Column("desired", Text, nullable=False, server_default=text("'run'")),
    _count("control_seq"),
    _count("control_seen"),
    _count("last_seq"),
    _count("turn"),
    Column("log_version", SmallInteger, nullable=False, server_default=text("1")),
    Column("input", Text),  # JSON text; null when it is an object of the store
    Column("input_object", JSONB),
    Column("output", Text),
    Column("output_object", JSONB),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("labels", JSONB, nullable=False, server_default=text("'{}'")),
    Column("priority", SmallInteger, nullable=False, server_default=text("3")),
    Column("limit_steps", Integer),
    Column("limit_tokens", BigInteger),
    Column("limit_cost", Numeric),
    _count("input_tokens", BigInteger),
    _count("cached_input_tokens", BigInteger),
    _count("output_tokens", BigInteger),
    _count("reasoning_tokens", BigInteger),
    Column("cost", Numeric, nullable=False, server_default=text("0")),
    Column("estimated", Boolean, nullable=False, server_default=text("false")),
    _time("created_at", now=True),
    _time("admitted_at"),  # holds a place among the tenant's running runs; null: waits for one, or is paused
    _time("started_at"),
    _time("finished_at"),
    _time("deadline_at"),
    _time("next_check_at", now=True),
    _count("checks"),
    PrimaryKeyConstraint("tenant_id", "id"),
    ForeignKeyConstraint(
        ["tenant_id", "agent_id", "version"],
        ["agent_versions.tenant_id", "agent_versions.agent_id", "agent_versions.number"],
        name="runs_version_fkey",
    ),
    CheckConstraint(f"status IN ({', '.join(repr(state) for state in RUN_STATES)})", name="runs_status"),
    CheckConstraint("desired IN ('run', 'paused', 'cancelled')", name="runs_desired"),
    CheckConstraint(
        "(finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))", name="runs_finished"
    ),
    # Only columns that no step changes are indexed, so that steps update in place (HOT).
    Index("runs_created_at", "created_at"),
    Index("runs_agent", "tenant_id", "agent_id", "id"),
    Index("runs_created_by", "tenant_id", "created_by", "id"),
    Index("runs_unfinished", "tenant_id", "id", postgresql_where=text("finished_at IS NULL")),
    Index(
        "runs_input_object",
        "tenant_id",
        text("(input_object ->> 'key')"),
        postgresql_where=text("input_object IS NOT NULL"),
    ),
    Index("runs_finished_at", "tenant_id", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
    Index("runs_next_check", "next_check_at", postgresql_where=text("finished_at IS NULL")),
    Index("runs_admitted", "tenant_id", postgresql_where=text("admitted_at IS NOT NULL AND finished_at IS NULL")),
    Index(
        "runs_to_admit",
        "tenant_id",
        "priority",
        "id",
        postgresql_where=text("admitted_at IS NULL AND finished_at IS NULL AND desired = 'run'"),
    ),
)

run_events = Table(
    "run_events",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("run_id", Uuid, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("version", SmallInteger, nullable=False, server_default=text("1")),
    Column("key", Text),  # names an effect that may be recorded once, see libs.domain.events
    Column("data", JSONB, nullable=False),
    Column("refs", JSONB),  # JSON pointer into data -> object that holds the value
    _time("at", now=True),
    PrimaryKeyConstraint("tenant_id", "run_id", "seq"),
    ForeignKeyConstraint(
        ["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"], name="run_events_run_fkey", ondelete="CASCADE"
    ),
    Index("run_events_key", "tenant_id", "run_id", "key", unique=True, postgresql_where=text("key IS NOT NULL")),
)

model_calls = Table(
    "model_calls",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("run_id", Uuid, nullable=False),
    Column("turn", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'open'")),
    Column("reserved_tokens", BigInteger, nullable=False),
    Column("input_price", Numeric),  # USD per million tokens; null: the model is not priced
    Column("cached_input_price", Numeric),
    Column("output_price", Numeric),
    _count("input_tokens", BigInteger),
    _count("cached_input_tokens", BigInteger),
    _count("output_tokens", BigInteger),
    _count("reasoning_tokens", BigInteger),
    Column("cost", Numeric, nullable=False, server_default=text("0")),
    _time("opened_at", now=True),
    _time("closed_at"),
    PrimaryKeyConstraint("tenant_id", "run_id", "turn", "attempt"),
    ForeignKeyConstraint(
        ["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"], name="model_calls_run_fkey", ondelete="CASCADE"
    ),
    CheckConstraint("state IN ('open', 'settled', 'estimated', 'not_sent')", name="model_calls_state"),
    Index("model_calls_opened_at", "tenant_id", "opened_at"),
    Index("model_calls_unpriced", "tenant_id", "run_id", postgresql_where=text("input_price IS NULL")),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False, server_default=NEW_ID),
    Column("run_id", Uuid),
    Column("name", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("object_key", Text, nullable=False),
    _time("created_at", now=True),
    Column("created_by", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "id"),
    ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="artifacts_tenant_id_fkey"),
    ForeignKeyConstraint(
        ["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"], name="artifacts_run_fkey", ondelete="CASCADE"
    ),
    Index("artifacts_object_key", "tenant_id", "object_key"),
    Index("artifacts_run", "tenant_id", "run_id", "id"),
)

storage = Table(  # what a tenant keeps; triggers on artifacts write it
    "storage",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    _count("artifact_bytes", BigInteger),
    PrimaryKeyConstraint("tenant_id"),
)

secrets = Table(
    "secrets",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("key_id", Text, nullable=False),  # of the key that sealed the value
    Column("sealed", LargeBinary, nullable=False),
    _time("created_at", now=True),
    Column("created_by", Text, nullable=False),
    _time("updated_at", now=True),
    Column("updated_by", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "name"),
    ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="secrets_tenant_id_fkey"),
    Index("secrets_key_id", "key_id", "tenant_id"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", Uuid, nullable=False),  # the nil UUID for platform operations
    Column("subject", Text, nullable=False),
    Column("operation", Text, nullable=False),  # method and route
    Column("key", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("resource_id", Uuid),
    Column("status", SmallInteger),
    Column("location", Text),
    Column("response", Text),
    _time("created_at", now=True),
    PrimaryKeyConstraint("tenant_id", "subject", "operation", "key"),
    Index("idempotency_keys_created_at", "created_at"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("task_queue", Text, nullable=False),
    Column("calls", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    _time("started_at", now=True),
    _time("seen_at", now=True),
    PrimaryKeyConstraint("id"),
)

blocked_subjects = Table(
    "blocked_subjects",
    metadata,
    Column("tenant_id", Uuid, nullable=False),  # the nil UUID for administrators
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=text("''")),
    Column("by", Text, nullable=False),
    _time("at", now=True),
    PrimaryKeyConstraint("tenant_id", "subject"),
)

provisioning_steps = Table(
    "provisioning_steps",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("result", Text, nullable=False, server_default=text("''")),
    Column("by", Text, nullable=False),
    _time("at", now=True),
    PrimaryKeyConstraint("tenant_id", "kind", "name", "step"),
    ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="provisioning_steps_tenant_id_fkey"),
)

service_accounts = Table(
    "service_accounts",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False, server_default=NEW_ID),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("client_id", Text),  # the `azp` of its tokens; null until its client is there
    Column("manage_key", Text),  # id of the key that it is sealed with
    Column("manage_token", LargeBinary),  # what changes its client at Keycloak, encrypted
    Column("status", Text, nullable=False, server_default=text("'creating'")),
    _time("rotated_at"),
    _time("created_at", now=True),
    Column("created_by", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "name", name="service_accounts_tenant_id_name_key"),
    UniqueConstraint("client_id", name="service_accounts_client_id_key"),
    ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="service_accounts_tenant_id_fkey"),
    CheckConstraint("role IN ('operator', 'user')", name="service_accounts_role"),
    CheckConstraint("status IN ('creating', 'active', 'deleting')", name="service_accounts_status"),
)
