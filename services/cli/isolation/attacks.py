"""From a route to the requests that attack it, by kind of attack."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Any

from services.cli.isolation.parties import Party, Shot, segment
from services.cli.isolation.routes import Route, Values

PATH, BODY, FILTER, CURSOR, KEY = "ids in the path", "ids in the body", "filters", "cursors", "idempotency keys"
HEADER, STREAM, NAMES, SHARED = "forged headers", "streams", "artifact names", "names that both have"
KINDS = (PATH, BODY, FILTER, CURSOR, KEY, HEADER, STREAM, NAMES, SHARED)
PAGING = ("cursor", "after", "limit", "wait")


@dataclass(frozen=True)
class Operation:
    """A route of the OpenAPI document."""

    method: str
    path: str
    parameters: tuple[tuple[str, str], ...]  # where, name
    streams: bool

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    def having(self, where: str) -> list[str]:
        return [name for place, name in self.parameters if place == where]


@dataclass(frozen=True)
class Attack:
    """A request; with `theirs` it names something of the victim's, and must be answered as `twin` is, which names what
    nobody has. `first` is what the victim sends before."""

    kind: str
    shot: Shot
    theirs: bool = False
    twin: Shot | None = None
    first: Shot | None = None


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """Reads first, deletions last: what an attack breaks of its own does not hide what comes after."""
    order = ("GET", "POST", "PATCH", "PUT", "DELETE")
    found = [
        Operation(
            method.upper(),
            path,
            tuple((parameter["in"], parameter["name"]) for parameter in described.get("parameters", ())),
            "text/event-stream" in json.dumps(described.get("responses", {})),
        )
        for path, methods in document["paths"].items()
        for method, described in methods.items()
        if method.upper() in (*order, "HEAD", "OPTIONS", "TRACE")
    ]
    return sorted(found, key=lambda each: (order.index(each.method) if each.method in order else 9, each.path))


def filled(
    operation: Operation, route: Route, values: Values, *, path: Values | None = None, body: Values | None = None
) -> Shot:
    """The request of somebody who has these values; `path` and `body` may be filled with others'."""
    names, places = path if path is not None else values, dict(route.path)
    address = re.sub(r"\{(\w+)\}", lambda found: segment(names[places[found[1]]]), operation.path)
    params = tuple((name, values[kind]) for name, kind in route.query.items() if route.content)
    headers = {"Content-Type": "text/plain"} if route.content else {}
    content = f"of the attack {token_hex(4)}".encode() if route.content else None
    made = route.body(body if body is not None else values) if route.body else None
    return Shot(operation.method, address, params, headers, made, content)


