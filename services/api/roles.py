"""Who may do what: every operation of the API is named here, or its route does not start."""

from __future__ import annotations

PLATFORM = frozenset({"admin"})
OPERATORS = frozenset({"operator"})
MEMBERS = frozenset({"operator", "user"})
ANYONE: frozenset[str] = frozenset()  # no token is asked for

ROLES: dict[str, frozenset[str]] = {
    "get_version": ANYONE,
    "check_health": ANYONE,
    "check_readiness": ANYONE,
    "get_metrics": ANYONE,
    "create_tenant": PLATFORM,
    "list_tenants": PLATFORM,
    "get_tenant": PLATFORM | OPERATORS,  # an operator its own
    "update_tenant": PLATFORM,
    "delete_tenant": PLATFORM,
    "invite_user": OPERATORS,
    "list_users": OPERATORS,
    "remove_user": OPERATORS,
    "create_service_account": OPERATORS,
    "list_service_accounts": OPERATORS,
    "rotate_service_account": OPERATORS,
    "delete_service_account": OPERATORS,
    "block_user": PLATFORM | OPERATORS,  # an operator in its tenant, an administrator among administrators
    "unblock_user": PLATFORM | OPERATORS,
    "list_blocks": PLATFORM | OPERATORS,
    "list_plans": PLATFORM,
    "get_plan": PLATFORM | OPERATORS,  # an operator its own tenant's
    "put_plan": PLATFORM,
    "list_audit_entries": PLATFORM | OPERATORS,  # an administrator what belongs to no tenant
    "export_audit_log": PLATFORM | OPERATORS,
    "get_audit_head": PLATFORM | OPERATORS,
    "create_agent": OPERATORS,
    "list_agents": MEMBERS,
    "get_agent": MEMBERS,
    "update_agent": OPERATORS,
    "archive_agent": OPERATORS,
    "create_agent_version": OPERATORS,
    "list_agent_versions": MEMBERS,
    "get_agent_version": MEMBERS,
    "promote_agent_version": OPERATORS,
    "put_secret": OPERATORS,
    "list_secrets": OPERATORS,
    "delete_secret": OPERATORS,
    "create_run": MEMBERS,
    "list_runs": MEMBERS,
    "get_run": MEMBERS,
    "pause_run": MEMBERS,
    "resume_run": MEMBERS,
    "cancel_run": MEMBERS,
    "list_run_events": MEMBERS,
    "create_artifact": MEMBERS,
    "list_artifacts": MEMBERS,
    "list_run_artifacts": MEMBERS,
    "get_artifact": MEMBERS,
    "get_artifact_content": MEMBERS,
}
