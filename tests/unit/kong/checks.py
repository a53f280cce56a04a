"""What must be true of the gateway's configuration, held against the API's OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from services.api.bodies import MAX_BODY
from services.api.operations.artifacts import MAX_ARTIFACT
from tests.fixtures.kong.rendering import PUBLIC
from tests.fixtures.kong.router import Route, Router

Config = dict[str, Any]
UNITS = {"bytes": 1, "kilobytes": 1024, "megabytes": 1024 * 1024}
ELSEWHERE = "203.0.113.9"
API_HEADERS = ("Content-Security-Policy", "X-Frame-Options", "Cache-Control")
SECURITY_HEADERS = ("X-Content-Type-Options", "Strict-Transport-Security", "Referrer-Policy")
# Kong's own, of which the behaviour was seen, and ours.
PLUGINS = frozenset(
    {"keycloak-jwt", "rate-limiting", "request-size-limiting", "cors", "response-transformer", "correlation-id"}
    | {"prometheus", "problem-details", "request-termination", "ip-restriction"}
)
REALM = "/realms/agent-runtime"
KEYCLOAK = (
    f"{REALM}/.well-known/openid-configuration",
    f"{REALM}/protocol/openid-connect/token",
    f"{REALM}/protocol/openid-connect/auth",
    f"{REALM}/protocol/openid-connect/auth/device",
    f"{REALM}/protocol/openid-connect/certs",
    f"{REALM}/protocol/openid-connect/logout",
    f"{REALM}/protocol/openid-connect/revoke",
    f"{REALM}/login-actions/authenticate",
    f"{REALM}/device",
    f"{REALM}/account/",
    "/resources/abc/login/keycloak.v2/css/styles.css",
)
CLOSED = (
    *("/", "/metrics", "/metrics/", "/healthz", "/readyz", "/openapi.json", "/docs", "/v1", "/v1x", "/V1/runs"),
    *("/admin", "/admin/", "/admin/master/console/", "/admin/realms/agent-runtime/users", "/health", "/health/ready"),
    *("/realms", "/realms/", "/realms/master/protocol/openid-connect/token", f"{REALM}", f"{REALM}-2/account"),
    *(f"{REALM}/clients-registrations/default", f"{REALM}/authz/protection", f"{REALM}/protocol/saml"),
    *(
        "//metrics",
        "//admin/",
        "/v1/../metrics",
        "/v1/%2e%2e/metrics",
        "/v1/x/../../admin/",
        "/%6detrics",
        "/./metrics",
    ),
    *(f"{REALM}/../../admin/", f"{REALM}/%2E%2E/%2e%2e/admin", "/resources/../admin/", "/js/keycloak.js", "/status"),
)


def flaws(config: Config, document: dict[str, Any], ceilings: dict[str, int]) -> list[str]:
    """Everything that is wrong, in words; nothing when nothing is."""
    router = Router(config)
    checks: list[Callable[[], Iterator[str]]] = [
        lambda: reaches_the_api(router, document, ceilings),
        lambda: streams_and_uploads(router),
        lambda: reaches_keycloak(router, ceilings),
        lambda: reaches_nothing_else(router, document),
        lambda: upstreams(config, document),
        lambda: everywhere(config, router),
    ]
    return [flaw for check in checks for flaw in check()]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Method, path with its parameters filled in, and whether a token is asked for."""
    for path, methods in document["paths"].items():
        filled = re.sub(r"\{[^}]+\}", "0199aaaa-0000-7000-8000-000000000000", path)
        for method, operation in methods.items():
            yield method.upper(), filled, bool(operation.get("security"))


def reaches_the_api(router: Router, document: dict[str, Any], ceilings: dict[str, int]) -> Iterator[str]:
    for method, path, guarded in operations(document):
        if not path.startswith("/v1/"):
            continue
        taken = router.take(method, PUBLIC, path)
        if taken is None or taken.route.service is None or "api:8080" not in taken.route.service["url"]:
            yield f"{method} {path} does not reach the api"
            continue
        if taken.ties:
            yield f"{method} {path} could take {taken.ties[0].name} as well as {taken.route.name}"
        yield from (f"{method} {path}: {flaw}" for flaw in _as_an_operation(taken.route, guarded, ceilings))


def _as_an_operation(route: Route, guarded: bool, ceilings: dict[str, int]) -> Iterator[str]:
    if guarded != ("keycloak-jwt" in route.plugins):
        yield f"is {'not ' if guarded else ''}guarded by keycloak-jwt"
    limit = route.plugins.get("rate-limiting", {})
    name, by = ("TENANT", "credential") if guarded else ("SIGN_IN", "ip")
    if (limit.get("minute"), limit.get("limit_by")) != (ceilings[f"{name}_REQUESTS_PER_MINUTE"], by):
        yield "has another ceiling than the environment says"
    if guarded and (limit.get("policy"), limit.get("fault_tolerant")) != ("redis", True):
        yield "counts its ceiling on one replica only, or not at all without Redis"
    if guarded and _has_its_own(route, "rate-limiting"):
        yield "has a ceiling of its own beside the tenant's"
    if guarded:
        yield from (f"lacks {header}" for header in API_HEADERS if not adds(route, header))
    if route.options.get("strip_path") is not False:
        yield "loses its prefix"


