"""An HTTP proxy that fails the n-th call from now on, before passing it on or after, when nobody hears the answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx


class Flaky:
    """Counts calls; the token endpoint is passed on and not counted."""

    def __init__(self, target: str) -> None:
        self._http = httpx.Client(base_url=target, timeout=30, trust_env=False)
        self.calls = 0
        self._fails_at = 0
        self._heard = False
        self.url = ""

    def fail(self, number: int, *, heard: bool) -> None:
        """The call of this number, counted from here, and all after it fail; `heard`: the first of them is done."""
        self.calls, self._fails_at, self._heard = 0, number, heard

    def close(self) -> None:
        self._http.close()

    def heal(self) -> None:
        self._fails_at = 0

    def pass_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> httpx.Response | None:
        if not path.endswith("/token"):
            self.calls += 1
            if self._fails_at and self.calls > self._fails_at:
                return None
        lost = self._fails_at == self.calls and not path.endswith("/token") and self._fails_at > 0
        if lost and not self._heard:
            return None
        answer = self._http.request(method, path, headers=headers, content=body)
        return None if lost else answer


@contextmanager
def flaky(target: str) -> Iterator[Flaky]:
    proxy = Flaky(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            kept = {name: self.headers[name] for name in ("authorization", "content-type") if name in self.headers}
            answer = proxy.pass_on(self.command, self.path, kept, body)
            if answer is None:
                self.close_connection = True
                return
            self.send_response(answer.status_code)
            for name in ("content-type", "location"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            """Nothing: it is expected to fail."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        proxy.close()
