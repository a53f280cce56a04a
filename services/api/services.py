"""What a running API works with; made in `main`, handed to every request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TypedDict

from libs.clients.counters import Counters
from libs.clients.event_stream import EventStream
from libs.clients.keycloak import Keycloak
from libs.clients.langfuse import Prompts
from libs.clients.object_store import ObjectStore
from libs.clients.sealing import KeyRing
from libs.database.engine import Database
from libs.observability.tracing import OFF, Tracing
from services.api.authentication import TokenVerifier
from services.api.denials import Denials
from services.api.live import Live
from services.api.rates import Rates
from services.api.readiness import Readiness
from services.api.sources import Sources
from services.api.standing import Standing
from services.api.starts import Starts
from services.api.tenancy import Tenancy


@dataclass(frozen=True)
class Services:
    """One of each per process."""

    database: Database
    stream: EventStream
    counters: Counters
    live: Live
    starts: Starts
    objects: ObjectStore
    verifier: TokenVerifier
    tenancy: Tenancy
    rates: Rates
    standing: Standing
    readiness: Readiness
    denials: Denials
    sources: Sources
    secrets_keys: KeyRing | None = None
    issuer: str = ""
    task_queue: str = ""  # of the workers that count
    worker_dead_after: float = 8.0  # seconds
    tracing: Tracing = OFF
    sums: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))  # over all tenants, which take long
    prompts: Prompts | None = None  # None: no LangFuse project is configured
    keycloak: Keycloak | None = None  # None: users and service accounts are made at the issuer itself


class LifespanState(TypedDict):
    services: Services
