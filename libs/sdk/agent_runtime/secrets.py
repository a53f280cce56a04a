"""The calls about a tenant's secrets."""

from __future__ import annotations

from agent_runtime.binding import AsyncCall, AsyncItems, AsyncNoun, Call, Items, Noun
from agent_runtime.delivery import ask, tell, walk
from agent_runtime.messages import get, send
from agent_runtime.models import Secret
from agent_runtime.steps import Flow, Plan


def put_secret(name: str, value: str) -> Plan[Secret]:
    """Make or replace a secret: 8 to 4000 visible ASCII characters; the value never comes back.

    Calls that begin from now on use it. Raises `InvalidRequest`, `Forbidden`, `SecretsNotConfigured`.
    """
    return ask(send("PUT", "secrets", name, body={"value": value}), Secret.received)


def list_secrets(*, page_size: int = 50) -> Flow[Secret]:
    """Every secret of the tenant, by name, without values; pages of `page_size` (1 to 200). Raises `Forbidden`."""
    return walk(get("secrets", params=[("limit", page_size)]), Secret)


def delete_secret(name: str) -> Plan[None]:
    """Delete a secret; calls that need it fail from now on. Raises `NotFound`, `Forbidden`."""
    return tell(send("DELETE", "secrets", name))


class Secrets(Noun):
    """`client.secrets`"""

    put = Call(put_secret)
    list = Items(list_secrets)
    delete = Call(delete_secret)


class AsyncSecrets(AsyncNoun):
    """`client.secrets`"""

    put = AsyncCall(put_secret)
    list = AsyncItems(list_secrets)
    delete = AsyncCall(delete_secret)
