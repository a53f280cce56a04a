"""Tokens of every kind, from an issuer that is not ours to bend: which are believed, and what they say."""

from __future__ import annotations

import secrets
import time

import pytest
from jose import jwt

from deploy.embedded.sessions import challenge_of
from libs.domain.errors import Unauthenticated
from services.api.authentication import LEEWAY_SECONDS, Identity, TokenVerifier
from services.api.keys import KeySet
from tests.conformance.keycloak import not_embedded
from tests.conformance.keycloak.conftest import Believe, believing
from tests.conformance.keycloak.grants import CALLBACK, CLI, Person
from tests.conformance.keycloak.issuers import Issuer, RealIssuer

WHO = ("operator", "user", "other", "admin")


def says(identity: Identity, person: Person) -> bool:
    """Exactly these roles of ours, this tenant and a life of five minutes."""
    assert 290 < identity.expires_at - time.time() < 301
    return identity.roles == person.roles and identity.tenant == person.tenant


@pytest.mark.parametrize("who", WHO)
async def test_a_person_by_the_device_flow(issuer: Issuer, believe: Believe, who: str) -> None:
    assert says(await believe(issuer.endpoints.device(issuer.people[who])["access_token"]), issuer.people[who])


async def test_a_person_by_the_code_flow(issuer: Issuer, believe: Believe) -> None:
    person = issuer.people["operator"]
    identity = await believe(issuer.endpoints.code(person)["access_token"])
    assert says(identity, person)
    again = await believe(issuer.endpoints.device(person)["access_token"])
    assert again.subject == identity.subject, "one person is one subject, whatever the way in"


async def test_a_password_is_good_for_a_token(issuer: RealIssuer, believe: Believe) -> None:
    for who in WHO:
        assert says(await believe(issuer.password(issuer.people[who])["access_token"]), issuer.people[who])


async def test_a_client_with_a_secret(issuer: Issuer, believe: Believe) -> None:
    client, secret = issuer.ci
    form = {"grant_type": "client_credentials", "client_id": client}
    answer = issuer.endpoints.tokens(client_secret=secret, **form)
    identity = await believe(answer["access_token"])
    assert (identity.tenant, identity.roles) == ("acme", frozenset({"operator", "user"}))
    assert "refresh_token" not in answer
    assert issuer.endpoints.token(client_secret="x", **form).status_code == 401


async def test_a_refreshed_token_is_of_the_same_person(issuer: Issuer, believe: Believe) -> None:
    person = issuer.people["user"]
    first = issuer.endpoints.device(person)
    second = issuer.endpoints.refresh(first["refresh_token"]).json()
    before, after = await believe(first["access_token"]), await believe(second["access_token"])
    assert says(after, person)
    assert before.subject == after.subject


async def test_a_second_use_of_a_refresh_token_ends_the_session(issuer: Issuer, believe: Believe) -> None:
    first = issuer.endpoints.device(issuer.people["user"])
    second = issuer.endpoints.refresh(first["refresh_token"]).json()
    for stale in (first, second):
        answer = issuer.endpoints.refresh(stale["refresh_token"])
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    # Nobody is told: what was issued is good until it ends.
    assert await believe(second["access_token"])


async def test_a_revoked_session_gives_nothing_more(issuer: Issuer) -> None:
    tokens = issuer.endpoints.device(issuer.people["user"])
    assert issuer.endpoints.revoke(tokens["refresh_token"]).status_code == 200
    assert issuer.endpoints.refresh(tokens["refresh_token"]).status_code == 400


async def test_a_token_ends(issuer: Issuer, believe: Believe, monkeypatch: pytest.MonkeyPatch) -> None:
    token = issuer.endpoints.device(issuer.people["user"])["access_token"]
    expires_at = (await believe(token)).expires_at
    for late, good in ((LEEWAY_SECONDS - 2, True), (LEEWAY_SECONDS, False)):
        with monkeypatch.context() as later:
            later.setattr(time, "time", lambda moment=expires_at + late: moment)
            if good:
                await believe(token)
            else:
                with pytest.raises(Unauthenticated, match="expired"):
                    await believe(token)


async def test_a_token_for_another_audience(issuer: Issuer, believe: Believe) -> None:
    with pytest.raises(Unauthenticated, match="audience"):
        await believe(issuer.foreign_audience())


async def test_a_token_of_another_realm(issuer: Issuer, believe: Believe, keys: KeySet) -> None:
    token = issuer.other_realm()
    assert "agent-runtime-api" in jwt.get_unverified_claims(token)["aud"]
    with pytest.raises(Unauthenticated, match="key that the issuer does not publish"):
        await believe(token)


async def test_a_good_token_is_none_of_another_issuers(issuer: Issuer, keys: KeySet) -> None:
    """Keys alone do not make it ours: the same token, held against another `iss`."""
    token = issuer.endpoints.device(issuer.people["user"])["access_token"]
    for other in (issuer.url + "/", issuer.url.replace("agent-runtime", "elsewhere"), issuer.url.upper()):
        with pytest.raises(Unauthenticated, match="another issuer"):
            await believing(TokenVerifier(keys, other, "agent-runtime-api"))(token)


async def test_only_an_access_token_is_one(issuer: Issuer, believe: Believe) -> None:
    tokens = issuer.endpoints.code(issuer.people["operator"])
    assert jwt.get_unverified_claims(tokens["id_token"])["aud"] == CLI
    for name in ("id_token", "refresh_token"):
        with pytest.raises(Unauthenticated):
            await believe(tokens[name])


async def test_a_device_waits_for_its_person(issuer: Issuer, believe: Believe) -> None:
    verifier = secrets.token_urlsafe(48)
    device = issuer.endpoints.ask_device(verifier)
    assert issuer.endpoints.poll_device(device, verifier).json()["error"] == "authorization_pending"
    assert issuer.endpoints.poll_device(device, verifier).json()["error"] == "slow_down"
    stolen = issuer.endpoints.poll_device({**device, "device_code": "x"}, verifier)
    assert stolen.json()["error"] == "invalid_grant"


async def test_a_stolen_code_is_worth_nothing_without_its_verifier(issuer: Issuer) -> None:
    verifier, person = secrets.token_urlsafe(48), issuer.people["operator"]
    code = issuer.endpoints.authorize(person, challenge_of(verifier)).partition("code=")[2].partition("&")[0]
    form = {"grant_type": "authorization_code", "client_id": CLI, "code": code, "redirect_uri": CALLBACK}
    answer = issuer.endpoints.token(**form, code_verifier=secrets.token_urlsafe(48))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_what_is_not_asked_of_the_embedded_issuer_has_a_reason(request: pytest.FixtureRequest) -> None:
    asked: dict[str, set[str]] = {}
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.path.parent == request.path.parent:
            which = asked.setdefault(f"{item.path.name}::{item.originalname}", set())
            if hasattr(item, "callspec"):
                which.add(str(item.callspec.params.get("issuer", "")))
    unasked = {name for name, issuers in asked.items() if "keycloak" not in issuers or "embedded" not in issuers}
    own = f"{request.path.name}::{request.node.originalname}"
    assert not {name for name in unasked - {own} if name.partition("::")[0] not in not_embedded.FILES}
    names = {name.partition("::")[2] for name in asked}
    assert set(not_embedded.REASONS) <= names or len(names) < 15, "a reason without a test"
