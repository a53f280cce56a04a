"""Committing a step from what a worker remembers of a run; where that is not how it stands, the run is read instead.

One round trip in either case. What is remembered is how the run stands when its log, its totals and what is asked of it
are where they were: then nobody has written since.
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

COMMIT_OR_LOAD = """
CREATE FUNCTION commit_or_load(
    p_expected_seq integer, p_expected_control integer, p_expected_tokens bigint, p_expected_cost numeric,
    p_tenant_id uuid, p_run_id uuid, p_require_turn integer, p_require_control integer,
    p_require_desired_run boolean, p_closed_state text, p_input_tokens bigint, p_cached_input_tokens bigint,
    p_output_tokens bigint, p_reasoning_tokens bigint, p_cost numeric, p_closed_turn integer,
    p_closed_attempt integer, p_types text[], p_turn integer, p_status text, p_waiting_for text, p_desired text,
    p_control_seen integer, p_started boolean, p_output text, p_output_object jsonb, p_error_code text,
    p_error_message text, p_estimated boolean, p_opened_turn integer, p_opened_attempt integer, p_provider text,
    p_model text, p_reserved_tokens bigint, p_input_price numeric, p_cached_input_price numeric,
    p_output_price numeric, p_artifacts jsonb, p_keys text[], p_datas text[], p_refs text[]
) RETURNS TABLE (
    committed boolean,
    status text, desired text, control_seq integer, last_seq integer, turn integer, log_version smallint,
    started boolean, now timestamptz, deadline_at timestamptz, limit_steps integer, limit_tokens bigint,
    limit_cost numeric, tokens bigint, cost numeric, agent_id uuid, version integer, created_by text, input text,
    input_object text, events text, tenant_status text
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    IF NOT enter_tenant(p_tenant_id) THEN
        RETURN;
    END IF;
    PERFORM FROM runs r
    WHERE r.tenant_id = p_tenant_id AND r.id = p_run_id AND r.last_seq = p_expected_seq
        AND r.control_seq = p_expected_control AND r.cost = p_expected_cost
        AND r.input_tokens + r.output_tokens = p_expected_tokens
    FOR NO KEY UPDATE;
    IF FOUND THEN
        SELECT true, c.last_seq, c.control_seq, c.desired INTO committed, last_seq, control_seq, desired
        FROM commit_step(
            p_tenant_id, p_run_id, p_require_turn, p_require_control, p_require_desired_run, p_closed_state,
            p_input_tokens, p_cached_input_tokens, p_output_tokens, p_reasoning_tokens, p_cost, p_closed_turn,
            p_closed_attempt, p_types, p_turn, p_status, p_waiting_for, p_desired, p_control_seen, p_started, p_output,
            p_output_object, p_error_code, p_error_message, p_estimated, p_opened_turn, p_opened_attempt, p_provider,
            p_model, p_reserved_tokens, p_input_price, p_cached_input_price, p_output_price, p_artifacts, p_keys,
            p_datas, p_refs
        ) c;
        IF FOUND THEN
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;
    RETURN QUERY SELECT false, l.* FROM load_run(p_tenant_id, p_run_id, p_expected_seq) l;
END $$
"""


def upgrade() -> None:
    op.execute(COMMIT_OR_LOAD)
    op.execute("REVOKE EXECUTE ON FUNCTION commit_or_load FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION commit_or_load TO agent_runtime_app")
