"""Logins of the embedded issuer: codes that wait for a person, and sessions whose refresh token is good once."""

from __future__ import annotations

import hashlib
import secrets
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import TypeVar

from deploy.embedded.users import User

T = TypeVar("T")

DEVICE_SECONDS, CODE_SECONDS, SESSION_SECONDS = 600, 60, 36_000
POLL_SECONDS = 1
MOST = 1000  # of each kind; the oldest make room
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels: no words, and nothing that looks like something else


class GrantRefused(Exception):
    """No token for this; `code` is OAuth's word for why."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code


@dataclass
class Login:
    """What a client asked for, and who said yes; `challenge` is what its PKCE verifier has to fit."""

    client: str
    scope: str
    challenge: str
    until: float
    redirect_uri: str = ""
    nonce: str | None = None
    user: User | None = None
    denied: bool = False
    polled_at: float = float("-inf")


@dataclass
class Session:
    """`secret` is the part of the refresh token that changes at each use."""

    id: str
    user: User
    client: str
    scope: str
    until: float
    secret: str


class Sessions:
    """In memory: a restart of the stack ends every login."""

    def __init__(self) -> None:
        self._devices: dict[str, Login] = {}
        self._user_codes: dict[str, Login] = {}
        self._codes: dict[str, Login] = {}
        self._sessions: dict[str, Session] = {}

    # -- device flow ---------------------------------------------------------------------------------------------

    def ask(self, client: str, scope: str, challenge: str) -> tuple[str, str]:
        """A device code for the client to poll with, and a user code for a person to confirm."""
        device, letters = secrets.token_urlsafe(32), "".join(secrets.choice(_LETTERS) for _ in range(8))
        login = Login(client, scope, challenge, time.time() + DEVICE_SECONDS)
        user_code = f"{letters[:4]}-{letters[4:]}"
        _keep(self._devices, device, login)
        _keep(self._user_codes, user_code, login)
        return device, user_code

    def waiting(self, user_code: str) -> Login | None:
        """The login that waits for a person under this code."""
        login = self._user_codes.get(user_code.strip().upper())
        return login if login and login.until > time.time() and login.user is None and not login.denied else None

    def poll(self, device: str, client: str, verifier: str) -> Session:
        """The session, once somebody said yes.

        Raises:
            GrantRefused: not yet, not at all, or not to this client.
        """
        login = self._devices.get(device)
        if login is None or login.client != client:
            raise GrantRefused("invalid_grant", "Device code not valid")
        now = time.monotonic()
        too_soon, login.polled_at = now - login.polled_at < POLL_SECONDS * 0.9, now
        if login.until <= time.time():
            raise GrantRefused("expired_token", "Device code is expired")
        if login.denied:
            raise GrantRefused("access_denied", "The end user denied the authorization request")
        if too_soon:
            raise GrantRefused("slow_down", "Slow down")
        if login.user is None:
            raise GrantRefused("authorization_pending", "The authorization request is still pending")
        _prove(login, verifier)
        del self._devices[device]
        return self._open(login, login.user)

    # -- code flow -----------------------------------------------------------------------------------------------

    def issue_code(self, login: Login) -> str:
        """A code for the address to which the browser goes back."""
        code = secrets.token_urlsafe(32)
        login.until = time.time() + CODE_SECONDS
        _keep(self._codes, code, login)
        return code

    def redeem(self, code: str, client: str, redirect_uri: str, verifier: str) -> tuple[Session, str | None]:
        """The session of a code, which is good once, and the nonce that was asked for.

        Raises:
            GrantRefused: it is not good for this client and address.
        """
        login = self._codes.pop(code, None)
        if login is None or login.user is None or login.until <= time.time():
            raise GrantRefused("invalid_grant", "Code not valid")
        if login.client != client or login.redirect_uri != redirect_uri:
            raise GrantRefused("invalid_grant", "Incorrect redirect_uri")
        _prove(login, verifier)
        return self._open(login, login.user), login.nonce

    # -- sessions ------------------------------------------------------------------------------------------------

    def renew(self, refresh_token: str, client: str) -> Session:
        """The session, with its next refresh token; a token that was used before ends the session.

        Raises:
            GrantRefused: the session is over.
        """
        identifier, _, secret = refresh_token.partition(".")
        session = self._sessions.get(identifier)
        if session is None or session.client != client or session.until <= time.time() or not session.user.enabled:
            raise GrantRefused("invalid_grant", "Session not active")
        if not secrets.compare_digest(session.secret.encode(), secret.encode()):
            del self._sessions[identifier]
            raise GrantRefused("invalid_grant", "Maximum allowed refresh token reuse exceeded")
        session.secret = secrets.token_urlsafe(32)
        return session

    def end(self, refresh_token: str, client: str) -> None:
        """End the session of a refresh token, whichever of its tokens it is."""
        session = self._sessions.get(refresh_token.partition(".")[0])
        if session and session.client == client:
            del self._sessions[session.id]

    def end_all_of(self, username: str) -> None:
        """End every session of a user who is no more, or is somebody else now."""
        for session in [each for each in self._sessions.values() if each.user.username == username]:
            del self._sessions[session.id]

    def _open(self, login: Login, user: User) -> Session:
        session = Session(
            secrets.token_hex(16),
            user,
            login.client,
            login.scope,
            time.time() + SESSION_SECONDS,
            secrets.token_urlsafe(32),
        )
        _keep(self._sessions, session.id, session)
        return session


def refresh_token(session: Session) -> str:
    return f"{session.id}.{session.secret}"


def challenge_of(verifier: str) -> str:
    """PKCE's S256."""
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _prove(login: Login, verifier: str) -> None:
    if not secrets.compare_digest(challenge_of(verifier), login.challenge):
        raise GrantRefused("invalid_grant", "PKCE verification failed")


def _keep(known: dict[str, T], key: str, value: T) -> None:
    known[key] = value
    if len(known) > MOST:
        del known[next(iter(known))]
