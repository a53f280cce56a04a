"""Which of the four servers and the issuer a stack runs itself, and which ones its environment names outside."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from deploy.embedded.issuer import Issuer
from deploy.embedded.object_store import ObjectStore
from deploy.embedded.ports import Ports
from deploy.embedded.postgres import Postgres
from deploy.embedded.processes import Flag, Program
from deploy.embedded.state import StateDirectory
from deploy.embedded.temporal import Temporal
from deploy.embedded.valkey import Valkey

S = TypeVar("S")


class Server(Protocol):
    """What a stack asks of a server it runs."""

    name: str

    def install(self, stopping: Flag) -> None: ...
    def program(self) -> Program: ...
    def provision(self) -> None: ...


@dataclass(frozen=True)
class Outside:
    """A server that somebody else runs."""

    name: str
    address: str


@dataclass
class Servers:
    """The servers of one stack; None for one that is outside."""

    postgres: Postgres | None
    valkey: Valkey | None
    object_store: ObjectStore | None
    temporal: Temporal | None
    issuer: Issuer | None
    outside: list[Outside] = field(default_factory=list)
    given: dict[str, str] = field(default_factory=dict)

    def own(self) -> list[Server]:
        candidates: tuple[Server | None, ...] = (self.postgres, self.valkey, self.object_store, self.temporal)
        return [server for server in candidates if server is not None]

    def environment(self, database: str | None, redis_database: int, task_queue: str) -> dict[str, str]:
        """The variables by which programs find these servers."""
        settings = dict(self.given)
        if self.postgres:
            settings.update(self.postgres.environment(database) if database else self.postgres.environment())
        if self.valkey:
            settings.update(self.valkey.environment(redis_database))
        if self.temporal:
            settings.update(self.temporal.environment(task_queue))
        if self.object_store:
            settings.update(self.object_store.environment())
        if self.issuer:
            settings.update(self.issuer.environment())
        return settings

    def describe_rest(self) -> dict[str, dict[str, Any]]:
        """What is no process of its own: the issuer in this one, servers outside."""
        rest = {o.name: {"status": "outside", "pid": None, "address": o.address, "restarts": 0} for o in self.outside}
        if self.issuer:
            rest["issuer"] = {"status": "running", "pid": os.getpid(), "address": self.issuer.address, "restarts": 0}
        return rest


def choose_servers(state: StateDirectory, ports: Ports, environment: Mapping[str, str]) -> Servers:
    """The variable that names a server is the one that compose and ECS use; with it come those of its family."""
    outside: list[Outside] = []
    given: dict[str, str] = {}

    def unless(variable: str, name: str, make: Callable[[StateDirectory, Ports], S]) -> S | None:
        if not environment.get(variable):
            return make(state, ports)
        family = variable.split("_")[0] + "_"
        families = (family, "KEYCLOAK_") if family == "OIDC_" else (family,)
        given.update({key: value for key, value in environment.items() if key.startswith(families)})
        # What stands before an @ is nobody's business, and may be a password that should not be there.
        outside.append(Outside(name, environment[variable].rpartition("@")[2]))
        return None

    return Servers(
        postgres=unless("DATABASE_URL", "postgres", Postgres),
        valkey=unless("REDIS_URL", "valkey", Valkey),
        object_store=unless("S3_ENDPOINT_URL", "object-store", ObjectStore),
        temporal=unless("TEMPORAL_ADDRESS", "temporal", Temporal),
        issuer=unless("OIDC_ISSUER", "issuer", Issuer),
        outside=outside,
        given=given,
    )
