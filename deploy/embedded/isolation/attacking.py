"""What is attacked at the servers, in whose name, and what came of it.

The attacks are what the platform's own roles could do if its code were wrong: a forgotten condition, a mixed-up key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from deploy.embedded.isolation import object_keys, redis_keys, sql, workflow_ids
from deploy.embedded.isolation.trying import Tried, Victim
from deploy.embedded.stack import Stack
from deploy.embedded.state import default_state_directory

__all__ = ["Tried", "Victim", "attack", "attack_servers"]


def attack_servers(state_dir: Path | None, attacker: str, victim: Victim) -> list[Tried]:
    """Attack the servers of the stack that runs, in the name of the tenant with the id `attacker`."""
    stack = Stack.attach(state_dir or default_state_directory())
    try:
        return asyncio.run(attack(stack.environment(), attacker, victim))
    finally:
        stack.stop()


async def attack(environment: Mapping[str, str], attacker: str, victim: Victim) -> list[Tried]:
    """The same at servers that are named by the platform's variables."""
    found = []
    for layer in (sql, object_keys, redis_keys, workflow_ids):
        found += [tried async for tried in layer.attacks(environment, attacker, victim)]
    return found
