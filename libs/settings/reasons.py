"""Why a file of settings cannot be used, without quoting it: somebody may have written a key there."""

from __future__ import annotations

import yaml
from pydantic import ValidationError


def said_of(error: Exception) -> str:
    """What is wrong and where, without what stands there."""
    if isinstance(error, ValidationError):
        found = error.errors(include_input=False, include_url=False, include_context=False)
        return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
