"""The Dockerfiles as text, and that each image is given every package its program imports."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.fixtures.compose.rendering import ROOT, services

OURS = sorted({
    (service["build"]["context"], service["build"].get("dockerfile", "Dockerfile"))
    for service in services().values()
    if "build" in service
})  # fmt: skip
FILES = [ROOT / context / name for context, name in OURS]
OF_ECS = [(".", str(file.relative_to(ROOT))) for file in sorted((ROOT / "deploy/ecs/images").glob("*/Dockerfile"))]
PYTHON = [file for file in FILES if "python:3" in file.read_text()]
BASES = {"python:3.13-slim", "kong:3.9.3", "quay.io/keycloak/keycloak:26.7"}
# Programs of the images, by the image whose packages they use.
PROGRAMS = {
    "api": ("services.api.main", "services.api.reencrypt", "migrations.__main__", "migrations.env", "keycloak.__main__",
            "libs.clients.bucket", "libs.observability.probe"),
    "worker": ("services.worker.main", "libs.observability.probe"),
}  # fmt: skip


def name(file: Path) -> str:
    return str(file.relative_to(ROOT).parent)


@pytest.mark.parametrize("file", FILES, ids=name)
def test_nothing_that_an_older_builder_refuses(file: Path) -> None:
    text = file.read_text()
    assert not re.search(r"^# syntax|<<[-A-Z]|COPY .*--(link|exclude)", text, re.MULTILINE)


@pytest.mark.parametrize("file", FILES, ids=name)
def test_bases_have_versions_and_images_have_labels(file: Path) -> None:
    text = file.read_text()
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) <= BASES
    for label in ("title", "description", "licenses"):
        assert f"org.opencontainers.image.{label}=" in text


@pytest.mark.parametrize("file", PYTHON, ids=name)
def test_packages_have_hashes_and_the_user_is_nobody(file: Path) -> None:
    text = file.read_text()
    stages = text.split("\nFROM ")
    builder, shipped = stages[-2:]
    assert "--require-hashes" in builder
    assert "--only-binary :all:" in builder
    assert "\nRUN" not in shipped, "what builds stays behind"
    assert re.findall(r"^USER (.*)", text, re.MULTILINE) == ["10001:10001"]
    assert "STOPSIGNAL SIGTERM" in text
    assert re.search(r'^CMD \["python"', text, re.MULTILINE), "the program itself gets the signals, not a shell"


@pytest.mark.parametrize("file", FILES, ids=name)
def test_no_secret_is_built_in(file: Path) -> None:
    text = file.read_text()
    assert not re.search(r"(?i)^(ARG|ENV).*(password|secret|token|_key)", text, re.MULTILINE)
    copied = re.findall(r"^COPY (?!--from)(?:--\S+ )?(.+) \S+$", text, re.MULTILINE)
    assert not {"."} & {source for line in copied for source in line.split()}, "what is copied is named"


def test_what_is_sent_to_the_builder_is_named() -> None:
    for context in {context for context, _ in OURS}:
        lines = (ROOT / context / ".dockerignore").read_text().splitlines()
        assert next(line for line in lines if not line.startswith("#")) == "*"
        assert not [line for line in lines if line.startswith("!.env") or line == "!."]


@pytest.mark.parametrize(("context", "file"), [*OURS, *OF_ECS])
def test_what_is_copied_is_sent_to_the_builder(context: str, file: str) -> None:
    lines = (ROOT / context / ".dockerignore").read_text().splitlines()
    sent = [line[1:] for line in lines if line.startswith("!")]
    copied = re.findall(r"^COPY (?!--from)(?:--\S+ )?(.+) \S+$", (ROOT / context / file).read_text(), re.MULTILINE)
    sources = {source.rstrip("/") for line in copied for source in line.split()}
    assert sources
    assert {each for each in sources if not any(f"{each}/".startswith(f"{place}/") for place in sent)} == set()


def path_of(module: str) -> Path | None:
    place = ROOT / module.replace(".", "/")
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.exists()), None)


@cache
def imported(module: str) -> frozenset[str]:
    """Every module that this one names in an import, inside functions too."""
    file = path_of(module)
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())) if file else ():
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            found -= {alias.name for each in node.body if isinstance(each, ast.Import) for alias in each.names}
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not _for_types(node):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "import_module"):
            found |= {str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant)}
    return frozenset(found)


def _for_types(node: ast.ImportFrom) -> bool:
    return (node.module or "").startswith("mypy_boto3")


def needed(programs: tuple[str, ...]) -> tuple[set[Path], set[str]]:
    """Our modules and the top-level packages of others that the programs may import."""
    waiting, seen, others = list(programs), set[str](), set[str]()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        for other in imported(module):
            top = other.split(".")[0]
            if (ROOT / top).is_dir():
                waiting.append(other)
            elif top not in sys.stdlib_module_names:
                others.add(top)
    return {file for file in map(path_of, seen) if file}, others


@pytest.mark.parametrize("service", PROGRAMS)
def test_the_lock_has_what_the_program_imports(service: str) -> None:
    lock = (ROOT / f"services/{service}/requirements.lock").read_text()
    locked = set(re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE))
    providers = packages_distributions()
    missing = {
        package
        for package in needed(PROGRAMS[service])[1]
        if not {re.sub(r"[._]", "-", each.lower()) for each in providers.get(package, [package])} & locked
    }
    assert missing == set()


@pytest.mark.parametrize("service", PROGRAMS)
def test_the_image_has_every_module_that_the_program_imports(service: str) -> None:
    text = (ROOT / f"services/{service}/Dockerfile").read_text()
    copied = re.findall(r"^COPY (\S+) /app/(\S+)$", text, re.MULTILINE)
    places = [ROOT / place / Path(source).name if place.endswith("/") else ROOT / place for source, place in copied]
    ours, _ = needed(PROGRAMS[service])
    assert len(ours) > 50
    assert {file for file in ours if not any(file.is_relative_to(place) for place in places)} == set()
