"""Usage: prices with history, corrections of what calls cost, and what erased runs leave behind for billing."""

from __future__ import annotations

from alembic import op

from migrations.concurrently import create_index

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TENANT = "(SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid)"
PLATFORM = "'00000000-0000-0000-0000-000000000000'::uuid"

# Every price that was ever entered stays. In force at a moment is, of those valid by then, the one valid from last,
# and of several from the same moment the one that was entered last: that is how a wrong one is corrected.
PRICES = (
    "ALTER TABLE model_prices DROP CONSTRAINT model_prices_pkey",
    "ALTER TABLE model_prices ADD COLUMN id uuid DEFAULT uuidv7() NOT NULL",
    "ALTER TABLE model_prices ADD COLUMN created_at timestamptz DEFAULT clock_timestamp() NOT NULL",
    "ALTER TABLE model_prices ADD COLUMN created_by text DEFAULT 'configuration' NOT NULL",
    "ALTER TABLE model_prices ADD PRIMARY KEY (id)",
    """
    ALTER TABLE model_prices ADD CONSTRAINT model_prices_not_negative
        CHECK (input_price >= 0 AND cached_input_price >= 0 AND output_price >= 0)
    """,
    "CREATE INDEX model_prices_in_force ON model_prices (provider, model, valid_from, id)",
    # Not forced, as with plans. Only the platform itself, the nil UUID, and the workers that seed it write.
    "ALTER TABLE model_prices ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY everybody ON model_prices FOR SELECT TO agent_runtime_app, agent_runtime_maintenance USING (true)",
    f"CREATE POLICY platform_insert ON model_prices FOR INSERT TO agent_runtime_app WITH CHECK ({TENANT} = {PLATFORM})",
    "CREATE POLICY seed_insert ON model_prices FOR INSERT TO agent_runtime_maintenance WITH CHECK (true)",
    "GRANT INSERT ON model_prices TO agent_runtime_app",
    """
    CREATE FUNCTION cost_of(
        p_input_tokens bigint, p_cached_input_tokens bigint, p_output_tokens bigint,
        p_input_price numeric, p_cached_input_price numeric, p_output_price numeric
    ) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (GREATEST(p_input_tokens - p_cached_input_tokens, 0) * p_input_price
            + p_cached_input_tokens * p_cached_input_price + p_output_tokens * p_output_price) * 0.000001
    """,
)

# The sums of a tenant are of calls by the time they were opened, which never changes.
LEDGER = (
    """
    GRANT SELECT (tenant_id, run_id, turn, attempt, provider, model, state, input_price, input_tokens,
                  cached_input_tokens, output_tokens, reasoning_tokens, cost, opened_at)
        ON model_calls TO agent_runtime_maintenance
    """,
    "CREATE POLICY maintenance_select ON model_calls FOR SELECT TO agent_runtime_maintenance USING (true)",
)

