"""What the command asks of an OpenID Connect issuer: the device flow, a next token, the end of a session."""

from __future__ import annotations

import hashlib
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
from agent_runtime import AgentRuntimeFailure, Unusable

CLIENT_ID = "agent-runtime-cli"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
TIMEOUT_SECONDS = 15
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class LoginRefused(AgentRuntimeFailure):
    """The issuer, or the person, said no."""


class LoginEnded(AgentRuntimeFailure):
    """A stored login is no longer good."""


class IssuerUnreachable(AgentRuntimeFailure):
    """The issuer does not answer, or something else answers."""


@dataclass(frozen=True)
class Endpoints:
    """Of one issuer, from its discovery document."""

    issuer: str
    token: str
    device: str
    revocation: str


@dataclass(frozen=True)
class Tokens:
    """`expires_at` is by this machine's clock, whatever the issuer's says."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: float


@dataclass(frozen=True)
class Device:
    """A login that waits for a person; `verifier` proves that who gets the tokens is who asked."""

    device_code: str = field(repr=False)
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: float
    interval: float
    verifier: str = field(repr=False)


def discover(issuer: str) -> Endpoints:
    """The issuer's endpoints, each of which must be safe to send a secret to."""
    check_safe(issuer)
    document = _json(_send("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration"))
    if document.get("issuer") != issuer:
        raise IssuerUnreachable(f"{issuer} says that it is {str(document.get('issuer'))[:200]!r}")
    names = ("token_endpoint", "device_authorization_endpoint", "revocation_endpoint")
    missing = [name for name in names if not isinstance(document.get(name), str)]
    if missing:
        raise LoginRefused(f"{issuer} offers no login for command lines: it has no {', '.join(missing)}")
    for name in names:
        check_safe(document[name])
    return Endpoints(issuer, *(document[name] for name in names))


def begin(endpoints: Endpoints, scope: str) -> Device:
    """Ask for a code that a person confirms in a browser."""
    verifier = secrets.token_urlsafe(48)
    challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    form = {"client_id": CLIENT_ID, "scope": scope, "code_challenge": challenge, "code_challenge_method": "S256"}
    response = _send("POST", endpoints.device, form)
    answer = _json(response)
    if response.status_code != 200:
        raise LoginRefused(f"{endpoints.issuer} begins no login: {_reason(answer)}")
    try:
        return Device(
            device_code=str(answer["device_code"]),
            user_code=str(answer["user_code"]),
            verification_uri=str(answer["verification_uri"]),
            verification_uri_complete=str(answer.get("verification_uri_complete") or answer["verification_uri"]),
            expires_in=float(answer["expires_in"]),
            interval=float(answer.get("interval", 5)),
            verifier=verifier,
        )
    except (KeyError, TypeError, ValueError):
        raise IssuerUnreachable(f"{endpoints.device} gave an answer that is none of an issuer") from None


def wait(endpoints: Endpoints, device: Device, sleep: Callable[[float], None] = time.sleep) -> Tokens:
    """The tokens, when somebody has said yes."""
    form = {
        "grant_type": DEVICE_GRANT,
        "client_id": CLIENT_ID,
        "device_code": device.device_code,
        "code_verifier": device.verifier,
    }
    interval, until = device.interval, time.monotonic() + device.expires_in
    while time.monotonic() < until:
        sleep(interval)
        response = _send("POST", endpoints.token, form)
        answer = _json(response)
        if response.status_code == 200:
            return _tokens(answer)
        match answer.get("error"):
            case "authorization_pending":
                continue
            case "slow_down":
                interval += 5  # as RFC 8628 has it
            case "expired_token":
                break
            case "access_denied":
                raise LoginRefused("The login was not allowed in the browser.")
            case _:
                raise LoginRefused(f"{endpoints.issuer} refuses the login: {_reason(answer)}")
    raise LoginRefused("Nobody confirmed the code in time. Run `agent-runtime login` again.")


def renew(token_endpoint: str, refresh_token: str) -> Tokens:
    """The next tokens; the refresh token that is given is used up, whatever becomes of the answer.

    Raises:
        LoginEnded: the session is over.
    """
    form = {"grant_type": "refresh_token", "client_id": CLIENT_ID, "refresh_token": refresh_token}
    response = _send("POST", token_endpoint, form)
    answer = _json(response)
    if response.status_code == 200:
        return _tokens(answer)
    if response.status_code >= 500:
        raise IssuerUnreachable(f"{token_endpoint} failed with status {response.status_code}; try again")
    raise LoginEnded(f"Your login has ended ({_reason(answer)}). Run `agent-runtime login`.")


def revoke(revocation_endpoint: str, refresh_token: str) -> None:
    """End the session at the issuer."""
    form = {"client_id": CLIENT_ID, "token": refresh_token, "token_type_hint": "refresh_token"}
    response = _send("POST", revocation_endpoint, form)
    if response.status_code != 200:
        raise IssuerUnreachable(f"{revocation_endpoint} answered with status {response.status_code}")


def check_safe(url: str) -> None:
    """Refuse an address to which a secret would travel in the clear."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.username or parts.scheme not in ("http", "https"):
        raise Unusable("that is not the URL of an issuer or an API: http(s)://host[:port][/path]")
    if parts.scheme == "http" and host not in LOOPBACK:
        raise Unusable(f"http://{host} is not encrypted, and a login would travel over it; use https")


def _tokens(answer: dict[str, Any]) -> Tokens:
    try:
        access, refresh = answer["access_token"], answer["refresh_token"]
        return Tokens(str(access), str(refresh), time.time() + float(answer["expires_in"]))
    except (KeyError, TypeError, ValueError):
        raise IssuerUnreachable("the issuer gave an answer without tokens") from None


def _send(method: str, url: str, form: dict[str, str] | None = None) -> httpx.Response:
    try:
        return httpx.request(method, url, data=form, timeout=TIMEOUT_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        host = urlsplit(url).netloc
        raise IssuerUnreachable(f"the issuer at {host} does not answer ({type(error).__name__}); try again") from None


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise IssuerUnreachable(f"{response.url.host} answered with status {response.status_code}, not as an issuer")
    return document


def _reason(answer: dict[str, Any]) -> str:
    return str(answer.get("error_description") or answer.get("error") or "no reason given")[:200]
