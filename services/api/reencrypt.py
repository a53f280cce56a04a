"""`python -m services.api.reencrypt`: seal every secret with the newest key, after which older keys can go.

It goes by tenant and in batches; when it is ended, the next one goes on with what is left.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from uuid import UUID

from libs.clients.sealing import CannotBeOpened, KeyRing
from libs.database import secrets
from libs.database.engine import Database
from libs.settings.database import DatabaseSettings
from libs.settings.secrets import SecretsSettings

BATCH = 100


class ReencryptSettings(DatabaseSettings, SecretsSettings):
    """The database, and the keys: the newest first."""


@dataclass
class Report:
    """What was done; `failed` is a line for each secret that could not be opened, without its value."""

    done: int = 0
    failed: list[str] = field(default_factory=list)


async def reencrypt(database: Database, keys: KeyRing, batch: int = BATCH) -> Report:
    """Seal what is under another key than the newest. Secrets that do not open stay as they are and are reported."""
    report = Report()
    after = UUID(int=0)
    while True:
        async with database.maintenance() as connection:
            tenants = await secrets.tenants_to_reseal(connection, keys.newest, after, batch)
        if not tenants:
            return report
        for tenant_id in tenants:
            await _of_tenant(database, keys, tenant_id, batch, report)
        after = tenants[-1]


async def _of_tenant(database: Database, keys: KeyRing, tenant_id: UUID, batch: int, report: Report) -> None:
    name = ""
    while True:
        async with database.tenant(tenant_id) as connection:
            rows = await secrets.to_reseal(connection, keys.newest, name, batch)
            done = 0
            for name, key_id, sealed in rows:
                try:
                    value = keys.open(tenant_id, name, key_id, sealed)
                except CannotBeOpened as problem:
                    report.failed.append(f"tenant {tenant_id}, secret {name}: {problem}")
                    continue
                await secrets.reseal(connection, name, *keys.seal(tenant_id, name, value))
                done += 1
        report.done += done
        if not rows:
            return


async def main(settings: ReencryptSettings) -> int:
    keys = KeyRing.parse(settings.secrets_keys)
    if keys is None:
        sys.stderr.write("SECRETS_KEYS is not set: there is no key to encrypt with.\n")
        return 2
    database = Database.open(settings)
    try:
        report = await reencrypt(database, keys)
    finally:
        await database.close()
    sys.stdout.write(f"{report.done} secrets were encrypted anew; all that open are under the key {keys.newest}.\n")
    for line in report.failed:
        sys.stderr.write(f"not encrypted anew: {line}\n")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(ReencryptSettings())))
