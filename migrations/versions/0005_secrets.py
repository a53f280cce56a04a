"""Secrets of tenants, encrypted."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TENANT = "(SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid)"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE secrets (
            tenant_id uuid NOT NULL,
            name text NOT NULL,
            key_id text NOT NULL,
            sealed bytea NOT NULL,
            created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
            created_by text NOT NULL,
            updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
            updated_by text NOT NULL,
            PRIMARY KEY (tenant_id, name),
            CONSTRAINT secrets_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES tenants (id)
        )
        """
    )
    op.execute("CREATE INDEX secrets_key_id ON secrets (key_id, tenant_id)")
    op.execute("ALTER TABLE secrets ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE secrets FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY tenant ON secrets TO agent_runtime_app "
        f"USING (tenant_id = {TENANT}) WITH CHECK (tenant_id = {TENANT})"
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON secrets TO agent_runtime_app")
    # Re-encryption finds the tenants whose rows have an old key; names and values it sees as the tenant only.
    op.execute("CREATE POLICY maintenance_select ON secrets FOR SELECT TO agent_runtime_maintenance USING (true)")
    op.execute("GRANT SELECT (tenant_id, key_id) ON secrets TO agent_runtime_maintenance")
