"""Every operation of the OpenAPI document as every kind of caller, of its own tenant and of another one."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from services.api.roles import PLATFORM, ROLES
from tests.fixtures.stack import TestServers
from tests.integration.api.contract import Contract

MARK = "content-of-the-tenant-7f3a"  # in all that the tenant keeps; nobody else may be answered with it
STRANGERS = ("admin", "colleague", "operator of another", "user of another")
SPEC = {"model": "scripted/x", "instructions": MARK}
LONG_AGO = "2020-01-01T00:00:00Z"


@dataclass
class Ground:
    """A tenant with something in every corner, and all who may ask for it."""

    servers: TestServers
    url: str
    contract: Contract
    opened: ExitStack
    slug: str = field(default_factory=lambda: f"t-{secrets.token_hex(6)}")
    other: str = field(default_factory=lambda: f"t-{secrets.token_hex(6)}")

    def __post_init__(self) -> None:
        mint = self.servers.stack.signer.mint
        tokens = {
            "no token": None,
            "no role": mint(role=None, tenant=self.slug, subject="nobody"),
            "no tenant": mint(role="operator", tenant=None, subject="lost"),
            "admin": mint(role="admin", subject="root"),
            "operator of another": mint(role="operator", tenant=self.other, subject="olga"),
            "user of another": mint(role="user", tenant=self.other, subject="bob"),
            "colleague": mint(role="user", tenant=self.slug, subject="carl"),
            "user": mint(role="user", tenant=self.slug, subject="bob"),
            "operator": mint(role="operator", tenant=self.slug, subject="ada"),
        }
        self.callers = {name: self._client(token) for name, token in tokens.items()}
        for slug in (self.slug, self.other):
            self.made(self.callers["admin"].post("/v1/tenants", json={"slug": slug}))
        self.agent = self.new_agent()
        self.run = self.new_run()
        self.artifact = self.new_artifact()

    def _client(self, token: str | None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        hooks = {"response": [self.contract.check]}
        made = httpx.Client(base_url=self.url, headers=headers, timeout=30, event_hooks=hooks, trust_env=False)
        return self.opened.enter_context(made)

    def made(self, answer: httpx.Response) -> Any:
        assert answer.status_code in (200, 201, 202), answer.text
        return answer.json()

    def operates(self, method: str, path: str, body: Any) -> Any:
        return self.made(self.callers["operator"].request(method, path, json=body))

    def new_agent(self) -> str:
        slug = f"a-{secrets.token_hex(6)}"
        self.operates("POST", "/v1/agents", {"slug": slug, "spec": SPEC, "description": MARK})
        return slug

    def new_run(self) -> str:
        """Of the tenant's user."""
        body = {"agent": self.agent, "input": MARK, "labels": {"mark": MARK}}
        return str(self.made(self.callers["user"].post("/v1/runs", json=body))["id"])

    def ended_run(self) -> str:
        run = self.new_run()
        self.made(self.callers["user"].post(f"/v1/runs/{run}/cancel"))
        return run

    def new_erasure(self) -> str:
        """Asked for by the tenant's user."""
        return str(self.made(self.callers["user"].delete(f"/v1/runs/{self.ended_run()}"))["id"])

    def new_artifact(self) -> str:
        answer = self.callers["user"].post("/v1/artifacts", params={"name": MARK}, content=MARK.encode())
        return str(self.made(answer)["id"])

    def new_re_rating(self) -> str:
        body = {"provider": "roles", "from": LONG_AGO}
        return str(self.made(self.callers["admin"].post("/v1/re-ratings", json=body))["id"])

    def new_secret(self) -> str:
        name = f"s-{secrets.token_hex(6)}"
        self.operates("PUT", f"/v1/secrets/{name}", {"value": f"{MARK}-value"})
        return name

    def new_user(self) -> str:
        email = f"{MARK}-{secrets.token_hex(4)}@acme.example"
        return str(self.operates("POST", "/v1/users", {"email": email})["id"])

    def new_account(self) -> str:
        name = f"c-{secrets.token_hex(6)}"
        self.operates("POST", "/v1/service-accounts", {"name": name})
        return name

    def blocked(self) -> str:
        """A subject that is blocked in the tenant and on the platform, so that any caller could unblock it."""
        subject = f"sub-{secrets.token_hex(6)}"
        for name in ("operator", "admin", "operator of another"):
            self.made(self.callers[name].post(f"/v1/users/{subject}/block", json={}))
        return subject


