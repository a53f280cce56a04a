"""What every test may ask for: the servers of `tests.fixtures.stack`, the platform of `tests.fixtures.where`."""

from __future__ import annotations

import os

import pytest

pytest_plugins = [
    "tests.fixtures.groups",
    "tests.fixtures.secrecy",
    "tests.fixtures.stack",
    "tests.fixtures.commands",
    "tests.fixtures.compose.project",
    "tests.fixtures.where",
]


@pytest.fixture(scope="session", autouse=True)
def _nobody_is_logged_in(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Commands under test find no login of whoever runs the tests, neither in a file nor in a keyring."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
