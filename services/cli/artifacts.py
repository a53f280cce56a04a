"""`agent-runtime artifacts`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from agent_runtime import Artifact

from services.cli.access import client
from services.cli.output import AsJson, console, print_facts, print_json, print_table, safe

artifacts = typer.Typer(no_args_is_help=True, help="List, download and upload files.")


@artifacts.command("list")
def list_artifacts(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")],
    as_json: AsJson = False,
) -> None:
    """List the files that a run made."""
    found = list(client(ctx).runs.artifacts(run))
    if as_json:
        return print_json({"items": [artifact.as_json() for artifact in found]})
    rows = [(a.id, a.name, a.media_type, a.size, a.created_at) for a in found]
    print_table(("id", "name", "type", "bytes", "created"), rows, "The run has made no files.")


@artifacts.command("get")
def get_artifact(
    ctx: typer.Context,
    artifact: Annotated[str, typer.Argument(metavar="ID", help="Id of the artifact.")],
    to: Annotated[str, typer.Option("--output", "-o", metavar="PATH", help="File or directory; - is stdout.")] = ".",
    as_json: AsJson = False,
) -> None:
    """Download a file, checked against its SHA-256; a broken download is resumed."""
    api = client(ctx)
    if to == "-":
        for piece in api.artifacts.stream(artifact):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    path = api.artifacts.download(artifact, to)
    if as_json:
        return print_json({**api.artifacts.get(artifact).as_json(), "path": str(path)})
    console().print(safe(path))


@artifacts.command("put")
def put_artifact(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to upload.")],
    name: Annotated[str | None, typer.Option("--name", help="Another name than the file's.")] = None,
    media_type: Annotated[str | None, typer.Option("--type", help="Media type; else guessed from the name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Upload a file of at most 32 MiB."""
    show_artifact_of(client(ctx).artifacts.upload(file, name=name, media_type=media_type), as_json)


def show_artifact_of(artifact: Artifact, as_json: bool) -> None:
    if as_json:
        return print_json(artifact.as_json())
    print_facts(
        [
            ("id", artifact.id),
            ("name", artifact.name),
            ("type", artifact.media_type),
            ("bytes", artifact.size),
            ("sha256", artifact.sha256),
        ]
    )
