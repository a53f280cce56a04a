"""The embedded issuer's application: discovery and keys, with the endpoints of the modules beside it."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deploy.embedded import realm
from deploy.embedded.administration import Administration
from deploy.embedded.confirmation import Confirmation
from deploy.embedded.registrations import Clients
from deploy.embedded.sessions import Sessions
from deploy.embedded.token_endpoint import DEVICE_GRANT, TokenEndpoint
from deploy.embedded.tokens import TokenSigner
from deploy.embedded.users import Users

NO_STORE = {"Cache-Control": "no-store"}


def make_app(signer: TokenSigner, clients: Clients, users: Users, server: str) -> Starlette:
    """The application; `server` is its own address, `clients` are those that have a secret."""
    sessions = Sessions()
    tokens = TokenEndpoint(signer, clients, users, sessions, server)
    pages = Confirmation(users, sessions)
    administration = Administration(signer, clients, users, sessions)

    async def discover(request: Request) -> Response:
        return JSONResponse(discovery(signer.issuer, server), headers=NO_STORE)

    async def publish_keys(request: Request) -> Response:
        return JSONResponse(signer.key_set(), headers=NO_STORE)

    return Starlette(
        routes=[
            Route(realm.DISCOVERY_PATH, discover, methods=["GET"]),
            Route(realm.KEYS_PATH, publish_keys, methods=["GET"]),
            Route(realm.TOKEN_PATH, tokens.give, methods=["POST"]),
            Route(realm.DEVICE_PATH, tokens.begin_device, methods=["POST"]),
            Route(realm.REVOKE_PATH, tokens.revoke, methods=["POST"]),
            Route(realm.CONFIRM_PATH, pages.show_device, methods=["GET"]),
            Route(realm.CONFIRM_PATH, pages.answer_device, methods=["POST"]),
            Route(realm.AUTHORIZE_PATH, pages.show_authorization, methods=["GET"]),
            Route(realm.AUTHORIZE_PATH, pages.answer_authorization, methods=["POST"]),
            *administration.routes(),
        ]
    )


def discovery(issuer: str, server: str) -> dict[str, object]:
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{server}{realm.AUTHORIZE_PATH}",
        "token_endpoint": f"{server}{realm.TOKEN_PATH}",
        "device_authorization_endpoint": f"{server}{realm.DEVICE_PATH}",
        "revocation_endpoint": f"{server}{realm.REVOKE_PATH}",
        "jwks_uri": f"{server}{realm.KEYS_PATH}",
        "grant_types_supported": ["client_credentials", "authorization_code", "refresh_token", DEVICE_GRANT],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "scopes_supported": ["openid", "profile", "email"],
    }
