"""What programs ask of the embedded issuer: tokens, device codes, the end of a session."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from functools import partial
from typing import Any
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deploy.embedded.forms import read_form
from deploy.embedded.realm import CLI_CLIENT, CONFIRM_PATH
from deploy.embedded.registrations import Clients
from deploy.embedded.sessions import (
    DEVICE_SECONDS,
    POLL_SECONDS,
    SESSION_SECONDS,
    GrantRefused,
    Session,
    Sessions,
    refresh_token,
)
from deploy.embedded.tokens import LIFETIME_SECONDS, TokenSigner
from deploy.embedded.users import User, Users

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
Form = dict[str, str]


class TokenEndpoint:
    """Answers as Keycloak does; the only public client is the command line's."""

    def __init__(self, signer: TokenSigner, clients: Clients, users: Users, sessions: Sessions, server: str) -> None:
        self._signer = signer
        self._clients = clients
        self._users = users
        self._sessions = sessions
        self._server = server
        self._grants = {
            "authorization_code": self._redeem,
            "refresh_token": self._renew,
            DEVICE_GRANT: self._poll,
        }

    async def give(self, request: Request) -> Response:
        form = await read_form(request)
        kind = form.get("grant_type", "")
        if kind == "client_credentials":
            return self._give_to_client(form, request)
        if kind not in self._grants:
            return _refuse("unsupported_grant_type", "Unsupported grant_type")
        client = form.get("client_id", "")
        if client != CLI_CLIENT:
            return _refuse("invalid_client", "Invalid client or Invalid client credentials", 401)
        try:
            return _answer(self._grants[kind](form, client))
        except GrantRefused as refusal:
            return _refuse(refusal.code, str(refusal))

    async def begin_device(self, request: Request) -> Response:
        form = await read_form(request)
        if form.get("client_id") != CLI_CLIENT:
            return _refuse("invalid_client", "Invalid client or Invalid client credentials", 401)
        challenge = form.get("code_challenge", "")
        if form.get("code_challenge_method") != "S256" or not CHALLENGE.fullmatch(challenge):
            return _refuse("invalid_request", "Missing parameter: code_challenge_method")
        device, user_code = self._sessions.ask(CLI_CLIENT, form.get("scope", ""), challenge)
        confirm = f"{self._server}{CONFIRM_PATH}"
        return _answer(
            {
                "device_code": device,
                "user_code": user_code,
                "verification_uri": confirm,
                "verification_uri_complete": f"{confirm}?user_code={quote(user_code)}",
                "expires_in": DEVICE_SECONDS,
                "interval": POLL_SECONDS,
            }
        )

    async def revoke(self, request: Request) -> Response:
        form = await read_form(request)
        self._sessions.end(form.get("token", ""), form.get("client_id", ""))
        return Response(status_code=200)

    def _give_to_client(self, form: Form, request: Request) -> Response:
        client, secret = _basic(request) or (form.get("client_id", ""), form.get("client_secret", ""))
        known = self._clients.find(client)
        if known is None or not secrets.compare_digest(known["secret"].encode(), secret.encode()):
            return _refuse("unauthorized_client", "Invalid client or Invalid client credentials", 401)
        claims = {"client_id": client}
        if "audience" in known:
            claims["aud"] = known["audience"]
        token = self._signer.mint(
            role=known.get("role"),
            tenant=known.get("tenant"),
            subject=f"service-account-{client}",
            client=client,
            claims=claims,
        )
        return _answer({**_issued(token, "profile email"), "refresh_expires_in": 0})

    def _poll(self, form: Form, client: str) -> dict[str, Any]:
        session = self._sessions.poll(form.get("device_code", ""), client, form.get("code_verifier", ""))
        return self._tokens(session, session.user)

    def _redeem(self, form: Form, client: str) -> dict[str, Any]:
        session, nonce = self._sessions.redeem(
            form.get("code", ""), client, form.get("redirect_uri", ""), form.get("code_verifier", "")
        )
        return self._tokens(session, session.user, nonce)

    def _renew(self, form: Form, client: str) -> dict[str, Any]:
        session = self._sessions.renew(form.get("refresh_token", ""), client)
        user = self._users.find(session.user.username)
        if user is None or not user.enabled or user.id != session.user.id:
            self._sessions.end(refresh_token(session), client)
            raise GrantRefused("invalid_grant", "User disabled")
        return self._tokens(session, user)

    def _tokens(self, session: Session, user: User, nonce: str | None = None) -> dict[str, Any]:
        """For a user as they are now: a role or a tenant may have changed since the login."""
        claims: dict[str, Any] = {"sub": user.id, "sid": session.id, "scope": session.scope, "email": user.email}
        if user.role is None:
            claims["realm_access"] = {"roles": []}
        mint = partial(
            self._signer.mint,
            role=user.role or "user",
            tenant=user.tenant,
            subject=user.username,
            client=session.client,
        )
        answer = {
            **_issued(mint(claims=claims), session.scope),
            "refresh_token": refresh_token(session),
            "refresh_expires_in": SESSION_SECONDS,
            "session_state": session.id,
        }
        if "openid" in session.scope.split():
            own = {**claims, "typ": "ID", "aud": session.client, "realm_access": None, "nonce": nonce}
            answer["id_token"] = mint(claims=own)
        return answer


def _issued(token: str, scope: str) -> dict[str, Any]:
    return {
        "access_token": token,
        "expires_in": LIFETIME_SECONDS,
        "token_type": "Bearer",
        "not-before-policy": 0,
        "scope": scope,
    }


def _answer(content: dict[str, Any], status: int = 200) -> Response:
    return JSONResponse(content, status, headers={"Cache-Control": "no-store"})


def _refuse(code: str, description: str, status: int = 400) -> Response:
    return _answer({"error": code, "error_description": description}, status)


def _basic(request: Request) -> tuple[str, str] | None:
    value = request.headers.get("authorization", "")
    if not value.lower().startswith("basic "):
        return None
    try:
        client, _, secret = base64.b64decode(value[6:], validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return unquote(client), unquote(secret)
