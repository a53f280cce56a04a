"""The real API against its own OpenAPI document: `python -m tests.conformance.api`."""
