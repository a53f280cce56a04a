"""Functions of the hot path: one round trip each, and each enters its tenant by itself.

Reading and committing a step, settling a call, and pages of the log. A function that has to change gets a new name in a
new migration, since workers of the version before call this one during an upgrade.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The setting is a statement of its own, before the one that it protects, and ends with the transaction. Where a tenant
# was entered before, in a longer transaction, no other one is.
ENTER = """
CREATE FUNCTION enter_tenant(p_tenant_id uuid) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    entered uuid := NULLIF(current_setting('app.tenant_id', true), '')::uuid;
BEGIN
    IF entered IS NULL THEN
        PERFORM set_config('app.tenant_id', p_tenant_id::text, true);
        RETURN true;
    END IF;
    RETURN entered = p_tenant_id;
END $$
"""

# A run that holds no place among its tenant's running ones is to be paused, whatever was asked of it.
LOAD_RUN = """
CREATE FUNCTION load_run(
    p_tenant_id uuid, p_run_id uuid, p_after integer
) RETURNS TABLE (
    status text, desired text, control_seq integer, last_seq integer, turn integer, log_version smallint,
    started boolean, now timestamptz, deadline_at timestamptz, limit_steps integer, limit_tokens bigint,
    limit_cost numeric, tokens bigint, cost numeric, agent_id uuid, version integer, created_by text, input text,
    input_object text, events text, tenant_status text
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    IF enter_tenant(p_tenant_id) THEN
        RETURN QUERY
        SELECT r.status, CASE WHEN r.desired = 'run' AND r.admitted_at IS NULL THEN 'paused' ELSE r.desired END,
               r.control_seq, r.last_seq, r.turn, r.log_version, r.started_at IS NOT NULL,
               clock_timestamp(), r.deadline_at, r.limit_steps, r.limit_tokens, r.limit_cost,
               r.input_tokens + r.output_tokens, r.cost, r.agent_id, r.version, r.created_by,
               CASE WHEN p_after = 0 THEN r.input END,
               CASE WHEN p_after = 0 THEN CAST(r.input_object AS text) END,
               CASE WHEN r.last_seq > p_after THEN (
                   SELECT CAST(json_agg(
                       json_build_array(e.seq, e.type, e.data, e.at, e.version, e.refs) ORDER BY e.seq) AS text)
                   FROM run_events e
                   WHERE e.tenant_id = r.tenant_id AND e.run_id = r.id AND e.seq > p_after
               ) END,
               (SELECT t.status FROM tenants t WHERE t.id = r.tenant_id)
        FROM runs r
        WHERE r.tenant_id = p_tenant_id AND r.id = p_run_id;
    END IF;
END $$
"""

COMMIT_STEP = """
CREATE FUNCTION commit_step(
    p_tenant_id uuid, p_run_id uuid, p_require_turn integer, p_require_control integer,
    p_require_desired_run boolean, p_closed_state text, p_input_tokens bigint, p_cached_input_tokens bigint,
    p_output_tokens bigint, p_reasoning_tokens bigint, p_cost numeric, p_closed_turn integer,
    p_closed_attempt integer, p_types text[], p_turn integer, p_status text, p_waiting_for text, p_desired text,
    p_control_seen integer, p_started boolean, p_output text, p_output_object jsonb, p_error_code text,
    p_error_message text, p_estimated boolean, p_opened_turn integer, p_opened_attempt integer, p_provider text,
    p_model text, p_reserved_tokens bigint, p_input_price numeric, p_cached_input_price numeric,
    p_output_price numeric, p_artifacts jsonb, p_keys text[], p_datas text[], p_refs text[]
) RETURNS TABLE (
    last_seq integer, control_seq integer, desired text
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    IF enter_tenant(p_tenant_id) THEN
        RETURN QUERY
        WITH locked AS (
            SELECT r.tenant_id, r.id FROM runs r
            WHERE r.tenant_id = p_tenant_id AND r.id = p_run_id AND r.finished_at IS NULL
                AND (p_require_turn IS NULL OR r.turn = p_require_turn)
                AND (p_require_control IS NULL OR r.control_seq = p_require_control)
                AND (NOT p_require_desired_run OR (r.desired = 'run' AND r.admitted_at IS NOT NULL))
            FOR NO KEY UPDATE
        ), closed AS (
            UPDATE model_calls c SET
                state = p_closed_state, closed_at = clock_timestamp(),
                input_tokens = p_input_tokens, cached_input_tokens = p_cached_input_tokens,
                output_tokens = p_output_tokens, reasoning_tokens = p_reasoning_tokens,
                cost = p_cost
            FROM locked
            WHERE c.tenant_id = locked.tenant_id AND c.run_id = locked.id
                AND c.turn = p_closed_turn AND c.attempt = p_closed_attempt
            RETURNING new.input_tokens - old.input_tokens AS input_tokens,
                new.cached_input_tokens - old.cached_input_tokens AS cached_input_tokens,
                new.output_tokens - old.output_tokens AS output_tokens,
                new.reasoning_tokens - old.reasoning_tokens AS reasoning_tokens, new.cost - old.cost AS cost
        ), run AS (
            UPDATE runs r SET
                last_seq = r.last_seq + cardinality(p_types),
                turn = COALESCE(p_turn, r.turn),
                status = COALESCE(p_status, r.status),
                waiting_for = CASE WHEN p_status IS NULL THEN r.waiting_for
                              ELSE p_waiting_for END,
                desired = COALESCE(p_desired, r.desired),
                control_seq = r.control_seq + CASE WHEN p_desired IS NULL THEN 0 ELSE 1 END,
                control_seen = GREATEST(r.control_seen, COALESCE(p_control_seen, r.control_seen)),
                started_at = CASE WHEN p_started THEN COALESCE(r.started_at, clock_timestamp())
                             ELSE r.started_at END,
                admitted_at = CASE WHEN p_status = 'paused' THEN NULL ELSE r.admitted_at END,
                finished_at = CASE WHEN p_status IN ('completed', 'failed', 'cancelled')
                              THEN clock_timestamp() END,
                output = p_output,
                output_object = p_output_object,
                error_code = p_error_code,
                error_message = p_error_message,
                input_tokens = r.input_tokens + COALESCE(closed.input_tokens, 0),
                cached_input_tokens = r.cached_input_tokens + COALESCE(closed.cached_input_tokens, 0),
                output_tokens = r.output_tokens + COALESCE(closed.output_tokens, 0),
                reasoning_tokens = r.reasoning_tokens + COALESCE(closed.reasoning_tokens, 0),
                cost = r.cost + COALESCE(closed.cost, 0),
                estimated = r.estimated OR p_estimated
            FROM locked LEFT JOIN closed ON true
            WHERE r.tenant_id = locked.tenant_id AND r.id = locked.id
            RETURNING r.tenant_id, r.id, r.last_seq, r.control_seq, r.created_by,
                CASE WHEN r.desired = 'run' AND r.admitted_at IS NULL THEN 'paused' ELSE r.desired END AS desired
        ), opened AS (
            INSERT INTO model_calls (tenant_id, run_id, turn, attempt, provider, model, reserved_tokens,
                                     input_price, cached_input_price, output_price)
            SELECT run.tenant_id, run.id, p_opened_turn, p_opened_attempt, p_provider,
                   p_model, p_reserved_tokens, p_input_price,
                   p_cached_input_price, p_output_price
            FROM run WHERE p_opened_turn IS NOT NULL
        ), files AS (
            INSERT INTO artifacts (id, tenant_id, run_id, name, media_type, size, sha256, object_key, created_by)
            SELECT a.id, run.tenant_id, run.id, a.name, a.media_type, a.size, a.sha256, a.object_key, run.created_by
            FROM run, jsonb_to_recordset(p_artifacts) AS
                a (id uuid, name text, media_type text, size bigint, sha256 text, object_key text)
        ), log AS (
            INSERT INTO run_events (tenant_id, run_id, seq, type, key, data, refs)
            SELECT run.tenant_id, run.id, run.last_seq - cardinality(p_types) + e.position,
                   e.type, e.key, CAST(e.data AS jsonb), CAST(e.refs AS jsonb)
            FROM run, unnest(p_types, p_keys, p_datas, p_refs)
                WITH ORDINALITY AS e (type, key, data, refs, position)
        )
        SELECT last_seq, control_seq, desired FROM run;
    END IF;
END $$
"""

SETTLE_CALL = """
CREATE FUNCTION settle_call(
    p_tenant_id uuid, p_run_id uuid, p_state text, p_input_tokens bigint, p_cached_input_tokens bigint,
    p_output_tokens bigint, p_reasoning_tokens bigint, p_cost numeric, p_turn integer, p_attempt integer
) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    IF enter_tenant(p_tenant_id) THEN
        WITH run AS (
            SELECT tenant_id, id FROM runs
            WHERE tenant_id = p_tenant_id AND id = p_run_id FOR NO KEY UPDATE
        ), closed AS (
            UPDATE model_calls c SET
                state = p_state, closed_at = clock_timestamp(),
                input_tokens = p_input_tokens, cached_input_tokens = p_cached_input_tokens,
                output_tokens = p_output_tokens, reasoning_tokens = p_reasoning_tokens,
                cost = p_cost
            FROM run
            WHERE c.tenant_id = run.tenant_id AND c.run_id = run.id
                AND c.turn = p_turn AND c.attempt = p_attempt AND c.state IN ('open', 'estimated')
            RETURNING c.tenant_id, c.run_id, new.input_tokens - old.input_tokens AS input_tokens,
                new.cached_input_tokens - old.cached_input_tokens AS cached_input_tokens,
                new.output_tokens - old.output_tokens AS output_tokens,
                new.reasoning_tokens - old.reasoning_tokens AS reasoning_tokens, new.cost - old.cost AS cost
        )
        UPDATE runs r SET
            input_tokens = r.input_tokens + closed.input_tokens,
            cached_input_tokens = r.cached_input_tokens + closed.cached_input_tokens,
            output_tokens = r.output_tokens + closed.output_tokens,
            reasoning_tokens = r.reasoning_tokens + closed.reasoning_tokens,
            cost = r.cost + closed.cost
        FROM closed WHERE r.tenant_id = closed.tenant_id AND r.id = closed.run_id;
    END IF;
END $$
"""

READ_EVENTS = """
CREATE FUNCTION read_events(
    p_tenant_id uuid, p_run_id uuid, p_after integer, p_limit integer
) RETURNS TABLE (
    seq integer, type text, version smallint, data text, refs text, at timestamptz, turn integer, attempt integer
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    IF enter_tenant(p_tenant_id) THEN
        RETURN QUERY
        SELECT e.seq, e.type, e.version, CAST(e.data AS text), CAST(e.refs AS text), e.at,
               CAST(e.data ->> 'turn' AS int), CAST(e.data ->> 'attempt' AS int) FROM run_events e
        WHERE e.tenant_id = p_tenant_id AND e.run_id = p_run_id AND e.seq > p_after ORDER BY e.seq LIMIT p_limit;
    END IF;
END $$
"""

OPEN_EVENTS = """
CREATE FUNCTION open_events(
    p_tenant_id uuid, p_run_id uuid, p_after integer, p_limit integer
) RETURNS TABLE (
    created_by text, last_seq integer, turn integer, finished boolean, seq integer, type text, version smallint,
    data text, refs text, at timestamptz, event_turn integer, attempt integer
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    IF enter_tenant(p_tenant_id) THEN
        RETURN QUERY
        SELECT r.created_by, r.last_seq, r.turn, r.finished_at IS NOT NULL,
               e.seq, e.type, e.version, CAST(e.data AS text), CAST(e.refs AS text), e.at,
               CAST(e.data ->> 'turn' AS int), CAST(e.data ->> 'attempt' AS int)
        FROM runs r
        LEFT JOIN LATERAL (
            SELECT * FROM run_events
            WHERE tenant_id = r.tenant_id AND run_id = r.id AND seq > p_after
            ORDER BY seq LIMIT p_limit
        ) e ON true
        WHERE r.tenant_id = p_tenant_id AND r.id = p_run_id ORDER BY e.seq;
    END IF;
END $$
"""

FUNCTIONS = (ENTER, LOAD_RUN, COMMIT_STEP, SETTLE_CALL, READ_EVENTS, OPEN_EVENTS)
NAMES = ("enter_tenant", "load_run", "commit_step", "settle_call", "read_events", "open_events")


def upgrade() -> None:
    for function in FUNCTIONS:
        op.execute(function)
    for name in NAMES:
        op.execute(f"REVOKE EXECUTE ON FUNCTION {name} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {name} TO agent_runtime_app")
