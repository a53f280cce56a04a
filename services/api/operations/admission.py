"""Giving places to waiting runs, and taking those of a tenant that may not work."""

from __future__ import annotations

import logging
from uuid import UUID

from libs.contracts.workflow import Wake
from libs.database import admission
from libs.database.engine import is_unavailable
from services.api.services import Services

logger = logging.getLogger(__name__)
AT_ONCE = 200


async def admit_next(services: Services, tenant_id: UUID) -> None:
    """Give free places now; what fails here a worker does within a second."""
    try:
        async with services.database.tenant(tenant_id) as connection:
            await admission.enter(connection, tenant_id)
            admitted = await admission.admit(connection, tenant_id, AT_ONCE)
    except Exception as error:
        if not is_unavailable(error):
            raise
        logger.warning("admission is left to the workers: the database does not answer")
        return
    for given in admitted:
        services.starts.admitted(tenant_id, given)
        services.stream.control(tenant_id, given.run_id)


async def park_all(services: Services, tenant_id: UUID) -> None:
    """Take the places of a tenant that may not work, in batches; a worker finishes what is left undone."""
    while True:
        async with services.database.tenant(tenant_id) as connection:
            revoked = await admission.revoke(connection, tenant_id, AT_ONCE)
        for given in revoked:
            services.stream.control(tenant_id, given.run_id)
            services.starts.wake(tenant_id, given.run_id, given.deadline_at, Wake(given.control_seq, stop=True))
        if len(revoked) < AT_ONCE:
            return
