"""Prompts of LangFuse that specs name: read when a version is made, and pinned, so that no run needs LangFuse."""

from __future__ import annotations

from typing import Any

from libs.clients.langfuse import PromptUnusable
from libs.database import idempotency, tenants
from libs.domain.agents import MAX_INSTRUCTIONS, AgentDraft, PromptReference
from libs.domain.errors import Flaw, InvalidRequest
from services.api.answers import Answer
from services.api.dependencies import Call
from services.api.operations.idempotency import replay


async def answered_before(call: Call, draft: AgentDraft) -> Answer | None:
    """The first answer to a repeated request, before a prompt is read: it is not to depend on LangFuse."""
    if call.key is None or not isinstance(draft.instructions, PromptReference):
        return None
    async with call.services.database.tenant(call.tenant_id) as connection:
        if await idempotency.read(connection, call.key) is None:
            return None
        return await replay(connection, call.key)


async def pinned(call: Call, draft: AgentDraft) -> tuple[dict[str, Any], dict[str, Any]]:
    """The spec as it is kept, with the text of the prompt that it names; and what the audit log says of that.

    Raises:
        InvalidRequest: there is no such prompt, or it cannot be instructions.
        DependencyUnavailable: LangFuse does not answer.
    """
    sent: dict[str, Any] = call.sent["spec"]
    wanted = draft.instructions
    if not isinstance(wanted, PromptReference):
        return sent, {}
    if call.services.prompts is None:
        raise _unusable(
            "This platform is not connected to LangFuse (LANGFUSE_HOST). Write the instructions themselves."
        )
    try:
        prompt = await call.services.prompts.read(await _slug(call), wanted)
    except PromptUnusable as problem:
        raise _unusable(str(problem)) from None
    if len(prompt.text) > MAX_INSTRUCTIONS:
        raise _unusable(f"The prompt {prompt.name} is longer than {MAX_INSTRUCTIONS} characters.")
    pin = {"name": prompt.name, "version": prompt.version}
    rest = {name: value for name, value in sent.items() if name != "prompt"}
    return {**rest, "instructions": prompt.text, "prompt": pin}, {"prompt": {**pin, "label": wanted.label}}


async def _slug(call: Call) -> str:
    async with call.services.database.tenant(call.tenant_id) as connection:
        tenant = await tenants.find(connection, call.tenant_id)
    return tenant.slug if tenant else ""


def _unusable(why: str) -> InvalidRequest:
    return InvalidRequest("The instructions cannot be taken from this prompt.", (Flaw("/spec/instructions", why),))
