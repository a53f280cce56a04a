"""A sealed value opens in its own place only."""

from __future__ import annotations

import base64
from uuid import uuid4

import pytest
from pydantic import SecretStr

from libs.clients.sealing import BadSecretsKeys, CannotBeOpened, KeyRing

OLD, NEW = (f"{name}:{base64.b64encode(bytes([n]) * 32).decode()}" for n, name in ((1, "old"), (2, "new")))
TENANT = uuid4()


def ring(*keys: str) -> KeyRing:
    made = KeyRing.parse(SecretStr(",".join(keys)))
    assert made is not None
    return made


def test_the_first_key_seals_and_all_open() -> None:
    key_id, sealed = ring(OLD).seal(TENANT, "crm", "the value")
    assert key_id == "old"
    assert b"the value" not in sealed
    rotated = ring(NEW, OLD)
    assert rotated.open(TENANT, "crm", key_id, sealed) == "the value"
    assert rotated.seal(TENANT, "crm", "the value")[0] == "new"
    assert ring(OLD).seal(TENANT, "crm", "the value")[1] != sealed
    with pytest.raises(CannotBeOpened, match="old, which is not among SECRETS_KEYS"):
        ring(NEW).open(TENANT, "crm", key_id, sealed)


def test_a_row_that_was_moved_or_changed_does_not_open() -> None:
    keys = ring(NEW, OLD)
    key_id, sealed = keys.seal(TENANT, "crm", "the value")
    places = [(uuid4(), "crm", key_id), (TENANT, "other", key_id), (TENANT, "crm", "old")]
    for tenant_id, name, key in places:
        with pytest.raises(CannotBeOpened, match="does not decrypt"):
            keys.open(tenant_id, name, key, sealed)
    for at in range(len(sealed)):
        changed = bytes(byte ^ (1 if at == n else 0) for n, byte in enumerate(sealed))
        with pytest.raises(CannotBeOpened):
            keys.open(TENANT, "crm", key_id, changed)
    with pytest.raises(CannotBeOpened):
        keys.open(TENANT, "crm", key_id, b"")


@pytest.mark.parametrize(
    "text", ["", "nothing", "k1:", "k1:c2hvcnQ=", f"k 1:{OLD[4:]}", f"{OLD},{OLD}", f":{OLD[4:]}", "k1:not base64!"]
)
def test_keys_that_cannot_be_used_are_refused_without_telling_them(text: str) -> None:
    with pytest.raises(BadSecretsKeys) as refused:
        KeyRing.parse(SecretStr(text))
    assert OLD[4:] not in str(refused.value)


def test_keys_may_stand_on_lines_of_their_own() -> None:
    assert repr(ring(f"{NEW}\n{OLD}\n")) == "KeyRing(new, old)"
    assert KeyRing.parse(None) is None
