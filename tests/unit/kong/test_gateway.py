"""The rendered configuration of Kong: everything reachable that should be, nothing else; and the check would notice."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from libs.settings.gateway import GatewaySettings
from services.api.application import create_app
from services.api.openapi import document
from services.api.operations.artifacts import MAX_ARTIFACT
from tests.fixtures.kong.rendering import EVERYTHING, KONG, LUA, OPTIONAL, REQUIRED, NotRendered, render
from tests.fixtures.kong.router import Router, normalize
from tests.unit.kong.checks import Config, flaws

pytestmark = pytest.mark.skipif(LUA is None, reason="needs luajit or lua5.1; `.ci/run` installs it")
CEILINGS = {name: int(REQUIRED[name]) for name in REQUIRED if name.endswith("_PER_MINUTE")}
Change = Callable[[Config], Any]


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    return document(create_app())


@pytest.fixture(scope="module", params=["required", "everything"])
def config(request: pytest.FixtureRequest) -> Config:
    return render(REQUIRED if request.param == "required" else EVERYTHING)


@pytest.fixture(scope="module")
def whole() -> Config:
    return render(EVERYTHING)


def test_reachable_is_what_should_be(config: Config, openapi: dict[str, Any]) -> None:
    assert flaws(config, openapi, CEILINGS) == []


def service(config: Config, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in config["services"] if item["name"] == name)
    return found


def route(config: Config, name: str) -> dict[str, Any]:
    every = [item for owner in config["services"] for item in owner["routes"]] + config["routes"]
    found: dict[str, Any] = next(item for item in every if item["name"] == name)
    return found


def plugin(owner: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in owner["plugins"] if item["name"] == name)
    return found


def without(owner: dict[str, Any], name: str) -> None:
    owner["plugins"].remove(plugin(owner, name))


def add_route(config: Config, owner: str, **made: Any) -> None:
    service(config, owner)["routes"].append({"name": "extra", "strip_path": False, **made})


CHANGES: dict[str, Change] = {
    "no token is asked for": lambda c: without(service(c, "api"), "keycloak-jwt"),
    "a token is asked for the version": lambda c: service(c, "api-open")["plugins"].append({"name": "keycloak-jwt"}),
    "no ceiling": lambda c: without(service(c, "api"), "rate-limiting"),
    "another ceiling": lambda c: plugin(service(c, "api"), "rate-limiting")["config"].update(minute=6000),
    "a ceiling per address": lambda c: plugin(service(c, "api"), "rate-limiting")["config"].update(limit_by="ip"),
    "a ceiling per replica": lambda c: plugin(service(c, "api"), "rate-limiting")["config"].update(policy="local"),
    "a second ceiling": lambda c: route(c, "api-events").update(plugins=[plugin(service(c, "api"), "rate-limiting")]),
    "a sign-in without ceiling": lambda c: route(c, "realm").pop("plugins"),
    "a POST sent twice": lambda c: service(c, "api").update(retries=5),
    "a long poll cut off": lambda c: service(c, "api").update(read_timeout=60_000),
    "a long wait for the dead": lambda c: service(c, "keycloak").pop("connect_timeout"),
    "a stream buffered": lambda c: route(c, "api-events").pop("response_buffering"),
    "no route of events": lambda c: service(c, "api")["routes"].remove(route(c, "api-events")),
    "no route of uploads": lambda c: service(c, "api")["routes"].remove(route(c, "api-artifacts")),
    "uploads of any method": lambda c: route(c, "api-artifacts").pop("methods"),
    "uploads to any path": lambda c: route(c, "api-artifacts").update(paths=["~/v1/artifacts"]),
    "no size": lambda c: without(service(c, "api"), "request-size-limiting"),
    "a size too large": lambda c: plugin(service(c, "api"), "request-size-limiting")["config"].update(
        allowed_payload_size=2
    ),
    "no API": lambda c: service(c, "api")["routes"].remove(route(c, "api")),
    "the whole API": lambda c: route(c, "api").update(paths=["/"]),
    "a prefix too short": lambda c: route(c, "api").update(paths=["/v1"]),
    "a path cut short": lambda c: route(c, "api").update(strip_path=True),
    "metrics": lambda c: add_route(c, "api", paths=["/metrics"]),
    "health by a regular expression": lambda c: add_route(c, "api", paths=["~/(healthz|readyz)"], methods=["GET"]),
    "the document": lambda c: add_route(c, "api", paths=["/openapi.json"]),
    "the administration": lambda c: add_route(c, "keycloak", paths=["/admin"]),
    "every realm": lambda c: route(c, "realm").update(paths=["/realms"]),
    "another realm": lambda c: route(c, "realm").update(paths=["/realms/agent-runtime"]),
    "any Host for Keycloak": lambda c: route(c, "realm").pop("hosts"),
    "any Host for its resources": lambda c: route(c, "realm-resources").pop("hosts"),
    "registration of clients": lambda c: service(c, "keycloak")["routes"].remove(route(c, "realm-closed")),
    "no resources": lambda c: service(c, "keycloak")["routes"].remove(route(c, "realm-resources")),
    "no answer for the unknown": lambda c: c["routes"].clear(),
    "another answer for the unknown": lambda c: plugin(route(c, "unknown"), "request-termination")["config"].update(
        status_code=200
    ),
    "an unknown plugin": lambda c: c["plugins"].append({"name": "openid-connect"}),
    "no request id": lambda c: without(c, "correlation-id"),
    "no problems": lambda c: without(c, "problem-details"),
    "no security headers": lambda c: without(service(c, "api"), "response-transformer"),
    "no headers elsewhere": lambda c: without(c, "response-transformer"),
    "any origin": lambda c: plugin(service(c, "api"), "cors")["config"].update(origins=["*"]),
    "a second route for the same": lambda c: add_route(c, "api", paths=["/v1/"]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_for_the_worse_is_noticed(change: Change, whole: Config, openapi: dict[str, Any]) -> None:
    config = copy.deepcopy(whole)
    change(config)
    assert flaws(config, openapi, CEILINGS)


def test_other_sites_are_off_unless_asked() -> None:
    hosts = {
        "console": "console.example.com",
        "langfuse": "langfuse.example.com",
        "temporal-ui": "temporal.example.com",
    }
    off, on = Router(render(REQUIRED)), Router(render(EVERYTHING))
    for name, host in hosts.items():
        for path in ("/", "/anything", "/v1/runs/x/events", "/api/public/health"):
            taken = on.take("GET", host, path)
            assert taken
            assert not taken.ties
            assert taken.route.name == name
        closed = off.take("GET", host, "/")
        assert closed
        assert closed.route.name == "unknown"
    taken = on.take("GET", hosts["temporal-ui"], "/")
    assert taken
    assert taken.route.plugins["ip-restriction"] == {"allow": ["10.0.0.0/8"]}


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", ["", None])
def test_an_unset_variable_ends_the_start_and_is_named(name: str, value: str | None) -> None:
    environment = {key: found for key, found in REQUIRED.items() if key != name}
    with pytest.raises(NotRendered, match=rf"\b{name} is not set"):
        render(environment if value is None else {**environment, name: value})


@pytest.mark.parametrize("asked", OPTIONAL.values(), ids=OPTIONAL.keys())
def test_who_asks_for_a_site_says_all_of_it(asked: dict[str, str]) -> None:
    for name in list(asked)[1:]:
        with pytest.raises(NotRendered, match=rf"\b{name} is not set"):
            render({**REQUIRED, **{key: value for key, value in asked.items() if key != name}})


def test_no_value_adds_settings() -> None:
    hostile = 'x"\n  - name: evil\n# ${OIDC_ISSUER} {{ }} \\'
    config = render({**EVERYTHING, "OIDC_AUDIENCE": hostile, "REDIS_PASSWORD": hostile})
    assert plugin(service(config, "api"), "keycloak-jwt")["config"]["audience"] == hostile
    assert plugin(service(config, "api"), "rate-limiting")["config"]["redis"]["password"] == hostile
    for name in ("API_UPSTREAM_URL", "TENANT_REQUESTS_PER_MINUTE", "CONSOLE_URL"):
        with pytest.raises(NotRendered, match=name):
            render({**EVERYTHING, name: hostile})


def test_a_password_of_digits_stays_a_text() -> None:
    assert plugin(service(render(EVERYTHING), "api"), "rate-limiting")["config"]["redis"]["password"] == "12345"


def test_a_secret_may_stand_in_a_file(tmp_path: Any) -> None:
    (tmp_path / "password").write_text("from a file\n")
    config = render({**REQUIRED, "REDIS_PASSWORD_FILE": str(tmp_path / "password")})
    assert plugin(service(config, "api"), "rate-limiting")["config"]["redis"]["password"] == "from a file"


def test_variables_are_those_of_the_settings() -> None:
    template, start = (KONG / "kong.yml").read_text(), (KONG / "start.sh").read_text()
    consumed = set(re.findall(r"\$\{([A-Z][A-Z0-9_]*)", template)) | set(re.findall(r"#if ([A-Z0-9_]+)", template))
    consumed |= set(re.findall(r"\$\{([A-Z0-9_]+_CA_FILE|DEPLOYMENT):", start))
    assert consumed == {name.upper() for name in GatewaySettings.model_fields}
    required = {name.upper() for name, field in GatewaySettings.model_fields.items() if field.is_required()}
    assert required == set(REQUIRED)
    assert consumed >= set(EVERYTHING)


def test_keycloak_jwt_is_given_settings_that_it_has() -> None:
    schema = (KONG / "plugins/keycloak-jwt/schema.lua").read_text()
    known = set(re.findall(r"\{ ([a-z_]+) = (?:\{ type|typedefs\.url)", schema))
    given = set(plugin(service(render(REQUIRED), "api"), "keycloak-jwt")["config"])
    assert given <= known
    assert {"issuer", "jwks_uri", "audience"} <= given


def test_kong_itself_takes_a_little_more_than_an_artifact() -> None:
    """Kong buffers a body without a length before a plugin measures it."""
    found = re.search(r"CLIENT_MAX_BODY_SIZE=(\d+)m", (KONG / "start.sh").read_text())
    assert found
    assert MAX_ARTIFACT < int(found[1]) * 2**20 <= MAX_ARTIFACT + 2**20


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/v1/../metrics", "/metrics"),
        ("/v1/%2e%2E/metrics?a=/../b", "/metrics"),
        ("//a///b/", "/a/b/"),
        ("/a/..", "/"),
        ("/a/./b/.", "/a/b/"),
        ("/../../x", "/x"),
        ("/v1/..%2fmetrics", "/v1/..%2Fmetrics"),
        ("/%76%31/x%20y", "/v1/x y"),
    ],
)
def test_paths_are_compared_as_kong_does(path: str, normal: str) -> None:
    assert normalize(path) == normal
