"""The client with which the API makes users and service accounts of tenants in Keycloak."""

from __future__ import annotations

from pydantic import Field, SecretStr

from libs.settings.oidc import OidcSettings

_REALMS = "/realms/"


class KeycloakSettings(OidcSettings):
    """Without a secret, users and service accounts are made at the issuer by its own administrator."""

    keycloak_admin_url: str | None = Field(
        None,
        pattern=r"^https?://[^/@\s]+(/[^@\s]*)?/admin/realms/[^/@\s]+/?$",
        description="http(s)://HOST/admin/realms/REALM as seen from this process; by default from OIDC_JWKS_URL",
    )
    keycloak_provisioner_id: str = Field(
        "agent-runtime-provisioner", min_length=1, description="client that makes users and service accounts"
    )
    keycloak_provisioner_secret: SecretStr | None = Field(
        None, description="its secret; without one, tenants' users and service accounts are not managed from here"
    )

    @property
    def admin_url(self) -> str:
        """Where the realm is administered."""
        if self.keycloak_admin_url:
            return self.keycloak_admin_url.rstrip("/")
        server, _, rest = self.oidc_jwks_url.partition(_REALMS)
        return f"{server}/admin{_REALMS}{rest.partition('/')[0]}"
