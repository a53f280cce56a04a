"""Erasures and retention: what may be deleted is what a recorded erasure that is not finished names.

The role that serves tenants deletes nothing of them. Maintenance deletes, and sees and deletes by policy only rows that
an open erasure covers: a `DELETE` without a condition would delete exactly those. Nobody changes what one covers.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TENANT = "(SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid)"
PLATFORM = "'00000000-0000-0000-0000-000000000000'::uuid"

STATEMENTS = (
    "ALTER TABLE tenants ADD COLUMN retention_days integer",
    "ALTER TABLE tenants ADD CONSTRAINT tenants_retention CHECK (retention_days BETWEEN 1 AND 36500)",
    "GRANT SELECT (retention_days) ON tenants TO agent_runtime_maintenance",
    # No reference to tenants: the erasure of a whole tenant outlives it.
    """
    CREATE TABLE erasures (
        tenant_id uuid NOT NULL,
        id uuid DEFAULT uuidv7() NOT NULL,
        kind text NOT NULL,
        run_id uuid,
        subject text,
        finished_before timestamptz,
        slug text,
        requested_by text NOT NULL,
        source text NOT NULL,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        started_at timestamptz,
        finished_at timestamptz,
        accounts_at timestamptz,
        waiting_for text,
        found jsonb,
        removed jsonb DEFAULT '{}' NOT NULL,
        remaining jsonb,
        checked_at timestamptz,
        next_look_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        looks integer DEFAULT 0 NOT NULL,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT erasures_kind CHECK (
            CASE kind
                WHEN 'run' THEN run_id IS NOT NULL
                WHEN 'subject' THEN subject IS NOT NULL
                WHEN 'retention' THEN finished_before IS NOT NULL
                WHEN 'tenant' THEN slug IS NOT NULL
                ELSE false
            END
            AND num_nonnulls(run_id, subject, finished_before, slug) = 1
        )
    )
    """,
    "CREATE INDEX erasures_next_look ON erasures (next_look_at) WHERE finished_at IS NULL",
    "CREATE UNIQUE INDEX erasures_open ON erasures (tenant_id, kind, coalesce(run_id::text, subject, '')) "
    "WHERE finished_at IS NULL",
    "ALTER TABLE erasures ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE erasures FORCE ROW LEVEL SECURITY",
    f"""
    CREATE POLICY tenant ON erasures TO agent_runtime_app
        USING (tenant_id = {TENANT}) WITH CHECK (tenant_id = {TENANT})
    """,
    f"""
    CREATE POLICY platform ON erasures FOR SELECT TO agent_runtime_app
        USING (kind = 'tenant' AND {TENANT} = {PLATFORM})
    """,
    f"""
    CREATE POLICY platform_update ON erasures FOR UPDATE TO agent_runtime_app
        USING (kind = 'tenant' AND {TENANT} = {PLATFORM})
    """,
    "GRANT SELECT ON erasures TO agent_runtime_app",
    "GRANT INSERT (tenant_id, kind, run_id, subject, slug, requested_by, source) ON erasures TO agent_runtime_app",
    # To be looked at again, and to say that the accounts of a tenant are gone from the issuer, which the API knows.
    "GRANT UPDATE (finished_at, next_look_at, looks, accounts_at) ON erasures TO agent_runtime_app",
    "GRANT SELECT, DELETE ON erasures TO agent_runtime_maintenance",
    "GRANT INSERT (tenant_id, kind, finished_before, requested_by, source) ON erasures TO agent_runtime_maintenance",
    "GRANT UPDATE (started_at, finished_at, waiting_for, found, removed, remaining, checked_at, next_look_at, looks) "
    "ON erasures TO agent_runtime_maintenance",
    "CREATE POLICY maintenance_select ON erasures FOR SELECT TO agent_runtime_maintenance USING (true)",
    """
    CREATE POLICY maintenance_insert ON erasures FOR INSERT TO agent_runtime_maintenance
        WITH CHECK (kind = 'retention')
    """,
    """
    CREATE POLICY maintenance_update ON erasures FOR UPDATE TO agent_runtime_maintenance
        USING (true) WITH CHECK (true)
    """,
    # Those of whole tenants and of what people asked for are kept.
    """
    CREATE POLICY maintenance_delete ON erasures FOR DELETE TO agent_runtime_maintenance
        USING (kind = 'retention' AND finished_at < clock_timestamp() - interval '30 days')
    """,
    # How far the search for objects that nobody refers to has come.
    """
    CREATE TABLE object_sweeps (
        id smallint DEFAULT 1 NOT NULL,
        after text DEFAULT '' NOT NULL,
        next_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        removed bigint DEFAULT 0 NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT object_sweeps_one CHECK (id = 1)
    )
    """,
    "INSERT INTO object_sweeps DEFAULT VALUES",
    "GRANT SELECT, UPDATE ON object_sweeps TO agent_runtime_maintenance",
    # What refers to an object is found by its key. No step changes these columns.
    "CREATE INDEX artifacts_object_key ON artifacts (tenant_id, object_key)",
    "CREATE INDEX runs_input_object ON runs (tenant_id, (input_object ->> 'key')) WHERE input_object IS NOT NULL",
    "CREATE INDEX runs_finished_at ON runs (tenant_id, finished_at) WHERE finished_at IS NOT NULL",
)
OPEN = "SELECT FROM erasures e WHERE e.tenant_id = {table}.tenant_id AND e.finished_at IS NULL"
WHOLE_TENANT = f"EXISTS ({OPEN} AND e.kind = 'tenant')"
COVERED = {
    "runs": (
        f"finished_at IS NOT NULL AND EXISTS ({OPEN} AND (e.kind = 'tenant' OR (runs.created_at <= e.created_at AND ("
        "e.run_id = runs.id OR e.subject = runs.created_by OR runs.finished_at < e.finished_before))))"
    ),
    # Those of a run are deleted just before it: their trigger, in a cascade, would count down as nobody who may.
    "artifacts": (
        f"EXISTS ({OPEN} AND (e.kind = 'tenant' OR (artifacts.created_at <= e.created_at AND ("
        "e.run_id = artifacts.run_id OR e.subject = artifacts.created_by "
        "OR (artifacts.run_id IS NULL AND artifacts.created_at < e.finished_before) "
        "OR EXISTS (SELECT FROM runs r WHERE r.tenant_id = artifacts.tenant_id AND r.id = artifacts.run_id "
        "AND r.finished_at < e.finished_before)))))"
    ),
}
NAMED = {"runs": "tenant_id, id", "artifacts": "tenant_id, id, run_id", "audit_log": "tenant_id, id, seq"}
# What goes with its run, what stays, and what is kept of erasures themselves.
NOT_DELETED = ("run_events", "model_calls", "audit_heads", "erasures")


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
    for table in _tables_of_tenants():
        condition = COVERED.get(table, WHOLE_TENANT).format(table=table)
        _let_delete(table, NAMED.get(table, "tenant_id"), condition)
    _let_count_down()
    _let_delete("tenants", "id", WHOLE_TENANT.replace("{table}.tenant_id", "tenants.id"))


def _tables_of_tenants() -> list[str]:
    rows = op.get_bind().execute(
        text(
            "SELECT table_name FROM information_schema.columns "
            "WHERE table_schema = 'public' AND column_name = 'tenant_id' ORDER BY table_name"
        )
    )
    return [row[0] for row in rows if row[0] not in NOT_DELETED]


def _let_count_down() -> None:
    """The trigger of `artifacts` keeps the sum of what a tenant stores, as whoever deletes."""
    covered = f"EXISTS ({OPEN})".format(table="storage")
    op.execute(f"CREATE POLICY erasure_count ON storage FOR SELECT TO agent_runtime_maintenance USING ({covered})")
    op.execute(
        f"CREATE POLICY erasure_insert ON storage FOR INSERT TO agent_runtime_maintenance WITH CHECK ({covered})"
    )
    op.execute(f"CREATE POLICY erasure_update ON storage FOR UPDATE TO agent_runtime_maintenance USING ({covered})")
    op.execute("GRANT SELECT, INSERT, UPDATE (artifact_bytes) ON storage TO agent_runtime_maintenance")


def _let_delete(table: str, columns: str, condition: str) -> None:
    for command in ("SELECT", "DELETE"):
        op.execute(
            f"CREATE POLICY erasure_{command.lower()} ON {table} FOR {command} "
            f"TO agent_runtime_maintenance USING ({condition})"
        )
    op.execute(f"GRANT SELECT ({columns}), DELETE ON {table} TO agent_runtime_maintenance")
