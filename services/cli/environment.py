"""`agent-runtime env`: writes the .env of an installation by docker compose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from agent_runtime import Unusable

from deploy.compose.production import CannotWrite, write
from services.cli.output import AsJson, console, print_json


def env(
    production: Annotated[
        bool, typer.Option("--production", help="With secrets made anew; development needs no file at all.")
    ] = False,
    public_url: Annotated[
        str, typer.Option(help="https://HOST[:PORT] under which clients and browsers reach the gateway.")
    ] = "",
    file: Annotated[Path, typer.Option(help="What to write; it must not be there.")] = Path(".env"),
    as_json: AsJson = False,
) -> None:
    """Write the settings of an installation by docker compose, for the owner of the file alone."""
    if not production:
        raise Unusable("development needs no file; say --production, or copy .env.example to change a setting")
    try:
        made = write(file, public_url)
    except CannotWrite as problem:
        raise Unusable(str(problem)) from None
    if as_json:
        return print_json({"file": str(file), "secrets": made})
    console().print(
        f"Wrote {file} (mode 0600) with {len(made)} secrets of its own. Keep a copy where nobody else reads it."
    )
    console().print("Next: docker compose up --wait, and a TLS proxy in front of the gateway's port; docs/compose.md")
