"""Every variable of docker-compose.yml is read by the program that gets it, and every setting is given or left out on
purpose; production takes no secret for development."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from typer.testing import CliRunner

from deploy.compose.production import SECRETS
from keycloak.__main__ import main as keycloak_main
from libs.settings.database import MigrationSettings
from libs.settings.environment import DEVELOPMENT_MARK, Environment
from libs.settings.gateway import GatewaySettings
from libs.settings.models import load_providers
from libs.settings.object_store import ObjectStoreSettings
from services.api.settings import ApiSettings
from services.cli.main import app
from services.worker.settings import WorkerSettings
from tests.fixtures.compose.rendering import ROOT, services, variables

READERS: dict[str, type[Environment]] = {
    "api": ApiSettings,
    "worker": WorkerSettings,
    "migrations": MigrationSettings,
    "kong": GatewaySettings,
    "minio-bucket": ObjectStoreSettings,
    "langfuse-bucket": ObjectStoreSettings,
}
# Settings (patterns of them) that the compose file leaves alone, by the reason.
LEFT_OUT = {
    "inside one host nothing is encrypted; a server elsewhere is set in docker-compose.override.yml": (
        "DATABASE_TLS DATABASE_CA_FILE REDIS_USERNAME REDIS_CA_FILE S3_CA_FILE OIDC_CA_FILE TEMPORAL_TLS "
        "TEMPORAL_CA_FILE TEMPORAL_CLIENT_CERT_FILE TEMPORAL_CLIENT_KEY_FILE TEMPORAL_API_KEY"
    ),
    "the default is the only value that fits": "KEYCLOAK_ADMIN_URL KEYCLOAK_PROVISIONER_ID TEMPORAL_TASK_QUEUE",
    "rhythms and sizes that tests and benchmarks turn": (
        "(API|WORKER|TRACES)_(?!GRACE_)[A-Z_]+_SECONDS DATABASE_POOL_SIZE MODEL_CONNECT_TIMEOUT_SECONDS "
        "TRACES_(ATTRIBUTE|REQUEST)_BYTES TRACES_CONCURRENCY"
    ),
    "a file of one's own is mounted by docker-compose.override.yml": "TRACES_PROJECTS_FILE TRACES_CA_FILE",
    "there is no console yet": "CONSOLE_URL CONSOLE_UPSTREAM_URL",
}
PATTERNS = " ".join(LEFT_OUT.values()).split()
# What Kong itself reads, and Python's own.
KONGS = re.compile(r"KONG_(PREFIX|NGINX_WORKER_PROCESSES)")


def fields(settings: type[Environment]) -> set[str]:
    return {name.upper() for name in settings.model_fields}


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of whoever runs the tests."""
    for name in set().union(*(fields(settings) for settings in READERS.values())):
        for variable in (name, f"{name}_FILE"):
            monkeypatch.delenv(variable, raising=False)


