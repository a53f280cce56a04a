"""What an agent is: its spec, validated once, when a version is made."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from libs.domain.schemas import schema_problem
from libs.domain.secrets import SecretReference
from libs.domain.tool_specs import HttpToolSpec, ToolSpec, repeated_functions

MAX_INSTRUCTIONS = 100_000  # characters
MAX_TOOLS = 64
MAX_SECRETS = 32  # each is looked for, in many forms, in whatever comes back from a call


class Strict(BaseModel):
    """A part of a spec: unknown fields are mistakes, not extensions."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Parameters(Strict):
    """Sampling parameters, by their names in the OpenAI API."""

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: list[Annotated[str, Field(min_length=1, max_length=100)]] | None = Field(None, max_length=4)


class Limits(Strict):
    """What one run may use at the most; at a limit it ends as `budget_exceeded` or `deadline_exceeded`."""

    steps: int | None = Field(None, ge=1, le=10_000, description="model calls that were answered")
    tokens: int | None = Field(None, ge=1, le=10**12, description="input and output tokens together")
    cost_usd: Decimal | None = Field(None, gt=0, le=10**9, allow_inf_nan=False)
    seconds: int | None = Field(None, ge=1, le=366 * 86_400, description="from the moment the run was accepted")

    def within(self, other: Limits) -> Limits:
        """The tighter of two, limit by limit."""
        mine, theirs = self.model_dump(), other.model_dump()
        tightest = {name: min((v for v in (mine[name], theirs[name]) if v is not None), default=None) for name in mine}
        return Limits(**tightest)


PROMPT_NAME = Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$", description="of the prompt in LangFuse")


class PromptReference(Strict):
    """Instructions that are a prompt of LangFuse: they are fetched once, when the version is made."""

    prompt: str = PROMPT_NAME
    label: str | None = Field(None, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")
    version: int | None = Field(None, ge=1, le=2**31 - 1)

    @model_validator(mode="after")
    def _names_one(self) -> PromptReference:
        if self.label is not None and self.version is not None:
            raise ValueError("names a label and a version; one of them says which text is meant")
        return self


class PinnedPrompt(Strict):
    """The prompt whose text the instructions are."""

    name: str = PROMPT_NAME
    version: int = Field(ge=1, le=2**31 - 1)


class _Spec(Strict):
    """What a spec says beside its instructions."""

    model: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}/[^\s\x00-\x1f]{1,200}$", description="provider/name")
    provider_key: SecretReference | None = Field(
        None, description="the tenant's own key at the provider, sent as a bearer token in place of the platform's"
    )
    parameters: Parameters = Parameters()
    tools: tuple[ToolSpec, ...] = Field((), max_length=MAX_TOOLS)
    output_schema: dict[str, Any] | None = None
    prompt: PinnedPrompt | None = Field(
        None, description="the prompt of LangFuse that the instructions were taken from"
    )
    limits: Limits = Limits()

    @field_validator("output_schema")
    @classmethod
    def _is_a_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None and (problem := schema_problem(schema)):
            raise ValueError(problem)
        return schema

    @model_validator(mode="after")
    def _names_each_function_once(self) -> Self:
        if repeated := repeated_functions(self.tools):
            raise ValueError(f"tools offer a function more than once: {', '.join(repeated)}")
        if len(set(self.secrets.values())) > MAX_SECRETS:
            raise ValueError(f"names more than {MAX_SECRETS} secrets")
        return self

    @property
    def secrets(self) -> dict[str, str]:
        """The name of each secret that is needed, by the JSON pointer of the place that names it."""
        found = {"/provider_key": self.provider_key.secret} if self.provider_key else {}
        for number, tool in enumerate(self.tools):
            if isinstance(tool, HttpToolSpec):
                found |= {f"/tools/{number}/headers/{_token(name)}": secret for name, secret in tool.secrets.items()}
        return found

    @property
    def provider(self) -> str:
        return self.model.split("/", 1)[0]

    @property
    def model_name(self) -> str:
        return self.model.split("/", 1)[1]


class AgentSpec(_Spec):
    """One version of an agent; immutable once made."""

    instructions: str = Field("", max_length=MAX_INSTRUCTIONS)


class AgentDraft(_Spec):
    """A spec as it is sent: its instructions may name a prompt of LangFuse, whose text they become."""

    instructions: Annotated[str, Field(max_length=MAX_INSTRUCTIONS)] | PromptReference = ""

    @model_validator(mode="after")
    def _is_pinned_once(self) -> AgentDraft:
        if self.prompt is not None and isinstance(self.instructions, PromptReference):
            raise ValueError("instructions name a prompt, and `prompt` says that they were taken from one")
        return self


def _token(name: str) -> str:
    """A member's name within a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def digest(spec: dict[str, Any]) -> str:
    """The content digest of a spec: SHA-256 over its JSON with sorted keys."""
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
