"""`agent-runtime audit`: who did what, and whether the log still says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from agent_runtime import AuditHead, Finding, Unusable, Verification, verify_chain

from services.cli.access import client
from services.cli.exits import RUN_FAILED
from services.cli.output import AsJson, console, print_facts, print_json, print_table, safe

audit = typer.Typer(no_args_is_help=True, help="The audit log: list, export, verify (role operator; admin: platform).")


@audit.command("list")
def list_entries(
    ctx: typer.Context,
    actor: Annotated[str | None, typer.Option("--actor", help="Only acts of this subject.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="Only this action.")] = None,
    target: Annotated[str | None, typer.Option("--target", help="Only on this target, like agent/helper.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List acts and refusals, newest first."""
    listed = client(ctx).audit.list(actor=actor, action=action, target=target, page_size=min(limit, 200))
    found = list(islice(listed, limit))
    if as_json:
        return print_json({"items": [entry.as_json() for entry in found]})
    rows = [
        (each.seq, each.at, each.actor, each.source, each.action, each.target, _short(each.before), _short(each.after))
        for each in found
    ]
    print_table(("#", "at", "who", "from", "did", "to", "before", "after"), rows, "There are no such entries.")


@audit.command("export")
def export_entries(
    ctx: typer.Context,
    to: Annotated[Path | None, typer.Option("--to", "-o", help="File to write; else standard output.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the whole log as JSON lines, in the order of its chain."""
    entries = client(ctx).audit.export()
    if to is None:
        for entry in entries:
            typer.echo(_line(entry.as_json()))
        return
    count = 0
    with to.open("w", encoding="utf-8") as file:
        for entry in entries:
            count += 1
            file.write(_line(entry.as_json()) + "\n")
    if as_json:
        return print_json({"file": str(to), "entries": count})
    console().print(f"Wrote {count} entries to {to}.")


@audit.command("head")
def show_head(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Print the head: keep it elsewhere, and `verify --head` finds every later change of what is before it."""
    head = client(ctx).audit.head()
    if as_json:
        return print_json({"head": str(head) if head else None})
    typer.echo(str(head) if head else "Nothing is sealed yet.")


@audit.command("verify")
def verify_log(
    ctx: typer.Context,
    head: Annotated[list[str] | None, typer.Option("--head", help="A head kept elsewhere; may be repeated.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="An export to check, instead of the API's log.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check that no entry was changed, removed, reordered, inserted or cut off; exits with 1 when one was."""
    heads = [AuditHead.parse(text) for text in head or []]
    found = verify_chain(_read(file), heads) if file else client(ctx).audit.verify(*heads)
    if as_json:
        print_json(_as_document(found))
    else:
        _show(found, without_head=file is not None and not heads)
    raise typer.Exit(0 if found.intact else RUN_FAILED)


def _read(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
            except ValueError:
                raise Unusable(f"{file}: line {number} is not JSON") from None
            if not isinstance(entry, dict):
                raise Unusable(f"{file}: line {number} is not an entry of an audit log")
            yield entry


def _show(found: Verification, *, without_head: bool) -> None:
    print_table(
        ("entry", "what", "why", "id"),
        [(_which(each), each.what, each.detail, each.entry_id) for each in found.findings],
        "Every sealed entry is what it was.",
    )
    print_facts(
        [
            ("sealed", found.sealed),
            ("head", found.head),
            ("not sealed yet", f"{len(found.unsealed)}: {', '.join(found.unsealed)}" if found.unsealed else None),
        ]
    )
    if without_head:
        console().print("Without --head an end that was cut off is not seen.", style="dim")


def _which(finding: Finding) -> str:
    last = finding.last_seq
    return str(finding.seq) if last in (None, finding.seq) else f"{finding.seq}-{last}"


def _as_document(found: Verification) -> dict[str, Any]:
    findings = [
        {"what": each.what, "seq": each.seq, "last_seq": each.last_seq, "id": each.entry_id, "detail": each.detail}
        for each in found.findings
    ]
    head = str(found.head) if found.head else None
    return {
        "intact": found.intact,
        "findings": findings,
        "sealed": found.sealed,
        "head": head,
        "unsealed": list(found.unsealed),
    }


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, separators=(",", ":"))


def _short(value: Any) -> str:
    return "" if value is None else safe(json.dumps(value, ensure_ascii=False))[:80]
