"""The two issuers that the suite is run against: a real Keycloak, and the one of the embedded stack."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import httpx

from deploy.embedded.issuer import Issuer as EmbeddedServer
from deploy.embedded.ports import Ports
from deploy.embedded.state import StateDirectory, write_json
from deploy.embedded.tokens import TokenSigner
from deploy.embedded.users import User, Users
from tests.conformance.keycloak.grants import Endpoints, Person
from tests.conformance.keycloak.server import Keycloak

PASSWORD_CLIENT, CI_CLIENT, FOREIGN_CLIENT = "test-password", "test-ci", "test-elsewhere"
OPERATOR, MEMBER, ADMIN = frozenset({"operator", "user"}), frozenset({"user"}), frozenset({"admin"})


class Issuer(Protocol):
    """What the suite asks of an issuer beside its endpoints."""

    name: str
    url: str
    jwks_url: str
    endpoints: Endpoints
    people: Mapping[str, Person]
    ci: tuple[str, str]  # a client with a secret, that acts as an operator of `acme`

    def foreign_audience(self) -> str:
        """A token of this realm for another audience."""

    def other_realm(self) -> str:
        """A token of another realm, that is good there."""


class RealIssuer:
    """Keycloak with clients that only tests need, added as an administrator would."""

    name = "keycloak"

    def __init__(self, keycloak: Keycloak) -> None:
        self._keycloak = keycloak
        self.url = keycloak.issuer
        self.jwks_url = keycloak.environment["OIDC_JWKS_URL"]
        self.endpoints = Endpoints(self.url)
        self.people: Mapping[str, Person] = {
            "operator": self._person("acme-operator", OPERATOR, "acme"),
            "user": self._person("acme-user", MEMBER, "acme"),
            "other": self._person("globex-operator", OPERATOR, "globex"),
            "admin": self._person("dev-admin", ADMIN, None),
        }
        self.ci = CI_CLIENT, secrets.token_urlsafe(18)
        with keycloak.admin() as admin:
            _add_clients(admin, self.ci[1])

    def _person(self, username: str, roles: frozenset[str], tenant: str | None) -> Person:
        return Person(username, self._keycloak.password, roles, tenant)

    def foreign_audience(self) -> str:
        person = self.people["operator"]
        return self.password(person, FOREIGN_CLIENT)["access_token"]  # type: ignore[no-any-return]  # of JSON

    def password(self, person: Person, client: str = PASSWORD_CLIENT) -> dict[str, Any]:
        """Tokens for a name and a password, which no client of the shipped realm gives."""
        return self.endpoints.tokens(
            grant_type="password",
            client_id=client,
            username=person.username,
            password=person.password,
            scope="openid",
        )

    def other_realm(self) -> str:
        with self._keycloak.admin("") as admin:
            realm = {"realm": "elsewhere", "enabled": True, "sslRequired": "none"}
            assert admin.post("", json=realm).status_code in (201, 409)
        with self._keycloak.admin("elsewhere") as admin:
            mappers = [_audience()]
            client = {"clientId": "c", "secret": "s", "serviceAccountsEnabled": True, "protocolMappers": mappers}
            assert admin.post("/clients", json=client).status_code in (201, 409)
        form = {"grant_type": "client_credentials", "client_id": "c", "client_secret": "s"}
        return self._keycloak.token(form, realm="elsewhere")["access_token"]  # type: ignore[no-any-return]  # of JSON


class EmbeddedIssuer:
    """The embedded issuer alone, with a state directory of its own."""

    name = "embedded"

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="agent-runtime-issuer-"))
        state = StateDirectory(self._directory / "state")
        state.open()
        users = Users(state)
        password = users.password_file.read_text()
        self.people: Mapping[str, Person] = {
            "operator": Person("acme-operator", password, OPERATOR, "acme"),
            "user": Person("acme-user", password, MEMBER, "acme"),
            "other": Person("globex-operator", password, OPERATOR, "globex"),
            "admin": Person("platform-admin", password, ADMIN, None),
        }
        for person in self.people.values():
            if person.tenant:
                role = "operator" if "operator" in person.roles else "user"
                sub = TokenSigner.subject(person.tenant, person.username)
                users.keep(User(sub, person.username, role, person.tenant))
        self._server = EmbeddedServer(state, Ports(state.path / "ports.json"))
        self.ci = CI_CLIENT, secrets.token_urlsafe(18)
        registered = {CI_CLIENT: {"secret": self.ci[1], "role": "operator", "tenant": "acme"}}
        write_json(state.path / "secrets/clients.json", registered)
        self._server.start()
        self.url = self._server.url
        self.jwks_url = self._server.environment()["OIDC_JWKS_URL"]
        self.endpoints = Endpoints(self.url)

    def foreign_audience(self) -> str:
        return self._server.signer.mint(role="operator", tenant="acme", claims={"aud": "account"})

    def other_realm(self) -> str:
        other = StateDirectory(self._directory / "other")
        other.open()
        return TokenSigner(other, self.url.replace("agent-runtime", "elsewhere")).mint(role="operator", tenant="acme")

    def stop(self) -> None:
        self.endpoints.close()
        self._server.stop()
        shutil.rmtree(self._directory)


def _add_clients(admin: httpx.Client, secret: str) -> None:
    flows = {"standardFlowEnabled": False, "fullScopeAllowed": False, "protocol": "openid-connect"}
    tenant = {"claim.name": "tenant_id", "jsonType.label": "String", "access.token.claim": "true"}
    of_user = _mapper("tenant", "oidc-usermodel-attribute-mapper", {**tenant, "user.attribute": "tenant_id"})
    fixed = _mapper("tenant", "oidc-hardcoded-claim-mapper", {**tenant, "claim.value": "acme"})
    public = {**flows, "publicClient": True, "directAccessGrantsEnabled": True}
    confidential = {**flows, "publicClient": False, "serviceAccountsEnabled": True, "secret": secret}
    for name, client in (
        (PASSWORD_CLIENT, {**public, "protocolMappers": [_audience(), of_user]}),
        (FOREIGN_CLIENT, {**public, "protocolMappers": [of_user]}),
        (CI_CLIENT, {**confidential, "protocolMappers": [_audience(), fixed]}),
    ):
        answer = admin.post("/clients", json={"clientId": name, **client})
        assert answer.status_code == 201, answer.text
        made = answer.headers["location"].rpartition("/")[2]
        roles = [admin.get(f"/roles/{role}").json() for role in ("admin", "operator", "user")]
        assert admin.post(f"/clients/{made}/scope-mappings/realm", json=roles).status_code == 204
    account = admin.get(f"/clients/{made}/service-account-user").json()["id"]
    roles = [admin.get("/roles/operator").json()]
    assert admin.post(f"/users/{account}/role-mappings/realm", json=roles).status_code == 204


def _audience() -> dict[str, Any]:
    audience = {"included.custom.audience": "agent-runtime-api", "access.token.claim": "true"}
    return _mapper("audience", "oidc-audience-mapper", audience)


def _mapper(name: str, kind: str, config: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "protocol": "openid-connect", "protocolMapper": kind, "config": config}