def _has_its_own(route: Route, plugin: str) -> bool:
    return any(found["name"] == plugin for found in route.options.get("plugins", []))


def adds(route: Route, header: str) -> bool:
    added = route.plugins.get("response-transformer", {}).get("add", {}).get("headers", [])
    return any(line.startswith(f"{header}:") for line in added)


def streams_and_uploads(router: Router) -> Iterator[str]:
    events = router.take("GET", PUBLIC, "/v1/runs/0199aaaa/events")
    if events is None or events.route.options.get("response_buffering") is not False:
        yield "the event stream is buffered"
    for method, path, size in (
        ("POST", "/v1/artifacts", MAX_ARTIFACT),
        ("POST", "/v1/runs", MAX_BODY),
        ("POST", "/v1/agents", MAX_BODY),
        ("POST", "/v1/artifacts/x", MAX_BODY),
        ("PUT", "/v1/artifacts", MAX_BODY),
    ):
        taken = router.take(method, PUBLIC, path)
        if taken is None or payload_limit(taken.route) != size:
            yield f"{method} {path} takes another size than {size} bytes"


def payload_limit(route: Route) -> int:
    """Bytes; 0 when there is no limit."""
    config = route.plugins.get("request-size-limiting", {})
    return int(config.get("allowed_payload_size", 0)) * UNITS[config.get("size_unit", "megabytes")]


def reaches_keycloak(router: Router, ceilings: dict[str, int]) -> Iterator[str]:
    for path in KEYCLOAK:
        taken = router.take("GET", PUBLIC, path)
        if taken is None or not taken.route.service or taken.route.service["name"] != "keycloak":
            yield f"{path} does not reach Keycloak"
        elif "keycloak-jwt" in taken.route.plugins:
            yield f"{path} asks for a token"
        elif "resources" not in path and _per_minute(taken.route) != ceilings["SIGN_IN_REQUESTS_PER_MINUTE"]:
            yield f"{path} has no ceiling"
        spoofed = router.take("GET", ELSEWHERE, path)
        if spoofed and spoofed.route.service:
            yield f"{path} reaches Keycloak with a Host of the caller's choice"


def _per_minute(route: Route) -> int:
    return int(route.plugins.get("rate-limiting", {}).get("minute", 0))


def reaches_nothing_else(router: Router, document: dict[str, Any]) -> Iterator[str]:
    internal = [path for _, path, _ in operations(document) if not path.startswith("/v1/")]
    for path in (*CLOSED, *internal):
        for method in ("GET", "POST", "OPTIONS", "HEAD"):
            for host in (PUBLIC, ELSEWHERE):
                taken = router.take(method, host, path)
                if taken is None or taken.route.plugins.get("request-termination", {}).get("status_code") != 404:
                    yield f"{method} {path} at {host} is not answered with 404"


def upstreams(config: Config, document: dict[str, Any]) -> Iterator[str]:
    waits = [
        parameter["schema"].get("maximum", 0)
        for methods in document["paths"].values()
        for operation in methods.values()
        for parameter in operation.get("parameters", [])
        if parameter["name"] == "wait"
    ]
    for service in config["services"]:
        name = service["name"]
        if service.get("retries") != 0:
            yield f"{name}: a POST may be sent twice"
        if service.get("connect_timeout", 60_000) > 5_000:
            yield f"{name}: waits long for a dead upstream"
        if name == "api" and service.get("read_timeout", 60_000) <= (max(waits) + 5) * 1000:
            yield "api: a long poll can be cut off"
        for route in service["routes"]:
            if not any(p["name"] == "request-size-limiting" for p in (*service["plugins"], *route.get("plugins", ()))):
                yield f"{route['name']}: takes bodies of any size"


def everywhere(config: Config, router: Router) -> Iterator[str]:
    names = {plugin for route in router.routes for plugin in route.plugins}
    if unknown := names - PLUGINS:
        yield f"plugins that nobody has looked at: {sorted(unknown)}"
    for route in router.routes:
        if route.plugins.get("correlation-id", {}).get("echo_downstream") is not True:
            yield f"{route.name}: has no request id"
        if "problem-details" not in route.plugins:
            yield f"{route.name}: does not answer with problems"
        for header in SECURITY_HEADERS:
            if not adds(route, header):
                yield f"{route.name}: lacks {header}"
        cors = route.plugins.get("cors")
        if cors and (cors.get("credentials") or any("*" in origin for origin in cors["origins"])):
            yield f"{route.name}: any page may call the api as its user"
