"""One real Keycloak and one embedded issuer for a session of tests, and our verification of their tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from libs.settings.oidc import OidcSettings
from services.api.authentication import Identity, TokenVerifier
from services.api.keys import KeySet
from tests.conformance.keycloak.distribution import CannotRun
from tests.conformance.keycloak.issuers import EmbeddedIssuer, Issuer, RealIssuer
from tests.conformance.keycloak.not_embedded import REASONS
from tests.conformance.keycloak.provisioning import api, attacker, direct, ground
from tests.conformance.keycloak.server import Keycloak

__all__ = ["api", "attacker", "direct", "ground", "keycloak"]

Believe = Callable[[str], Awaitable[Identity]]


@pytest.fixture(scope="session")
def keycloak() -> Iterator[Keycloak]:
    """With our realm, its service account's rights, and the users for development."""
    try:
        server = Keycloak().start()
    except CannotRun as reason:
        pytest.fail(f"a real Keycloak cannot run here: {reason}", pytrace=False)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def real(keycloak: Keycloak) -> Iterator[RealIssuer]:
    issuer = RealIssuer(keycloak)
    yield issuer
    issuer.endpoints.close()


@pytest.fixture(scope="session")
def embedded() -> Iterator[EmbeddedIssuer]:
    issuer = EmbeddedIssuer()
    yield issuer
    issuer.stop()


@pytest.fixture(params=["keycloak", "embedded"])
def issuer(request: pytest.FixtureRequest) -> Issuer:
    """Each test that asks for it is run for both."""
    name = request.node.originalname
    if request.param == "embedded" and name in REASONS:
        pytest.skip(REASONS[name])
    found: Issuer = request.getfixturevalue("real" if request.param == "keycloak" else "embedded")
    return found


@pytest.fixture
async def keys(issuer: Issuer) -> AsyncIterator[KeySet]:
    keys = KeySet(settings_of(issuer))
    yield keys
    await keys.close()


@pytest.fixture
def believe(issuer: Issuer, keys: KeySet) -> Believe:
    """Our verification: who a token says is calling, or `Unauthenticated`."""
    return believing(TokenVerifier(keys, issuer.url, "agent-runtime-api"))


def believing(verifier: TokenVerifier) -> Believe:
    async def believe(token: str) -> Identity:
        return await verifier.identify([(b"authorization", b"Bearer " + token.encode())])

    return believe


def settings_of(issuer: Issuer) -> OidcSettings:
    return OidcSettings(oidc_issuer=issuer.url, oidc_jwks_url=issuer.jwks_url)
