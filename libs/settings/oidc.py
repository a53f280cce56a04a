"""Whose access tokens are believed."""

from __future__ import annotations

from pydantic import Field

from libs.settings.environment import Environment


class OidcSettings(Environment):
    """An OpenID Connect issuer; Keycloak is the one that is tested."""

    oidc_issuer: str = Field(description="the exact `iss` of access tokens")
    oidc_jwks_url: str = Field(description="where the issuer's keys are fetched from, as seen from this process")
    oidc_audience: str = Field("agent-runtime-api", description="must be among a token's `aud`")
    oidc_ca_file: str | None = Field(None, description="CA bundle (PEM) for OIDC_JWKS_URL")
