"""What the command's exit codes mean, and which failure ends in which."""

from __future__ import annotations

from agent_runtime import AgentRuntimeFailure, ApiProblem, Unusable, WaitExpired

from deploy.embedded.failures import StackFailure
from services.cli.oauth import LoginEnded, LoginRefused

RUN_FAILED = 1
USAGE = 2
DECLINED = 3
UNREACHABLE = 4
INTERRUPTED = 130

EPILOG = """Exit codes: 0 done · 1 the run that was followed failed or was cancelled · 2 wrong usage ·
3 the API said no (4xx), or the issuer · 4 the API cannot be reached or failed (5xx) · 130 interrupted."""


def exit_code(failure: Exception) -> int:
    """The code for a failure that is expected."""
    if isinstance(failure, ApiProblem):
        return UNREACHABLE if failure.status >= 500 else DECLINED
    if isinstance(failure, LoginEnded | LoginRefused):
        return DECLINED
    if isinstance(failure, Unusable | OSError):
        return USAGE
    return RUN_FAILED if isinstance(failure, WaitExpired) else UNREACHABLE


def explanation(failure: Exception) -> str:
    """What happened and what to do, in as many lines as it takes."""
    if isinstance(failure, ApiProblem):
        flaws = [f"  {flaw.pointer}: {flaw.detail}" if flaw.pointer else f"  {flaw.detail}" for flaw in failure.errors]
        return "\n".join([failure.detail or failure.title or failure.code, *flaws])
    if isinstance(failure, OSError) and failure.strerror:
        return f"{failure.filename}: {failure.strerror}" if failure.filename else failure.strerror
    return str(failure)


def as_document(failure: Exception) -> dict[str, object]:
    """The failure for programs: a problem document, or one of the same shape."""
    if isinstance(failure, ApiProblem):
        return failure.as_json()
    return {"code": type(failure).__name__, "detail": explanation(failure)}


EXPECTED = (AgentRuntimeFailure, StackFailure, OSError)
