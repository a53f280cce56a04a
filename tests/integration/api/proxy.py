"""A TCP proxy in a process of its own, which a test can freeze: connections stay, nothing passes, as with a hang."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """The process, seen from the test."""

    def __init__(self, pid: int, port: int) -> None:
        self._pid = pid
        self.port = port

    def freeze(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._pid, signal.SIGCONT)


@contextmanager
def proxied(target: int) -> Iterator[Proxy]:
    """A proxy to a port of this machine."""
    command = [sys.executable, "-m", "tests.integration.api.proxy", str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield Proxy(process.pid, int(process.stdout.readline()))
        finally:
            process.kill()


async def serve(target: int) -> None:
    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        out_reader, out_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(pass_on(reader, out_writer), pass_on(out_reader, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
