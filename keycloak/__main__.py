"""`python -m keycloak check` before Keycloak starts, `python -m keycloak update` when it runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keycloak.admin import Admin, Refused, Unreachable
from keycloak.update import add, update, warnings
from keycloak.variables import DEVELOPMENT_MARK, Unfit, flaws_of, in_production, load, with_files

HERE = Path(__file__).parent
REALM = HERE / "agent-runtime-realm.json"
DEVELOPMENT = HERE / "development-users.json"
FAILED, UNFIT, UNREACHABLE = 1, 2, 4


def main(arguments: list[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """The exit code: 0 done, 1 Keycloak refused or the realm is dangerous, 2 unfit variables, 4 no Keycloak."""
    chosen = _parser().parse_args(arguments)
    around = os.environ if environment is None else environment
    try:
        if chosen.development and in_production(around):
            raise Unfit(["DEPLOYMENT=production has no users for development: leave --development out"])
        if chosen.command == "check":
            return check(around, development=chosen.development)
        return bring_up_to_date(with_files(around), development=chosen.development)
    except Unfit as unfit:
        return _tell(unfit.flaws, UNFIT)
    except Unreachable as unreachable:
        return _tell([str(unreachable)], UNREACHABLE)
    except (Refused, LookupError) as failure:
        return _tell([str(failure)], FAILED)


def check(environment: Mapping[str, str], *, development: bool) -> int:
    """Look at every variable that the import names; what is wrong is told without its value."""
    flaws = [flaw for path in _files(development) for flaw in flaws_of(path.read_text(encoding="utf-8"), environment)]
    if flaws:
        return _tell(dict.fromkeys(flaws), UNFIT)
    sys.stdout.write("Every variable of the realm is set and harmless.\n")
    return 0


def bring_up_to_date(environment: Mapping[str, str], *, development: bool) -> int:
    """Make the realm, or add to it what is missing."""
    document: dict[str, Any] = load(REALM, environment)
    further = [load(path, environment) for path in _files(development)[1:]]
    admin = Admin(
        environment.get("KEYCLOAK_URL") or "http://127.0.0.1:8080",
        _login(environment),
        environment.get("KEYCLOAK_CA_FILE") or None,
    )
    said = update(admin, document)
    for resources in further:
        said += add(admin, document["realm"], resources)
    sys.stdout.writelines(f"{line}\n" for line in said or ["The realm is up to date."])
    dangers = warnings(admin, document["realm"])
    return _tell(dangers, FAILED) if dangers else 0


def _login(environment: Mapping[str, str]) -> dict[str, str]:
    """A service account of the realm `master` when one is named, else the administrator's password."""
    if client := environment.get("KEYCLOAK_ADMIN_CLIENT_ID"):
        secret = environment.get("KEYCLOAK_ADMIN_CLIENT_SECRET", "")
        return {"grant_type": "client_credentials", "client_id": client, "client_secret": secret}
    name = environment.get("KC_BOOTSTRAP_ADMIN_USERNAME")
    password = environment.get("KC_BOOTSTRAP_ADMIN_PASSWORD")
    if not name or not password:
        raise Unfit(
            [
                "set KC_BOOTSTRAP_ADMIN_USERNAME and KC_BOOTSTRAP_ADMIN_PASSWORD, "
                "or KEYCLOAK_ADMIN_CLIENT_ID and KEYCLOAK_ADMIN_CLIENT_SECRET"
            ]
        )
    if in_production(environment) and DEVELOPMENT_MARK in password:
        raise Unfit(["KC_BOOTSTRAP_ADMIN_PASSWORD is the secret for development, which DEPLOYMENT=production refuses"])
    return {"grant_type": "password", "client_id": "admin-cli", "username": name, "password": password}


def _files(development: bool) -> list[Path]:
    return [REALM, DEVELOPMENT] if development else [REALM]


def _tell(flaws: Any, code: int) -> int:
    sys.stderr.writelines(f"keycloak: {flaw}\n" for flaw in flaws)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m keycloak", description=__doc__)
    parser.add_argument("command", choices=["check", "update"])
    parser.add_argument("--development", action="store_true", help="with the users for development and tests")
    return parser


if __name__ == "__main__":
    sys.exit(main())
