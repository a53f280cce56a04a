"""The few calls of Keycloak's admin REST API that the provisioning client makes, as the embedded issuer answers them.

What Keycloak's fine-grained permissions let that client do, this does, for members of the group /tenants; the rest it
refuses. The client is known by its token.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deploy.embedded.realm import REALM
from deploy.embedded.registrations import PROVISIONER, Clients
from deploy.embedded.sessions import Sessions
from deploy.embedded.tokens import TokenSigner
from deploy.embedded.users import User, Users

USERS = f"/admin/realms/{REALM}/users"
ADMIN = f"/admin/realms/{REALM}"
REGISTRATION = f"/realms/{REALM}/clients-registrations/default"
GIVEN_ROLES = ("operator", "user")
_TENANT = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ALLOWED_SCOPES = {"basic", "agent-runtime-service-account", "service_account"}


class Declined(Exception):
    """The call is answered with this status and error."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


class Administration:
    """Users and registered clients, changed as the provisioning client asks."""

    def __init__(self, signer: TokenSigner, clients: Clients, users: Users, sessions: Sessions) -> None:
        self._signer = signer
        self._clients = clients
        self._users = users
        self._sessions = sessions

    def routes(self) -> list[Route]:
        one = f"{USERS}/{{id}}"
        return [
            Route(USERS, self._answering(self.list_users), methods=["GET"]),
            Route(USERS, self._answering(self.create_user), methods=["POST"]),
            Route(one, self._answering(self.get_user), methods=["GET"]),
            Route(one, self._answering(self.update_user), methods=["PUT"]),
            Route(one, self._answering(self.delete_user), methods=["DELETE"]),
            Route(f"{one}/reset-password", self._answering(self.reset_password), methods=["PUT"]),
            Route(f"{one}/logout", self._answering(self.log_out), methods=["POST"]),
            Route(f"{one}/role-mappings/realm", self._answering(self.list_roles), methods=["GET"]),
            Route(f"{one}/role-mappings/realm", self._answering(self.give_roles), methods=["POST"]),
            Route(f"{one}/role-mappings/realm/available", self._answering(self.offer_roles), methods=["GET"]),
            Route(REGISTRATION, self._answering(self.register), methods=["POST"]),
            Route(f"{REGISTRATION}/{{client}}", self._answering(self.change_client), methods=["PUT", "DELETE"]),
            Route(f"{ADMIN}/{{rest:path}}", self._answering(self.refuse), methods=["GET", "POST", "PUT", "DELETE"]),
        ]

    def _answering(self, work: Any) -> Any:
        async def answer(request: Request) -> Response:
            try:
                if not request.url.path.startswith(f"{REGISTRATION}/"):
                    self._check_client(request)
                body = json.loads(await request.body() or b"null")
                found: Response = work(request, body)
                return found
            except Declined as declined:
                return JSONResponse({"error": str(declined)}, declined.status)
            except (ValueError, KeyError, TypeError, AttributeError):
                return JSONResponse({"error": "invalid"}, 400)

        return answer

    def _check_client(self, request: Request) -> None:
        claims = self._signer.verify(_bearer(request))
        if claims is None:
            raise Declined(401, "HTTP 401 Unauthorized")
        if claims.get("azp") != PROVISIONER or claims.get("client_id") != PROVISIONER:
            raise Declined(403, "HTTP 403 Forbidden")

    # -- users ---------------------------------------------------------------------------------------------------

    def list_users(self, request: Request, body: Any) -> Response:
        wanted, tenant = request.query_params.get("username"), request.query_params.get("q", "")
        found = [user for user in self._users.all() if user.tenant is not None]
        if wanted is not None:
            found = [user for user in found if user.username == wanted.lower()]
        if tenant:
            found = [user for user in found if f"tenant_id:{user.tenant}" == tenant]
        first, most = int(request.query_params.get("first", 0)), int(request.query_params.get("max", 100))
        return JSONResponse([_representation(user) for user in found[first : first + most]])

    def create_user(self, request: Request, body: Any) -> Response:
        username = str(body["username"]).lower()
        if body.get("groups") != ["/tenants"]:
            raise Declined(403, "HTTP 403 Forbidden")
        if self._users.find(username):
            raise Declined(409, "User exists with same username")
        made = User(
            str(uuid4()),
            username,
            tenant=_tenant(body),
            email=body.get("email"),
            enabled=bool(body["enabled"]),
            first_name=body.get("firstName"),
            last_name=body.get("lastName"),
            created_ms=int(time.time() * 1000),
        )
        credential = body["credentials"][0]
        self._users.keep(replace(made.with_password(credential["value"]), temporary=bool(credential["temporary"])))
        return Response(
            status_code=201, headers={"Location": f"{request.base_url}admin/realms/{REALM}/users/{made.id}"}
        )

    def get_user(self, request: Request, body: Any) -> Response:
        return JSONResponse(_representation(self._member(request)))

    def update_user(self, request: Request, body: Any) -> Response:
        user = self._member(request)
        tenant = _tenant(body) if "attributes" in body else user.tenant
        self._users.keep(replace(user, enabled=bool(body.get("enabled", user.enabled)), tenant=tenant))
        return Response(status_code=204)

    def delete_user(self, request: Request, body: Any) -> Response:
        user = self._member(request)
        self._users.remove(user.username)
        self._sessions.end_all_of(user.username)
        return Response(status_code=204)

    def reset_password(self, request: Request, body: Any) -> Response:
        user = self._member(request)
        self._users.keep(replace(user.with_password(body["value"]), temporary=bool(body["temporary"])))
        return Response(status_code=204)

    def log_out(self, request: Request, body: Any) -> Response:
        self._sessions.end_all_of(self._member(request).username)
        return Response(status_code=204)

    def list_roles(self, request: Request, body: Any) -> Response:
        role = self._member(request).role
        return JSONResponse([_role(role)] if role else [])

    def offer_roles(self, request: Request, body: Any) -> Response:
        held = self._member(request).role
        return JSONResponse([_role(role) for role in GIVEN_ROLES if role != held])

    def give_roles(self, request: Request, body: Any) -> Response:
        user = self._member(request)
        names = {str(role["name"]) for role in body}
        if names - set(GIVEN_ROLES) or any(role["id"] != _role(role["name"])["id"] for role in body):
            raise Declined(403, "HTTP 403 Forbidden")
        held = names | {user.role}
        self._users.keep(replace(user, role="operator" if "operator" in held else "user"))
        return Response(status_code=204)

    def refuse(self, request: Request, body: Any) -> Response:
        """Everything else is somebody else's."""
        raise Declined(403, "HTTP 403 Forbidden")

    def _member(self, request: Request) -> User:
        user = next((user for user in self._users.all() if user.id == request.path_params["id"]), None)
        if user is None:
            raise Declined(404, "User not found")
        if user.tenant is None:
            raise Declined(403, "HTTP 403 Forbidden")
        return user

    # -- clients -------------------------------------------------------------------------------------------------

    def register(self, request: Request, body: Any) -> Response:
        client_id = str(body["clientId"])
        _check_policies(body)
        if self._clients.find(client_id):
            raise Declined(400, "invalid_client_metadata")
        return JSONResponse(_client(client_id, self._clients.register(client_id, str(body.get("name", "")))), 201)

    def change_client(self, request: Request, body: Any) -> Response:
        """With the token that the last answer about this client held."""
        client_id = request.path_params["client"]
        if not self._clients.manages(client_id, _bearer(request)):
            raise Declined(401, "invalid_token")
        if request.method == "DELETE":
            self._clients.remove(client_id)
            return Response(status_code=204)
        _check_policies(body)
        if body["clientId"] != client_id:
            raise Declined(400, "invalid_client_metadata")
        made = self._clients.register(client_id, str(body.get("name", "")), body.get("secret"))
        return JSONResponse(_client(client_id, made))


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def _tenant(body: Any) -> str:
    [tenant] = body["attributes"]["tenant_id"]
    if not _TENANT.fullmatch(tenant):
        raise Declined(400, "error-invalid-value")
    return str(tenant)


def _check_policies(body: Any) -> None:
    """What the realm's policies forbid every client that is registered."""
    scopes = set(body.get("defaultClientScopes", ())) | set(body.get("optionalClientScopes", ()))
    if body.get("protocolMappers") or body.get("fullScopeAllowed") or scopes - _ALLOWED_SCOPES:
        raise Declined(403, "insufficient_scope")


def _role(name: str) -> dict[str, str]:
    return {"id": f"role-{name}", "name": name}


def _representation(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "firstName": user.first_name,
        "lastName": user.last_name,
        "enabled": user.enabled,
        "attributes": {"tenant_id": [user.tenant]},
        "requiredActions": ["UPDATE_PASSWORD"] if user.temporary else [],
        "createdTimestamp": user.created_ms,
    }


def _client(client_id: str, known: dict[str, Any]) -> dict[str, Any]:
    return {
        "clientId": client_id,
        "name": known["name"],
        "secret": known["secret"],
        "registrationAccessToken": known["token"],
    }
