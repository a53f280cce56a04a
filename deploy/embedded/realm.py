"""The embedded issuer's realm and its paths, as Keycloak has them."""

from __future__ import annotations

from deploy.embedded.ports import LOOPBACK

REALM = "agent-runtime"
BASE = f"/realms/{REALM}"
_PROTOCOL = f"{BASE}/protocol/openid-connect"
DISCOVERY_PATH = f"{BASE}/.well-known/openid-configuration"
KEYS_PATH = f"{_PROTOCOL}/certs"
TOKEN_PATH = f"{_PROTOCOL}/token"
AUTHORIZE_PATH = f"{_PROTOCOL}/auth"
DEVICE_PATH = f"{_PROTOCOL}/auth/device"
REVOKE_PATH = f"{_PROTOCOL}/revoke"
CONFIRM_PATH = f"{BASE}/device"
# The client of the command line: public, so it proves itself by PKCE.
CLI_CLIENT = "agent-runtime-cli"


def issuer_at(port: int) -> str:
    """The `iss` of tokens."""
    return f"http://{LOOPBACK}:{port}{BASE}"
