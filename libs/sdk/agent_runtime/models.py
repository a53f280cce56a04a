"""What the API answers with, typed; unknown fields are kept, so that an older client reads a newer API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Self, TypedDict

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from agent_runtime.failures import AnswerNotUnderstood

FINISHED = frozenset({"completed", "failed", "cancelled"})
TERMINAL_EVENTS = frozenset({"run.completed", "run.failed", "run.cancelled"})


class Document(BaseModel):
    """A JSON object of the API: frozen, tolerant of fields that this version does not know."""

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)
    _source: Mapping[str, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def received(cls, data: Any) -> Self:
        """Read one JSON object. Raises `AnswerNotUnderstood` when it does not have the shape."""
        try:
            document = cls.model_validate(data)
        except ValidationError as error:
            places = ", ".join(".".join(str(part) for part in flaw["loc"]) or "the answer" for flaw in error.errors())
            raise AnswerNotUnderstood(f"the API's {cls.__name__} does not have the expected shape: {places}") from None
        document._source = data
        return document

    def as_json(self) -> dict[str, Any]:
        """The object exactly as the API sent it."""
        return dict(self._source) or self.model_dump(mode="json")


class ApiVersion(Document):
    """`version` is the server's release, `api` the version in the paths (`v1`), `issuer` whose tokens it believes."""

    version: str
    api: str = "v1"
    issuer: str = ""


class User(Document):
    """A user of a tenant at the issuer; `id` is the `sub` of its tokens.

    `status` is `invited` (has not signed in yet), `active` or `removed`; `role` is `operator`, `user` or null.
    """

    id: str
    username: str
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    role: str | None = None
    status: str = "active"
    blocked: bool = False
    created_at: datetime | None = None


class InvitedUser(User):
    """A user with the `temporary_password` for the first login; null in an answer that was repeated: invite again."""

    temporary_password: str | None = Field(default=None, repr=False)


class ServiceAccount(Document):
    """A client of the issuer that acts for the tenant in this role; `client_id` is null while it is not made yet."""

    name: str
    role: str
    client_id: str | None = None
    created_at: datetime | None = None
    created_by: str | None = None
    rotated_at: datetime | None = None


class ServiceAccountSecret(ServiceAccount):
    """A service account with its `client_secret`; null in an answer that was repeated: rotate then.

    It gets its tokens at `token_url`, with `grant_type=client_credentials`.
    """

    client_secret: str | None = Field(default=None, repr=False)
    token_url: str | None = None


class Block(Document):
    """A user (`subject` is the `sub` of its tokens) who is kept out, whatever its tokens say."""

    subject: str
    reason: str = ""
    blocked_by: str | None = None
    blocked_at: datetime | None = None


class TenantPlan(Document):
    """What tenants of a plan may use: requests per second, runs at once and waiting, bytes of artifacts, models.

    A limit that is None does not exist; `allowed_models` are `provider/model` or `provider/*`. The others are how many
    a tenant may have, `agent_versions` of each agent.
    """

    slug: str
    requests_per_second: int | None = None
    running_runs: int | None = None
    queued_runs: int | None = None
    artifact_bytes: int | None = None
    allowed_models: list[str] | None = None
    agents: int | None = None
    agent_versions: int | None = None
    secrets: int | None = None
    service_accounts: int | None = None
    users: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Tenant(Document):
    """`status` is `active`, `suspended` or `deleting`, `plan` the slug of its plan."""

    id: str
    slug: str
    name: str | None = None
    status: str = "active"
    plan: str = "default"
    created_at: datetime | None = None
    operator: InvitedUser | None = None  # the first operator, in the answer to the creation that asked for one
    retention_days: int | None = None


class Agent(Document):
    """`promoted_version` is the version that new runs get; `archived_at` is set when the agent takes no more runs."""

    slug: str
    id: str | None = None
    description: str | None = None
    promoted_version: int | None = None
    archived_at: datetime | None = None
    created_at: datetime | None = None


class AgentVersion(Document):
    """An immutable spec; `digest` is `sha256:` and hex, `number` counts from 1 within the agent."""

    agent: str
    number: int
    digest: str
    spec: dict[str, Any] = Field(default_factory=dict)
    promoted: bool = False
    created_at: datetime | None = None
    created_by: str | None = None


