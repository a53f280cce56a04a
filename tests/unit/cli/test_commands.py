"""Every command says what the API said, to people and to programs, and ends with the right exit code."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from agent_runtime import Client
from typer.testing import CliRunner, Result

from services.cli.main import app
from tests.unit.sdk.scripted import Answer, ScriptedApi, events, ok, problem, run

SPEC = {"model": "local/small", "instructions": "Be kind."}
AGENT = {"slug": "echo", "promoted_version": 1, "description": "says it again"}
VERSION = {"agent": "echo", "number": 2, "digest": "sha256:" + "0" * 64, "spec": SPEC, "promoted": True}
TENANT = {"id": "02", "slug": "acme", "name": "Acme", "status": "active"}
USER = {"id": "01", "username": "a@b.example", "role": "operator", "temporary_password": "brief-0123456789"}
ACCOUNT = {"name": "ci", "role": "user", "client_id": "ci-01", "client_secret": "s3cret", "token_url": "http://x/token"}
BLOCK = {"subject": "sub-1", "reason": "left", "blocked_by": "ada", "blocked_at": "2026-11-01T10:00:00.000000Z"}
PLAN = {"slug": "gold", "running_runs": 10, "queued_runs": None, "users": 7, "allowed_models": ["local/*"]}
ARTIFACT = {
    "id": "07",
    "name": "a.txt",
    "media_type": "text/plain",
    "size": 3,
    "sha256": hashlib.sha256(b"abc").hexdigest(),
}


@dataclass
class ScriptedAccess:
    """Stands where `Access` does and leads to the scripted server."""

    api: ScriptedApi
    role: str = ""

    def client(self, role: str = "operator") -> Client:
        self.role = role
        return self.api.client()


def invoke(api: ScriptedApi, *arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), obj=ScriptedAccess(api), input=stdin)


def page(*items: Any) -> Answer:
    return ok({"items": list(items), "next_cursor": None})


@pytest.fixture
def agent_yaml(tmp_path: Path) -> str:
    path = tmp_path / "agent.yaml"
    path.write_text("slug: echo\ndescription: says it again\nspec:\n  model: local/small\n  instructions: Be kind.\n")
    return str(path)


READS: list[tuple[list[str], Answer, str]] = [
    (["agents", "list"], page(AGENT), "/v1/agents"),
    (["agents", "show", "echo"], ok(AGENT), "/v1/agents/echo"),
    (["agents", "versions", "echo"], page(VERSION), "/v1/agents/echo/versions"),
    (["agents", "promote", "echo", "2"], ok(AGENT), "/v1/agents/echo/versions/2/promote"),
    (["versions", "show", "echo", "2"], ok(VERSION), "/v1/agents/echo/versions/2"),
    (["runs", "list"], page(run(agent="echo")), "/v1/runs"),
    (["runs", "show", "01"], ok(run(agent="echo")), "/v1/runs/01"),
    (["runs", "pause", "01"], ok(run("pausing", agent="echo")), "/v1/runs/01/pause"),
    (["runs", "resume", "01"], ok(run("running", agent="echo")), "/v1/runs/01/resume"),
    (["runs", "cancel", "01", "--reason", "enough"], ok(run("cancelling")), "/v1/runs/01/cancel"),
    (["artifacts", "list", "01"], page(ARTIFACT), "/v1/runs/01/artifacts"),
    (["secrets", "list"], page({"name": "crm"}), "/v1/secrets"),
    (["tenants", "create", "acme", "--name", "Acme"], ok(TENANT, 201), "/v1/tenants"),
    (["tenants", "list"], page(TENANT), "/v1/tenants"),
    (["tenants", "show", "acme"], ok(TENANT), "/v1/tenants/acme"),
    (["tenants", "suspend", "acme"], ok(TENANT), "/v1/tenants/acme"),
    (["tenants", "resume", "acme"], ok(TENANT), "/v1/tenants/acme"),
    (["tenants", "delete", "acme", "--yes"], ok(TENANT, 202), "/v1/tenants/acme"),
    (["tenants", "create", "acme", "--operator", "a@b.example"], ok(TENANT | {"operator": USER}, 201), "/v1/tenants"),
    (["users", "invite", "a@b.example", "--role", "operator"], ok(USER, 201), "/v1/users"),
    (["users", "list"], page(USER), "/v1/users"),
    (["service-accounts", "create", "ci"], ok(ACCOUNT, 201), "/v1/service-accounts"),
    (["service-accounts", "list"], page(ACCOUNT), "/v1/service-accounts"),
    (["service-accounts", "rotate", "ci"], ok(ACCOUNT), "/v1/service-accounts/ci/rotate"),
    (["users", "block", "sub-1", "--reason", "left"], ok(BLOCK), "/v1/users/sub-1/block"),
    (["users", "unblock", "sub-1"], ok(BLOCK), "/v1/users/sub-1/unblock"),
    (["users", "blocks"], page(BLOCK), "/v1/blocks"),
    (["tenants", "update", "acme", "--plan", "gold"], ok(TENANT), "/v1/tenants/acme"),
    (["plans", "list"], page(PLAN), "/v1/plans"),
    (["plans", "show", "gold"], ok(PLAN), "/v1/plans/gold"),
    (["version"], ok({"version": "1.2.3", "api": "v1"}), "/v1/version"),
]


@pytest.mark.parametrize(
    ("arguments", "answer", "path"), READS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_commands_for_people_and_programs(arguments: list[str], answer: Any, path: str) -> None:
    api = ScriptedApi(answer)
    for_people = invoke(api, *arguments)
    assert for_people.exit_code == 0, for_people.output
    assert api.requests[0].url.path == path
    document = json.loads(answer(api.requests[0]).content)
    document.pop("next_cursor", None)
    for flagged in ([*arguments, "--json"], ["--json", *arguments]):
        assert json.loads(invoke(api, *flagged).stdout) == document
    assert {"echo", "small", "01", "07", "acme", "gold", "crm", "1.2.3"} & set(re.split(r"[^\w.]+", for_people.stdout))


def test_archiving() -> None:
    api = ScriptedApi(httpx.Response(204))
    assert "Archived echo" in invoke(api, "agents", "archive", "echo").stdout
    assert api.requests[0].method == "DELETE"


def test_empty_lists_say_so() -> None:
    assert "agents create" in invoke(ScriptedApi(page()), "agents", "list").stdout


def test_tenants_are_administered_as_admin() -> None:
    access = ScriptedAccess(ScriptedApi(page()))
    CliRunner().invoke(app, ["tenants", "list"], obj=access)
    assert access.role == "admin"


def test_an_agent_from_a_file(agent_yaml: str) -> None:
    api = ScriptedApi(ok(AGENT, 201))
    assert invoke(api, "agents", "create", "-f", agent_yaml).exit_code == 0
    assert api.bodies() == [{"slug": "echo", "description": "says it again", "spec": SPEC}]


def test_a_version_from_the_same_file_or_from_a_spec(agent_yaml: str) -> None:
    api = ScriptedApi(ok(VERSION, 201))
    invoke(api, "versions", "create", "echo", "-f", agent_yaml, "--promote")
    invoke(api, "versions", "create", "echo", "-f", "-", stdin=json.dumps(SPEC))
    assert api.bodies() == [{"spec": SPEC, "promote": True}, {"spec": SPEC, "promote": False}]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "slug: echo",
        "slug: echo\nspec: 3",
        "slug: echo\nspec: {}\nmodel: x",
        "a: [",
        "slug: 1\nspec: {}",
        "\xff",
        "slug: echo\nspec: {day: 2020-01-01}",
        "slug: echo\nspec: {n: .nan}",
        "? {a: 1}\n: 2",
        "!!python/object:x.y {}",
    ],
)
def test_files_that_are_no_agents(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="latin-1")
    result = invoke(ScriptedApi(ok(AGENT)), "agents", "create", "-f", str(path))
    assert result.exit_code == 2, result.output
    told = re.sub(r"[│\s]", "", result.stderr)  # a long path is folded inside its box
    assert "bad.yaml" in told or "mapping" in told


def test_a_file_that_is_not_there() -> None:
    result = invoke(ScriptedApi(ok(AGENT)), "agents", "create", "-f", "missing.yaml")
    assert result.exit_code == 2
    assert "No such file" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "stdin", "value"),
    [
        (["--input", "hello"], None, "hello"),
        (["--input", "-"], "from\nstdin", "from\nstdin"),
        (["--input-json", '{"a": [1]}'], None, {"a": [1]}),
        (["--input-json", "-"], "null", None),
    ],
)
def test_inputs(arguments: list[str], stdin: str | None, value: Any) -> None:
    api = ScriptedApi(ok(run(), 202))
    result = invoke(api, "runs", "start", "echo", *arguments, stdin=stdin)
    assert result.stdout.strip() == "01"
    assert api.bodies() == [{"agent": "echo", "input": value}]


def test_every_option_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("héllo", encoding="utf-8")
    api = ScriptedApi(ok(run(), 202))
    options = ["--label", "a=b", "--label", "c=d=e", "--version", "2", "--priority", "1", "--idempotency-key", "mine"]
    limits = ["--limit-steps", "3", "--limit-tokens", "9", "--limit-cost", "0.10", "--limit-seconds", "60"]
    assert invoke(api, "runs", "start", "echo", "--input", f"@{tmp_path}/in.txt", *options, *limits).exit_code == 0
    assert api.bodies()[0] == {
        "agent": "echo",
        "input": "héllo",
        "labels": {"a": "b", "c": "d=e"},
        "version": 2,
        "priority": 1,
        "limits": {"steps": 3, "tokens": 9, "cost_usd": "0.10", "seconds": 60},
    }
    assert api.headers("idempotency-key") == ["mine"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--input", "a", "--input-json", "1"],
        ["--input-json", "{"],
        ["--input", "a", "--label", "x"],
        ["--input", "a", "--priority", "9"],
        ["--input", "@missing"],
        ["--nonsense"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    api = ScriptedApi(ok(run(), 202))
    result = invoke(api, "runs", "start", "echo", *arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert api.requests == []


def test_filters_and_limit_of_a_list() -> None:
    pages = [ok({"items": [run(id=str(n)), run(id=str(n + 1))], "next_cursor": "c"}) for n in (1, 3)]
    api = ScriptedApi(*pages)
    result = invoke(
        api, "runs", "list", "--status", "failed", "--agent", "a", "--label", "k=v", "--limit", "3", "--json"
    )
    assert [item["id"] for item in json.loads(result.stdout)["items"]] == ["1", "2", "3"]
    assert dict(api.requests[0].url.params) == {"agent": "a", "status": "failed", "label": "k:v", "limit": "3"}


def log_of(end: str, **data: Any) -> Callable[[httpx.Request], httpx.Response]:
    log: list[tuple[str, dict[str, Any]]] = [
        ("run.queued", {"agent": "echo", "by": "me"}),
        ("model.started", {"turn": 1, "attempt": 1, "worker": "w1", "model": "small"}),
        ("model.started", {"turn": 1, "attempt": 2, "worker": "w2", "model": "small"}),
        (
            "model.completed",
            {"turn": 1, "attempt": 2, "content": "Hello \x1b[31mthere", "cost_usd": "0.01", "tool_calls": None},
        ),
        (end, data),
    ]
    chunks = []
    for seq, (kind, fields) in enumerate(log, 1):
        body = json.dumps({"seq": seq, "type": kind, "data": fields, "at": "2026-01-01T00:00:00.000000Z", "version": 1})
        chunks.append(f"id: {seq}\nevent: {kind}\ndata: {body}\n\n".encode())
    for at, attempt, text in ((2, 1, "Void"), (4, 2, "Hello")):
        delta = json.dumps({"turn": 1, "attempt": attempt, "base_seq": at, "index": 0, "text": text})
        chunks.insert(at, f"event: delta\ndata: {delta}\n\n".encode())
    return events(chunks)


def test_following_shows_what_happens() -> None:
    done = ok(run("completed", output={"answer": 42}, usage={"cost_usd": "0.01"}, steps=1))
    api = ScriptedApi(ok(run(), 202), log_of("run.completed", output={"answer": 42}), done)
    result = invoke(api, "runs", "start", "echo", "--input", "hi", "--follow")
    assert result.exit_code == 0
    for text in (
        "Void",
        "counts for nothing",
        "attempt 2",
        "on w2",
        "Hello \ufffd[31mthere",
        '"answer": 42',
        "0.01 USD",
    ):
        assert text in result.stdout
    assert result.stdout.count("Hello") == 1
    assert "\x1b" not in result.stdout


def test_following_as_json_lines() -> None:
    api = ScriptedApi(ok(run(), 202), log_of("run.completed", output="x"))
    lines = invoke(api, "runs", "start", "echo", "--input", "hi", "--follow", "--json").stdout.splitlines()
    assert json.loads(lines[0])["id"] == "01"
    assert [json.loads(line)["seq"] for line in lines[1:]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize(("end", "status"), [("run.failed", "failed"), ("run.cancelled", "cancelled")])
def test_a_run_that_fails_while_followed(end: str, status: str, as_json: bool) -> None:
    api = ScriptedApi(
        log_of(end, code="model_error"), ok(run(status, error={"code": "model_error", "message": "Pay."}))
    )
    result = invoke(api, "runs", "events", "01", "--follow", *(["--json"] if as_json else []))
    assert result.exit_code == 1
    assert as_json or "model_error: Pay." in result.stdout


def test_events_of_a_run() -> None:
    items = [{"seq": 1, "type": "tool.completed", "data": {"name": "get", "content": "x" * 999}, "at": None}]
    large = {"/content": {"size": 99999, "sha256": "0"}}
    items.append({"seq": 2, "type": "tool.completed", "data": {"name": "get", "content": None}, "large": large})
    items.append({"seq": 3, "type": "brand.new", "data": {"k": 1}, "at": "2026-01-01T00:00:00Z"})
    api = ScriptedApi(page(*items))
    shown = invoke(api, "runs", "events", "01").stdout
    assert "brand new" in shown
    assert "…" in shown
    assert "content of 99999 bytes" in shown
    assert [json.loads(line)["seq"] for line in invoke(api, "runs", "events", "01", "--json").stdout.splitlines()] == [
        1,
        2,
        3,
    ]


def test_ctrl_c_while_following() -> None:
    def interrupted(_: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    result = invoke(ScriptedApi(interrupted), "runs", "events", "01", "--follow", "--after", "7")
    assert result.exit_code == 130
    assert "runs events 01 --follow --after 7" in result.stderr


def test_getting_and_putting_files(tmp_path: Path) -> None:
    def content() -> ScriptedApi:
        return ScriptedApi(ok(ARTIFACT), httpx.Response(200, content=b"abc"))

    assert invoke(content(), "artifacts", "get", "07", "-o", str(tmp_path)).stdout.strip() == f"{tmp_path}/a.txt"
    assert (tmp_path / "a.txt").read_bytes() == b"abc"
    assert invoke(content(), "artifacts", "get", "07", "-o", "-").stdout == "abc"
    api = ScriptedApi(ok(ARTIFACT, 201))
    assert "07" in invoke(api, "artifacts", "put", str(tmp_path / "a.txt")).stdout
    assert api.requests[0].content == b"abc"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (problem(404, "not_found", detail="There is no such run."), 3),
        (problem(401, "unauthenticated", detail="Get a token."), 3),
        (problem(500, "internal", detail="Look at the log."), 4),
        (problem(503, "dependency_unavailable", detail="Later."), 4),
        (httpx.ConnectError("refused"), 4),
        (httpx.Response(200, content=b"<html>"), 4),
    ],
)
def test_failures_are_told(answer: Any, code: int) -> None:
    result = invoke(ScriptedApi(answer), "runs", "show", "01")
    assert result.exit_code == code
    assert result.stderr.startswith("agent-runtime: ")
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert "secret-token" not in result.output
    told = json.loads(invoke(ScriptedApi(answer), "--json", "runs", "show", "01").stderr)
    assert told["detail"]


def test_flaws_are_named() -> None:
    flaws = [{"pointer": "/spec/model", "detail": "is missing"}]
    answer = problem(422, "invalid_request", detail="The body is not valid.", errors=flaws)
    result = invoke(ScriptedApi(answer), "runs", "pause", "01")
    assert result.exit_code == 3
    assert "/spec/model: is missing" in result.stderr


def test_a_download_to_nowhere() -> None:
    result = invoke(ScriptedApi(ok(ARTIFACT)), "artifacts", "get", "07", "-o", "/nowhere/at/all")
    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_a_plan_keeps_the_limits_that_are_not_given() -> None:
    api = ScriptedApi(ok(PLAN), ok(PLAN))
    assert invoke(api, "plans", "set", "gold", "--requests", "5", "--running", "none").exit_code == 0
    assert json.loads(api.requests[1].content) == {"requests_per_second": 5, "users": 7, "allowed_models": ["local/*"]}
    api = ScriptedApi(problem(404, "not_found"), ok(PLAN))
    assert invoke(api, "plans", "set", "gold", "--model", "a/b", "--agents", "3", "--json").exit_code == 0
    assert json.loads(api.requests[1].content) == {"agents": 3, "allowed_models": ["a/b"]}
    assert invoke(ScriptedApi(ok(PLAN)), "plans", "set", "gold", "--queued", "many").exit_code == 2


def test_help_states_the_exit_codes() -> None:
    text = " ".join(CliRunner().invoke(app, ["--help"]).stdout.split())
    assert "Exit codes" in text
    assert "130 interrupted" in text


def test_a_secret_comes_from_stdin_and_is_not_shown() -> None:
    for given, sent in (("sk-12345678", "sk-12345678"), ("sk-12345678\r\n", "sk-12345678"), ("a\nb\n", "a\nb")):
        api = ScriptedApi(ok({"name": "crm"}, 201))
        done = invoke(api, "secrets", "set", "crm", stdin=given)
        assert (done.exit_code, json.loads(api.requests[0].content)) == (0, {"value": sent})
        assert (api.requests[0].method, api.requests[0].url.path) == ("PUT", "/v1/secrets/crm")
        assert "12345678" not in done.output
    assert invoke(ScriptedApi(), "secrets", "set", "crm", stdin="").exit_code == 2
    assert invoke(ScriptedApi(), "secrets", "set", "crm", "sk-12345678").exit_code == 2  # never an argument


def test_secrets_are_deleted() -> None:
    api = ScriptedApi(lambda _: httpx.Response(204))
    assert invoke(api, "secrets", "delete", "crm", "--json").stdout == '{"deleted": "crm"}\n'
