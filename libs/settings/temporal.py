"""Where Temporal is."""

from __future__ import annotations

from pydantic import Field, SecretStr

from libs.settings.environment import Environment


class TemporalSettings(Environment):
    """Temporal 1.29 or later, self-hosted or Temporal Cloud."""

    temporal_address: str = Field(description="HOST:PORT of the frontend")
    temporal_namespace: str = Field("default", description="namespace that has the search attribute TenantId=Keyword")
    temporal_task_queue: str = Field("agent-runs", description="task queue of the platform's workflows and activities")
    temporal_tls: bool = Field(False, description="TLS to Temporal; implied by an API key or a client certificate")
    temporal_ca_file: str | None = Field(None, description="CA bundle (PEM) of Temporal's certificate")
    temporal_client_cert_file: str | None = Field(None, description="client certificate (PEM) for mTLS")
    temporal_client_key_file: str | None = Field(None, description="key (PEM) of the client certificate")
    temporal_api_key: SecretStr | None = Field(None, description="API key (Temporal Cloud)")
