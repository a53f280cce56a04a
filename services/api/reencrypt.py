"""`python -m services.api.reencrypt`: seal what any key has sealed with the newest one, after which older ones can go.

It goes by tenant and in batches; when it is ended, the next one goes on with what is left.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from libs.clients.sealing import CannotBeOpened, KeyRing
from libs.database import secrets, service_accounts
from libs.database.engine import Database
from libs.settings.database import DatabaseSettings
from libs.settings.secrets import SecretsSettings
from services.api.operations.service_accounts import place

BATCH = 100


class ReencryptSettings(DatabaseSettings, SecretsSettings):
    """The database, and the keys: the newest first."""


@dataclass
class Report:
    """What was done; `failed` is a line for each value that could not be opened, without it."""

    done: int = 0
    failed: list[str] = field(default_factory=list)


class Reencryption:
    """Seals what is under another key than the newest; what does not open stays as it is and is reported."""

    def __init__(self, database: Database, keys: KeyRing, batch: int = BATCH) -> None:
        self._database = database
        self._keys = keys
        self._batch = batch
        self.report = Report()

    async def run(self) -> Report:
        newest = self._keys.newest
        async for tenant_id in self._tenants(partial(secrets.tenants_to_reseal, newest=newest)):
            await self._secrets(tenant_id)
        async for tenant_id in self._tenants(service_accounts.tenants):
            await self._accounts(tenant_id)
        return self.report

    async def _tenants(self, page: Callable[..., Awaitable[list[UUID]]]) -> AsyncIterator[UUID]:
        after = UUID(int=0)
        while True:
            async with self._database.maintenance() as connection:
                found = await page(connection, after=after, limit=self._batch)
            if not found:
                return
            for after in found:
                yield after

    async def _secrets(self, tenant_id: UUID) -> None:
        name = ""
        while True:
            async with self._database.tenant(tenant_id) as connection:
                rows = await secrets.to_reseal(connection, self._keys.newest, name, self._batch)
                for name, key_id, sealed in rows:
                    if (anew := self._anew(tenant_id, name, key_id, sealed, f"secret {name}")) is not None:
                        await secrets.reseal(connection, name, *anew)
            if not rows:
                return

    async def _accounts(self, tenant_id: UUID) -> None:
        """What manages the clients of service accounts at the issuer."""
        last = UUID(int=0)
        while True:
            async with self._database.tenant(tenant_id) as connection:
                rows = await service_accounts.to_reseal(connection, self._keys.newest, last, self._batch)
                for last, key_id, sealed in rows:
                    name = place(last)
                    if (anew := self._anew(tenant_id, name, key_id, sealed, name)) is not None:
                        await service_accounts.reseal(connection, last, *anew)
            if not rows:
                return

    def _anew(self, tenant_id: UUID, name: str, key_id: str, sealed: bytes, told: str) -> tuple[str, bytes] | None:
        try:
            value = self._keys.open(tenant_id, name, key_id, sealed)
        except CannotBeOpened as problem:
            self.report.failed.append(f"tenant {tenant_id}, {told}: {problem}")
            return None
        self.report.done += 1
        return self._keys.seal(tenant_id, name, value)


async def main(settings: ReencryptSettings) -> int:
    keys = KeyRing.parse(settings.secrets_keys)
    if keys is None:
        sys.stderr.write("SECRETS_KEYS is not set: there is no key to encrypt with.\n")
        return 2
    database = Database.open(settings)
    try:
        report = await Reencryption(database, keys).run()
    finally:
        await database.close()
    sys.stdout.write(f"{report.done} values were encrypted anew; all that open are under the key {keys.newest}.\n")
    for line in report.failed:
        sys.stderr.write(f"not encrypted anew: {line}\n")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(ReencryptSettings())))