CORRECTIONS = (
    # What an administrator asked to be priced again; its place (tenant, then time) is where it goes on.
    """
    CREATE TABLE re_ratings (
        id uuid DEFAULT uuidv7() NOT NULL,
        provider text NOT NULL,
        model text NOT NULL,
        since timestamptz NOT NULL,
        until timestamptz NOT NULL,
        requested_by text NOT NULL,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        finished_at timestamptz,
        next_look_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        at_tenant uuid,
        looked_to timestamptz,
        calls bigint DEFAULT 0 NOT NULL,
        corrected bigint DEFAULT 0 NOT NULL,
        amount numeric DEFAULT 0 NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT re_ratings_period CHECK (since < until)
    )
    """,
    "CREATE INDEX re_ratings_next_look ON re_ratings (next_look_at) WHERE finished_at IS NULL",
    "ALTER TABLE re_ratings ENABLE ROW LEVEL SECURITY",
    f"CREATE POLICY platform ON re_ratings FOR SELECT TO agent_runtime_app USING ({TENANT} = {PLATFORM})",
    f"CREATE POLICY platform_insert ON re_ratings FOR INSERT TO agent_runtime_app WITH CHECK ({TENANT} = {PLATFORM})",
    "CREATE POLICY maintenance ON re_ratings TO agent_runtime_maintenance USING (true) WITH CHECK (true)",
    "GRANT SELECT ON re_ratings TO agent_runtime_app",
    "GRANT INSERT (provider, model, since, until, requested_by) ON re_ratings TO agent_runtime_app",
    "GRANT SELECT ON re_ratings TO agent_runtime_maintenance",
    """
    GRANT UPDATE (finished_at, next_look_at, at_tenant, looked_to, calls, corrected, amount)
        ON re_ratings TO agent_runtime_maintenance
    """,
    # What a call cost is its row plus its corrections. `first` where the call had no price before.
    """
    CREATE TABLE cost_corrections (
        tenant_id uuid NOT NULL,
        run_id uuid NOT NULL,
        turn integer NOT NULL,
        attempt integer NOT NULL,
        number integer NOT NULL,
        re_rating_id uuid NOT NULL,
        provider text NOT NULL,
        model text NOT NULL,
        opened_at timestamptz NOT NULL,
        input_price numeric NOT NULL,
        cached_input_price numeric NOT NULL,
        output_price numeric NOT NULL,
        amount numeric NOT NULL,
        first boolean NOT NULL,
        created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
        PRIMARY KEY (tenant_id, run_id, turn, attempt, number),
        CONSTRAINT cost_corrections_call_fkey FOREIGN KEY (tenant_id, run_id, turn, attempt)
            REFERENCES model_calls (tenant_id, run_id, turn, attempt) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX cost_corrections_opened_at ON cost_corrections (tenant_id, opened_at)",
    "GRANT SELECT, INSERT ON cost_corrections TO agent_runtime_app",
    """
    GRANT SELECT (tenant_id, run_id, turn, attempt, provider, model, opened_at, amount, first)
        ON cost_corrections TO agent_runtime_maintenance
    """,
    "CREATE POLICY maintenance_select ON cost_corrections FOR SELECT TO agent_runtime_maintenance USING (true)",
    # The usage of a call that was estimated and corrected may still arrive: what was corrected is then of other tokens.
    """
    CREATE FUNCTION correct_again() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        last cost_corrections%ROWTYPE;
        before numeric;
    BEGIN
        SELECT * INTO last FROM cost_corrections k
        WHERE k.tenant_id = NEW.tenant_id AND k.run_id = NEW.run_id AND k.turn = NEW.turn AND k.attempt = NEW.attempt
        ORDER BY k.number DESC LIMIT 1;
        IF FOUND THEN
            SELECT sum(k.amount) INTO before FROM cost_corrections k
            WHERE k.tenant_id = NEW.tenant_id AND k.run_id = NEW.run_id AND k.turn = NEW.turn
                AND k.attempt = NEW.attempt;
            INSERT INTO cost_corrections (tenant_id, run_id, turn, attempt, number, re_rating_id, provider, model,
                                          opened_at, input_price, cached_input_price, output_price, amount, first)
            VALUES (NEW.tenant_id, NEW.run_id, NEW.turn, NEW.attempt, last.number + 1, last.re_rating_id, NEW.provider,
                    NEW.model, NEW.opened_at, last.input_price, last.cached_input_price, last.output_price,
                    cost_of(NEW.input_tokens, NEW.cached_input_tokens, NEW.output_tokens, last.input_price,
                            last.cached_input_price, last.output_price) - NEW.cost - before, false);
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER model_calls_settled AFTER UPDATE OF state ON model_calls FOR EACH ROW
        WHEN (OLD.state = 'estimated') EXECUTE FUNCTION correct_again()
    """,
)

# What runs that were erased have used, without run, author or label: a bill does not shrink when somebody is forgotten.
ERASED = (
    """
    CREATE TABLE erased_usage (
        tenant_id uuid NOT NULL,
        day date NOT NULL,
        agent_id uuid NOT NULL,
        provider text NOT NULL,
        model text NOT NULL,
        estimated boolean NOT NULL,
        calls bigint NOT NULL,
        unpriced_calls bigint NOT NULL,
        input_tokens bigint NOT NULL,
        cached_input_tokens bigint NOT NULL,
        output_tokens bigint NOT NULL,
        reasoning_tokens bigint NOT NULL,
        cost numeric NOT NULL,
        correction numeric NOT NULL,
        PRIMARY KEY (tenant_id, day, agent_id, provider, model, estimated),
        CONSTRAINT erased_usage_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
    )
    """,
    "GRANT SELECT ON erased_usage TO agent_runtime_app",
    "GRANT SELECT, INSERT, UPDATE ON erased_usage TO agent_runtime_maintenance",
    "CREATE POLICY maintenance_select ON erased_usage FOR SELECT TO agent_runtime_maintenance USING (true)",
    # Whoever deletes a run adds it to the sums, in the same transaction; the agent is known from the row that goes.
    """
    CREATE FUNCTION keep_usage() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM erasures e
                   WHERE e.tenant_id = OLD.tenant_id AND e.kind = 'tenant' AND e.finished_at IS NULL) THEN
            RETURN OLD;
        END IF;
        INSERT INTO erased_usage AS s (tenant_id, day, agent_id, provider, model, estimated, calls, unpriced_calls,
                                       input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, cost,
                                       correction)
        SELECT OLD.tenant_id, (c.opened_at AT TIME ZONE 'UTC')::date, OLD.agent_id, c.provider, c.model,
               c.state = 'estimated', count(*), count(*) FILTER (WHERE c.input_price IS NULL AND NOT k.first),
               sum(c.input_tokens), sum(c.cached_input_tokens), sum(c.output_tokens), sum(c.reasoning_tokens),
               sum(c.cost), sum(k.amount)
        FROM model_calls c, LATERAL (
            SELECT COALESCE(sum(k.amount), 0) AS amount, COALESCE(bool_or(k.first), false) AS first
            FROM cost_corrections k
            WHERE k.tenant_id = c.tenant_id AND k.run_id = c.run_id AND k.turn = c.turn AND k.attempt = c.attempt
        ) AS k
        WHERE c.tenant_id = OLD.tenant_id AND c.run_id = OLD.id AND c.state IN ('settled', 'estimated')
        GROUP BY 2, c.provider, c.model, c.state
        ORDER BY 2, c.provider, c.model, c.state
        ON CONFLICT (tenant_id, day, agent_id, provider, model, estimated) DO UPDATE SET
            calls = s.calls + excluded.calls, unpriced_calls = s.unpriced_calls + excluded.unpriced_calls,
            input_tokens = s.input_tokens + excluded.input_tokens,
            cached_input_tokens = s.cached_input_tokens + excluded.cached_input_tokens,
            output_tokens = s.output_tokens + excluded.output_tokens,
            reasoning_tokens = s.reasoning_tokens + excluded.reasoning_tokens,
            cost = s.cost + excluded.cost, correction = s.correction + excluded.correction;
        RETURN OLD;
    END $$
    """,
    """
    CREATE TRIGGER runs_deleted BEFORE DELETE ON runs FOR EACH ROW EXECUTE FUNCTION keep_usage()
    """,
)

OPEN = "SELECT FROM erasures e WHERE e.tenant_id = {table}.tenant_id AND e.finished_at IS NULL"


def upgrade() -> None:
    create_index("model_calls_opened_at", "model_calls (tenant_id, opened_at)")
    create_index("model_calls_unpriced", "model_calls (tenant_id, run_id) WHERE input_price IS NULL")
    for statement in (*PRICES, *LEDGER, *CORRECTIONS, *ERASED):
        op.execute(statement)
    for table in ("cost_corrections", "erased_usage"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant ON {table} TO agent_runtime_app "
            f"USING (tenant_id = {TENANT}) WITH CHECK (tenant_id = {TENANT})"
        )
    covered = f"EXISTS ({OPEN})".format(table="erased_usage")
    op.execute(
        f"CREATE POLICY erasure_insert ON erased_usage FOR INSERT TO agent_runtime_maintenance WITH CHECK ({covered})"
    )
    op.execute(
        f"CREATE POLICY erasure_update ON erased_usage FOR UPDATE TO agent_runtime_maintenance USING ({covered})"
    )
    whole = f"EXISTS ({OPEN} AND e.kind = 'tenant')".format(table="erased_usage")
    op.execute(f"CREATE POLICY erasure_delete ON erased_usage FOR DELETE TO agent_runtime_maintenance USING ({whole})")
    op.execute("GRANT DELETE ON erased_usage TO agent_runtime_maintenance")
    for name in ("correct_again", "keep_usage"):
        op.execute(f"REVOKE EXECUTE ON FUNCTION {name} FROM PUBLIC")
