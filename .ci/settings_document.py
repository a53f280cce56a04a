"""Write docs/settings.md from the settings classes, or with --check say whether it is as they are."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Literal, Union, get_args, get_origin

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pydantic import SecretStr  # noqa: E402 - after the path
from pydantic.fields import FieldInfo  # noqa: E402

from libs.settings.database import MigrationSettings  # noqa: E402
from libs.settings.environment import Environment  # noqa: E402
from libs.settings.gateway import GatewaySettings  # noqa: E402
from services.api.settings import ApiSettings  # noqa: E402
from services.worker.settings import WorkerSettings  # noqa: E402

DOCUMENT = ROOT / "docs" / "settings.md"
PROGRAMS: dict[str, type[Environment]] = {
    "gateway": GatewaySettings,
    "api": ApiSettings,
    "worker": WorkerSettings,
    "migrations": MigrationSettings,
}
HEAD = """# Settings

Every program reads its settings from environment variables, once, when it starts. This page is generated from the
settings classes (`python .ci/settings_document.py`).

No URL holds a secret. Each secret `X` stands in a variable of its own, or in the file that `X_FILE` names.
The keys of model providers are named by the providers file, see [models.md](models.md).

| variable | for | default | what |
|---|---|---|---|
"""


def kind(annotation: object) -> str:
    if get_origin(annotation) in (Union, types.UnionType):
        return kind(next(part for part in get_args(annotation) if part is not type(None)))
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    return "secret" if annotation is SecretStr else ""


def default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return "" if field.default in (None, "") else f"`{field.default}`"


def document() -> str:
    users: dict[str, list[str]] = {}
    fields: dict[str, FieldInfo] = {}
    for program, settings in PROGRAMS.items():
        for name, field in settings.model_fields.items():
            users.setdefault(name, []).append(program)
            fields[name] = field
    rows = []
    for name in sorted(fields):
        field = fields[name]
        what = "; ".join(part for part in (field.description or "", kind(field.annotation)) if part)
        variable = f"`{name.upper()}`" + (" (or `…_FILE`)" if kind(field.annotation) == "secret" else "")
        rows.append(f"| {variable} | {', '.join(users[name])} | {default(field)} | {what} |\n")
    return HEAD + "".join(rows)


def main() -> int:
    wanted = document()
    if "--check" not in sys.argv[1:]:
        DOCUMENT.write_text(wanted, encoding="utf-8")
        return 0
    if DOCUMENT.exists() and DOCUMENT.read_text(encoding="utf-8") == wanted:
        return 0
    sys.stderr.write("docs/settings.md is not as the settings classes are: run `python .ci/settings_document.py`.\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
