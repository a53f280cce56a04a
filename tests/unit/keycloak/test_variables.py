"""What may stand in the variables of the realm file, and that a refused value is never shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keycloak.__main__ import DEVELOPMENT, REALM, UNFIT, main
from keycloak.variables import Unfit, filled, flaws_of, load, with_files

GOOD = {
    "CONSOLE_URL": "https://console.example.test",
    "CONSOLE_CLIENT_SECRET": "console-secret-1",
    "KEYCLOAK_PROVISIONER_SECRET": "provisioner-secret-1",
    "PLATFORM_ADMIN_PASSWORD": "platform-password-1",
    "DEV_PASSWORD": "development-1",
}


def test_the_realms_variables_are_these() -> None:
    assert main(["check", "--development"], GOOD) == 0
    for name in GOOD:
        without = {other: value for other, value in GOOD.items() if other != name}
        assert main(["check", "--development"], without) == UNFIT
        assert main(["check", "--development"], {**GOOD, name: ""}) == UNFIT


@pytest.mark.parametrize(
    "value",
    [
        'x", "registrationAllowed": true, "y": "', "back\\slash-in-a-secret", "a-line\nbreak-in-it",
        "nul\x00-in-a-secret", "again-${DEV_PASSWORD}", " begins-with-a-blank", "ends-with-a-blank ", "short",
        "x" * 1025, "del\x7f-in-a-secret", "bidi\u202e-in-a-secret",
    ],
)  # fmt: skip
def test_values_that_would_do_harm(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"], {**GOOD, "CONSOLE_CLIENT_SECRET": value}) == UNFIT
    said = capsys.readouterr().err
    assert "CONSOLE_CLIENT_SECRET" in said
    assert value not in said.replace("keycloak: CONSOLE_CLIENT_SECRET is shorter", "")


@pytest.mark.parametrize(
    "value",
    [
        "*", "https://*", "https://*.example.test", "http://console.example.test", "https://console.example.test/",
        "https://me:pw@console.example.test", "https://console.example.test?x=1", "https://console.example.test#x",
        "javascript:alert(1)", "console.example.test", "https://", "https://[", "https://host:port",
    ],
)  # fmt: skip
def test_a_console_to_which_no_code_may_go(value: str) -> None:
    assert main(["check"], {**GOOD, "CONSOLE_URL": value}) == UNFIT


@pytest.mark.parametrize("value", ["http://localhost:8088", "http://127.0.0.1", "https://h.example/console"])
def test_a_console_that_may_be(value: str) -> None:
    assert main(["check"], {**GOOD, "CONSOLE_URL": value}) == 0


def test_a_value_stays_within_its_string() -> None:
    text = json.dumps({"a": "${GOOD_NAME}", "b": ["x${GOOD_NAME}y"]})
    assert flaws_of(text, {"GOOD_NAME": 'z"'}) != []
    assert filled(json.loads(text), {"GOOD_NAME": 'z"'}) == {"a": 'z"', "b": ['xz"y']}
    # A variable outside a string is replaced by Keycloak all the same.
    assert flaws_of('{"a": 1, "b": "${lower}"}', {"lower": "x"}) != []
    assert flaws_of('{"a": ${GOOD_NAME}}', {"GOOD_NAME": "1"}) != []


def test_secrets_may_stand_in_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from-a-file-1\n")
    environment = {**GOOD, "CONSOLE_CLIENT_SECRET": "", "CONSOLE_CLIENT_SECRET_FILE": str(secret)}
    assert with_files(environment)["CONSOLE_CLIENT_SECRET"] == "from-a-file-1"
    with pytest.raises(Unfit, match="cannot be read"):
        with_files({"CONSOLE_CLIENT_SECRET_FILE": str(tmp_path / "none")})


def realm() -> Any:
    return load(REALM, GOOD)


def test_the_realm_opens_no_door() -> None:
    document = realm()
    assert not any(document[name] for name in ("registrationAllowed", "editUsernameAllowed", "duplicateEmailsAllowed"))
    for client in document["clients"]:
        assert not client["fullScopeAllowed"]
        assert not client["directAccessGrantsEnabled"]
        assert not client["implicitFlowEnabled"]
        assert not any("*" in uri for uri in client["redirectUris"])
        if client["standardFlowEnabled"]:
            assert client["attributes"]["pkce.code.challenge.method"] == "S256"
    roles = {role["name"]: role for role in document["roles"]["realm"]}
    assert "composites" not in roles["admin"]
    assert "clientScopes" not in document, "with it Keycloak's own scopes are gone, and tokens have neither sub nor aud"


def test_only_the_shipped_accounts_are_shipped() -> None:
    administrator, service = realm()["users"]
    assert administrator["credentials"][0]["temporary"]
    assert "tenant_id" not in administrator.get("attributes", {})
    assert service["clientRoles"] == {"realm-management": ["query-users"]}
    for user in load(DEVELOPMENT, GOOD)["users"]:
        assert ("admin" in user["realmRoles"]) != ("tenant_id" in user.get("attributes", {}))
