"""What a command loads before it does anything."""

from __future__ import annotations

import subprocess
import sys


def test_a_command_loads_no_client_of_a_server() -> None:
    """They would be half of its start; `up` and `isolation-check` load them when they are asked for."""
    heavy = ["asyncpg", "boto3", "fastapi", "openai", "opentelemetry.sdk", "redis", "sqlalchemy", "temporalio"]
    asked = f"import sys, services.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
