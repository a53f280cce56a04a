"""Gives both tenants something to lose: agents, runs, files, secrets, each with values that occur nowhere else."""

from __future__ import annotations

from contextlib import suppress
from secrets import token_hex
from typing import Any
from uuid import uuid4

from services.cli.isolation.parties import CheckImpossible, Party, Shot, segment

MODEL = "isolation-check/none"  # of no provider: runs end without a model call
PATIENCE_SECONDS = 5.0


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


def nowhere() -> dict[str, str]:
    """What nobody has, of the same kinds."""
    random = {name: str(uuid4()) for name in ("tenant", "subject", "run", "artifact")}
    for name in ("tenant_slug", "plan", "agent", "shared", "secret", "artifact_name", "blocked", "account"):
        random[name] = f"isolation-{token_hex(8)}"
    return {**random, "number": "1", "label": f"isolation:{token_hex(8)}"}


def clear(party: Party) -> None:
    """Leave as little behind as the API allows; what cannot be removed is archived or ended."""
    values = party.values
    shots = [Shot("DELETE", f"/v1/agents/{values[name]}") for name in ("agent", "shared") if name in values]
    names: list[Any] = [values.get("secret"), values.get("shared")]
    shots += [Shot("DELETE", f"/v1/secrets/{segment(name)}") for name in names if name]
    shots += [Shot("POST", f"/v1/users/{mark}/unblock") for mark, what in party.marks.items() if "blocked" in what]
    for shot in shots:
        with suppress(CheckImpossible):
            party.send(shot)
