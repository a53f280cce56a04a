"""`python -m deploy.demo.props`: the demo's inventory service and scripted model, as one container."""

from __future__ import annotations

import asyncio

from deploy.demo.inventory import Inventory
from deploy.demo.scripted_model import ScriptedModel
from deploy.demo.serving import listening_socket, server
from deploy.demo.stock_keeper import MODEL, stock_keeper

EVERYWHERE = "0.0.0.0"  # noqa: S104 - inside a container
INVENTORY_PORT, MODEL_PORT = 9001, 9002


async def main() -> None:
    programs = (
        (Inventory().app, INVENTORY_PORT),
        (ScriptedModel({MODEL: stock_keeper}).app, MODEL_PORT),
    )
    await asyncio.gather(*(server(app).serve([listening_socket(port, EVERYWHERE)]) for app, port in programs))


if __name__ == "__main__":
    asyncio.run(main())
