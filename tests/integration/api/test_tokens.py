"""Tokens that nobody should believe, sent to the running API: a 401 for each, never an error of ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jose import jws

from tests.fixtures.stack import TestServers
from tests.integration.api.contract import Contract

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NOTHING = object()


class Forger:
    """Holds the issuer's own key: what it signs is wrong for one reason only."""

    def __init__(self, servers: TestServers) -> None:
        self.signer = servers.stack.signer
        self.pem = (servers.stack.state.path / "secrets/issuer.pem").read_text()
        self.public = self.signer.key_set()["keys"][0]
        self.kid: str = self.public["kid"]

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        good = {
            "iss": self.signer.issuer, "aud": "agent-runtime-api", "exp": now + 300, "iat": now, "sub": "ada",
            "typ": "Bearer", "azp": "x", "realm_access": {"roles": ["operator"]}, "tenant_id": "nobodys",
        }  # fmt: skip
        return {name: value for name, value in {**good, **changes}.items() if value is not NOTHING}

    def sign(self, claims: Any, algorithm: str = "RS256", key: Any = None, **header: Any) -> str:
        """By jose, which adds the header's `alg` and `typ`."""
        text = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        return str(jws.sign(text, key or self.pem, headers={"kid": self.kid, **header}, algorithm=algorithm))

    def raw(self, header: Any, claims: Any, signature: bytes = b"x" * 256) -> str:
        """With a signature of one's own."""
        return ".".join(encode(json.dumps(part).encode()) for part in (header, claims)) + "." + encode(signature)


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def forger(servers: TestServers) -> Forger:
    return Forger(servers)


@pytest.fixture(scope="module")
def http(api_url: str, contract: Contract) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api_url, event_hooks={"response": [contract.check]}, timeout=30) as client:
        yield client


def status(http: httpx.Client, token: str | bytes) -> int:
    raw = token if isinstance(token, bytes) else token.encode("utf-8", "surrogatepass")
    response = http.get("/v1/runs", headers=[(b"Authorization", b"Bearer " + raw)])
    if response.status_code == 401:
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert response.json()["code"] == "unauthenticated"
        assert len(raw) < 30 or raw.decode("latin-1") not in response.text, "no token is shown"
    return response.status_code


def test_the_forgers_own_token_is_good(http: httpx.Client, forger: Forger) -> None:
    """Else every 401 below would say nothing: its tenant alone is unknown."""
    assert status(http, forger.sign(forger.claims())) == 403


@pytest.mark.parametrize(
    "token",
    [
        ".", "..", "...", "a.b", "a.b.c", "a.b.c.d", "a.b.c.d.e", "null", "{}", "e30.e30.e30", "e30.e30.",
        "eyJ9.e30.e30",
        "W10.W10.W10", "bnVsbA.bnVsbA.bnVsbA", "%00.%00.%00", "x" * 8193, "a." * 4000, "x" * 60_000, "e30.e30.e30 e30",
        "e30,e30", '{"protected":"e30","payload":"e30","signature":"e30"}', "\u00e9.\u00e9.\u00e9", "a\tb",
    ],
)  # fmt: skip
def test_what_is_no_token(http: httpx.Client, token: str) -> None:
    assert status(http, token) == 401


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "", "HS256", "rs256", "RS384", "ES256", 1, None, [], {}])
def test_an_algorithm_that_is_not_ours(http: httpx.Client, forger: Forger, algorithm: Any) -> None:
    header = {"alg": algorithm, "kid": forger.kid, "typ": "JWT"}
    for signature in (b"x", b"\x00" * 256):
        assert status(http, forger.raw(header, forger.claims(), signature)) == 401
    assert status(http, forger.raw(header, forger.claims()).rpartition(".")[0] + ".") == 401


def test_the_public_key_is_no_secret(http: httpx.Client, forger: Forger) -> None:
    """Algorithm confusion: HMAC with what everybody knows."""
    private = serialization.load_pem_private_key(forger.pem.encode(), None)
    kinds = serialization.PublicFormat.SubjectPublicKeyInfo, serialization.PublicFormat.PKCS1
    pems = [private.public_key().public_bytes(serialization.Encoding.PEM, kind) for kind in kinds]
    for secret in (*pems, forger.public["n"].encode(), json.dumps(forger.public).encode(), b""):
        for name in ("HS256", "HS384", "HS512", "RS256"):
            unsigned = forger.raw({"alg": name, "kid": forger.kid}, forger.claims()).rpartition(".")[0]
            digest = getattr(hashlib, "sha" + name[-3:])
            forged = hmac.new(secret, unsigned.encode(), digest).digest()
            assert status(http, f"{unsigned}.{encode(forged)}") == 401


@pytest.mark.parametrize("algorithm", ["RS384", "RS512"])
def test_a_good_signature_of_another_kind(http: httpx.Client, forger: Forger, algorithm: str) -> None:
    assert status(http, forger.sign(forger.claims(), algorithm)) == 401


