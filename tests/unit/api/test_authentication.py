"""Access tokens: what is believed, and everything that is not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from jose import jwt

from libs.domain.errors import DependencyUnavailable, Unauthenticated
from libs.settings.oidc import OidcSettings
from services.api import keys as keys_module
from services.api.authentication import Identity, TokenVerifier
from services.api.keys import KeySet, signing_keys

ISSUER, AUDIENCE = "https://issuer.example/realms/x", "agent-runtime-api"


class Signer:
    """A key pair of an issuer."""

    def __init__(self, key_id: str = "k1") -> None:
        self.key_id = key_id
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        numbers = key.public_key().public_numbers()
        self.public = {"kid": key_id, "kty": "RSA", "use": "sig", "alg": "RS256"}
        self.public |= {"n": number(numbers.n), "e": number(numbers.e)}

    @cached_property
    def token(self) -> str:
        return self.sign(claims())

    def sign(self, claims: dict[str, Any], headers: dict[str, Any] | None = None) -> str:
        return str(jwt.encode(claims, self.pem, algorithm="RS256", headers={"kid": self.key_id, **(headers or {})}))


def number(value: int) -> str:
    return encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


SIGNER = Signer()


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {
        "iss": ISSUER, "aud": AUDIENCE, "exp": now + 300, "iat": now, "jti": "1", "sub": "ada", "typ": "Bearer",
        "tenant_id": "acme", "realm_access": {"roles": ["operator", "user"]},
    }  # fmt: skip
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


class Issuer:
    """Serves keys; counts how often it was asked."""

    def __init__(self, *published: dict[str, Any]) -> None:
        self.published = list(published)
        self.asked = 0
        self.up = True

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if not self.up:
            raise httpx.ConnectError("away", request=request)
        return httpx.Response(200, json={"keys": self.published})

    def verifier(self) -> TokenVerifier:
        settings = OidcSettings(oidc_issuer=ISSUER, oidc_jwks_url="http://issuer.example/certs")
        self.keys = KeySet(settings, httpx.AsyncClient(transport=httpx.MockTransport(self)))
        return TokenVerifier(self.keys, ISSUER, AUDIENCE)


def identify(token: str, verifier: TokenVerifier | None = None) -> Identity:
    wanted = verifier or Issuer(SIGNER.public).verifier()
    return asyncio.run(wanted.identify([(b"authorization", b"Bearer " + token.encode())]))


def test_a_good_token_says_who_calls() -> None:
    identity = identify(SIGNER.sign(claims(aud=["other", AUDIENCE])))
    assert identity[:3] == ("ada", frozenset({"operator", "user"}), "acme")


@pytest.mark.parametrize(
    "changes",
    [
        *({name: None} for name in ("iss", "aud", "exp", "iat", "sub", "typ")),
        {"iss": ISSUER + "/"}, {"aud": "other"}, {"aud": []}, {"aud": {}}, {"typ": "ID"}, {"typ": ["Bearer"]},
        {"exp": 1}, {"exp": "9999999999"}, {"exp": True}, {"exp": [1]}, {"exp": 10**400}, {"exp": -1}, {"exp": 1e308},
        {"iat": 10**12}, {"iat": {}}, {"nbf": 10**12}, {"nbf": "x"}, {"nbf": 10**400},
        {"sub": ""}, {"sub": 1}, {"sub": "a\x00"}, {"sub": "x" * 256}, {"tenant_id": 5}, {"tenant_id": ["acme"]},
    ],
)  # fmt: skip
def test_claims_that_are_not_believed(changes: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        identify(SIGNER.sign(claims(**changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"realm_access": None},
        {"realm_access": []},
        {"realm_access": {"roles": "operator"}},
        {"realm_access": {"roles": [1]}},
    ],
)
def test_odd_roles_are_no_roles(changes: dict[str, Any]) -> None:
    assert identify(SIGNER.sign(claims(**changes))).roles == frozenset()


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["x"]},
        {"jku": "http://x"},
        {"jwk": {}},
        {"x5u": "http://x"},
        {"x5c": []},
        {"kid": "other"},
        {"kid": None},
    ],
)
def test_headers_that_are_not_accepted(header: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        identify(SIGNER.sign(claims(), header))


def test_other_algorithms_are_refused() -> None:
    def forge(algorithm: str, sign: Callable[[bytes], bytes]) -> str:
        head = encode(json.dumps({"alg": algorithm, "kid": "k1", "typ": "JWT"}).encode())
        body = encode(json.dumps(claims()).encode())
        return f"{head}.{body}.{encode(sign(f'{head}.{body}'.encode()))}"

    public = json.dumps(SIGNER.public).encode()
    for token in (
        forge("none", lambda text: b"x"),
        forge("none", lambda text: b""),
        forge("HS256", lambda text: hmac.new(public, text, hashlib.sha256).digest()),
        forge("RS256", lambda text: b"\x00" * 256),
        forge("rs256", lambda text: b"\x00" * 256),
    ):
        with pytest.raises(Unauthenticated):
            identify(token)


def test_only_the_canonical_form_is_a_token() -> None:
    token = SIGNER.sign(claims())
    head, body, signature = token.split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other_end = alphabet[alphabet.index(signature[-1]) ^ 1]
    for changed in (
        f"{token}=", f"{token}.", f".{token}", f"{head}.{body}", f"{head}.{body}.", f"{token}\n",
        f"{head}=.{body}.{signature}", f"{head}.{body}.{signature[:-1]}{other_end}", f"{head}.{body[:-2]}.{signature}",
        token.replace(".", ".."), "x" * 9000,
    ):  # fmt: skip
        with pytest.raises(Unauthenticated):
            identify(changed)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_401(raw: bytes) -> None:
    verifier = Issuer(SIGNER.public).verifier()
    for value in (raw, b"Bearer " + raw, b"Bearer a." + raw + b".c"):
        with pytest.raises(Unauthenticated):
            asyncio.run(verifier.identify([(b"authorization", value)]))


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["exp", "nbf", "iat", "aud", "sub", "realm_access"]),
        st.none() | st.integers() | st.text() | st.lists(st.text()),
    )
)
def test_odd_claims_are_a_401_or_believed(changes: dict[str, Any]) -> None:
    try:
        identify(SIGNER.sign({**claims(), **changes}))
    except Unauthenticated as refused:
        refused.detail.encode("ascii")


def test_exactly_one_header() -> None:
    verifier = Issuer(SIGNER.public).verifier()
    good = (b"authorization", b"bearer " + SIGNER.sign(claims()).encode())
    assert asyncio.run(verifier.identify([good])).subject == "ada"
    for headers in ([], [good, good], [(b"authorization", b"Basic YTpi")]):
        with pytest.raises(Unauthenticated):
            asyncio.run(verifier.identify(headers))


def test_a_remembered_token_ends_with_its_time_and_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer, second = Issuer(SIGNER.public), Signer("k2")
    verifier = issuer.verifier()
    brief, long = SIGNER.sign(claims(exp=int(time.time()) + 5)), SIGNER.sign(claims(exp=int(time.time()) + 5000))
    assert identify(brief, verifier) is identify(brief, verifier)
    identify(long, verifier)
    soon = time.time() + 36
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: soon)
        with pytest.raises(Unauthenticated, match="expired"):
            identify(brief, verifier)
        identify(long, verifier)
    issuer.published = [second.public]
    asyncio.run(issuer.keys._fetch())
    with pytest.raises(Unauthenticated):
        identify(long, verifier)


class Clock:
    """Time as the key set sees it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("services.api.keys.time", SimpleNamespace(monotonic=lambda: self.now))


