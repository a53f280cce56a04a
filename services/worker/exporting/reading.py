"""Reads a run as its trace needs it: what is said of it, its log by pages, its ledger; of large values their head."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

from libs.clients.object_store import ObjectStore
from libs.database import events as log
from libs.database import projections, usage_rows
from libs.database.engine import Database
from libs.database.events import EventRow
from libs.database.projections import TracedRun
from libs.database.usage_rows import LedgerRow
from libs.domain.errors import NotFound
from libs.domain.events import RUN_COMPLETED
from libs.domain.texts import dump
from libs.domain.traces import Span, Value
from services.worker.exporting.content import Content
from services.worker.exporting.fold import About, Shown, read_labels

PAGE = 20  # events
GONE = "[no longer in the object store]"


class Reader:
    """Reads runs as their tenants."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database = database
        self._objects = objects

    async def run(self, tenant_id: UUID, run_id: UUID) -> TracedRun | None:
        async with self._database.tenant(tenant_id) as connection:
            return await projections.traced_run(connection, run_id)

    async def about(self, run_id: UUID, run: TracedRun, content: Content, environment: str) -> About:
        """What its trace says of it beside its log."""
        spec = json.loads(run.spec)
        provider, _, model = str(spec["model"]).partition("/")
        instructions, pinned = str(spec.get("instructions") or ""), spec.get("prompt")
        return About(
            run_id,
            run.tenant,
            run.agent,
            run.version,
            run.created_by,
            read_labels(run.labels),
            environment,
            run.created_at,
            await self._input(run, content),
            content.text(instructions) if instructions else "",
            provider,
            model,
            {name: value for name, value in (spec.get("parameters") or {}).items() if value is not None},
            (pinned["name"], pinned["version"]) if pinned else None,
        )

    async def _input(self, run: TracedRun, content: Content) -> str:
        if run.input_object is not None:
            return await self._large(json.loads(run.input_object), content, is_json=True)
        value = json.loads(run.input or "null")
        return content.text(value if isinstance(value, str) else dump(value))

    async def events(self, tenant_id: UUID, run_id: UUID, after: int, content: Content) -> list[Shown]:
        """The next events; none when there are no more."""
        async with self._database.single() as connection:
            rows = await log.page(connection, tenant_id, run_id, after, PAGE)
        return [await self._shown(row, content) for row in rows]

    async def _shown(self, row: EventRow, content: Content) -> Shown:
        event = Shown(row.seq, row.type, json.loads(row.data), row.at, row.version)
        if not row.refs:
            return event
        large = {
            name.strip("/"): await self._large(ref, content, is_json=row.type == RUN_COMPLETED)
            for name, ref in json.loads(row.refs).items()
        }
        return replace(event, large=large)

    async def _large(self, ref: dict[str, Any], content: Content, *, is_json: bool) -> str:
        head = b""
        if content.reads_objects:
            try:
                async for chunk in self._objects.stream(ref["key"], 0, content.limit - 1):
                    head += chunk
            except NotFound:
                return GONE
        return content.large(ref, head, is_json=is_json)

    async def priced(self, tenant_id: UUID, run_id: UUID, spans: list[Span]) -> list[Span]:
        """The spans, those of model calls with what the ledger says of them."""
        turns = {span.call[0] for span in spans if span.call}
        if not turns:
            return spans
        async with self._database.tenant(tenant_id) as connection:
            rows = await usage_rows.of_turns(connection, run_id, sorted(turns))
        return [_with_usage(span, rows.get(span.call)) if span.call else span for span in spans]


def _with_usage(span: Span, row: LedgerRow | None) -> Span:
    """Tokens by kinds that do not overlap, and the ledger's cost to the last digit."""
    if row is None:
        return span
    tokens = {  # some providers count cached and reasoning tokens beside the others, not among them
        "input": max(row.input_tokens - row.cached_input_tokens, 0),
        "input_cached_tokens": row.cached_input_tokens,
        "output": max(row.output_tokens - row.reasoning_tokens, 0),
        "output_reasoning_tokens": row.reasoning_tokens,
        "total": row.input_tokens + row.output_tokens,
    }
    more: dict[str, Value] = {
        "langfuse.observation.usage_details": dump(tokens),
        "langfuse.observation.cost_details": f'{{"total":{row.cost:f}}}',
        "langfuse.observation.metadata.ledger": row.state,
        "langfuse.observation.metadata.cost_usd": f"{row.cost:f}",
        "gen_ai.usage.input_tokens": row.input_tokens,
        "gen_ai.usage.output_tokens": row.output_tokens,
    }
    if not row.priced:
        more["langfuse.observation.metadata.unpriced"] = True
    return replace(span, attributes={**span.attributes, **more})
