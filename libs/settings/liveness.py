"""When a worker counts as dead: the worker itself and whoever explains a run have to agree."""

from __future__ import annotations

from pydantic import Field

from libs.settings.environment import Environment


class LivenessSettings(Environment):
    """The same value for every process of a deployment."""

    worker_dead_after_seconds: float = Field(8, gt=0, description="age of a worker's row at which it counts as dead")
