"""Projections: where each run's trace stands, and what an observer refused.

Both go with their run. Maintenance finds work across tenants by ids, places and times; the rest is done as the tenant.
"""

from __future__ import annotations

from alembic import op

from migrations.concurrently import create_index

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TENANT = "(SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid)"

STATEMENTS = (
    # A position is moved often: room to do that in place where no index is concerned.
    """
    CREATE TABLE projections (
        tenant_id uuid NOT NULL,
        run_id uuid NOT NULL,
        name text NOT NULL,
        seq integer DEFAULT 0 NOT NULL,
        finished boolean DEFAULT false NOT NULL,
        corrected boolean DEFAULT false NOT NULL,
        claim integer DEFAULT 0 NOT NULL,
        failures integer DEFAULT 0 NOT NULL,
        next_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        repeated_at timestamptz,
        PRIMARY KEY (tenant_id, run_id, name),
        CONSTRAINT projections_run_fkey FOREIGN KEY(tenant_id, run_id)
            REFERENCES runs (tenant_id, id) ON DELETE CASCADE
    )
     WITH (fillfactor = 80)
    """,
    "CREATE INDEX projections_due ON projections (name, next_at) WHERE NOT finished",
    # Up to when new runs were looked for; read again from well before that.
    """
    CREATE TABLE projection_reads (
        name text NOT NULL,
        read_to timestamptz DEFAULT clock_timestamp() NOT NULL,
        next_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        PRIMARY KEY (name)
    )
    """,
    """
    CREATE TABLE refusals (
        tenant_id uuid NOT NULL,
        id uuid DEFAULT uuidv7() NOT NULL,
        kind text NOT NULL,
        run_id uuid NOT NULL,
        item text NOT NULL,
        project text NOT NULL,
        status integer,
        reason text NOT NULL,
        attempts integer DEFAULT 1 NOT NULL,
        refused_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        retry_at timestamptz,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT refusals_item UNIQUE (tenant_id, run_id, kind, item),
        CONSTRAINT refusals_reason CHECK (length(reason) <= 500),
        CONSTRAINT refusals_run_fkey FOREIGN KEY(tenant_id, run_id)
            REFERENCES runs (tenant_id, id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX refusals_retry ON refusals (kind, retry_at) WHERE retry_at IS NOT NULL",
    # A call that was closed as estimated may be settled later, and any may be priced again, with no event: what was
    # told of it is told again. Who is telling it now, even for the first time, may have read the ledger before; the
    # lease stays, or two would tell it.
    """
    CREATE FUNCTION note_correction() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE projections SET corrected = true, finished = false,
            next_at = CASE WHEN finished THEN clock_timestamp() ELSE next_at END
        WHERE tenant_id = NEW.tenant_id AND run_id = NEW.run_id;
        RETURN NULL;
    END $$
    """,
    "REVOKE EXECUTE ON FUNCTION note_correction FROM PUBLIC",
    """
    CREATE TRIGGER model_calls_corrected AFTER UPDATE ON model_calls FOR EACH ROW
        WHEN (OLD.closed_at IS NOT NULL AND (NEW.state <> OLD.state OR NEW.cost <> OLD.cost))
        EXECUTE FUNCTION note_correction()
    """,
    """
    CREATE TRIGGER cost_corrections_made AFTER INSERT ON cost_corrections FOR EACH ROW
        EXECUTE FUNCTION note_correction()
    """,
)
GRANTS = (
    "SELECT, UPDATE (seq, finished, corrected, failures, next_at, repeated_at) ON projections TO agent_runtime_app",
    "SELECT (tenant_id, run_id, name, seq, finished, corrected, claim, failures, next_at, repeated_at), "
    "INSERT (tenant_id, run_id, name), UPDATE (claim, next_at) ON projections TO agent_runtime_maintenance",
    "SELECT, INSERT, UPDATE ON projection_reads TO agent_runtime_maintenance",
    "SELECT, INSERT, UPDATE, DELETE ON refusals TO agent_runtime_app",
    "SELECT (tenant_id, id, kind, run_id, item, retry_at), UPDATE (retry_at) ON refusals TO agent_runtime_maintenance",
    # How far a projection lags: when what it has not shown happened.
    "SELECT (tenant_id, run_id, seq, at) ON run_events TO agent_runtime_maintenance",
)
POLICIES = (
    ("projections", "SELECT", "USING (true)"),
    ("projections", "INSERT", "WITH CHECK (true)"),
    ("projections", "UPDATE", "USING (true) WITH CHECK (true)"),
    ("refusals", "SELECT", "USING (true)"),
    ("refusals", "UPDATE", "USING (true) WITH CHECK (true)"),
    ("run_events", "SELECT", "USING (true)"),
)


def upgrade() -> None:
    # No step changes `created_at`: runs are still updated in place.
    create_index("runs_created_at", "runs (created_at)")
    for statement in STATEMENTS:
        op.execute(statement)
    for table in ("projections", "refusals"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant ON {table} TO agent_runtime_app "
            f"USING (tenant_id = {TENANT}) WITH CHECK (tenant_id = {TENANT})"
        )
    for table, command, condition in POLICIES:
        op.execute(
            f"CREATE POLICY maintenance_{command.lower()} ON {table} FOR {command} "
            f"TO agent_runtime_maintenance {condition}"
        )
    for grant in GRANTS:
        op.execute(f"GRANT {grant}")
