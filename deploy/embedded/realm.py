"""The embedded issuer's realm and its paths, as Keycloak has them."""

from __future__ import annotations

from deploy.embedded.ports import LOOPBACK

REALM = "agent-runtime"
BASE = f"/realms/{REALM}"
DISCOVERY_PATH = f"{BASE}/.well-known/openid-configuration"
KEYS_PATH = f"{BASE}/protocol/openid-connect/certs"
TOKEN_PATH = f"{BASE}/protocol/openid-connect/token"


def issuer_at(port: int) -> str:
    """The `iss` of tokens."""
    return f"http://{LOOPBACK}:{port}{BASE}"
