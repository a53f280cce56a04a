"""The commands `login`, `logout` and `whoami`."""

from __future__ import annotations

import json
import os
import sys
import webbrowser
from base64 import urlsafe_b64decode
from typing import Annotated, Any

import typer
from agent_runtime import Client, Unusable

from services.cli.access import IMPATIENT, Access
from services.cli.exits import INTERRUPTED, UNREACHABLE
from services.cli.login_store import Login, LoginStore
from services.cli.oauth import Device, IssuerUnreachable, begin, check_safe, discover, revoke, wait
from services.cli.output import AsJson, console, error_console, print_facts, print_json, safe


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (login, logout, whoami):
        app.command(rich_help_panel="You")(command)


def login(
    ctx: typer.Context,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address and the code.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Stay logged in for weeks, also without a command in between.")
    ] = False,
    issuer: Annotated[
        str | None, typer.Option("--issuer", envvar="AGENT_RUNTIME_ISSUER", help="Else the API says which it believes.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Log in to an API with a browser, on this machine or another one.

    Further commands use that API and this login, unless they are given others.
    """
    access: Access = ctx.find_root().obj
    api_url = access.address()
    check_safe(api_url)
    endpoints = discover(issuer or _issuer_of(api_url))
    device = begin(endpoints, "openid offline_access" if offline else "openid")
    _show(device, as_json)
    if not no_browser and _has_screen():
        webbrowser.open(device.verification_uri_complete)
    try:
        tokens = wait(endpoints, device)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    made = Login(api_url, endpoints.issuer, endpoints.token, endpoints.revocation, tokens)
    store = LoginStore()
    with store.alone(api_url):
        place = store.keep(made, current=True)
    claims = claims_of(tokens.access_token)
    if as_json:
        return print_json({**_about(claims), "api_url": api_url, "stored_in": place}, line=True)
    console().print(f"You are {safe(claims.get('preferred_username'))} at {safe(api_url)}; your login is in {place}.")


def logout(ctx: typer.Context, as_json: AsJson = False) -> None:
    """End the login: at the issuer, and on this machine."""
    access: Access = ctx.find_root().obj
    store = LoginStore()
    found = access.login()
    if found is None:
        if as_json:
            return print_json({"logged_out": False})
        return console().print("You are not logged in.")
    with store.alone(found.api_url):
        found = store.find(found.api_url) or found
        store.forget(found.api_url)
    revoked = True
    try:
        revoke(found.revocation_endpoint, found.tokens.refresh_token)
    except IssuerUnreachable as failure:
        revoked = False
        error_console().print(f"The login is gone from this machine, but not at the issuer: {failure}")
    if as_json:
        print_json({"logged_out": True, "revoked": revoked, "api_url": found.api_url})
    elif revoked:
        console().print(f"Logged out of {safe(found.api_url)}.")
    raise typer.Exit(0 if revoked else UNREACHABLE)


def whoami(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show as whom the commands act: subject, tenant, roles, and where the token comes from."""
    access: Access = ctx.find_root().obj
    source, token = access.token_in_use()
    about = {**_about(claims_of(token)), "api_url": access.address(), "token_from": source}
    if as_json:
        return print_json(about)
    print_facts((name.replace("_", " "), ", ".join(v) if isinstance(v, list) else v) for name, v in about.items())


def claims_of(token: str) -> dict[str, Any]:
    """What a token says; it is the API's business whether that is true."""
    try:
        part = token.split(".")[1]
        claims = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        raise Unusable("the token in use is not a JWT") from None
    return claims if isinstance(claims, dict) else {}


def _about(claims: dict[str, Any]) -> dict[str, Any]:
    access = claims.get("realm_access")
    roles = access.get("roles", []) if isinstance(access, dict) else []
    return {
        "username": claims.get("preferred_username"),
        "subject": claims.get("sub"),
        "tenant": claims.get("tenant_id"),
        "roles": [role for role in roles if role in ("admin", "operator", "user")],
        "issuer": claims.get("iss"),
    }


def _issuer_of(api_url: str) -> str:
    with Client(api_url, None, retry=IMPATIENT) as client:
        issuer = client.version().issuer
    if not issuer:
        raise Unusable(f"{api_url} does not say which issuer it believes; name it with --issuer")
    return issuer


def _show(device: Device, as_json: bool) -> None:
    if as_json:
        asked = {
            "verification_uri": device.verification_uri,
            "verification_uri_complete": device.verification_uri_complete,
            "user_code": device.user_code,
            "expires_in": device.expires_in,
        }
        print_json(asked, line=True)
    else:
        console().print(f"Open {safe(device.verification_uri_complete)}")
        console().print(f"and confirm the code {safe(device.user_code)}. Waiting …")
    sys.stdout.flush()


def _has_screen() -> bool:
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
