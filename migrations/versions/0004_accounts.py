"""Blocked subjects, provisioning steps, service accounts, and tenants that are being deleted."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = (
    # No reference to tenants: the nil UUID, the platform itself, has blocked administrators.
    """
    CREATE TABLE blocked_subjects (
        tenant_id uuid NOT NULL,
        subject text NOT NULL,
        reason text DEFAULT '' NOT NULL,
        by text NOT NULL,
        at timestamptz DEFAULT clock_timestamp() NOT NULL,
        PRIMARY KEY (tenant_id, subject)
    )
    """,
    """
    CREATE TABLE provisioning_steps (
        tenant_id uuid NOT NULL,
        kind text NOT NULL,
        name text NOT NULL,
        step text NOT NULL,
        result text DEFAULT '' NOT NULL,
        by text NOT NULL,
        at timestamptz DEFAULT clock_timestamp() NOT NULL,
        PRIMARY KEY (tenant_id, kind, name, step),
        CONSTRAINT provisioning_steps_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES tenants (id)
    )
    """,
    """
    CREATE TABLE service_accounts (
        tenant_id uuid NOT NULL,
        id uuid DEFAULT uuidv7() NOT NULL,
        name text NOT NULL,
        role text NOT NULL,
        client_id text,
        manage_key text,
        manage_token bytea,
        status text DEFAULT 'creating' NOT NULL,
        rotated_at timestamptz,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        created_by text NOT NULL,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT service_accounts_tenant_id_name_key UNIQUE (tenant_id, name),
        CONSTRAINT service_accounts_client_id_key UNIQUE (client_id),
        CONSTRAINT service_accounts_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES tenants (id),
        CONSTRAINT service_accounts_role CHECK (role IN ('operator', 'user')),
        CONSTRAINT service_accounts_status CHECK (status IN ('creating', 'active', 'deleting'))
    )
    """,
)

# The setting is '' and not null on a connection after its first transaction, so a plain cast would fail there.
TENANT = "(SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid)"
GRANTS = (
    "SELECT, INSERT, DELETE ON blocked_subjects TO agent_runtime_app",
    "SELECT, INSERT, DELETE ON provisioning_steps TO agent_runtime_app",
    "SELECT, INSERT, UPDATE, DELETE ON service_accounts TO agent_runtime_app",
    # What decides whether a caller may come in is read across tenants: who it is, no reason, no name, no token.
    "SELECT (tenant_id, subject) ON blocked_subjects TO agent_runtime_maintenance",
    "SELECT (tenant_id, id, client_id, role, status) ON service_accounts TO agent_runtime_maintenance",
)


def upgrade() -> None:
    op.execute("ALTER TABLE tenants DROP CONSTRAINT tenants_status")
    op.execute(
        "ALTER TABLE tenants ADD CONSTRAINT tenants_status CHECK (status IN ('active', 'suspended', 'deleting'))"
    )
    for statement in TABLES:
        op.execute(statement)
    for table in ("blocked_subjects", "provisioning_steps", "service_accounts"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant ON {table} TO agent_runtime_app "
            f"USING (tenant_id = {TENANT}) WITH CHECK (tenant_id = {TENANT})"
        )
    for table in ("blocked_subjects", "service_accounts"):
        op.execute(f"CREATE POLICY maintenance_select ON {table} FOR SELECT TO agent_runtime_maintenance USING (true)")
    for grant in GRANTS:
        op.execute(f"GRANT {grant}")