def read(service: str, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Environment:
    """What the service's program makes of what the file gives it."""
    with monkeypatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        return READERS[service]()


@pytest.fixture
def production(tmp_path: Path) -> dict[str, str]:
    """The variables of a new .env for production."""
    file = tmp_path / ".env"
    written = ["env", "--production", "--public-url", "https://agents.example.test", "--file", str(file)]
    assert CliRunner().invoke(app, written).exit_code == 0
    return dict(line.split("=", 1) for line in file.read_text().splitlines() if not line.startswith("#"))


@pytest.mark.parametrize("service", READERS)
def test_every_variable_is_read(service: str) -> None:
    given = set(services()[service]["environment"])
    assert {name for name in given - fields(READERS[service]) if not KONGS.fullmatch(name)} == set()


@pytest.mark.parametrize("service", ["api", "worker", "migrations", "kong"])
def test_every_setting_is_given_or_left_out_on_purpose(service: str) -> None:
    given = set(services()[service]["environment"])
    assert {
        name
        for name in fields(READERS[service]) - given
        if not any(re.fullmatch(pattern, name) for pattern in PATTERNS)
    } == set()


def test_what_is_left_out_on_purpose_exists() -> None:
    known = set().union(*(fields(settings) for settings in READERS.values()))
    assert [pattern for pattern in PATTERNS if not any(re.fullmatch(pattern, name) for name in known)] == []


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("service", READERS)
def test_the_shipped_values_start_every_program(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(service, services()[service]["environment"], monkeypatch)
    secret = {name.upper() for name in READERS[service].model_fields if isinstance(getattr(settings, name), SecretStr)}
    assert set(settings.development_secrets) == secret, "every shipped secret says that it is for development"


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("service", [name for name in READERS if name != "kong"])
def test_production_refuses_each_secret_for_development(
    service: str, production: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = services(production)[service]["environment"]
    assert read(service, good, monkeypatch).deployment == "production"
    shipped = services()[service]["environment"]
    for name in [name for name, value in shipped.items() if DEVELOPMENT_MARK in value and "PUBLIC" not in name]:
        with pytest.raises(ValidationError, match=name) as refusal:
            read(service, {**good, name: shipped[name]}, monkeypatch)
        assert shipped[name] not in str(refusal.value), "a secret is never shown"


def test_production_has_no_secret_that_others_know(production: dict[str, str]) -> None:
    known = {name for name, defaults in variables().items() for default in defaults if DEVELOPMENT_MARK in default}
    # Hexadecimal of the same words, for a server that takes nothing else.
    known |= {"LANGFUSE_ENCRYPTION_KEY"}
    assert known - {"REALM_OPTIONS"} == set(SECRETS) | {"DEV_PASSWORD"}
    rendered = services(production)
    for name, service in rendered.items():
        left = {key for key, value in service["environment"].items() if DEVELOPMENT_MARK in value}
        assert left == ({"DEV_PASSWORD"} if name == "realm" else set()), name
    assert rendered["realm"]["command"].split() == ["python", "-m", "keycloak", "update"]
    assert rendered["api"]["environment"]["OIDC_ISSUER"] == "https://agents.example.test/realms/agent-runtime"


def test_two_installations_have_nothing_in_common(tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        made = CliRunner().invoke(
            app, ["env", "--production", "--public-url", "https://h.example", "--file", str(tmp_path / name), "--json"]
        )
        assert json.loads(made.stdout)["secrets"] == list(SECRETS)
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        texts.append(set((tmp_path / name).read_text().splitlines()))
    assert {line.split("=")[0] for line in texts[0] & texts[1] if not line.startswith("#")} == {
        "DEPLOYMENT", "REALM_OPTIONS", "PUBLIC_URL", "CONSOLE_URL"
    }  # fmt: skip


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("POSTGRES_PASSWORD=in-use\n")
    refused = CliRunner().invoke(app, ["env", "--production", "--public-url", "https://h.example", "--file", str(file)])
    assert refused.exit_code == 2
    assert "is left as it is" in refused.stderr
    assert file.read_text() == "POSTGRES_PASSWORD=in-use\n"


@pytest.mark.parametrize("url", ["", "http://h.example", "https://", "https://u:p@h.example", "https://h.example/x",
                                 "https://h.example$HOME", "https://h.example?x=1"])  # fmt: skip
def test_a_public_url_that_cannot_be_meant(url: str, tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["env", "--production", "--public-url", url, "--file", str(tmp_path / ".env")])
    assert refused.exit_code == 2
    assert not (tmp_path / ".env").exists()


def test_development_needs_no_file(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["env", "--file", str(tmp_path / ".env")]).exit_code == 2
    assert not (tmp_path / ".env").exists()


def test_the_realm_refuses_what_is_for_development(production: dict[str, str], capsys: Any) -> None:
    good = services(production)["realm"]["environment"]
    assert keycloak_main(["check"], good) == 0
    assert keycloak_main(["check", "--development"], good) == 2
    shipped = services()["realm"]["environment"]
    assert keycloak_main(["check", "--development"], shipped) == 0
    for name in ("CONSOLE_CLIENT_SECRET", "KEYCLOAK_PROVISIONER_SECRET", "PLATFORM_ADMIN_PASSWORD"):
        assert keycloak_main(["check"], {**good, name: shipped[name]}) == 2
        assert name in capsys.readouterr().err
    # Before anybody is asked.
    assert (
        keycloak_main(["update"], {**good, "KC_BOOTSTRAP_ADMIN_PASSWORD": shipped["KC_BOOTSTRAP_ADMIN_PASSWORD"]}) == 2
    )


def passwords(environment: Mapping[str, str]) -> Iterator[str]:
    yield from (value for name, value in environment.items() if name.endswith(("PASSWORD", "PWD", "_AUTH", "KEYS")))


def test_whoever_holds_a_secret_holds_the_same(production: dict[str, str]) -> None:
    found = {name: service["environment"] for name, service in services(production).items()}
    roles = found["postgres-roles"]
    assert roles["PGPASSWORD"] == found["postgres"]["POSTGRES_PASSWORD"]
    assert roles["DATABASE_MIGRATION_PASSWORD"] == found["migrations"]["DATABASE_MIGRATION_PASSWORD"]
    for service in ("api", "worker"):
        for name in ("DATABASE_PASSWORD", "DATABASE_MAINTENANCE_PASSWORD"):
            assert found[service][name] == roles[name]
        assert found[service]["REDIS_PASSWORD"] == found["redis"]["REDIS_PASSWORD"]
        assert found[service]["S3_SECRET_ACCESS_KEY"] == found["minio"]["MINIO_ROOT_PASSWORD"]
    assert roles["KEYCLOAK_DATABASE_PASSWORD"] == found["keycloak"]["KC_DB_PASSWORD"]
    assert roles["TEMPORAL_DATABASE_PASSWORD"] == found["temporal"]["POSTGRES_PWD"]
    assert found["temporal-schema"]["SQL_PASSWORD"] == found["temporal"]["POSTGRES_PWD"]
    assert found["realm"]["KEYCLOAK_PROVISIONER_SECRET"] == found["api"]["KEYCLOAK_PROVISIONER_SECRET"]


def test_nobody_holds_a_secret_without_need(production: dict[str, str]) -> None:
    """The superuser's password is the database's own and the job's that makes the roles."""
    holders: dict[str, set[str]] = {}
    for name, service in services(production).items():
        for value in passwords(service["environment"]):
            holders.setdefault(value, set()).add(name)
    by_name = {name: holders.get(value, set()) for name, value in production.items() if name in SECRETS}
    assert by_name["POSTGRES_PASSWORD"] == {"postgres", "postgres-roles"}
    assert by_name["DATABASE_MIGRATION_PASSWORD"] == {"postgres-roles", "migrations"}
    assert by_name["DATABASE_PASSWORD"] == {"postgres-roles", "api", "worker"}
    assert by_name["SECRETS_KEYS"] == {"api", "worker"}
    assert by_name["KEYCLOAK_ADMIN_PASSWORD"] == {"keycloak", "realm"}
    assert by_name["REDIS_PASSWORD"] == {"redis", "kong", "api", "worker", "langfuse-web", "langfuse-worker"}


def test_no_secret_stands_in_arguments_or_urls() -> None:
    for name, service in services().items():
        told = json.dumps([service.get("command"), service.get("entrypoint"), service.get("healthcheck")])
        assert DEVELOPMENT_MARK not in told, name
        # LangFuse reads its database's password from a URL and from nowhere else.
        urls = {key for key, value in service["environment"].items() if "://" in value and DEVELOPMENT_MARK in value}
        assert urls <= ({"DATABASE_URL"} if name.startswith("langfuse") else set()), name


@pytest.mark.parametrize("file", ["providers.yaml", "demo-providers.yaml"])
def test_providers_can_be_read(file: str) -> None:
    assert load_providers(ROOT / "deploy/compose" / file)
