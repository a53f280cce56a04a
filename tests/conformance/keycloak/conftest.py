"""One real Keycloak for a session of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.keycloak.distribution import CannotRun
from tests.conformance.keycloak.server import Keycloak


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
