"""Plans, which one a tenant has, what it keeps, and where its runs wait for their turn."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TENANT = "(SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid)"
PLATFORM = "'00000000-0000-0000-0000-000000000000'::uuid"

STATEMENTS = (
    """
    CREATE TABLE plans (
        slug text NOT NULL,
        requests_per_second integer,
        running_runs integer,
        queued_runs integer,
        artifact_bytes bigint,
        allowed_models text[],
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        PRIMARY KEY (slug)
    )
    """,
    # Not forced: the foreign key of tenants is checked as the owner. Only the platform itself, the nil UUID, writes.
    "ALTER TABLE plans ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY everybody ON plans FOR SELECT TO agent_runtime_app, agent_runtime_maintenance USING (true)",
    f"CREATE POLICY platform_insert ON plans FOR INSERT TO agent_runtime_app WITH CHECK ({TENANT} = {PLATFORM})",
    f"CREATE POLICY platform_update ON plans FOR UPDATE TO agent_runtime_app USING ({TENANT} = {PLATFORM})",
    "GRANT SELECT, INSERT, UPDATE ON plans TO agent_runtime_app",
    "GRANT SELECT ON plans TO agent_runtime_maintenance",
    """
    INSERT INTO plans (slug, requests_per_second, running_runs, queued_runs, artifact_bytes)
    VALUES ('default', 500, 200, 10000, 10737418240)
    """,
    # Every row has the default, so what the owner cannot see fits the key as well. Nobody may delete a plan.
    "ALTER TABLE tenants ADD COLUMN plan text DEFAULT 'default' NOT NULL",
    "ALTER TABLE tenants ADD CONSTRAINT tenants_plan_fkey FOREIGN KEY (plan) REFERENCES plans (slug)",
    "GRANT SELECT (plan) ON tenants TO agent_runtime_maintenance",
    # What counts as running, and who waits for a turn; no step changes what stands in these conditions.
    """
    CREATE INDEX runs_admitted ON runs (tenant_id) WHERE admitted_at IS NOT NULL AND finished_at IS NULL
    """,
    """
    CREATE INDEX runs_to_admit ON runs (tenant_id, priority, id)
        WHERE admitted_at IS NULL AND finished_at IS NULL AND desired = 'run'
    """,
    """
    CREATE TABLE storage (
        tenant_id uuid NOT NULL,
        artifact_bytes bigint DEFAULT 0 NOT NULL,
        PRIMARY KEY (tenant_id)
    ) WITH (fillfactor = 50)
    """,
    "ALTER TABLE storage ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE storage FORCE ROW LEVEL SECURITY",
    f"""
    CREATE POLICY tenant ON storage TO agent_runtime_app
        USING (tenant_id = {TENANT}) WITH CHECK (tenant_id = {TENANT})
    """,
    "GRANT SELECT, INSERT, UPDATE ON storage TO agent_runtime_app",
    # Whoever adds or deletes artifacts keeps the sum, in the same transaction.
    """
    CREATE FUNCTION count_artifact_bytes() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO storage AS s (tenant_id, artifact_bytes)
        SELECT tenant_id, CASE TG_OP WHEN 'INSERT' THEN sum(size) ELSE -sum(size) END
        FROM changed GROUP BY tenant_id ORDER BY tenant_id
        ON CONFLICT (tenant_id) DO UPDATE SET artifact_bytes = s.artifact_bytes + excluded.artifact_bytes;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER artifacts_added AFTER INSERT ON artifacts REFERENCING NEW TABLE AS changed
        FOR EACH STATEMENT EXECUTE FUNCTION count_artifact_bytes()
    """,
    """
    CREATE TRIGGER artifacts_deleted AFTER DELETE ON artifacts REFERENCING OLD TABLE AS changed
        FOR EACH STATEMENT EXECUTE FUNCTION count_artifact_bytes()
    """,
)
# The owner, too, sees no row behind the walls without a policy of its own.
SEEN_BY_OWNER = ("artifacts", "storage", "runs")
ROWS = (
    "INSERT INTO storage (tenant_id, artifact_bytes) SELECT tenant_id, sum(size) FROM artifacts GROUP BY tenant_id",
    # From now on a paused run holds no place among the running ones.
    "UPDATE runs SET admitted_at = NULL WHERE status = 'paused'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
    for table in SEEN_BY_OWNER:
        op.execute(f"CREATE POLICY migration ON {table} TO CURRENT_USER USING (true) WITH CHECK (true)")
    for statement in ROWS:
        op.execute(statement)
    for table in SEEN_BY_OWNER:
        op.execute(f"DROP POLICY migration ON {table}")
