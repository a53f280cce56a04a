"""Tenants, agents, runs, their log, ledger and artifacts, with the wall between tenants."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE tenants (
        id uuid DEFAULT uuidv7() NOT NULL,
        slug text NOT NULL,
        name text NOT NULL,
        status text DEFAULT 'active' NOT NULL,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT tenants_slug_key UNIQUE (slug),
        CONSTRAINT tenants_status CHECK (status IN ('active', 'suspended'))
    )
    """,
    """
    CREATE TABLE agents (
        tenant_id uuid NOT NULL,
        id uuid DEFAULT uuidv7() NOT NULL,
        slug text NOT NULL,
        description text DEFAULT '' NOT NULL,
        promoted_version integer,
        archived_at timestamptz,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        created_by text NOT NULL,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT agents_tenant_id_slug_key UNIQUE (tenant_id, slug),
        CONSTRAINT agents_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES tenants (id)
    )
    """,
    """
    CREATE TABLE agent_versions (
        tenant_id uuid NOT NULL,
        agent_id uuid NOT NULL,
        number integer NOT NULL,
        digest text NOT NULL,
        spec text NOT NULL,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        created_by text NOT NULL,
        PRIMARY KEY (tenant_id, agent_id, number),
        CONSTRAINT agent_versions_digest_key UNIQUE (tenant_id, agent_id, digest),
        CONSTRAINT agent_versions_agent_fkey FOREIGN KEY(tenant_id, agent_id) REFERENCES agents (tenant_id, id)
    )
    """,
    """
    ALTER TABLE agents ADD CONSTRAINT agents_promoted_version_fkey
        FOREIGN KEY (tenant_id, id, promoted_version) REFERENCES agent_versions (tenant_id, agent_id, number)
    """,
    """
    CREATE TABLE runs (
        tenant_id uuid NOT NULL,
        id uuid DEFAULT uuidv7() NOT NULL,
        agent_id uuid NOT NULL,
        version integer NOT NULL,
        created_by text NOT NULL,
        status text DEFAULT 'queued' NOT NULL,
        waiting_for text,
        desired text DEFAULT 'run' NOT NULL,
        control_seq integer DEFAULT 0 NOT NULL,
        control_seen integer DEFAULT 0 NOT NULL,
        last_seq integer DEFAULT 0 NOT NULL,
        turn integer DEFAULT 0 NOT NULL,
        log_version smallint DEFAULT 1 NOT NULL,
        input text,
        input_object jsonb,
        output text,
        output_object jsonb,
        error_code text,
        error_message text,
        labels jsonb DEFAULT '{}' NOT NULL,
        priority smallint DEFAULT 3 NOT NULL,
        limit_steps integer,
        limit_tokens bigint,
        limit_cost numeric,
        input_tokens bigint DEFAULT 0 NOT NULL,
        cached_input_tokens bigint DEFAULT 0 NOT NULL,
        output_tokens bigint DEFAULT 0 NOT NULL,
        reasoning_tokens bigint DEFAULT 0 NOT NULL,
        cost numeric DEFAULT 0 NOT NULL,
        estimated boolean DEFAULT false NOT NULL,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        admitted_at timestamptz,
        started_at timestamptz,
        finished_at timestamptz,
        deadline_at timestamptz,
        next_check_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        checks integer DEFAULT 0 NOT NULL,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT runs_version_fkey FOREIGN KEY(tenant_id, agent_id, version)
            REFERENCES agent_versions (tenant_id, agent_id, number),
        CONSTRAINT runs_status CHECK (
            status IN (
                'queued', 'running', 'waiting', 'pausing', 'paused', 'cancelling', 'completed', 'failed', 'cancelled'
            )
        ),
        CONSTRAINT runs_desired CHECK (desired IN ('run', 'paused', 'cancelled')),
        CONSTRAINT runs_finished CHECK (
            (finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))
        )
    )
     WITH (fillfactor = 80)
    """,
    """
    CREATE INDEX runs_agent ON runs (tenant_id, agent_id, id)
    """,
    """
    CREATE INDEX runs_created_by ON runs (tenant_id, created_by, id)
    """,
    """
    CREATE INDEX runs_next_check ON runs (next_check_at) WHERE finished_at IS NULL
    """,
    """
    CREATE INDEX runs_unfinished ON runs (tenant_id, id) WHERE finished_at IS NULL
    """,
    """
    CREATE TABLE run_events (
        tenant_id uuid NOT NULL,
        run_id uuid NOT NULL,
        seq integer NOT NULL,
        type text NOT NULL,
        version smallint DEFAULT 1 NOT NULL,
        key text,
        data jsonb NOT NULL,
        refs jsonb,
        at timestamptz DEFAULT clock_timestamp() NOT NULL,
        PRIMARY KEY (tenant_id, run_id, seq),
        CONSTRAINT run_events_run_fkey FOREIGN KEY(tenant_id, run_id)
            REFERENCES runs (tenant_id, id) ON DELETE CASCADE
    )
    """,
    """
    CREATE UNIQUE INDEX run_events_key ON run_events (tenant_id, run_id, key) WHERE key IS NOT NULL
    """,
    """
    CREATE TABLE model_calls (
        tenant_id uuid NOT NULL,
        run_id uuid NOT NULL,
        turn integer NOT NULL,
        attempt integer NOT NULL,
        provider text NOT NULL,
        model text NOT NULL,
        state text DEFAULT 'open' NOT NULL,
        reserved_tokens bigint NOT NULL,
        input_price numeric,
        cached_input_price numeric,
        output_price numeric,
        input_tokens bigint DEFAULT 0 NOT NULL,
        cached_input_tokens bigint DEFAULT 0 NOT NULL,
        output_tokens bigint DEFAULT 0 NOT NULL,
        reasoning_tokens bigint DEFAULT 0 NOT NULL,
        cost numeric DEFAULT 0 NOT NULL,
        opened_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        closed_at timestamptz,
        PRIMARY KEY (tenant_id, run_id, turn, attempt),
        CONSTRAINT model_calls_run_fkey FOREIGN KEY(tenant_id, run_id)
            REFERENCES runs (tenant_id, id) ON DELETE CASCADE,
        CONSTRAINT model_calls_state CHECK (state IN ('open', 'settled', 'estimated', 'not_sent'))
    )
    """,
    """
    CREATE TABLE artifacts (
        tenant_id uuid NOT NULL,
        id uuid DEFAULT uuidv7() NOT NULL,
        run_id uuid,
        name text NOT NULL,
        media_type text NOT NULL,
        size bigint NOT NULL,
        sha256 text NOT NULL,
        object_key text NOT NULL,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        created_by text NOT NULL,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT artifacts_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES tenants (id),
        CONSTRAINT artifacts_run_fkey FOREIGN KEY(tenant_id, run_id)
            REFERENCES runs (tenant_id, id) ON DELETE CASCADE
    )
    """,
    """
    CREATE INDEX artifacts_run ON artifacts (tenant_id, run_id, id)
    """,
    """
    CREATE TABLE idempotency_keys (
        tenant_id uuid NOT NULL,
        subject text NOT NULL,
        operation text NOT NULL,
        key text NOT NULL,
        digest text NOT NULL,
        resource_id uuid,
        status smallint,
        location text,
        response text,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        PRIMARY KEY (tenant_id, subject, operation, key)
    )
    """,
    """
    CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at)
    """,
    """
    CREATE TABLE workers (
        id uuid NOT NULL,
        name text NOT NULL,
        task_queue text NOT NULL,
        calls text[] DEFAULT '{}' NOT NULL,
        started_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        seen_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE model_prices (
        provider text NOT NULL,
        model text NOT NULL,
        input_price numeric NOT NULL,
        cached_input_price numeric NOT NULL,
        output_price numeric NOT NULL,
        valid_from timestamptz DEFAULT clock_timestamp() NOT NULL,
        PRIMARY KEY (provider, model, valid_from)
    )
    """,
)

