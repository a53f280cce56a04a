"""Secrets at the moment of a call: read and decrypted then, and not kept."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from libs.clients.sealing import CannotBeOpened, KeyRing
from libs.database import secrets
from libs.database.engine import Database, is_unavailable
from libs.domain.secrets import NOTHING_REVEALED, Revealed


class SecretsAway(Exception):
    """The database does not answer: secrets can be read later."""


class Vault:
    """The secrets of tenants, read behind their walls."""

    def __init__(self, database: Database, keys: KeyRing | None) -> None:
        self._database = database
        self._keys = keys

    async def reveal(self, tenant_id: UUID, names: Collection[str]) -> Revealed:
        """The secrets of these names as they are now; those that cannot be used say why when they are asked for.

        Raises:
            SecretsAway: the database is.
        """
        if not names:
            return NOTHING_REVEALED
        try:
            async with self._database.tenant(tenant_id) as connection:
                found = await secrets.read(connection, sorted(names))
        except Exception as error:
            if not is_unavailable(error):
                raise
            raise SecretsAway("The database, which holds the secrets of this call, does not answer.") from error
        values, missing = {}, {}
        for name, key_id, sealed in found:
            if self._keys is None:
                missing[name] = "this platform has no key to decrypt it with (SECRETS_KEYS of the worker)"
                continue
            try:
                values[name] = self._keys.open(tenant_id, name, key_id, sealed)
            except CannotBeOpened as problem:
                missing[name] = f"it cannot be decrypted: {problem}"
        return Revealed(values, missing)
