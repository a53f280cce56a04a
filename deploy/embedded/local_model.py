"""The local model as a process of the embedded stack; what it is stands in `deploy.local_model`."""

from __future__ import annotations

import os
import sys

from deploy.embedded.ports import LOOPBACK
from deploy.embedded.probes import http_request
from deploy.embedded.processes import Program
from deploy.embedded.state import StateDirectory


def local_model_program(state: StateDirectory, port: int) -> Program:
    """How a stack runs it."""
    return Program(
        name="local-model",
        argv=(sys.executable, "-P", "-m", "deploy.local_model", "--port", str(port)),
        directory=state.run,
        ready=lambda: http_request(port, "/health")[0] == 200,
        address=f"{LOOPBACK}:{port}",
        environment={**os.environ, "OMP_WAIT_POLICY": "passive"},  # its threads would spin while they wait
    )