# The setting is '' and not null on a connection after its first transaction, so a plain cast would fail there.
TENANT = "(SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid)"
WALLED = {
    "tenants": "id",
    "agents": "tenant_id",
    "agent_versions": "tenant_id",
    "runs": "tenant_id",
    "run_events": "tenant_id",
    "model_calls": "tenant_id",
    "artifacts": "tenant_id",
    "idempotency_keys": "tenant_id",
}

# What the role `agent_runtime_app` may do, inside the wall. The log and the versions are append-only.
APP_GRANTS = {
    "tenants": "SELECT, INSERT, UPDATE",
    "agents": "SELECT, INSERT, UPDATE",
    "agent_versions": "SELECT, INSERT",
    "runs": "SELECT, INSERT, UPDATE",
    "run_events": "SELECT, INSERT",
    "model_calls": "SELECT, INSERT, UPDATE",
    "artifacts": "SELECT, INSERT",
    "idempotency_keys": "SELECT, INSERT, UPDATE, DELETE",
    "workers": "SELECT",
    "model_prices": "SELECT",
}

# What the role `agent_runtime_maintenance` may see across tenants: ids, states, seqs and times, no content.
SEEN_OF_RUNS = (
    "tenant_id, id, status, desired, control_seq, control_seen, last_seq, priority, "
    "created_at, admitted_at, started_at, finished_at, deadline_at, next_check_at, checks"
)
MAINTENANCE_GRANTS = (
    "SELECT (id, slug, name, status, created_at) ON tenants",
    f"SELECT ({SEEN_OF_RUNS}) ON runs",
    "UPDATE (next_check_at, checks) ON runs",
    "SELECT (created_at) ON idempotency_keys",
    "DELETE ON idempotency_keys",
    "SELECT, INSERT, UPDATE, DELETE ON workers",
    "SELECT, INSERT ON model_prices",
)
MAINTENANCE_POLICIES = (
    ("tenants", "SELECT", "USING (true)"),
    ("runs", "SELECT", "USING (true)"),
    ("runs", "UPDATE", "USING (true) WITH CHECK (true)"),
    ("idempotency_keys", "SELECT", "USING (true)"),
    ("idempotency_keys", "DELETE", "USING (true)"),
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    op.execute("ALTER TABLE runs SET (fillfactor = 80)")  # room for steps to update in place (HOT)
    _raise_the_wall()
    for table, privileges in APP_GRANTS.items():
        op.execute(f"GRANT {privileges} ON {table} TO agent_runtime_app")
    for grant in MAINTENANCE_GRANTS:
        op.execute(f"GRANT {grant} TO agent_runtime_maintenance")


def _raise_the_wall() -> None:
    for table, column in WALLED.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant ON {table} TO agent_runtime_app "
            f"USING ({column} = {TENANT}) WITH CHECK ({column} = {TENANT})"
        )
    for table, command, condition in MAINTENANCE_POLICIES:
        op.execute(
            f"CREATE POLICY maintenance_{command.lower()} ON {table} FOR {command} "
            f"TO agent_runtime_maintenance {condition}"
        )
