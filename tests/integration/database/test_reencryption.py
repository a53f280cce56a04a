"""Rotation: every secret goes to the newest key, batch by batch, and what does not open is reported and left alone."""

from __future__ import annotations

import base64
from typing import Any

from pydantic import SecretStr

from libs.clients.sealing import KeyRing
from libs.database import secrets, service_accounts
from services.api.operations.service_accounts import place
from services.api.reencrypt import Reencryption
from tests.integration.database.rows import Household

OLD, NEW, LOST = (
    f"{name}:{base64.b64encode(bytes([n]) * 32).decode()}" for n, name in enumerate(("old", "new", "lost"))
)


def ring(*keys: str) -> KeyRing:
    made = KeyRing.parse(SecretStr(",".join(keys)))
    assert made is not None
    return made


async def put(home: Household, keys: KeyRing, *names: str) -> None:
    async with home.database.tenant(home.tenant_id) as connection:
        for name in names:
            sealed = keys.seal(home.tenant_id, name, f"value-of-{name}")
            await secrets.put(connection, home.tenant_id, name, *sealed, "ada")


async def rows(home: Household) -> list[Any]:
    return await home.sql("SELECT name, key_id, sealed, updated_at FROM secrets ORDER BY name")


async def test_every_secret_goes_to_the_newest_key(home: Household, neighbours: Household) -> None:
    await put(home, ring(OLD), "a", "b", "c", "d")
    await put(home, ring(LOST), "broken")
    await put(home, ring(NEW), "e")
    await put(neighbours, ring(OLD), "a")
    before = {row[0]: row for row in await rows(home)}
    keys = ring(NEW, OLD)
    report = await Reencryption(home.database, keys, batch=2).run()
    assert report.done >= 5  # other tests' tenants may have some
    mine = [line for line in report.failed if str(home.tenant_id) in line]
    assert mine == [
        f"tenant {home.tenant_id}, secret broken: it was encrypted with the key lost, which is not among SECRETS_KEYS"
    ]
    for name, key_id, sealed, updated_at in await rows(home):
        assert updated_at == before[name][3]
        if name in ("broken", "e"):
            assert sealed == before[name][2]
        else:
            assert (key_id, ring(NEW).open(home.tenant_id, name, key_id, sealed)) == ("new", f"value-of-{name}")
    [(name, key_id, sealed, _)] = await rows(neighbours)
    assert ring(NEW).open(neighbours.tenant_id, name, key_id, sealed) == "value-of-a"
    again = await Reencryption(home.database, keys, batch=2).run()
    assert again.done == 0


async def test_what_manages_service_accounts_goes_along(home: Household) -> None:
    async with home.database.tenant(home.tenant_id) as connection:
        for name in ("ci", "backend", "bare"):
            row = await service_accounts.add(connection, home.tenant_id, name, "user", "ada")
            assert row is not None
            if name != "bare":
                key, sealed = ring(OLD).seal(home.tenant_id, place(row.id), f"token-of-{name}")
                await service_accounts.bind(connection, row.id, f"{name}-{row.id}", key, sealed)
    report = await Reencryption(home.database, ring(NEW, OLD), batch=1).run()
    assert report.done >= 2
    for id_, name, key, sealed in await home.sql("SELECT id, name, manage_key, manage_token FROM service_accounts"):
        if name != "bare":
            assert ring(NEW).open(home.tenant_id, place(id_), key, sealed) == f"token-of-{name}"
