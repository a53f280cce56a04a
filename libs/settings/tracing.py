"""Whether the platform traces itself, and to where; the names are OpenTelemetry's."""

from __future__ import annotations

from urllib.parse import unquote

from pydantic import Field, SecretStr

from libs.settings.environment import Environment

PATH = "/v1/traces"


class TracingSettings(Environment):
    """Off without an endpoint: nothing of OpenTelemetry is loaded then."""

    otel_exporter_otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^@\s]+$",
        description="receiver of the platform's own traces by OTLP/HTTP; /v1/traces is added. Not traced if not set",
    )
    otel_exporter_otlp_headers: SecretStr | None = Field(
        None, description="what that receiver wants, NAME=VALUE by comma, percent-encoded"
    )
    otel_traces_sampler_arg: float = Field(1.0, ge=0, le=1, description="share of runs that are traced")

    @property
    def traces_endpoint(self) -> str | None:
        """The full URL; None where nothing is traced."""
        endpoint = self.otel_exporter_otlp_endpoint
        return endpoint.rstrip("/") + PATH if endpoint else None

    @property
    def traces_headers(self) -> dict[str, str]:
        text = self.otel_exporter_otlp_headers.get_secret_value() if self.otel_exporter_otlp_headers else ""
        pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
        return {name.strip(): unquote(value.strip()) for name, _, value in pairs}
