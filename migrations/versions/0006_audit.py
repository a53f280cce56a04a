"""The audit log and its heads."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE audit_log (
        tenant_id uuid NOT NULL,
        id uuid DEFAULT uuidv7() NOT NULL,
        at timestamptz DEFAULT clock_timestamp() NOT NULL,
        actor text NOT NULL,
        source text NOT NULL,
        action text NOT NULL,
        target text NOT NULL,
        before text,
        after text,
        seq bigint,
        previous text,
        hash text,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT audit_log_seq_key UNIQUE (tenant_id, seq),
        CONSTRAINT audit_log_sealed CHECK (num_nulls(seq, previous, hash) IN (0, 3))
    )
    """,
    """
    CREATE INDEX audit_log_unsealed ON audit_log (tenant_id, id) WHERE seq IS NULL
    """,
    """
    CREATE TABLE audit_heads (
        tenant_id uuid NOT NULL,
        seq bigint NOT NULL,
        hash text NOT NULL,
        sealed_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        PRIMARY KEY (tenant_id)
    )
    """,
)

# As in 0001: the setting is '' and not null on a connection after its first transaction.
TENANT = "(SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid)"

# Who appends chooses neither the time nor the place of an entry, and changes none. Sealing writes the place of an entry
# that has none yet, by columns and by policy; it reads no content.
GRANTS = (
    "SELECT ON audit_log TO agent_runtime_app",
    "INSERT (tenant_id, actor, source, action, target, before, after) ON audit_log TO agent_runtime_app",
    "SELECT ON audit_heads TO agent_runtime_app",
    "SELECT (tenant_id, id, seq) ON audit_log TO agent_runtime_maintenance",
    "UPDATE (seq, previous, hash) ON audit_log TO agent_runtime_maintenance",
    "SELECT, INSERT, UPDATE (seq, hash, sealed_at) ON audit_heads TO agent_runtime_maintenance",
)
MAINTENANCE_POLICIES = (
    ("audit_log", "SELECT", "USING (true)"),
    ("audit_log", "UPDATE", "USING (seq IS NULL) WITH CHECK (seq IS NOT NULL)"),
    ("audit_heads", "SELECT", "USING (true)"),
    ("audit_heads", "INSERT", "WITH CHECK (true)"),
    ("audit_heads", "UPDATE", "USING (true) WITH CHECK (true)"),
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    for table in ("audit_log", "audit_heads"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant ON {table} TO agent_runtime_app "
            f"USING (tenant_id = {TENANT}) WITH CHECK (tenant_id = {TENANT})"
        )
    for table, command, condition in MAINTENANCE_POLICIES:
        op.execute(
            f"CREATE POLICY maintenance_{command.lower()} ON {table} FOR {command} "
            f"TO agent_runtime_maintenance {condition}"
        )
    for grant in GRANTS:
        op.execute(f"GRANT {grant}")