def believed(signer: Signer, verifier: TokenVerifier) -> bool:
    try:
        return identify(signer.token, verifier).subject == "ada"
    except Unauthenticated:
        return False


def test_a_rotated_key_is_believed_within_two_seconds_of_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, issuer, second = Clock(monkeypatch), Issuer(SIGNER.public), Signer("k2")
    verifier = issuer.verifier()
    assert believed(SIGNER, verifier)
    for _ in range(3):
        clock.now += 1.5
        assert not believed(second, verifier)
    issuer.published.append(second.public)
    clock.now += 1.5
    assert believed(second, verifier)


def test_a_flood_of_unknown_keys_asks_the_issuer_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, issuer, second = Clock(monkeypatch), Issuer(SIGNER.public), Signer("k2")
    verifier = issuer.verifier()
    assert believed(SIGNER, verifier)
    for _ in range(240):
        clock.now += 0.5
        assert not believed(second, verifier)
    assert issuer.asked <= 1 + 5 + 120 / 9 + 1
    issuer.published.append(second.public)
    rotated = clock.now
    while not believed(second, verifier):
        clock.now += 0.5
    assert clock.now - rotated <= 10


def test_a_withdrawn_key_is_forgotten_within_the_cache_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the fetch at its time failed, and when it was the only one."""
    monkeypatch.setattr(keys_module, "REFRESH_SECONDS", 0.05)
    monkeypatch.setattr(keys_module, "AWAY_SECONDS", 0.01)
    monkeypatch.setattr(keys_module, "RETRY_SECONDS", 0.01)

    async def withdrawn() -> None:
        issuer = Issuer(SIGNER.public)
        verifier = issuer.verifier()
        headers = [(b"authorization", b"Bearer " + SIGNER.sign(claims()).encode())]
        task = asyncio.create_task(issuer.keys.keep_fresh())
        await verifier.identify(headers)
        issuer.up = False
        await asyncio.sleep(0.2)
        assert issuer.keys.failure
        assert (await verifier.identify(headers)).subject == "ada"
        issuer.up, issuer.published = True, []
        async with asyncio.timeout(5):
            while issuer.keys.get("k1"):  # noqa: ASYNC110 - nothing tells when
                await asyncio.sleep(0.01)
        with pytest.raises(DependencyUnavailable):
            await verifier.identify(headers)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(withdrawn())


def test_keys_stay_when_the_issuer_goes() -> None:
    issuer = Issuer(SIGNER.public)
    verifier = issuer.verifier()
    identify(SIGNER.sign(claims()), verifier)
    issuer.up = False
    asyncio.run(issuer.keys._fetch())
    assert issuer.keys.failure
    assert identify(SIGNER.sign(claims(sub="eve")), verifier).subject == "eve"
    with pytest.raises(DependencyUnavailable):
        identify(SIGNER.sign(claims()), _never_there())


def _never_there() -> TokenVerifier:
    issuer = Issuer()
    issuer.up = False
    return issuer.verifier()


def test_only_keys_that_sign_are_taken() -> None:
    public = SIGNER.public
    others = [
        {**public, "use": "enc"},
        {**public, "kty": "EC"},
        {**public, "alg": "RS512"},
        {**public, "n": 1},
        "x",
        None,
    ]
    assert signing_keys({"keys": others}) == {}
    assert list(signing_keys({"keys": [*others, public]})) == ["k1"]
    documents: tuple[Any, ...] = ([], {}, {"keys": {}}, None)
    for document in documents:
        with pytest.raises(ValueError, match="key set"):
            signing_keys(document)
