"""A tenant that floods the platform: `python -m tests.bench.flood URL AGENT PER_SECOND`, its token in FLOOD_TOKEN.

A process of its own, so that what it costs to flood is not measured with what it does to others.
"""

from __future__ import annotations

import asyncio
import os
import sys

import httpx
import uvloop

AT_ONCE = 32


async def main(url: str, agent: str, per_second: int) -> None:
    headers = {"Authorization": f"Bearer {os.environ['FLOOD_TOKEN']}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False) as http:

        async def client(number: int) -> None:
            await asyncio.sleep(number / per_second)
            while True:
                again = asyncio.create_task(asyncio.sleep(AT_ONCE / per_second))
                answer = await http.post("/v1/runs", json={"agent": agent, "input": "hello"})
                if answer.status_code not in (202, 429):
                    raise RuntimeError(f"the flood was answered with {answer.status_code}")
                await again

        await asyncio.gather(*(client(number) for number in range(AT_ONCE)))


if __name__ == "__main__":
    os.nice(10)  # real floods come from other machines: this one is not to take the platform's processors
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