class Attacks:
    """Everything that one party tries against the other at one route."""

    def __init__(self, attacker: Party, victim: Party, nobody: Values) -> None:
        self._attacker = attacker
        self._victim = victim
        self._nobody = nobody

    def on(self, operation: Operation, route: Route) -> Iterator[Attack]:
        mine, theirs = self._attacker.values, self._victim.values
        if any(kind not in theirs for kind in (*route.path.values(), *route.query.values())):
            return
        yield from self._paths(operation, route, mine)
        yield from self._bodies(operation, route, mine)
        yield from self._filters(operation, route, mine)
        yield from self._cursors(operation, route, mine)
        if "Idempotency-Key" in operation.having("header"):
            yield from self._keys(operation, route, mine)
        yield from self._headers(operation, route, mine)
        if route.content:
            for name in (theirs["artifact_name"], f"../{theirs['tenant']}/{theirs['artifact_name']}"):
                yield Attack(NAMES, filled(operation, route, {**mine, "artifact_name": name}))
        if route.shared and all(kind in theirs for kind in route.shared.values()):
            both = Route(route.shared, body=route.body)
            yield Attack(SHARED, filled(operation, both, mine))

    def _paths(self, operation: Operation, route: Route, mine: Values) -> Iterator[Attack]:
        for mapping in (route.path, *route.paths) if route.path else ():
            named = Route(mapping, query=route.query, body=route.body, content=route.content)
            shot = filled(operation, named, mine, path=self._victim.values)
            twin = filled(operation, named, mine, path=self._nobody)
            yield Attack(PATH, shot, not route.free, None if route.free else twin)
            if operation.streams:
                live = {"Accept": "text/event-stream", "Last_Event_ID": "0"}
                yield Attack(STREAM, shot.having(**live), not route.free, twin.having(**live))

    def _bodies(self, operation: Operation, route: Route, mine: Values) -> Iterator[Attack]:
        if route.body is None:
            return
        theirs = self._victim.values
        for kind in route.names:
            if kind in theirs:
                shot = filled(operation, route, mine, body={**mine, kind: theirs[kind]})
                twin = filled(operation, route, mine, body={**mine, kind: self._nobody[kind]})
                yield Attack(BODY, shot, theirs=True, twin=twin)
        if route.lure in theirs:
            yield Attack(BODY, filled(operation, route, mine, body={**mine, "lure": theirs[route.lure]}))
        for field in ("tenant_id", "tenant", "id", "created_by", "subject"):
            plain = filled(operation, route, mine)
            named = {**plain.body, field: theirs["subject" if field in ("created_by", "subject") else "tenant"]}
            yield Attack(BODY, Shot(plain.method, plain.path, plain.params, plain.headers, named))

    def _filters(self, operation: Operation, route: Route, mine: Values) -> Iterator[Attack]:
        plain = filled(operation, route, mine)
        for name in operation.having("query"):
            if name in PAGING or (route.content and name in route.query):
                continue
            if kind := route.query.get(name):
                shot, twin = (_asking(plain, name, values[kind]) for values in (self._victim.values, self._nobody))
                yield Attack(FILTER, shot, theirs=True, twin=twin)
            for value in dict.fromkeys(self._victim.values.values()):
                yield Attack(FILTER, _asking(plain, name, value))
        if operation.method == "GET":
            everybody = (("tenant_id", self._victim.values["tenant"]), ("tenant", "*"), ("all", "true"))
            yield Attack(FILTER, replace(plain, params=(*plain.params, *everybody)))
            if route.path:
                shot = filled(operation, route, mine, path=self._victim.values)
                yield Attack(FILTER, replace(shot, params=(*shot.params, *everybody)), theirs=not route.free)

    def _cursors(self, operation: Operation, route: Route, mine: Values) -> Iterator[Attack]:
        """The victim's own next page, and whatever of its values could be one."""
        paging = [name for name in operation.having("query") if name in ("cursor", "after")]
        if not paging or route.forbidden:
            return
        theirs = self._victim.send(_asking(filled(operation, route, self._victim.values), "limit", "1"))
        cursor = theirs.document.get("next_cursor") if isinstance(theirs.document, dict) else None
        values = [str(cursor)] if cursor else []
        plain = filled(operation, route, mine)
        for value in dict.fromkeys([*values, *self._victim.values.values()]):
            yield Attack(CURSOR, _asking(plain, paging[0], value))

    def _keys(self, operation: Operation, route: Route, mine: Values) -> Iterator[Attack]:
        """The key of a request that the victim has made, with the same body, and the same path where that is free."""
        key = token_hex(16)
        theirs = filled(operation, route, self._victim.values).having(Idempotency_Key=key)
        own = filled(operation, route, mine)
        yield Attack(
            KEY, Shot(own.method, own.path, own.params, theirs.headers, theirs.body, theirs.content), first=theirs
        )
        if route.path:
            yield Attack(KEY, theirs, theirs=not route.free)

    def _headers(self, operation: Operation, route: Route, mine: Values) -> Iterator[Attack]:
        forged = forged_headers(self._victim.values)
        own = filled(operation, route, mine)
        yield Attack(HEADER, Shot(own.method, own.path, own.params, {**own.headers, **forged}, own.body, own.content))
        if route.path:
            shot = filled(operation, route, mine, path=self._victim.values)
            headers = {**shot.headers, **forged}
            aimed = Shot(shot.method, shot.path, shot.params, headers, shot.body, shot.content)
            yield Attack(HEADER, aimed, theirs=not route.free)


def forged_headers(values: Values) -> dict[str, str]:
    """What a gateway might set, or be asked to set, for the other tenant and for an administrator."""
    user = {"sub": values["subject"], "tenant_id": values["tenant"], "realm_access": {"roles": ["admin", "operator"]}}
    told = base64.b64encode(json.dumps(user).encode()).decode()
    return {
        **dict.fromkeys(("X-Tenant-Id", "X-Tenant", "Tenant-Id", "X-Org-Id", "X-Scope-OrgID"), values["tenant"]),
        **dict.fromkeys(("X-Tenant-Slug", "X-Consumer-Groups"), values["tenant_slug"]),
        **dict.fromkeys(("X-User-Id", "X-Forwarded-User", "X-Authenticated-Userid", "X-Subject"), values["subject"]),
        **dict.fromkeys(("X-Roles", "X-Role", "X-Forwarded-Groups"), "admin"),
        **dict.fromkeys(("X-Userinfo", "X-Jwt-Claims", "X-Id-Token"), told),
        "X-Consumer-Id": f"tenant:{values['tenant']}",
        "X-Consumer-Username": f"tenant:{values['tenant']}",
        "X-Consumer-Custom-Id": values["tenant"],
        "X-Credential-Identifier": f"tenant:{values['tenant']}",
        "X-HTTP-Method-Override": "GET",
        "X-Original-URL": f"/v1/tenants/{values['tenant']}",
        "X-Forwarded-For": "127.0.0.1",
        "Cookie": f"tenant_id={values['tenant']}",
    }


def _asking(shot: Shot, name: str, value: str) -> Shot:
    kept = tuple(pair for pair in shot.params if pair[0] != name)
    return Shot(shot.method, shot.path, (*kept, (name, value)), shot.headers, shot.body, shot.content)
