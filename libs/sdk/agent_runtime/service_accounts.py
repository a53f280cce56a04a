"""The calls about service accounts, for operators of a tenant."""

from __future__ import annotations

from agent_runtime.binding import AsyncCall, AsyncItems, AsyncNoun, Call, Items, Noun
from agent_runtime.delivery import ask, tell, walk
from agent_runtime.messages import get, post, present, send
from agent_runtime.models import ServiceAccount, ServiceAccountSecret
from agent_runtime.steps import Flow, Plan


def create_service_account(
    name: str, *, role: str | None = None, idempotency_key: str | None = None
) -> Plan[ServiceAccountSecret]:
    """Make a client at the issuer that acts for the tenant in the role `user` (the default) or `operator`.

    The result holds its secret, which is kept nowhere. Raises `Conflict`, `InvalidRequest`, `DependencyUnavailable`.
    """
    body = present(name=name, role=role)
    return ask(post("service-accounts", body=body, key=idempotency_key), ServiceAccountSecret.received)


def list_service_accounts(*, page_size: int = 50) -> Flow[ServiceAccount]:
    """Every service account of the tenant; pages of `page_size` (1 to 200) are fetched as needed."""
    return walk(get("service-accounts", params=[("limit", page_size)]), ServiceAccount)


def rotate_service_account(name: str, *, idempotency_key: str | None = None) -> Plan[ServiceAccountSecret]:
    """Give it a new secret; the one before gets no more tokens. Raises `NotFound`, `DependencyUnavailable`."""
    return ask(post("service-accounts", name, "rotate", key=idempotency_key), ServiceAccountSecret.received)


def delete_service_account(name: str) -> Plan[None]:
    """Refuse its tokens within a second, and delete its client. Raises `NotFound`, `DependencyUnavailable`."""
    return tell(send("DELETE", "service-accounts", name))


class ServiceAccounts(Noun):
    """`client.service_accounts`"""

    create = Call(create_service_account)
    list = Items(list_service_accounts)
    rotate = Call(rotate_service_account)
    delete = Call(delete_service_account)


class AsyncServiceAccounts(AsyncNoun):
    """`client.service_accounts`"""

    create = AsyncCall(create_service_account)
    list = AsyncItems(list_service_accounts)
    rotate = AsyncCall(rotate_service_account)
    delete = AsyncCall(delete_service_account)
