"""Plans on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from libs.database.plans import PlanRow
from libs.domain.plans import MODEL_PATTERN, Plan
from services.api.schemas.shared import MAX_INT, Answered, Sent, rfc3339, to_json

MAX_BYTES = 2**53 - 1  # what every JSON reader takes
Pattern = Annotated[str, StringConstraints(pattern=MODEL_PATTERN)]
Positive = Annotated[int, Field(ge=1, le=MAX_INT, strict=True)]
NotNegative = Annotated[int, Field(ge=0, le=MAX_INT, strict=True)]
BEYOND = "beyond it 409 `quota_exceeded`"


class PlanWrite(Sent):
    """A plan as a whole: a limit that is null or left out does not exist."""

    requests_per_second: Positive | None = Field(default=None, description="beyond it 429 `rate_limited`")
    running_runs: Positive | None = Field(default=None, description="beyond it runs wait for their turn")
    queued_runs: NotNegative | None = Field(
        default=None, description="runs that wait for their turn; beyond it 429 `too_many_runs`"
    )
    artifact_bytes: Annotated[int, Field(ge=0, le=MAX_BYTES, strict=True)] | None = Field(
        default=None, description=f"what all artifacts may have together; {BEYOND}"
    )
    allowed_models: list[Pattern] | None = Field(
        default=None, max_length=100, description="`provider/model`, or `provider/*` for all of a provider"
    )
    agents: NotNegative | None = Field(default=None, description=f"archived ones among them; {BEYOND}")
    agent_versions: Positive | None = Field(default=None, description=f"of each agent; {BEYOND}")
    secrets: NotNegative | None = Field(default=None, description=BEYOND)
    service_accounts: NotNegative | None = Field(default=None, description=BEYOND)
    users: NotNegative | None = Field(default=None, description=f"invited and not removed; {BEYOND}")

    def named(self, slug: str) -> Plan:
        return Plan(slug, **self.model_dump())


class PlanRead(Answered):
    slug: str
    requests_per_second: int | None
    running_runs: int | None
    queued_runs: int | None
    artifact_bytes: int | None
    allowed_models: list[str] | None
    agents: int | None
    agent_versions: int | None
    secrets: int | None
    service_accounts: int | None
    users: int | None
    created_at: datetime
    updated_at: datetime


class PlanPage(Answered):
    items: list[PlanRead]
    next_cursor: str | None


def plan_json(row: PlanRow) -> str:
    times = {"created_at": rfc3339(row.created_at), "updated_at": rfc3339(row.updated_at)}
    return to_json({**row.plan._asdict(), **times})
