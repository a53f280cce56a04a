"""The two clients: where the API is, who asks, and the nouns."""

from __future__ import annotations

import ipaddress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self

import httpx

from agent_runtime.agents import Agents, AsyncAgents, AsyncVersions, Versions
from agent_runtime.artifacts import Artifacts, AsyncArtifacts
from agent_runtime.audit import AsyncAudit, Audit
from agent_runtime.awaiting import AsyncToken, AwaitingDriver
from agent_runtime.binding import AsyncCall, AsyncNoun, Call, Noun
from agent_runtime.blocking import BlockingDriver, Token
from agent_runtime.delivery import ask
from agent_runtime.erasures import AsyncErasures, Erasures
from agent_runtime.failures import Unusable
from agent_runtime.messages import get
from agent_runtime.models import ApiVersion
from agent_runtime.plans import AsyncPlans, Plans
from agent_runtime.prices import AsyncPrices, Prices
from agent_runtime.retry import Retry
from agent_runtime.runs import AsyncRuns, Runs
from agent_runtime.secrets import AsyncSecrets, Secrets
from agent_runtime.service_accounts import AsyncServiceAccounts, ServiceAccounts
from agent_runtime.steps import Plan
from agent_runtime.tenants import AsyncTenants, Tenants
from agent_runtime.traces import AsyncTraces, Traces
from agent_runtime.usage import AsyncUsages, Usages
from agent_runtime.users import AsyncUsers, Users

TIMEOUT = 30.0  # seconds


def read_version() -> Plan[ApiVersion]:
    """The server's version; needs no token."""
    return ask(get("version"), ApiVersion.received)


def settings(api_url: str, timeout: float) -> dict[str, Any]:
    """What both httpx clients are built with. Raises `Unusable` for a URL that cannot be meant."""
    try:
        url = httpx.URL(api_url.strip().rstrip("/"))
    except httpx.InvalidURL:
        raise Unusable("api_url is not a URL; give one like http://127.0.0.1:8080") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise Unusable("api_url must look like https://agents.example.com or http://127.0.0.1:8080")
    if url.userinfo or url.query or url.fragment:
        raise Unusable("api_url must hold no credentials, query or fragment; the token is given apart from it")
    return {
        "base_url": url,
        "timeout": httpx.Timeout(timeout, connect=min(timeout, 5.0)),
        "headers": {"User-Agent": f"agent-runtime-python/{_release()}", "Accept": "application/json"},
        "trust_env": not loopback(url.host),  # a proxy of the environment is of no use on this machine
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=20),
    }


def loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _release() -> str:
    try:
        return version("agent-runtime")
    except PackageNotFoundError:
        return "unknown"


class Client(Noun):
    """Blocking client of one API as one caller; share it between threads, close it or use it with `with`.

    `token` is a bearer token or a callable that returns one; the callable is asked before every request (let it keep
    its token until shortly before it expires) and once more after a 401. `timeout` is in seconds, for one answer.
    `http` replaces the HTTP client, which must know the API as its `base_url`.
    """

    version = Call(read_version)

    def __init__(
        self,
        api_url: str,
        token: Token | None = None,
        *,
        timeout: float = TIMEOUT,
        retry: Retry | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        driver = BlockingDriver(http or httpx.Client(**settings(api_url, timeout)), token)
        super().__init__(driver, retry or Retry())
        self.tenants = Tenants(driver, self._retry)
        self.users = Users(driver, self._retry)
        self.service_accounts = ServiceAccounts(driver, self._retry)
        self.plans = Plans(driver, self._retry)
        self.prices = Prices(driver, self._retry)
        self.agents = Agents(driver, self._retry)
        self.versions = Versions(driver, self._retry)
        self.runs = Runs(driver, self._retry)
        self.artifacts = Artifacts(driver, self._retry)
        self.audit = Audit(driver, self._retry)
        self.erasures = Erasures(driver, self._retry)
        self.traces = Traces(driver, self._retry)
        self.secrets = Secrets(driver, self._retry)
        self.usage = Usages(driver, self._retry)

    def close(self) -> None:
        """Close the connections."""
        self._driver.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(AsyncNoun):
    """`Client` for asyncio: the same calls, awaited or iterated with `async for`; the token's callable may be async."""

    version = AsyncCall(read_version)

    def __init__(
        self,
        api_url: str,
        token: AsyncToken | None = None,
        *,
        timeout: float = TIMEOUT,
        retry: Retry | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        driver = AwaitingDriver(http or httpx.AsyncClient(**settings(api_url, timeout)), token)
        super().__init__(driver, retry or Retry())
        self.tenants = AsyncTenants(driver, self._retry)
        self.users = AsyncUsers(driver, self._retry)
        self.service_accounts = AsyncServiceAccounts(driver, self._retry)
        self.plans = AsyncPlans(driver, self._retry)
        self.prices = AsyncPrices(driver, self._retry)
        self.agents = AsyncAgents(driver, self._retry)
        self.versions = AsyncVersions(driver, self._retry)
        self.runs = AsyncRuns(driver, self._retry)
        self.artifacts = AsyncArtifacts(driver, self._retry)
        self.audit = AsyncAudit(driver, self._retry)
        self.erasures = AsyncErasures(driver, self._retry)
        self.traces = AsyncTraces(driver, self._retry)
        self.secrets = AsyncSecrets(driver, self._retry)
        self.usage = AsyncUsages(driver, self._retry)

    async def close(self) -> None:
        """Close the connections."""
        await self._driver.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
