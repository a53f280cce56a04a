"""Errors with a meaning for the caller; each has a stable code, which the API maps to problem details."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Flaw:
    """One thing that is wrong with a request; `pointer` is a JSON pointer (RFC 6901) into the body."""

    pointer: str
    detail: str


class DomainProblem(Exception):
    """A request that the platform understood and declines."""

    code = "internal"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class NotFound(DomainProblem):
    code = "not_found"


class Conflict(DomainProblem):
    code = "conflict"


class Forbidden(DomainProblem):
    code = "forbidden"


class Unauthenticated(DomainProblem):
    code = "unauthenticated"


class RunFinished(Conflict):
    code = "run_finished"


class AgentArchived(Conflict):
    code = "agent_archived"


class NoPromotedVersion(Conflict):
    code = "no_promoted_version"


class ProvisioningNotConfigured(Conflict):
    code = "provisioning_not_configured"


class TenantSuspended(Forbidden):
    code = "tenant_suspended"


class ModelNotAllowed(Forbidden):
    code = "model_not_allowed"


class QuotaExceeded(Conflict):
    code = "quota_exceeded"


class LimitReached(DomainProblem):
    """A limit of the tenant's plan that frees itself; `retry_after` is in seconds."""

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class RateLimited(LimitReached):
    code = "rate_limited"


class TooManyRuns(LimitReached):
    code = "too_many_runs"


class PayloadTooLarge(DomainProblem):
    code = "payload_too_large"


class UnsupportedMediaType(DomainProblem):
    code = "unsupported_media_type"


class IdempotencyKeyReused(DomainProblem):
    code = "idempotency_key_reused"


class IdempotencyKeyInUse(Conflict):
    code = "idempotency_key_in_use"


class InvalidRequest(DomainProblem):
    code = "invalid_request"

    def __init__(self, detail: str, flaws: tuple[Flaw, ...] = ()) -> None:
        super().__init__(detail)
        self.flaws = flaws


class SecretsNotConfigured(DomainProblem):
    """There is no key to encrypt secrets with; the administrator of the platform has to set one."""

    code = "secrets_not_configured"


class DependencyUnavailable(DomainProblem):
    """A part that this request really needs does not answer; nothing was lost, and `retry_after` is in seconds."""

    code = "dependency_unavailable"

    def __init__(self, dependency: str, detail: str, retry_after: int = 5) -> None:
        super().__init__(detail)
        self.dependency = dependency
        self.retry_after = retry_after


@dataclass(frozen=True)
class Failure:
    """Why a run ended as `failed`: a typed code and a sentence that helps."""

    code: str
    message: str = field(default="")
