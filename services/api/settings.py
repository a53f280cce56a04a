"""What the API reads from its environment, once, in `main`."""

from __future__ import annotations

from pydantic import Field, field_validator

from libs.settings.database import DatabaseSettings
from libs.settings.keycloak import KeycloakSettings
from libs.settings.liveness import LivenessSettings
from libs.settings.object_store import ObjectStoreSettings
from libs.settings.redis import RedisSettings
from libs.settings.secrets import SecretsSettings
from libs.settings.temporal import TemporalSettings
from libs.settings.traces import ProjectsSettings
from libs.settings.tracing import TracingSettings
from services.api.sources import parse_networks


class ApiSettings(
    DatabaseSettings,
    RedisSettings,
    TemporalSettings,
    ObjectStoreSettings,
    KeycloakSettings,
    SecretsSettings,
    LivenessSettings,
    TracingSettings,
    ProjectsSettings,
):
    """The control plane and everything it speaks to."""

    api_host: str = Field(default="127.0.0.1", description="address to listen on")
    api_port: int = Field(default=8080, ge=0, le=65535, description="port to listen on")
    trusted_proxies: str = Field(
        default="",
        description="addresses or networks, by comma, whose X-Forwarded-For is believed; nobody's if not set",
    )
    api_replicas: int = Field(
        default=1, ge=1, description="how many share a tenant's requests per second while Redis is away"
    )
    api_count_seconds: float = Field(
        default=10, gt=0, description="how often runs by state and workers are counted for /metrics"
    )
    log_level: str = Field(default="INFO", pattern="^(?i:debug|info|warning|error)$", description="least level logged")

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        parse_networks(value)
        return value
