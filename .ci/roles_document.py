"""Write docs/roles.md from the table of roles and the routes, or with --check say whether it is as they are."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from services.api.application import create_app  # noqa: E402 - after the path
from services.api.roles import NOTES, ROLES  # noqa: E402
from services.api.route import GuardedRoute  # noqa: E402

DOCUMENT = ROOT / "docs" / "roles.md"
COLUMNS = ("admin", "operator", "user")
HEAD = """# Who may do what

A token's realm roles decide, with the tenant that its claim `tenant_id` names: `admin` administers the platform and
reads no tenant's content, `operator` administers one tenant, `user` runs agents and sees its own runs. A service
account has the role and the tenant that the platform gave it. What belongs to another tenant is not there (404).

This page is generated from `services/api/roles.py` (`python .ci/roles_document.py`). A route without an entry there
does not start; `tests/integration/api/test_roles.py` calls every operation as every caller, of its own tenant and of
another one.

| operation | request | admin | operator | user | |
|---|---|---|---|---|---|
"""


def row(route: GuardedRoute) -> str:
    allowed = ROLES[route.name]
    marks = ["anyone" if not allowed else "yes" if role in allowed else "" for role in COLUMNS]
    method = next(iter(sorted(route.methods)))
    return f"| `{route.name}` | `{method} {route.path}` | {' | '.join(marks)} | {NOTES.get(route.name, '')} |\n"


def document() -> str:
    routes = {route.name: route for route in create_app().routes if isinstance(route, GuardedRoute)}
    return HEAD + "".join(row(routes[name]) for name in ROLES)


def main() -> int:
    wanted = document()
    if "--check" not in sys.argv[1:]:
        DOCUMENT.write_text(wanted, encoding="utf-8")
        return 0
    if DOCUMENT.exists() and DOCUMENT.read_text(encoding="utf-8") == wanted:
        return 0
    sys.stderr.write("docs/roles.md is not as services/api/roles.py is: run `python .ci/roles_document.py`.\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
