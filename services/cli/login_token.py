"""The access token of a stored login, renewed when it is about to end, by one process at a time."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from services.cli.login_store import Login, LoginStore
from services.cli.oauth import LoginEnded, renew

EARLY_SECONDS = 30


class LoginToken:
    """Gives a token at each call; many processes and threads may call at once."""

    def __init__(self, store: LoginStore, login: Login) -> None:
        self._store = store
        self._login = login
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            if not _fresh(self._login):
                self._login = self._renewed()
            return self._login.tokens.access_token

    def _renewed(self) -> Login:
        """The next tokens: another process's, if it was faster; a refresh token must never be used twice."""
        with self._store.alone(self._login.api_url):
            stored = self._store.find(self._login.api_url)
            if stored is None:
                raise LoginEnded("You have logged out. Run `agent-runtime login`.")
            if _fresh(stored):
                return stored
            with _undisturbed():
                login = replace(stored, tokens=renew(stored.token_endpoint, stored.tokens.refresh_token))
                self._store.keep(login)
            return login


def _fresh(login: Login) -> bool:
    return login.tokens.expires_at - EARLY_SECONDS > time.time()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C waits: between the issuer's answer and its keeping, the only good refresh token is in memory."""
    held = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
