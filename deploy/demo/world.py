"""Everything the demo runs on: the embedded stack in a scratch directory, the scripted model, the inventory service."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from string import Template
from typing import Any

import yaml

from deploy.demo.checks import Price
from deploy.demo.inventory import Inventory
from deploy.demo.scripted_model import ScriptedModel
from deploy.demo.serving import serving
from deploy.demo.stock_keeper import MODEL, stock_keeper
from deploy.embedded.stack import Stack

TENANT = "demo"
AGENTS = Path(__file__).with_name("agents")
WORKERS = 2
HEARTBEAT_TIMEOUT_SECONDS = 3
DEAD_AFTER_SECONDS = 2
PRICE = Price(input=Decimal("0.25"), cached=Decimal("0.025"), output=Decimal("2"))
# What these families of variables say is meant for other stacks than the demo's own.
_OTHERS = ("DATABASE_", "REDIS_", "TEMPORAL_", "S3_", "OIDC_", "WORKER_", "MODEL_", "EGRESS_", "API_")
_PROGRAMS = frozenset({"TEMPORAL_CLI"})


@dataclass
class World:
    """What the story talks to, wherever it runs."""

    services: list[str]
    tenant: str
    api_url: str
    local_model_url: str
    model_url: str  # of the scripted model, for whoever directs it
    inventory_url: str  # as the workers reach it
    admin: Callable[[], str]
    operator: Callable[[], str]
    orders: Callable[[], list[dict[str, Any]]]
    kill: Callable[[str], str]  # SIGKILL to the worker of this name; says what was killed
    kept: str = ""

    def agent(self, name: str) -> dict[str, Any]:
        """An agent file of the demo, with the addresses of this world filled in."""
        text = (AGENTS / f"{name}.yaml").read_text(encoding="utf-8")
        agent: dict[str, Any] = yaml.safe_load(Template(text).safe_substitute(INVENTORY_URL=self.inventory_url))
        return agent


@contextmanager
def world(watch: Callable[[Stack], None], *, keep: bool = False) -> Iterator[World]:
    """Start it all, and take it all away again; `watch` gets the stack first.

    The files stay with `keep`, and after a failure, which then has a note that says where.
    """
    with ExitStack() as held:
        # Not below a private directory: PostgreSQL, started by root, runs as another user and must get there.
        scratch = Path(tempfile.mkdtemp(prefix="agent-runtime-demo-"))

        def leave(_kind: object, failure: BaseException | None, _trace: object) -> None:
            if isinstance(failure, Exception):
                failure.add_note(f"Its files are left in {scratch}, its logs in {scratch / 'state' / 'logs'}.")
            elif not keep:
                shutil.rmtree(scratch, ignore_errors=True)

        held.push(leave)
        scratch.chmod(0o711)
        inventory = Inventory()
        inventory_url = held.enter_context(serving(inventory.app))
        model_url = held.enter_context(serving(ScriptedModel({MODEL: stock_keeper}).app))
        providers = scratch / "providers.yaml"
        providers.write_text(
            yaml.safe_dump({"providers": {"scripted": _scripted_provider(model_url)}}), encoding="utf-8"
        )
        # Threads of the local model would wait for each other by spinning, and take seconds from a busy machine.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        allowed = inventory_url.removeprefix("http://")
        environment = _environment(EGRESS_ALLOW=allowed, MODEL_PROVIDERS_FILE=str(providers))
        stack = Stack(scratch / "state", environment=environment)
        watch(stack)
        held.callback(stack.stop)
        stack.start(api_port=0, workers=WORKERS, local_model=True)
        yield _world(stack, inventory, inventory_url, model_url)


def _world(stack: Stack, inventory: Inventory, inventory_url: str, model_url: str) -> World:
    def kill(worker: str) -> str:
        killed = f"process {stack.pid(worker)}"
        stack.signal(worker, signal.SIGKILL)
        return killed

    services = stack.services()
    return World(
        services=list(services),
        tenant=TENANT,
        api_url=f"http://{services['api']['address']}",
        local_model_url=f"http://{services['local-model']['address']}",
        model_url=model_url,
        inventory_url=inventory_url,
        admin=lambda: stack.token(role="admin", tenant=None),
        operator=lambda: stack.token(tenant=TENANT, subject="demo"),
        orders=lambda: inventory.orders,
        kill=kill,
        kept=f"{stack.state.path}, its logs in {stack.state.path / 'logs'}",
    )


def _scripted_provider(url: str) -> dict[str, Any]:
    prices = {
        "input_price": str(PRICE.input),
        "cached_input_price": str(PRICE.cached),
        "output_price": str(PRICE.output),
        "context_window": 32_000,
    }
    return {"base_url": f"{url}/v1", "models": {MODEL: prices}}


def _environment(**more: str) -> dict[str, str]:
    """What the stack's programs see: short worker timeouts, and nothing that is meant for another stack."""
    mine = {name: value for name, value in os.environ.items() if name in _PROGRAMS or not name.startswith(_OTHERS)}
    mine["WORKER_HEARTBEAT_TIMEOUT_SECONDS"] = str(HEARTBEAT_TIMEOUT_SECONDS)
    mine["WORKER_DEAD_AFTER_SECONDS"] = str(DEAD_AFTER_SECONDS)
    return mine | more
