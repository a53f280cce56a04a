"""Where traces of runs go: a default project, and others for tenants that a file names."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl, ValidationError, field_validator

from libs.settings.langfuse import LangfuseSettings
from libs.settings.reasons import said_of

Redaction = Literal["nothing", "hashes", "all"]
NO_PROJECT = "none"
DEFAULT = "langfuse"
PATH = "/api/public/otel/v1/traces"


def _not_langfuses_own(name: str) -> str:
    if name.startswith("langfuse"):
        raise ValueError("names of environments that begin with langfuse are its own")
    return name


EnvironmentName = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,40}$"), AfterValidator(_not_langfuses_own)]


class BadProjects(ValueError):
    """TRACES_PROJECTS_FILE cannot be used; the message says why."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Project(_Strict):
    """Where traces are sent. Keys are named, not written: each `…_env` is a variable of the worker, or its `_FILE`."""

    kind: Literal["langfuse", "otlp"] = "langfuse"
    url: str
    public_key_env: str | None = None
    secret_key_env: str | None = None
    headers_env: str | None = None  # NAME=VALUE by comma, percent-encoded, as OTEL_EXPORTER_OTLP_HEADERS
    environment: EnvironmentName = "default"
    redact: Redaction = "nothing"

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        HttpUrl(value)
        return value.rstrip("/")

    @property
    def endpoint(self) -> str:
        return self.url + PATH if self.kind == "langfuse" else self.url


class Tenancy(_Strict):
    """What is done with the traces of one tenant."""

    project: str | None = None  # the default one
    redact: Redaction | None = None  # as the project says


class ProjectsFile(_Strict):
    """The content of TRACES_PROJECTS_FILE."""

    projects: dict[str, Project] = {}
    default: str | None = None
    tenants: dict[str, Tenancy] = {}


class Destination(BaseModel):
    """A project with its keys."""

    model_config = ConfigDict(frozen=True)

    name: str
    project: Project
    headers: dict[str, str] = Field(repr=False)


class Destinations(BaseModel):
    """Every project, and what is said of single tenants, by slug."""

    model_config = ConfigDict(frozen=True)

    projects: dict[str, Destination]
    default: str  # a project, or `none`
    tenants: dict[str, Tenancy]

    def project_of(self, tenant: str) -> str:
        """The name of a tenant's project, or `none`."""
        said = self.tenants.get(tenant)
        return said.project if said and said.project else self.default

    def redaction_of(self, tenant: str) -> Redaction:
        said = self.tenants.get(tenant)
        if said and said.redact:
            return said.redact
        return self.projects[self.project_of(tenant)].project.redact


class ProjectsSettings(LangfuseSettings):
    """Which projects there are, and whose they are."""

    traces_projects_file: Path | None = Field(None, description="YAML: projects, and tenants' own, see docs/traces.md")
    traces_environment: EnvironmentName = Field("default", description="environment shown in LangFuse")
    traces_redact: Redaction = Field("nothing", description="content in traces: nothing is redacted, hashes, or all")
    traces_ca_file: str | None = Field(None, description="CA bundle (PEM) of the receivers' certificates")


class TracesSettings(ProjectsSettings):
    """How traces of runs are sent to LangFuse, or to another receiver of OTLP."""

    traces_look_seconds: float = Field(1, gt=0, description="how often runs are looked for that have news")
    traces_pause_seconds: float = Field(5, gt=0, description="between two sendings of a run that goes on")
    traces_timeout_seconds: float = Field(10, gt=0, le=25, description="one request, from start to end")
    traces_retry_seconds: float = Field(60, ge=1, description="longest pause between attempts while a project is away")
    traces_concurrency: int = Field(4, ge=1, le=64, description="requests of a worker to one project at once")
    traces_attribute_bytes: int = Field(
        65_536, ge=256, le=1_048_576, description="of an input or output; the rest is cut"
    )
    traces_request_bytes: int = Field(
        1_048_576, ge=16_384, le=16_777_216, description="about, of one request, unzipped"
    )


def load_destinations(settings: ProjectsSettings) -> Destinations | None:
    """Where traces go; None: nowhere.

    Raises:
        BadProjects: the file cannot be read or does not fit.
    """
    said = _file(settings.traces_projects_file)
    projects = {name: _destination(name, project) for name, project in said.projects.items()}
    if settings.langfuse_host:
        projects.setdefault(DEFAULT, _of_environment(settings))
    default = said.default or (DEFAULT if DEFAULT in projects else NO_PROJECT)
    known = {*projects, NO_PROJECT}
    for name in (default, *(tenant.project for tenant in said.tenants.values() if tenant.project)):
        if name not in known:
            raise BadProjects(
                f"TRACES_PROJECTS_FILE: there is no project {name!r}; there are {', '.join(sorted(known))}"
            )
    return Destinations(projects=projects, default=default, tenants=said.tenants) if projects else None


def _file(path: Path | None) -> ProjectsFile:
    if path is None:
        return ProjectsFile()
    try:
        return ProjectsFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, yaml.YAMLError, ValidationError) as error:
        # without its cause: that quotes the file, where somebody may have written a key instead of its variable
        raise BadProjects(f"TRACES_PROJECTS_FILE={path} cannot be used: {said_of(error)}") from None


def _of_environment(settings: ProjectsSettings) -> Destination:
    project = Project(
        url=settings.langfuse_host or "", environment=settings.traces_environment, redact=settings.traces_redact
    )
    secret = settings.langfuse_secret_key.get_secret_value() if settings.langfuse_secret_key else ""
    return Destination(name=DEFAULT, project=project, headers=_langfuse(settings.langfuse_public_key or "", secret))


def _destination(name: str, project: Project) -> Destination:
    if name == NO_PROJECT:
        raise BadProjects("TRACES_PROJECTS_FILE: a project cannot be called none: that stands for no traces")
    if project.kind == "langfuse":
        keys = (_variable(name, project.public_key_env), _variable(name, project.secret_key_env))
        return Destination(name=name, project=project, headers=_langfuse(*keys))
    if project.headers_env is None:
        return Destination(name=name, project=project, headers={})
    pairs = (pair.partition("=") for pair in _variable(name, project.headers_env).split(",") if pair.strip())
    headers = {header.strip(): unquote(value.strip()) for header, _, value in pairs}
    return Destination(name=name, project=project, headers=headers)


def _langfuse(public: str, secret: str) -> dict[str, str]:
    pair = base64.b64encode(f"{public}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {pair}", "x-langfuse-ingestion-version": "4"}


def _variable(project: str, name: str | None) -> str:
    """What a variable holds, or the file that its `_FILE` twin names."""
    if name is None:
        raise BadProjects(f"TRACES_PROJECTS_FILE: project {project} needs public_key_env and secret_key_env")
    try:
        if path := os.environ.get(f"{name}_FILE"):
            return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadProjects(f"{name}_FILE names {path}, which cannot be read: {type(error).__name__}") from error
    if not (value := os.environ.get(name)):
        raise BadProjects(f"TRACES_PROJECTS_FILE: project {project} needs the variable {name}, which is not set")
    return value