@pytest.mark.parametrize("name", ["jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc"])
def test_a_header_that_brings_its_own_key(http: httpx.Client, forger: Forger, name: str) -> None:
    """Signed by the issuer, and by an attacker whose key stands in it."""
    values: dict[str, Any] = {"jwk": forger.public, "crit": ["exp"], "x5c": ["MIIB"], "b64": False, "zip": "DEF"}
    value = values.get(name, "http://127.0.0.1:1/keys")
    own = generate_private_key(public_exponent=65537, key_size=2048)
    kinds = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    theirs = own.private_bytes(serialization.Encoding.PEM, *kinds).decode()
    for key in (forger.pem, theirs):
        assert status(http, forger.sign(forger.claims(), key=key, **{name: value})) == 401
    assert status(http, forger.sign(forger.claims(), key=theirs)) == 401


@pytest.mark.parametrize(
    "kid", ["", "../../etc/passwd", "' OR 1=1 --", "\x00", "x" * 4000, 1, None, [], {}, ["a"], True]
)
def test_odd_key_ids(http: httpx.Client, forger: Forger, kid: Any) -> None:
    assert status(http, forger.raw({"alg": "RS256", "kid": kid}, forger.claims())) == 401
    assert status(http, forger.raw({"alg": "RS256"}, forger.claims())) == 401


@pytest.mark.parametrize("name", ["exp", "iat", "iss", "aud", "sub", "typ"])
def test_claims_that_are_missing(http: httpx.Client, forger: Forger, name: str) -> None:
    assert status(http, forger.sign(forger.claims(**{name: NOTHING}))) == 401
    assert status(http, forger.sign(forger.claims(**{name: None}))) == 401


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
def test_times_that_are_none(http: httpx.Client, forger: Forger, name: str) -> None:
    odd: list[Any] = ["9999999999", True, [9999999999], {}, -1, 1e308, 10**400, "", "now", 2**53, -(2**63)]
    for value in odd:
        assert status(http, forger.sign(forger.claims(**{name: value}))) == 401, value
    for text in ("NaN", "Infinity", "-Infinity", "1e999"):
        claims = json.dumps(forger.claims(**{name: "ODD"})).replace('"ODD"', text)
        assert status(http, forger.sign(claims.encode())) == 401, text
    assert status(http, forger.sign(forger.claims(**{name: 1 if name == "exp" else int(time.time()) + 9999}))) == 401


def test_nested_and_large_ones(http: httpx.Client, forger: Forger) -> None:
    inner = forger.sign(forger.claims())
    deep = b"[" * 3000 + b"]" * 3000
    for claims in (json.dumps(inner).encode(), inner.encode(), deep, b'{"a":' + deep + b"}", b"[]", b"1", b"", b"\xff"):
        assert status(http, forger.sign(claims)) == 401
    assert status(http, forger.sign(forger.claims(), cty="JWT", typ="JWE").replace(".", "..")) == 401
    assert status(http, forger.sign(forger.claims(padding="x" * 9000))) == 401
    assert status(http, f"{encode(deep)}.{encode(deep)}.{encode(b'x')}") == 401


def test_only_the_canonical_spelling(http: httpx.Client, forger: Forger) -> None:
    token = forger.sign(forger.claims())
    head, body, signature = token.split(".")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other_end = signature[:-1] + letters[letters.index(signature[-1]) ^ 1]
    for changed in (
        token + "=", token + "==", token + ".", f"{head}=.{body}.{signature}", f"{head}.{body}==.{signature}",
        f"{head}.{body}.{other_end}", f"{head}.{body}.{signature}A", f"{head}.{body}.{signature[:-4]}",
        token.replace("-", "+").replace("_", "/") if set(token) & set("-_") else token + "+",
    ):  # fmt: skip
        assert status(http, changed) == 401, changed[-20:]
    assert status(http, token) == 403, "as it is, it is read"


@FEW
@given(st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), min_size=1, max_size=200))
def test_any_text(http: httpx.Client, text: str) -> None:
    """Any that HTTP lets through: its server answers control characters with a 400 of its own."""
    assert status(http, text.encode("latin-1")) == 401


@FEW
@given(st.data())
def test_a_token_with_a_changed_letter(http: httpx.Client, forger: Forger, data: st.DataObject) -> None:
    token = forger.sign(forger.claims())
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("ABCxyz019-_.=+/ "))
    changed = data.draw(
        st.sampled_from([token[:place] + letter + token[place + 1 :], token[:place] + token[place + 1 :]])
    )
    if changed.strip(" ") != token:
        assert status(http, changed) == 401


@FEW
@given(
    st.dictionaries(
        st.sampled_from(["exp", "nbf", "iat", "aud", "sub", "iss", "typ", "azp", "tenant_id", "realm_access"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
            max_leaves=5,
        ),
    )
)
def test_odd_claims_under_a_good_signature(http: httpx.Client, forger: Forger, odd: dict[str, Any]) -> None:
    """Believed where they may be, refused where not: an error of ours never."""
    assert status(http, forger.sign(json.dumps({**forger.claims(), **odd}).encode())) in (401, 403)
