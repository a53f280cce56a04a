"""Scores of runs: kept here, shown to an observer.

A score never changes; what moves is only how far showing it has come. Scores go with their run; those that a user gave
go with the user's data, whoever's runs they are about.
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TENANT = "(SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid)"
COVERED = (
    "EXISTS (SELECT FROM erasures e WHERE e.tenant_id = scores.tenant_id AND e.finished_at IS NULL "
    "AND (e.kind = 'tenant' OR (e.subject = scores.created_by AND scores.created_at <= e.created_at)))"
)

STATEMENTS = (
    """
    CREATE TABLE scores (
        tenant_id uuid NOT NULL,
        run_id uuid NOT NULL,
        id uuid DEFAULT uuidv7() NOT NULL,
        name text NOT NULL,
        number double precision,
        truth boolean,
        category text,
        comment text,
        created_by text NOT NULL,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        shown boolean DEFAULT false NOT NULL,
        claim integer DEFAULT 0 NOT NULL,
        failures integer DEFAULT 0 NOT NULL,
        next_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        PRIMARY KEY (tenant_id, run_id, id),
        CONSTRAINT scores_run_fkey FOREIGN KEY(tenant_id, run_id) REFERENCES runs (tenant_id, id) ON DELETE CASCADE,
        CONSTRAINT scores_value CHECK (num_nonnulls(number, truth, category) = 1)
    )
    """,
    "CREATE INDEX scores_created_by ON scores (tenant_id, created_by)",
    "CREATE INDEX scores_due ON scores (next_at, tenant_id) WHERE NOT shown",
    "ALTER TABLE scores ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE scores FORCE ROW LEVEL SECURITY",
    f"""
    CREATE POLICY tenant ON scores TO agent_runtime_app
        USING (tenant_id = {TENANT}) WITH CHECK (tenant_id = {TENANT})
    """,
    "GRANT SELECT ON scores TO agent_runtime_app",
    "GRANT INSERT (tenant_id, run_id, name, number, truth, category, comment, created_by) ON scores "
    "TO agent_runtime_app",
    "GRANT UPDATE (shown, failures, next_at) ON scores TO agent_runtime_app",
    "GRANT SELECT (tenant_id, run_id, id, shown, claim, next_at), UPDATE (claim, next_at), DELETE ON scores "
    "TO agent_runtime_maintenance",
    "CREATE POLICY maintenance_select ON scores FOR SELECT TO agent_runtime_maintenance USING (true)",
    """
    CREATE POLICY maintenance_update ON scores FOR UPDATE TO agent_runtime_maintenance
        USING (true) WITH CHECK (true)
    """,
    f"CREATE POLICY erasure_delete ON scores FOR DELETE TO agent_runtime_maintenance USING ({COVERED})",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
