"""A small shop's inventory service: counts every request it receives, and honours no idempotency key."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

FIRST_ORDER = 1041


@dataclass
class Inventory:
    """The shop's items and what was ordered; `app` serves them."""

    items: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {
            "A-100": {"name": "hex bolts M8", "stock": 12, "minimum": 50},
            "B-200": {"name": "wing nuts M8", "stock": 310, "minimum": 100},
            "C-300": {"name": "washers 8.4", "stock": 95, "minimum": 80},
        }
    )
    reads: list[str] = field(default_factory=list)
    orders: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.app = Starlette(
            routes=[
                Route("/items/{sku}", self._read),
                Route("/orders", self._order, methods=["POST"]),
                Route("/orders", self._ordered, methods=["GET"]),
            ]
        )

    async def _read(self, request: Request) -> JSONResponse:
        sku = request.path_params["sku"]
        self.reads.append(sku)
        if sku not in self.items:
            return JSONResponse({"error": "there is no such item"}, 404)
        return JSONResponse({"sku": sku, **self.items[sku]})

    async def _ordered(self, request: Request) -> JSONResponse:
        """For whoever checks the demo from outside."""
        return JSONResponse(self.orders)

    async def _order(self, request: Request) -> JSONResponse:
        """Every request is an order: one that came twice would be bought twice."""
        try:
            wanted = json.loads(await request.body())
            order = {
                "order": f"ORD-{FIRST_ORDER + len(self.orders)}",
                "sku": wanted["sku"],
                "quantity": wanted["quantity"],
            }
        except (ValueError, KeyError, TypeError):
            order = {"order": f"ORD-{FIRST_ORDER + len(self.orders)}", "sku": None, "quantity": None}
        self.orders.append(order)
        return JSONResponse(order, 201)
