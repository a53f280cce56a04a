"""What every test may ask for: the servers of `tests.fixtures.stack`, the platform of `tests.fixtures.platform`."""

from __future__ import annotations

pytest_plugins = ["tests.fixtures.groups", "tests.fixtures.secrecy", "tests.fixtures.stack", "tests.fixtures.platform"]
