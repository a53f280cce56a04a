"""`agent-runtime plans`, for administrators of the platform."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from agent_runtime import NotFound, TenantPlan

from services.cli.access import client
from services.cli.output import AsJson, print_facts, print_json, print_table

plans = typer.Typer(no_args_is_help=True, help="What tenants may use (role admin).")

NO_LIMIT = "none"
Slug = Annotated[str, typer.Argument(metavar="PLAN", help="Slug of the plan.")]
LISTED = ("requests_per_second", "running_runs", "queued_runs", "artifact_bytes")
LIMITS = (*LISTED, "agents", "agent_versions", "secrets", "service_accounts", "users")


def limit(what: str) -> Any:
    return typer.Option(metavar="N|none", help=f"{what}; none: no limit.")


@plans.command("list")
def list_plans(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List all plans."""
    found = list(client(ctx, "admin").plans.list())
    if as_json:
        return print_json({"items": [plan.as_json() for plan in found]})
    rows = [(plan.slug, *(shown(getattr(plan, name)) for name in LISTED), models_of(plan)) for plan in found]
    print_table(("plan", "requests/s", "running", "queued", "artifact bytes", "models"), rows, "There are no plans.")


@plans.command("show")
def show_plan(ctx: typer.Context, plan: Slug, as_json: AsJson = False) -> None:
    """Show one plan."""
    show_plan_of(client(ctx, "admin").plans.get(plan), as_json)


@plans.command("set")
def set_plan(
    ctx: typer.Context,
    plan: Slug,
    requests: Annotated[str | None, limit("Requests per second")] = None,
    running: Annotated[str | None, limit("Runs that run at once")] = None,
    queued: Annotated[str | None, limit("Runs that wait for their turn")] = None,
    artifact_bytes: Annotated[str | None, limit("Bytes that all artifacts may have together")] = None,
    agents: Annotated[str | None, limit("Agents, archived ones among them")] = None,
    agent_versions: Annotated[str | None, limit("Versions of each agent")] = None,
    secrets: Annotated[str | None, limit("Secrets")] = None,
    service_accounts: Annotated[str | None, limit("Service accounts")] = None,
    users: Annotated[str | None, limit("Users who were invited and not removed")] = None,
    model: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN|none", help="provider/model or provider/*; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a plan, or change the limits that are given; in effect within a second."""
    api = client(ctx, "admin")
    try:
        known = api.plans.get(plan)
    except NotFound:
        known = TenantPlan(slug=plan)
    texts = (requests, running, queued, artifact_bytes, agents, agent_versions, secrets, service_accounts, users)
    given = dict(zip(LIMITS, texts, strict=True))
    wanted = {name: getattr(known, name) if text is None else number(text, f"--{name}") for name, text in given.items()}
    allowed = known.allowed_models if not model else None if model == [NO_LIMIT] else model
    show_plan_of(api.plans.put(plan, **wanted, allowed_models=allowed), as_json)


def number(text: str, option: str) -> int | None:
    """A limit as it is written; None for no limit."""
    if text == NO_LIMIT:
        return None
    if not (text.isascii() and text.isdigit()):
        raise typer.BadParameter(f"{text!r} is neither a number nor {NO_LIMIT}", param_hint=option)
    return int(text)


def shown(value: int | None) -> str:
    return "no limit" if value is None else f"{value:,}"


def models_of(plan: TenantPlan) -> str:
    return "all" if plan.allowed_models is None else ", ".join(plan.allowed_models) or "no model"


def show_plan_of(plan: TenantPlan, as_json: bool) -> None:
    if as_json:
        return print_json(plan.as_json())
    print_facts(
        [
            ("plan", plan.slug),
            ("requests per second", shown(plan.requests_per_second)),
            ("running runs", shown(plan.running_runs)),
            ("queued runs", shown(plan.queued_runs)),
            ("artifact bytes", shown(plan.artifact_bytes)),
            ("agents", shown(plan.agents)),
            ("versions of an agent", shown(plan.agent_versions)),
            ("secrets", shown(plan.secrets)),
            ("service accounts", shown(plan.service_accounts)),
            ("users", shown(plan.users)),
            ("models", models_of(plan)),
            ("changed", plan.updated_at),
        ]
    )
