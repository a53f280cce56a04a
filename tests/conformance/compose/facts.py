"""What the real images hold that health checks call, and where that is known from; a stand-in proves nothing of it."""

from __future__ import annotations

from typing import NamedTuple


class Fact(NamedTuple):
    """Programs of an image, and the source of that knowledge."""

    programs: frozenset[str]
    source: str


def _fact(programs: str, source: str) -> Fact:
    return Fact(frozenset(programs.split()), source)


DEBIAN = "bash sh grep printf exec"
ALPINE = "sh grep wget nc printf"

IMAGES = {
    "agent-runtime-api": _fact("python", "services/api/Dockerfile: the virtual environment is first on PATH"),
    "agent-runtime-worker": _fact("python", "services/worker/Dockerfile: the virtual environment is first on PATH"),
    "agent-runtime-local-model": _fact("python", "deploy/compose/local-model/Dockerfile"),
    "agent-runtime-kong": _fact(
        DEBIAN, "Kong/docker-kong: Debian or Ubuntu below, docker-entrypoint.sh is a bash script; curl is purged"
    ),
    "agent-runtime-keycloak": _fact(
        DEBIAN, "quay.io/keycloak/keycloak:26.7: UBI micro with bash, grep and no curl; kc.sh is a bash script"
    ),
    "temporalio/server": _fact(ALPINE, "temporalio/docker-builds, base-server.Dockerfile: Alpine (busybox)"),
    "temporalio/ui": _fact(ALPINE, "temporalio/ui-server Dockerfile: the same Alpine base as the server"),
    "postgres": _fact(f"{DEBIAN} pg_isready psql", "docker-library/postgres 18: Debian with the client programs"),
    "redis": _fact(f"{DEBIAN} redis-cli", "docker-library/redis 8: Debian, redis-cli beside the server"),
    "cgr.dev/chainguard/minio": _fact(
        "sh mc curl",
        "langfuse's docker-compose.yml runs `sh` and `mc ready local` in MinIO; curl is the stand-in's",
    ),
    "clickhouse/clickhouse-server": _fact(
        ALPINE, "ClickHouse's docker/server/Dockerfile.ubuntu installs wget; langfuse's compose file calls it"
    ),
    "langfuse/langfuse": _fact("node sh wget", "langfuse's web/Dockerfile: node on Alpine"),
    "langfuse/langfuse-worker": _fact("node sh wget", "langfuse's worker/Dockerfile: node on Alpine"),
}

# Tags that say no version, with the reason.
UNPINNED = {
    "cgr.dev/chainguard/minio:latest": "Chainguard gives its free images no other tag; pin a digest where that matters",
}

# Which program must be called by which check: one that only looks at an open port must say why.
LISTENING_IS_READY = {
    "temporal": "the frontend listens when it has its shards; temporal-namespace then waits for the cluster's health",
    "temporal-ui": "it listens when it serves, and keeps nothing",
}
