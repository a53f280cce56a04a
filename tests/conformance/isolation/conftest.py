"""The API process that the integration tests use."""

from __future__ import annotations

from tests.integration.api.conftest import api_url

__all__ = ["api_url"]