class Secret(Document):
    """What is known of a secret; its value is not."""

    name: str
    created_at: datetime | None = None
    created_by: str | None = None
    updated_at: datetime | None = None
    updated_by: str | None = None


class Limits(TypedDict, total=False):
    """What one run may use at most: model calls, tokens in and out, US dollars, seconds since it was accepted."""

    steps: int
    tokens: int
    cost_usd: Decimal | str
    seconds: int


class Usage(Document):
    """Tokens, and their cost in US dollars; `estimated` when a part was never reported by the provider.

    `unpriced_calls` are model calls that had no price: they count as 0 dollars.
    """

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    estimated: bool = False
    unpriced_calls: int = 0


class RunFailure(Document):
    """Why a run failed: a stable code (`budget_exceeded`, `model_error`, …) and a sentence."""

    code: str
    message: str = ""


class Run(Document):
    """One execution of an agent. Items of a list come without `input` and `output`.

    `status` is one of queued running waiting pausing paused cancelling completed failed cancelled; `desired` (run,
    paused, cancelled) is what was asked of it last. `last_seq` is the number of its latest event.
    """

    id: str
    agent: str
    version: int
    status: str
    waiting_for: str | None = None
    desired: str = "run"
    input: Any = None
    output: Any = None
    error: RunFailure | None = None
    usage: Usage = Usage()
    steps: int = 0
    labels: dict[str, str] = Field(default_factory=dict)
    priority: int = 3
    created_by: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deadline_at: datetime | None = None
    last_seq: int = 0

    @property
    def finished(self) -> bool:
        """Whether the run has ended, in whatever way."""
        return self.status in FINISHED

    @property
    def succeeded(self) -> bool:
        return self.status == "completed"


class Event(Document):
    """One durable fact of a run. `seq` counts from 1 without gaps; `type` (`model.completed`, …) shapes `data`.

    `large` names, by JSON pointer into `data`, the values over 64 KiB that are left out of it, with size and sha256.
    """

    seq: int
    type: str
    data: dict[str, Any] = Field(default_factory=dict)
    at: datetime | None = None
    version: int = 1
    large: dict[str, Any] | None = None

    @property
    def terminal(self) -> bool:
        """Whether this is the run's last event."""
        return self.type in TERMINAL_EVENTS


class Delta(Document):
    """A piece of an answer in progress; worth showing, never worth keeping. `index` counts the pieces of an attempt."""

    turn: int
    attempt: int
    index: int
    base_seq: int = 0
    text: str = ""


class Artifact(Document):
    """A file. `size` is in bytes, `sha256` in hex, `run_id` the run that made it or null for an upload."""

    id: str
    name: str
    media_type: str
    size: int
    sha256: str
    run_id: str | None = None
    created_at: datetime | None = None
    created_by: str | None = None


class AuditEntry(Document):
    """One administrative act or refusal; `seq`, `previous` and `hash` are None until it is sealed, within seconds."""

    tenant_id: str
    id: str
    at: datetime
    actor: str
    source: str
    action: str
    target: str
    before: Any = None
    after: Any = None
    seq: int | None = None
    previous: str | None = None
    hash: str | None = None


class Erasure(Document):
    """What is erased and how far it has come; counts are by store, as `database.runs`, `objects`, `redis.keys`.

    `kind` is run, subject, tenant or retention; `status` pending, running or done. `waiting_for` names a store that is
    away, or runs that have not ended. `remaining` is what the last check found: all zero when it is done.
    """

    id: str
    kind: str
    status: str
    run_id: str | None = None
    user: str | None = None
    tenant: str | None = None
    finished_before: datetime | None = None
    waiting_for: str | None = None
    requested_by: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    found: dict[str, int] | None = None
    removed: dict[str, int] = Field(default_factory=dict)
    remaining: dict[str, int] | None = None
    checked_at: datetime | None = None

    @property
    def done(self) -> bool:
        """Whether everything is gone, as a check has found."""
        return self.status == "done"
