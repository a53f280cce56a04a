"""Gives both tenants something to lose: agents, runs, files, secrets, each with values that occur nowhere else."""

from __future__ import annotations

import time
from contextlib import suppress
from secrets import token_hex
from typing import Any
from uuid import uuid4

from agent_runtime import AgentRuntimeFailure

from services.cli.isolation.parties import Party, Shot, segment

MODEL = "isolation-check/none"  # of no provider: runs end without a model call
PATIENCE_SECONDS = 5.0
ERASING_SECONDS = 60.0


def furnish(party: Party, shared: str, patience: float) -> None:
    """Everything that routes name, twice where lists have pages; `shared` is what both tenants call something."""
    claim, subject = party.whoami()
    tenant = party.make(Shot("GET", f"/v1/tenants/{segment(claim)}"))
    own = f"isolation-{token_hex(6)}"
    party.values |= {
        "tenant": party.mark("the id of the tenant", tenant["id"]),
        "tenant_slug": tenant["slug"],
        "plan": tenant.get("plan", "none"),
        "subject": party.mark("the subject of a user", subject),
        "agent": party.mark("the slug of an agent", own),
        "shared": shared,
        "number": "1",
    }
    for slug in (own, shared):
        _agent(party, slug)
    for _ in range(2):
        _run(party, own, patience)
    for _ in range(2):
        _artifact(party)
    for name in (party.mark("the name of a secret", f"secret-{token_hex(6)}"), shared):
        _secret(party, name)
    for _ in range(2):
        _block(party)
    _erasure(party)
    _user(party)
    for kind, name in (
        ("account", party.mark("the name of a service account", f"{own}-ci")),
        ("shared_account", shared),
    ):
        _account(party, kind, name)


def _agent(party: Party, slug: str) -> None:
    instructions = party.mark("the instructions of an agent", f"instructions {token_hex(8)}")
    description = party.mark("the description of an agent", f"description {token_hex(8)}")
    spec = {"model": MODEL, "instructions": instructions}
    made = party.make(Shot("POST", "/v1/agents", body={"slug": slug, "description": description, "spec": spec}))
    party.mark("the id of an agent", made["id"])
    for _ in range(2):
        more = party.mark("the instructions of a version", f"instructions {token_hex(8)}")
        party.make(Shot("POST", f"/v1/agents/{slug}/versions", body={"spec": {**spec, "instructions": more}}))


def _run(party: Party, agent: str, patience: float) -> None:
    word = party.mark("the input of a run", f"input {token_hex(8)}")
    label = party.mark("a label of a run", f"label-{token_hex(8)}")
    run = party.make(Shot("POST", "/v1/runs", body={"agent": agent, "input": word, "labels": {"isolation": label}}))
    party.runs.append(run["id"])
    party.values |= {"run": party.mark("the id of a run", run["id"]), "label": f"isolation:{label}"}
    party.make(Shot("GET", f"/v1/runs/{run['id']}", params=(("wait", str(patience)),)))


def _artifact(party: Party) -> None:
    name = party.mark("the name of an artifact", f"file-{token_hex(8)}.txt")
    content = party.mark("the content of an artifact", f"content {token_hex(8)}")
    made = party.make(
        Shot("POST", "/v1/artifacts", (("name", name),), {"Content-Type": "text/plain"}, content=content.encode())
    )
    party.values |= {"artifact": party.mark("the id of an artifact", made["id"]), "artifact_name": name}


def _secret(party: Party, name: str) -> None:
    value = party.mark("the value of a secret", f"value-{token_hex(12)}")
    made = party.make(Shot("PUT", f"/v1/secrets/{segment(name)}", body={"value": value}))
    if made is not None and name != party.values["shared"]:
        party.values["secret"] = name


def _block(party: Party) -> None:
    subject = party.mark("the subject of a blocked user", f"isolation-{token_hex(8)}")
    party.make(Shot("POST", f"/v1/users/{subject}/block", body={"reason": "isolation check"}))
    party.values["blocked"] = subject


def _erasure(party: Party) -> None:
    """Of the data of somebody who has none."""
    subject = party.mark("the subject of an erasure", f"isolation-{token_hex(8)}")
    made = party.make(Shot("DELETE", f"/v1/users/{subject}/data"))
    party.values["erasure"] = party.mark("the id of an erasure", made["id"])


def _user(party: Party) -> None:
    """At the issuer, where the platform manages users."""
    email = party.mark("the address of a user", f"isolation-{token_hex(8)}@isolation.example")
    made = party.make(Shot("POST", "/v1/users", body={"email": email}), 409)
    if made and "id" in made:
        party.values |= {"user": party.mark("the id of a user", made["id"]), "email": email}
        _hidden(party, "the first password of a user", made["temporary_password"])


def _account(party: Party, kind: str, name: str) -> None:
    made = party.make(Shot("POST", "/v1/service-accounts", body={"name": name}), 409)
    if made and "client_id" in made:
        party.values[kind] = name
        party.mark("the client of a service account", made["client_id"])
        _hidden(party, "the secret of a service account", made["client_secret"])


def _hidden(party: Party, what: str, value: str | None) -> None:
    if value:
        party.mark(what, value)


def nowhere() -> dict[str, str]:
    """What nobody has, of the same kinds."""
    random = {name: str(uuid4()) for name in ("tenant", "subject", "run", "artifact", "user", "erasure")}
    for name in (
        "tenant_slug",
        "plan",
        "agent",
        "shared",
        "secret",
        "artifact_name",
        "blocked",
        "account",
        "shared_account",
    ):
        random[name] = f"isolation-{token_hex(8)}"
    return {**random, "number": "1", "label": f"isolation:{token_hex(8)}"}


def await_erasures(party: Party) -> None:
    """Until what was deleted before is gone, lest an attack seems to do it; a minute at the most."""
    until = time.monotonic() + ERASING_SECONDS
    while time.monotonic() < until:
        if all(each["status"] == "done" for each in party.make(Shot("GET", "/v1/erasures"))["items"]):
            return
        time.sleep(0.5)


def clear(party: Party) -> None:
    """Leave as little behind as the API allows; what cannot be removed is archived or ended."""
    values = party.values
    shots = [Shot("DELETE", f"/v1/agents/{values[name]}") for name in ("agent", "shared") if name in values]
    names: list[Any] = [values.get("secret"), values.get("shared")]
    shots += [Shot("DELETE", f"/v1/secrets/{segment(name)}") for name in names if name]
    shots += [Shot("POST", f"/v1/users/{mark}/unblock") for mark, what in party.marks.items() if "blocked" in what]
    shots += [Shot("DELETE", f"/v1/users/{user['id']}") for user in _listed(party, "users", "username")]
    shots += [
        Shot("DELETE", f"/v1/service-accounts/{each['name']}") for each in _listed(party, "service-accounts", "name")
    ]
    for shot in shots:
        with suppress(AgentRuntimeFailure):
            party.send(shot)


def _listed(party: Party, nouns: str, name: str) -> list[Any]:
    """What this check has made of these, in attacks too."""
    with suppress(AgentRuntimeFailure):
        answer = party.send(Shot("GET", f"/v1/{nouns}", params=(("limit", "100"),)))
        items = answer.document.get("items", []) if isinstance(answer.document, dict) else []
        return [item for item in items if str(item.get(name)).startswith("isolation-")]
    return []
