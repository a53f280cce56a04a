"""`python -m services.api.main`: the control plane; everything it works with is made here."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from libs.clients.counters import Counters
from libs.clients.event_stream import EventStream
from libs.clients.keycloak import Keycloak
from libs.clients.langfuse import Prompts
from libs.clients.object_store import ObjectStore
from libs.clients.sealing import KeyRing
from libs.clients.temporal import Temporal
from libs.database.engine import Database
from libs.observability.logs import configure, warn_of_development
from libs.observability.metrics import watch_loop_lag
from libs.observability.tracing import open_tracing
from services.api.application import Lifespan, create_app
from services.api.authentication import TokenVerifier
from services.api.closing import close_accounts
from services.api.counting import Counting
from services.api.denials import Denials
from services.api.keys import KeySet
from services.api.live import Live
from services.api.rates import Rates
from services.api.readiness import Readiness, check_database, check_keys
from services.api.services import LifespanState, Services
from services.api.settings import ApiSettings
from services.api.sources import Sources, parse_networks
from services.api.standing import Standing
from services.api.starts import Starts
from services.api.tenancy import Tenancy

KEEP_ALIVE_SECONDS = 75  # longer than clients and gateways keep an idle connection
GRACE_SECONDS = 3  # requests in progress; streams end at once


def lifespan(settings: ApiSettings, on_start: Callable[[Services], None]) -> Lifespan:
    """Nothing here waits for Redis, Temporal, the object store or the issuer: they may come later."""

    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[LifespanState]:
        keys = KeySet(settings)
        services = build(settings, keys)
        services.stream.start()
        services.starts.begin()
        counting = Counting(
            services.database, settings.api_count_seconds, services.task_queue, settings.worker_dead_after_seconds
        )
        background = (
            keys.keep_fresh(),
            services.standing.keep_asking(),
            services.denials.keep_counts(),
            close_accounts(services),
            watch_loop_lag(),
            counting.keep_counting(),
        )
        tasks = [asyncio.create_task(work) for work in background]
        on_start(services)
        gc.freeze()
        try:
            yield {"services": services}
        finally:
            services.live.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await services.starts.close()
            await services.tracing.close()
            await services.stream.close()
            await services.counters.close()
            await keys.close()
            if services.prompts:
                await services.prompts.close()
            if services.keycloak:
                await services.keycloak.close()
            await services.database.close()

    return run


def build(settings: ApiSettings, keys: KeySet) -> Services:
    database, stream = Database.open(settings), EventStream.open(settings)
    tracing = open_tracing(settings, "agent-runtime-api")
    temporal, objects = Temporal.open(settings, tracing.starting), ObjectStore(settings)
    checks = {
        "database": check_database(database),
        "redis": stream.check,
        "temporal": temporal.check,
        "object_store": objects.check,
        "oidc": check_keys(keys),
    }
    tenancy, counters = Tenancy(database), Counters(settings)
    return Services(
        database=database,
        stream=stream,
        live=Live(database, stream),
        starts=Starts(temporal),
        objects=objects,
        verifier=TokenVerifier(keys, settings.oidc_issuer, settings.oidc_audience),
        tenancy=tenancy,
        counters=counters,
        rates=Rates(counters, settings.api_replicas),
        standing=Standing(tenancy),
        readiness=Readiness(checks),
        denials=Denials(database),
        sources=Sources(parse_networks(settings.trusted_proxies)),
        secrets_keys=KeyRing.parse(settings.secrets_keys),
        issuer=settings.oidc_issuer,
        task_queue=settings.temporal_task_queue,
        worker_dead_after=settings.worker_dead_after_seconds,
        tracing=tracing,
        prompts=Prompts.open(settings),
        keycloak=Keycloak.open(settings),
    )


class Program(uvicorn.Server):
    """A server that ends streams when it is told to stop, before it waits for requests."""

    services: Services | None = None
    loop: asyncio.AbstractEventLoop | None = None

    def started_with(self, services: Services) -> None:
        self.services, self.loop = services, asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.services and self.loop:
            self.loop.call_soon_threadsafe(self.services.live.stop)
        super().handle_exit(sig, frame)


def main() -> None:
    settings = ApiSettings()
    gc.freeze()  # what was imported stays: it is not to be looked at again and again
    configure("api", settings.log_level)
    warn_of_development(settings.development_secrets)
    holder: list[Program] = []
    app = create_app(lifespan(settings, lambda services: holder[0].started_with(services)))
    config = uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who is believed about a source is for `services.api.sources` to say
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    holder.append(Program(config))
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    holder[0].run()


if __name__ == "__main__":
    main()
