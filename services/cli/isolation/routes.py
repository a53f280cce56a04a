"""How each route of the API is attacked. One that is not named here fails the check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from services.cli.isolation.furnishing import MODEL

Values = Mapping[str, str]
Body = Callable[[Values], Any]


@dataclass(frozen=True)
class Route:
    """What a route names, and what an operator may expect of it.

    `path`, `query` and `shared` map a parameter to the kind of thing that it names. `names` are the kinds that the body
    names; `lure` is one that the body may take as the name of something new. `free` says that any name may be used, as
    when something is made: then it is only looked at whose thing it is. `forbidden` is what no operator may do,
    `public` what needs no token. `volatile` answers change by themselves.
    """

    path: Mapping[str, str] = field(default_factory=dict)
    paths: tuple[Mapping[str, str], ...] = ()  # further ones
    query: Mapping[str, str] = field(default_factory=dict)
    shared: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    names: tuple[str, ...] = ()
    lure: str = ""
    content: bool = False
    free: bool = False
    forbidden: bool = False
    public: bool = False
    volatile: bool = False


def _spec(values: Values) -> dict[str, Any]:
    key = {"provider_key": {"secret": values["secret"]}} if "secret" in values else {}
    return {"model": MODEL, "instructions": f"of the attack {token_hex(4)}", **key}


def _agent(values: Values) -> Any:
    return {"slug": f"isolation-{token_hex(6)}", "description": "of the attack", "spec": _spec(values)}


def _user(values: Values) -> Any:
    return {"email": values.get("lure") or f"isolation-{token_hex(6)}@isolation.example"}


def _account(values: Values) -> Any:
    return {"name": values.get("lure") or f"isolation-{token_hex(6)}"}


def _run(values: Values) -> Any:
    return {"agent": values["agent"], "input": "of the attack", "labels": {"isolation": "attack"}}


def _price(values: Values) -> Any:
    return {"provider": "isolation", "model": token_hex(6), "input_price": "0", "output_price": "0"}


def _re_rating(values: Values) -> Any:
    return {"provider": "isolation", "from": "2020-01-01T00:00:00Z"}


AGENT = {"agent": "agent"}
SHARED_AGENT = {"agent": "shared"}
VERSION = {"agent": "agent", "number": "number"}
SHARED_VERSION = {"agent": "shared", "number": "number"}
RUN = {"run_id": "run"}
ARTIFACT = {"artifact_id": "artifact"}
SECRET = {"name": "secret"}
TENANT = {"tenant": "tenant"}
ACCOUNT = {"account": "account"}
ERASURE = {"erasure_id": "erasure"}
BY_SLUG = ({"tenant": "tenant_slug"},)

ROUTES: dict[str, Route] = {
    "GET /healthz": Route(public=True),
    "GET /readyz": Route(public=True),
    "GET /metrics": Route(public=True),
    "GET /v1/version": Route(public=True),
    "GET /v1/agents": Route(),
    "POST /v1/agents": Route(body=_agent, names=("secret",)),
    "GET /v1/agents/{agent}": Route(AGENT, shared=SHARED_AGENT),
    "PATCH /v1/agents/{agent}": Route(
        AGENT, shared=SHARED_AGENT, body=lambda values: {"description": f"of the attack {token_hex(4)}"}
    ),
    "DELETE /v1/agents/{agent}": Route(AGENT, shared=SHARED_AGENT),
    "GET /v1/agents/{agent}/versions": Route(AGENT, shared=SHARED_AGENT),
    "POST /v1/agents/{agent}/versions": Route(
        AGENT,
        shared=SHARED_AGENT,
        body=lambda values: {"spec": _spec(values), "promote": True},
        names=("secret",),
    ),
    "GET /v1/agents/{agent}/versions/{number}": Route(VERSION, shared=SHARED_VERSION),
    "POST /v1/agents/{agent}/versions/{number}/promote": Route(VERSION, shared=SHARED_VERSION),
    "GET /v1/artifacts": Route(query={"run_id": "run"}),
    "POST /v1/artifacts": Route(query={"name": "artifact_name"}, content=True, free=True),
    "GET /v1/artifacts/{artifact_id}": Route(ARTIFACT),
    "GET /v1/artifacts/{artifact_id}/content": Route(ARTIFACT),
    "GET /v1/audit": Route(volatile=True),
    "GET /v1/audit/export": Route(volatile=True),
    "GET /v1/audit/head": Route(volatile=True),
    "GET /v1/blocks": Route(),
    "GET /v1/erasures": Route(volatile=True),
    "GET /v1/erasures/{erasure_id}": Route(ERASURE, volatile=True),
    "POST /v1/erasures/{erasure_id}/check": Route(ERASURE, volatile=True),
    "GET /v1/plans": Route(forbidden=True),
    "GET /v1/plans/{plan}": Route({"plan": "plan"}, free=True),
    "PUT /v1/plans/{plan}": Route({"plan": "plan"}, body=lambda values: {}, forbidden=True),
    "GET /v1/prices": Route(volatile=True),
    "GET /v1/prices/history": Route(volatile=True),
    "POST /v1/prices": Route(body=_price, forbidden=True),
    "GET /v1/re-ratings": Route(forbidden=True),
    "GET /v1/re-ratings/{re_rating_id}": Route({"re_rating_id": "run"}, forbidden=True),
    "POST /v1/re-ratings": Route(body=_re_rating, forbidden=True),
    "GET /v1/runs": Route(),
    "POST /v1/runs": Route(body=_run, names=("agent",)),
    "GET /v1/runs/{run_id}": Route(RUN),
    "GET /v1/runs/{run_id}/artifacts": Route(RUN),
    "GET /v1/runs/{run_id}/explain": Route(RUN, volatile=True),
    "GET /v1/runs/{run_id}/events": Route(RUN, volatile=True),
    "POST /v1/runs/{run_id}/pause": Route(RUN, body=lambda values: {"reason": "attack"}),
    "POST /v1/runs/{run_id}/resume": Route(RUN, body=lambda values: {"reason": "attack"}),
    "POST /v1/runs/{run_id}/cancel": Route(RUN, body=lambda values: {"reason": "attack"}),
    "GET /v1/runs/{run_id}/scores": Route(RUN),
    "POST /v1/runs/{run_id}/scores": Route(RUN, body=lambda values: {"name": "attack", "value": 1}),
    "DELETE /v1/runs/{run_id}": Route(RUN),
    "GET /v1/secrets": Route(),
    "PUT /v1/secrets/{name}": Route(
        SECRET, shared={"name": "shared"}, body=lambda values: {"value": f"attack-{token_hex(8)}"}, free=True
    ),
    "DELETE /v1/secrets/{name}": Route(SECRET, shared={"name": "shared"}, free=True),
    "GET /v1/tenants": Route(forbidden=True),
    "POST /v1/tenants": Route(body=lambda values: {"slug": f"isolation-{token_hex(6)}"}, forbidden=True),
    "GET /v1/tenants/{tenant}": Route(TENANT, BY_SLUG),
    "PATCH /v1/tenants/{tenant}": Route(TENANT, BY_SLUG, body=lambda values: {"name": "attack"}, forbidden=True),
    "DELETE /v1/tenants/{tenant}": Route(TENANT, BY_SLUG, forbidden=True),
    "GET /v1/service-accounts": Route(),
    "POST /v1/service-accounts": Route(body=_account, lure="shared_account"),
    "POST /v1/service-accounts/{account}/rotate": Route(ACCOUNT, shared={"account": "shared_account"}),
    "DELETE /v1/service-accounts/{account}": Route(ACCOUNT, shared={"account": "shared_account"}),
    "GET /v1/traces/refused": Route(),
    "POST /v1/traces/refused/retry": Route(body=lambda values: {"run_id": values["run"]}, names=("run",)),
    "GET /v1/usage": Route(volatile=True),
    "GET /v1/users": Route(),
    "POST /v1/users": Route(body=_user, lure="email"),
    "DELETE /v1/users/{user}": Route({"user": "user"}, ({"user": "subject"},)),
    "POST /v1/users/{user}/block": Route(
        {"user": "blocked"}, ({"user": "subject"},), body=lambda values: {"reason": "attack"}, free=True
    ),
    "DELETE /v1/users/{user}/data": Route({"user": "blocked"}, ({"user": "subject"},), free=True, volatile=True),
    "POST /v1/users/{user}/unblock": Route({"user": "blocked"}, free=True),
}