@pytest.fixture(scope="module")
def ground(servers: TestServers, api_url: str, contract: Contract) -> Iterator[Ground]:
    with ExitStack() as opened:
        yield Ground(servers, api_url, contract, opened)


Place = Callable[[Ground], str]


@dataclass(frozen=True)
class Case:
    """One operation: how it is asked for, and what it answers whom.

    `own` is for those of the tenant whom the table of roles lets in, and for administrators; `elsewhere` for the same
    of another tenant (None: they act on what is theirs); `colleague` for a user whose runs these are not; `admin` for
    an administrator, where it is not as `own`.
    """

    method: str
    path: Place | str
    body: Any = None
    own: int = 200
    elsewhere: int | None = None
    colleague: int | None = None
    admin: int | None = None
    params: dict[str, str] = field(default_factory=dict)


def fresh(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(6)}"


def of_run(verb: str) -> Place:
    return lambda ground: f"/v1/runs/{ground.new_run()}{verb}"


CASES: dict[str, Case] = {
    "get_version": Case("GET", "/v1/version"),
    "check_health": Case("GET", "/healthz"),
    "check_readiness": Case("GET", "/readyz"),
    "get_metrics": Case("GET", "/metrics"),
    "create_tenant": Case("POST", "/v1/tenants", lambda: {"slug": fresh("n")}, own=201),
    "list_tenants": Case("GET", "/v1/tenants"),
    "get_tenant": Case("GET", lambda ground: f"/v1/tenants/{ground.slug}", elsewhere=403),
    "update_tenant": Case("PATCH", lambda ground: f"/v1/tenants/{ground.slug}", {"name": "Name"}),
    "delete_tenant": Case("DELETE", lambda ground: f"/v1/tenants/{new_tenant(ground)}", own=202),
    "invite_user": Case("POST", "/v1/users", lambda: {"email": f"{fresh('u')}@acme.example"}, own=201),
    "list_users": Case("GET", "/v1/users"),
    "remove_user": Case("DELETE", lambda ground: f"/v1/users/{ground.new_user()}", own=204, elsewhere=404),
    "create_service_account": Case("POST", "/v1/service-accounts", lambda: {"name": fresh("c")}, own=201),
    "list_service_accounts": Case("GET", "/v1/service-accounts"),
    "rotate_service_account": Case(
        "POST", lambda ground: f"/v1/service-accounts/{ground.new_account()}/rotate", elsewhere=404
    ),
    "delete_service_account": Case(
        "DELETE", lambda ground: f"/v1/service-accounts/{ground.new_account()}", own=204, elsewhere=404
    ),
    "block_user": Case("POST", lambda ground: f"/v1/users/{fresh('sub')}/block", {}),
    "unblock_user": Case("POST", lambda ground: f"/v1/users/{ground.blocked()}/unblock"),
    "list_blocks": Case("GET", "/v1/blocks"),
    "list_plans": Case("GET", "/v1/plans"),
    "get_plan": Case("GET", "/v1/plans/default"),
    "put_plan": Case("PUT", lambda ground: f"/v1/plans/{fresh('p')}", {"running_runs": 1}, own=201),
    "set_price": Case(
        "POST", "/v1/prices",
        lambda: {"provider": "roles", "model": fresh("m"), "input_price": "1", "output_price": "2"}, own=201,
    ),
    "list_prices": Case("GET", "/v1/prices"),
    "list_price_history": Case("GET", "/v1/prices/history"),
    "create_re_rating": Case("POST", "/v1/re-ratings", lambda: {"provider": "roles", "from": LONG_AGO}, own=202),
    "list_re_ratings": Case("GET", "/v1/re-ratings"),
    "get_re_rating": Case("GET", lambda ground: f"/v1/re-ratings/{ground.new_re_rating()}"),
    "get_usage": Case("GET", "/v1/usage"),
    "list_audit_entries": Case("GET", "/v1/audit"),
    "export_audit_log": Case("GET", "/v1/audit/export"),
    "get_audit_head": Case("GET", "/v1/audit/head"),
    "create_agent": Case("POST", "/v1/agents", lambda: {"slug": fresh("b"), "spec": {"model": "p/m"}}, own=201),
    "list_agents": Case("GET", "/v1/agents"),
    "get_agent": Case("GET", lambda ground: f"/v1/agents/{ground.agent}", elsewhere=404),
    "update_agent": Case(
        "PATCH", lambda ground: f"/v1/agents/{ground.agent}", {"description": f"{MARK} too"}, elsewhere=404
    ),
    "archive_agent": Case("DELETE", lambda ground: f"/v1/agents/{ground.new_agent()}", own=204, elsewhere=404),
    "create_agent_version": Case(
        "POST", lambda ground: f"/v1/agents/{ground.agent}/versions",
        lambda: {"spec": {**SPEC, "instructions": fresh(MARK)}}, own=201, elsewhere=404,
    ),
    "list_agent_versions": Case("GET", lambda ground: f"/v1/agents/{ground.agent}/versions", elsewhere=404),
    "get_agent_version": Case("GET", lambda ground: f"/v1/agents/{ground.agent}/versions/1", elsewhere=404),
    "promote_agent_version": Case(
        "POST", lambda ground: f"/v1/agents/{ground.agent}/versions/1/promote", elsewhere=404
    ),
    "put_secret": Case(
        "PUT", lambda ground: f"/v1/secrets/{fresh('s')}", {"value": "a-value-of-some-length"}, own=201
    ),
    "list_secrets": Case("GET", "/v1/secrets"),
    "delete_secret": Case("DELETE", lambda ground: f"/v1/secrets/{ground.new_secret()}", own=204, elsewhere=404),
    "create_run": Case(
        "POST", "/v1/runs", lambda ground: {"agent": ground.agent, "input": "x"}, own=202, elsewhere=404
    ),
    "list_runs": Case("GET", "/v1/runs"),
    "get_run": Case("GET", of_run(""), elsewhere=404, colleague=404),
    "explain_run": Case("GET", of_run("/explain"), elsewhere=404, colleague=404),
    "pause_run": Case("POST", of_run("/pause"), {}, own=202, elsewhere=404, colleague=404),
    "resume_run": Case("POST", of_run("/resume"), {}, own=202, elsewhere=404, colleague=404),
    "cancel_run": Case("POST", of_run("/cancel"), {}, own=202, elsewhere=404, colleague=404),
    "delete_run": Case(
        "DELETE", lambda ground: f"/v1/runs/{ground.ended_run()}", own=202, elsewhere=404, colleague=404
    ),
    "erase_user_data": Case("DELETE", lambda ground: f"/v1/users/{fresh('sub')}/data", own=202),
    "list_erasures": Case("GET", "/v1/erasures"),
    "get_erasure": Case(
        "GET", lambda ground: f"/v1/erasures/{ground.new_erasure()}", elsewhere=404, colleague=404, admin=404
    ),
    "check_erasure": Case(
        "POST", lambda ground: f"/v1/erasures/{ground.new_erasure()}/check", own=202, elsewhere=404, admin=404
    ),
    "list_refused_traces": Case("GET", "/v1/traces/refused"),
    "retry_refused_traces": Case("POST", "/v1/traces/refused/retry", own=202, body={}),
    "list_run_events": Case("GET", of_run("/events"), elsewhere=404, colleague=404),
    "score_run": Case(
        "POST", of_run("/scores"), {"name": "accuracy", "value": 0.5}, own=201, elsewhere=404, colleague=404
    ),
    "list_scores": Case("GET", of_run("/scores"), elsewhere=404, colleague=404),
    "create_artifact": Case("POST", "/v1/artifacts", own=201, params={"name": "a.txt"}),
    "list_artifacts": Case("GET", "/v1/artifacts"),
    "list_run_artifacts": Case("GET", of_run("/artifacts"), elsewhere=404, colleague=404),
    "get_artifact": Case(
        "GET", lambda ground: f"/v1/artifacts/{ground.artifact}", elsewhere=404, colleague=404
    ),
    "get_artifact_content": Case(
        "GET", lambda ground: f"/v1/artifacts/{ground.artifact}/content", elsewhere=404, colleague=404
    ),
}  # fmt: skip


