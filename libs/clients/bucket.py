"""`python -m libs.clients.bucket`: makes the bucket of S3_BUCKET unless it is there; for a store of your own."""

from __future__ import annotations

import asyncio
import sys

from libs.clients.object_store import ObjectStore
from libs.domain.errors import DependencyUnavailable
from libs.settings.object_store import ObjectStoreSettings

ATTEMPTS = 10
PAUSE_SECONDS = 1.0


async def make(settings: ObjectStoreSettings) -> bool:
    """Whether it was made. A store that has just been started refuses for a moment."""
    store = ObjectStore(settings)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await store.make_bucket()
        except DependencyUnavailable:
            if attempt == ATTEMPTS:
                raise
            await asyncio.sleep(PAUSE_SECONDS)
    raise AssertionError("the last attempt returns or raises")


def main() -> int:
    settings = ObjectStoreSettings()
    try:
        made = asyncio.run(make(settings))
    except DependencyUnavailable as failure:
        sys.stderr.write(f"The bucket {settings.s3_bucket} cannot be made: {failure.detail}\n")
        return 1
    sys.stdout.write(f"The bucket {settings.s3_bucket} {'was made' if made else 'is there'}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
