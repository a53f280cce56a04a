"""Which providers of models there are, and how long they may take."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr, ValidationError, field_validator

from libs.domain.runs import Price
from libs.settings.environment import Environment
from libs.settings.reasons import said_of

Money = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class BadProviders(ValueError):
    """MODEL_PROVIDERS_FILE cannot be used; the message says why."""


class ModelPrice(BaseModel):
    """USD per million tokens, and what the model can take."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_price: Money | None = None
    cached_input_price: Money | None = None
    output_price: Money | None = None
    context_window: int | None = Field(None, ge=1)  # tokens

    @property
    def price(self) -> Price | None:
        if self.input_price is None or self.output_price is None:
            return None
        cached = self.cached_input_price if self.cached_input_price is not None else self.input_price
        return Price(self.input_price, cached, self.output_price)


class Provider(BaseModel):
    """An OpenAI-compatible endpoint. Its key is named, not written: `api_key_env` is a variable of the worker.

    `local` says that nobody bills its models: those without a price are free, not unpriced.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str
    api_key_env: str | None = None
    headers: dict[str, str] = {}
    models: dict[str, ModelPrice] = {}
    local: bool = False

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        HttpUrl(value)
        return value

    @field_validator("models", mode="before")
    @classmethod
    def _absent_is_empty(cls, value: Any) -> Any:
        return {name: price or {} for name, price in value.items()} if isinstance(value, dict) else value

    @property
    def api_key(self) -> SecretStr | None:
        """The key, from the variable or from the file that its `_FILE` twin names."""
        if self.api_key_env is None:
            return None
        if path := os.environ.get(f"{self.api_key_env}_FILE"):
            return SecretStr(Path(path).read_text(encoding="utf-8").strip())
        value = os.environ.get(self.api_key_env)
        return SecretStr(value) if value else None

    def knows(self, model: str) -> bool:
        return not self.models or model in self.models or "*" in self.models

    def price(self, model: str) -> Price | None:
        known = self.models.get(model) or self.models.get("*")
        return known.price if known else None


class ModelSettings(Environment):
    """OpenAI-compatible providers, local models too."""

    model_providers_file: Path | None = Field(None, description="YAML: providers by name, see docs/models.md")
    model_connect_timeout_seconds: float = Field(5, gt=0, description="to open a connection to a provider")
    model_idle_timeout_seconds: float = Field(60, gt=0, description="a stream that is silent for so long is broken")
    model_call_timeout_seconds: float = Field(1800, gt=0, description="one model call, from request to last chunk")
    model_attempts: int = Field(6, ge=1, description="failed attempts at one turn after which the run fails")


def load_providers(path: Path | None) -> dict[str, Provider]:
    """The configured providers.

    Raises:
        BadProviders: the file cannot be read or does not fit.
    """
    if path is None:
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return {name: Provider.model_validate(value) for name, value in content["providers"].items()}
    except (KeyError, TypeError, AttributeError):
        raise BadProviders(f"MODEL_PROVIDERS_FILE={path} must hold `providers:` and each by its name") from None
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise BadProviders(f"MODEL_PROVIDERS_FILE={path} cannot be used: {said_of(error)}") from None