def new_tenant(ground: Ground) -> str:
    return str(ground.made(ground.callers["admin"].post("/v1/tenants", json={"slug": fresh("d")}))["slug"])


def expected(name: str, case: Case, caller: str) -> int:
    """What the table of roles says, and where it lets in, what the case says."""
    roles = ROLES[name]
    if not roles:
        return case.own
    if caller == "no token":
        return 401
    role = {"no role": "", "no tenant": "", "colleague": "user"}.get(caller, caller.partition(" ")[0])
    if role not in roles:
        return 403
    if role in PLATFORM:
        return case.admin or case.own
    if caller.endswith("of another"):
        return case.own if case.elsewhere is None else case.elsewhere
    return case.colleague if caller == "colleague" and case.colleague else case.own


def ask(ground: Ground, case: Case, caller: str) -> httpx.Response:
    path = case.path if isinstance(case.path, str) else case.path(ground)
    body = case.body
    if callable(body):
        body = body(ground) if body.__code__.co_argcount else body()
    return ground.callers[caller].request(case.method, path, json=body, params=case.params)


def test_no_operation_is_left_out(contract: Contract) -> None:
    """A new one fails here until somebody says what it is to answer whom."""
    assert set(CASES) == set(ROLES)
    described = {
        (method.upper(), path): operation["operationId"]
        for path, operations in contract.document["paths"].items()
        for method, operation in operations.items()
    }
    assert len(described) == len(CASES)
    for name, case in CASES.items():
        assert any(method == case.method and id_.startswith(f"{name}_") for (method, _), id_ in described.items()), name


@pytest.mark.parametrize("name", CASES)
def test_each_caller_gets_what_the_table_says(ground: Ground, name: str) -> None:
    case = CASES[name]
    got, wanted = {}, {}
    for caller in ground.callers:  # those who are refused come first
        answer = ask(ground, case, caller)
        got[caller], wanted[caller] = answer.status_code, expected(name, case, caller)
        if caller in STRANGERS and not (caller == "colleague" and "agent" in name):
            assert MARK not in answer.text, caller
    assert got == wanted


def test_an_administrator_reads_no_tenants_content() -> None:
    """What the administrator may ask for at all; the case above looks into the answers."""
    assert {name for name, roles in ROLES.items() if roles & PLATFORM} == {
        "create_tenant", "list_tenants", "get_tenant", "update_tenant", "delete_tenant", "block_user", "unblock_user",
        "list_blocks", "list_plans", "get_plan", "put_plan", "list_audit_entries", "export_audit_log", "get_audit_head",
        "list_erasures", "get_erasure", "check_erasure", "set_price", "list_prices", "list_price_history",
        "get_usage", "create_re_rating", "list_re_ratings", "get_re_rating",
    }  # fmt: skip
