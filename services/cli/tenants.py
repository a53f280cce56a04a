"""`agent-runtime tenants`, for administrators of the platform."""

from __future__ import annotations

from typing import Annotated

import typer
from agent_runtime import Tenant

from services.cli.access import client
from services.cli.output import AsJson, print_facts, print_json, print_table, safe
from services.cli.users import password_facts

tenants = typer.Typer(no_args_is_help=True, help="Create and look at tenants (role admin).")


Name = Annotated[str, typer.Argument(help="Slug or id.")]


@tenants.command("create")
def create_tenant(
    ctx: typer.Context,
    slug: Annotated[str, typer.Argument(help="Lower-case letters, digits and hyphens.")],
    name: Annotated[str | None, typer.Option("--name", help="How people call it.")] = None,
    plan: Annotated[str | None, typer.Option("--plan", help="What it may use; see `plans list`.")] = None,
    operator: Annotated[
        str | None, typer.Option("--operator", metavar="EMAIL", help="Its first operator, made at the issuer too.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a tenant, with --operator its first operator too, whose temporary password is printed once.

    Repeat it after a failure: it goes on where it stood.
    """
    show_tenant_of(client(ctx, "admin").tenants.create(slug, name=name, plan=plan, operator=operator), as_json)


@tenants.command("update")
def update_tenant(
    ctx: typer.Context,
    tenant: Annotated[str, typer.Argument(help="Slug or id.")],
    name: Annotated[str | None, typer.Option("--name", help="How people call it.")] = None,
    plan: Annotated[str | None, typer.Option("--plan", help="What it may use; see `plans list`.")] = None,
    as_json: AsJson = False,
) -> None:
    """Rename a tenant, or give it another plan."""
    show_tenant_of(client(ctx, "admin").tenants.update(tenant, name=name, plan=plan), as_json)


@tenants.command("list")
def list_tenants(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List all tenants."""
    found = list(client(ctx, "admin").tenants.list())
    if as_json:
        return print_json({"items": [tenant.as_json() for tenant in found]})
    rows = [(tenant.slug, tenant.name, tenant.status, tenant.plan, tenant.created_at, tenant.id) for tenant in found]
    print_table(("tenant", "name", "status", "plan", "created", "id"), rows, "There are no tenants.")


@tenants.command("show")
def show_tenant(
    ctx: typer.Context,
    tenant: Name,
    as_json: AsJson = False,
) -> None:
    """Show one tenant."""
    show_tenant_of(client(ctx, "admin").tenants.get(tenant), as_json)


@tenants.command("suspend")
def suspend_tenant(ctx: typer.Context, tenant: Name, as_json: AsJson = False) -> None:
    """Refuse a tenant's requests from now on, until it is resumed."""
    show_tenant_of(client(ctx, "admin").tenants.update(tenant, status="suspended"), as_json)


@tenants.command("resume")
def resume_tenant(ctx: typer.Context, tenant: Name, as_json: AsJson = False) -> None:
    """Let a suspended tenant work again."""
    show_tenant_of(client(ctx, "admin").tenants.update(tenant, status="active"), as_json)


@tenants.command("retention")
def set_retention(
    ctx: typer.Context,
    tenant: Name,
    days: Annotated[int | None, typer.Option("--days", min=1, help="Erase runs so long after their end.")] = None,
    forever: Annotated[bool, typer.Option("--forever", help="Erase nothing by age.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say how long a tenant's runs and uploads are kept."""
    if (days is None) != forever:
        raise typer.BadParameter("give --days or --forever")
    show_tenant_of(client(ctx, "admin").tenants.keep_for(tenant, days), as_json)


@tenants.command("delete")
def delete_tenant(
    ctx: typer.Context,
    tenant: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a tenant and all it has, users included; there is no way back."""
    if not yes:
        typer.confirm(f"Delete the tenant {safe(tenant)} with its runs, files and users?", abort=True, err=True)
    show_tenant_of(client(ctx, "admin").tenants.delete(tenant), as_json)


def show_tenant_of(tenant: Tenant, as_json: bool) -> None:
    if as_json:
        return print_json(tenant.as_json())
    print_facts(
        [
            ("tenant", tenant.slug),
            ("name", tenant.name),
            ("status", tenant.status),
            ("plan", tenant.plan),
            ("kept for days", tenant.retention_days),
            ("created", tenant.created_at),
            ("id", tenant.id),
        ]
    )
    if tenant.operator is not None:
        print_facts([("operator", tenant.operator.username), *password_facts(tenant.operator)])
