"""What every test may ask for: the servers of `tests.fixtures.stack`."""

from __future__ import annotations

pytest_plugins = ["tests.fixtures.stack"]
