"""`agent-runtime isolation-check`: two tenants, every attack, and what came of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Any

import httpx
import typer
from agent_runtime import Client

from deploy.embedded.connection import connect, token_provider
from deploy.embedded.state import StateDirectory, default_state_directory
from services.cli.access import Access
from services.cli.isolation import furnishing
from services.cli.isolation.check import LEAK, Check, Finding, Report, furnished
from services.cli.isolation.parties import CheckImpossible, Party, Token
from services.cli.output import AsJson, console, error_console, print_json, print_table, safe

LEAKING = 1


@dataclass(frozen=True)
class Grounds:
    """Where the check is made: an API, tokens of two tenants' operators, and the embedded stack if it is one."""

    api_url: str
    tokens: tuple[Token, Token]
    state_dir: Path | None = None
    embedded: bool = False


def check_isolation(
    ctx: typer.Context,
    token_a: Annotated[
        Path | None,
        typer.Option("--token-a-file", envvar="ISOLATION_TOKEN_A_FILE", help="File of a token of tenant A's operator."),
    ] = None,
    token_b: Annotated[
        Path | None,
        typer.Option("--token-b-file", envvar="ISOLATION_TOKEN_B_FILE", help="File of a token of tenant B's operator."),
    ] = None,
    openapi: Annotated[
        Path | None, typer.Option("--openapi", help="The OpenAPI document, where the API does not serve it.")
    ] = None,
    one_way: Annotated[bool, typer.Option("--one-way", help="Only let A attack B, not B also A.")] = False,
    as_json: AsJson = False,
) -> None:
    """Attack the walls between two tenants and say what was found. Exit code 1 when one leaks.

    With --api-url (or AGENT_RUNTIME_API_URL) it needs an operator's token of each of two tenants made for this, in
    files. Without, it makes two tenants at the embedded stack of this machine and attacks its servers as well. It
    leaves archived agents, ended runs and files of a few bytes in both tenants.
    """
    access: Access = ctx.find_root().obj
    with _grounds(access, token_a, token_b) as grounds:
        report = _checked(grounds, openapi, one_way, quiet=as_json)
    print_json(report.as_json()) if as_json else _show(report)
    if not report.holds:
        raise typer.Exit(LEAKING)


@contextmanager
def _grounds(access: Access, token_a: Path | None, token_b: Path | None) -> Iterator[Grounds]:
    if token_a and token_b:
        url = access.api_url or connect(access.state_dir, "", "admin").api_url
        yield Grounds(url, (_from_file(token_a), _from_file(token_b)))
        return
    if access.api_url or token_a or token_b:
        raise CheckImpossible(
            "give a token of an operator of each of two tenants: --token-a-file and --token-b-file "
            "(ISOLATION_TOKEN_A_FILE, ISOLATION_TOKEN_B_FILE)"
        )
    admin = connect(access.state_dir, "", "admin")
    state = StateDirectory(access.state_dir or default_state_directory())
    slugs = [f"isolation-{name}-{token_hex(4)}" for name in "ab"]
    with Client(admin.api_url, admin.token_provider) as client:
        for slug in slugs:
            client.tenants.create(slug)
        try:
            a, b = (token_provider(state, tenant=slug, role="operator", subject="isolation-check") for slug in slugs)
            yield Grounds(admin.api_url, (a, b), access.state_dir, embedded=True)
        finally:
            for slug in slugs:
                client.tenants.delete(slug)


def _from_file(path: Path) -> Token:
    return lambda: path.read_text(encoding="ascii").strip()


def _checked(grounds: Grounds, openapi: Path | None, one_way: bool, *, quiet: bool) -> Report:
    report = Report()
    document = _document(grounds.api_url, openapi)
    sides = list(zip("AB", grounds.tokens, strict=True))
    for attacking, attacked in (sides, sides[::-1])[: 1 if one_way else 2]:
        if not quiet:
            error_console().print(f"tenant {attacking[0]} attacks tenant {attacked[0]} …", style="dim")
        parties = [Party(f"tenant {name}", grounds.api_url, token) for name, token in (attacking, attacked)]
        try:
            _one_direction(grounds, parties[0], parties[1], document, report)
        finally:
            for party in parties:
                furnishing.clear(party)
                party.close()
    return report


def _one_direction(grounds: Grounds, attacker: Party, victim: Party, document: Any, report: Report) -> None:
    """Each has things of its own for each: an attacker deletes what it has, to see that deleting works."""
    if attacker.whoami()[0] == victim.whoami()[0]:
        raise CheckImpossible("both tokens are of the same tenant")
    for party in (attacker, victim):
        furnishing.await_erasures(party)
    furnished(attacker, victim)
    Check(attacker, victim, document).run(report)
    if grounds.embedded:
        _attack_servers(grounds, attacker, victim, report)


def _document(api_url: str, openapi: Path | None) -> Any:
    try:
        if openapi is not None:
            return json.loads(openapi.read_text(encoding="utf-8"))
        answer = httpx.get(f"{api_url.rstrip('/')}/openapi.json", timeout=20)
        document = answer.json() if answer.is_success else {}
    except (ValueError, httpx.HTTPError):
        document = {}
    if "paths" not in document:
        raise CheckImpossible(f"{api_url}/openapi.json is not served here: name the document with --openapi FILE")
    return document


def _attack_servers(grounds: Grounds, attacker: Party, victim: Party, report: Report) -> None:
    content = [mark for mark, what in victim.marks.items() if not what.startswith("the id")]
    from deploy.embedded.isolation import Victim, attack_servers  # noqa: PLC0415 - half of a second of every command

    known = Victim(victim.values["tenant"], victim.runs, content)
    for tried in attack_servers(grounds.state_dir, attacker.values["tenant"], known):
        report.note(tried.layer, tried.attack)
        if tried.leak:
            report.findings.append(Finding(LEAK, tried.layer, tried.attack, tried.leak, tried.what))


def _show(report: Report) -> None:
    found = Counter(finding.where for finding in report.findings)
    rows = []
    for where, kinds in report.tried.items():
        told = ", ".join(f"{count} x {kind}" for kind, count in kinds.items() if count)
        ended = f"{found[where]} found" if found[where] else "not offered" if where in report.not_offered else "holds"
        rows.append((where, ended, told))
    print_table(("route or server", "", "tried"), rows, "Nothing was tried.")
    for finding in report.findings:
        what = " ".join(part for part in (finding.kind, finding.where, f"[{finding.attack}]") if part)
        console().print(f"\n{safe(what)}\n  {safe(finding.detail)}\n  {safe(finding.request)}".rstrip(), style="red")
    ended = "the walls hold" if report.holds else f"{len(report.findings)} findings: the walls do not hold"
    console().print(f"\n{report.attempts} attempts: {ended}.")
