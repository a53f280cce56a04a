"""What can go wrong between a program and the API, named by what happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent_runtime.models import Run


class AgentRuntimeFailure(Exception):
    """Everything this package raises on purpose."""


class Unusable(AgentRuntimeFailure, ValueError):
    """An argument, a URL or a token that cannot be sent as it is; nothing was sent."""


class ApiUnreachable(AgentRuntimeFailure):
    """No answer came, however often it was tried; a request that changes something may or may not have been done."""


class AnswerNotUnderstood(AgentRuntimeFailure):
    """Something answered that is not this API, or a version that this client cannot read."""


class StreamBroken(AgentRuntimeFailure):
    """A stream of events could not be followed to its end, although the API answers."""


class DigestMismatch(AgentRuntimeFailure):
    """The bytes that arrived are not the bytes of the artifact; nothing was kept of them."""


class WaitExpired(AgentRuntimeFailure):
    """The run has not ended within the time given; it goes on. `run` is how it stood."""

    def __init__(self, run: Run) -> None:
        super().__init__(
            f"run {run.id} has not ended in time (it is {run.status}); it goes on, wait again or cancel it"
        )
        self.run = run


@dataclass(frozen=True)
class Flaw:
    """One thing that is wrong with a request; `pointer` is a JSON pointer into its body."""

    pointer: str
    detail: str


class ApiProblem(AgentRuntimeFailure):
    """The API answered with an error.

    `status` is the HTTP status, `code` a stable word to branch on, `detail` says what to do, `errors` names the flaws
    of the request one by one, `retry_after` is in seconds where the API gave it.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        title: str = "",
        errors: tuple[Flaw, ...] = (),
        retry_after: float | None = None,
        document: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{detail or title or code} ({status} {code})")
        self.status = status
        self.code = code
        self.detail = detail
        self.title = title
        self.errors = errors
        self.retry_after = retry_after
        self._document = dict(document or {})

    def as_json(self) -> dict[str, Any]:
        """The problem document as it was sent, or what is known of it."""
        return self._document or {"status": self.status, "code": self.code, "detail": self.detail}


class InvalidRequest(ApiProblem):
    """The request is not valid; `errors` says where."""


class Unauthenticated(ApiProblem):
    """The token is missing, expired or not accepted."""


class Forbidden(ApiProblem):
    """The token's roles do not allow this."""


class TenantSuspended(Forbidden):
    """The tenant is suspended."""


class NotFound(ApiProblem):
    """There is no such thing, or it belongs to another tenant."""


class Conflict(ApiProblem):
    """The request does not fit the present state."""


class RunFinished(Conflict):
    """The run has ended and cannot be controlled any more."""


class AgentArchived(Conflict):
    """The agent takes no more runs."""


class NoPromotedVersion(Conflict):
    """The agent has no promoted version, and the request named none."""


class ModelNotAllowed(Forbidden):
    """The plan of the tenant does not allow the agent's model; `detail` names those that it allows."""


class QuotaExceeded(Conflict):
    """The plan of the tenant allows no more of this: bytes of artifacts, agents, versions, secrets, accounts, users."""


class IdempotencyKeyReused(ApiProblem):
    """The key was used before with another body."""


class PayloadTooLarge(ApiProblem):
    """The body is larger than the API takes."""


class TooManyRequests(ApiProblem):
    """A rate limit was reached; `retry_after` says how long to wait."""


class TooManyRuns(TooManyRequests):
    """As many runs as the tenant's plan allows wait for their turn."""


class ServerFailed(ApiProblem):
    """The API failed (5xx); nothing is wrong with the request."""


class DependencyUnavailable(ServerFailed):
    """The API misses a part that this request needs; it comes back by itself."""


class SecretsNotConfigured(ServerFailed):
    """The platform has no key to encrypt secrets with; its administrator has to set one."""


BY_CODE: dict[str, type[ApiProblem]] = {
    "tenant_suspended": TenantSuspended,
    "run_finished": RunFinished,
    "agent_archived": AgentArchived,
    "no_promoted_version": NoPromotedVersion,
    "model_not_allowed": ModelNotAllowed,
    "quota_exceeded": QuotaExceeded,
    "too_many_runs": TooManyRuns,
    "idempotency_key_reused": IdempotencyKeyReused,
    "dependency_unavailable": DependencyUnavailable,
    "secrets_not_configured": SecretsNotConfigured,
}
BY_STATUS: dict[int, type[ApiProblem]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: PayloadTooLarge,
    422: InvalidRequest,
    429: TooManyRequests,
}


def problem_class(status: int, code: str) -> type[ApiProblem]:
    """The most telling class for a problem: by its code, else by its status."""
    fallback = ServerFailed if status >= 500 else ApiProblem
    return BY_CODE.get(code) or BY_STATUS.get(status, fallback)
