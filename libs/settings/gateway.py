"""What Kong's configuration is filled from; no Python program reads these, kong/render.lua does."""

from __future__ import annotations

from pydantic import Field

from libs.settings.oidc import OidcSettings
from libs.settings.redis import RedisSettings


class GatewaySettings(OidcSettings, RedisSettings):
    """The names of the other programs, and what only the gateway knows: where each upstream is, and its ceilings."""

    oidc_audience: str = Field(description="must be among a token's `aud`")
    api_upstream_url: str = Field(description="http://HOST:PORT of the api, as seen from Kong")
    keycloak_upstream_url: str = Field(description="http://HOST:PORT of Keycloak, as seen from Kong")
    tenant_requests_per_minute: int = Field(
        gt=0, description="ceiling per tenant over all replicas; plans are narrower"
    )
    sign_in_requests_per_minute: int = Field(gt=0, description="ceiling per address for what needs no access token")
    console_url: str | None = Field(None, description="public URL of the console; it is routed, and CORS is on, if set")
    console_upstream_url: str | None = Field(None, description="http://HOST:PORT of the console; with CONSOLE_URL")
    langfuse_url: str | None = Field(None, description="public URL of LangFuse; it is routed if set")
    langfuse_upstream_url: str | None = Field(None, description="http://HOST:PORT of LangFuse; with LANGFUSE_URL")
    temporal_ui_url: str | None = Field(None, description="public URL of Temporal's UI; it is routed if set")
    temporal_ui_upstream_url: str | None = Field(
        None, description="http://HOST:PORT of Temporal's UI; with TEMPORAL_UI_URL"
    )
    temporal_ui_allow: str | None = Field(
        None, description="network (CIDR) that may see Temporal's UI; with TEMPORAL_UI_URL"
    )
