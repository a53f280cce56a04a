"""The calls about the audit log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

from agent_runtime.audit_chain import AuditHead, Verification, verify_chain
from agent_runtime.binding import AsyncCall, AsyncItems, AsyncNoun, Call, Items, Noun
from agent_runtime.delivery import ask, deliver, silently, walk
from agent_runtime.failures import AnswerNotUnderstood, ApiUnreachable
from agent_runtime.messages import get
from agent_runtime.models import AuditEntry
from agent_runtime.retry import Pauses, Retry
from agent_runtime.steps import Conversation, Emit, Flow, Flowing, Plan, Read, TransportFailed, Wait


def list_entries(
    *,
    actor: str | None = None,
    action: str | None = None,
    target: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    page_size: int = 50,
) -> Flow[AuditEntry]:
    """Entries, newest first, of the operator's tenant; an administrator's are those of the platform.

    `actor` is a subject, `action` an operation (`promote_agent_version`), `target` like `agent/helper`. Pages of
    `page_size` (1 to 200) are fetched as needed. Raises `Forbidden`, `InvalidRequest`.
    """
    params: list[tuple[str, object]] = [("actor", actor), ("action", action), ("target", target)]
    params += [("since", since), ("until", until), ("limit", page_size)]
    return walk(get("audit", params=params), AuditEntry)


def get_head() -> Plan[AuditHead | None]:
    """The place and hash of the last sealed entry, to be kept elsewhere; None before the first. Raises `Forbidden`."""

    def read(document: object) -> AuditHead | None:
        if not isinstance(document, dict):
            raise AnswerNotUnderstood("the answer is not a head")
        head = document.get("head")
        return AuditHead.parse(head) if isinstance(head, str) else None

    return ask(get("audit", "head"), read)


def export_entries() -> Flow[AuditEntry]:
    """All entries: the sealed ones in the order of their chain, then those that are not sealed yet.

    Goes on where a connection broke. Raises `Forbidden`, `ApiUnreachable`.
    """

    def converse(retry: Retry) -> Flowing[AuditEntry]:
        pauses = Pauses(retry)
        seen: set[str] = set()
        sealed = 0
        while True:
            lines = _Lines()
            try:
                request = get("audit", "export", params=[("after", sealed)])
                yield from deliver(request, retry, stream=True)
                while chunk := (yield Read()):
                    for entry in lines.feed(chunk):
                        pauses.reset()
                        if entry.id in seen:
                            continue
                        if entry.seq is None:
                            seen.add(entry.id)
                        else:
                            sealed = entry.seq
                        yield Emit(entry)
                return lines.end()
            except TransportFailed:
                pause = pauses.next()
                if pause is None:
                    raise ApiUnreachable("the export keeps breaking off; check the network and try again") from None
                yield Wait(pause)

    return Flow(converse)


def verify_log(*heads: AuditHead) -> Plan[Verification]:
    """Fetch the whole log and check it: against the server's head, and against heads that were kept elsewhere."""

    def converse(retry: Retry) -> Conversation[Verification]:
        current = yield from get_head().converse(retry)
        entries: list[AuditEntry] = []
        yield from silently(export_entries().converse(retry), entries.append)
        known = (*heads, current) if current else heads
        return verify_chain((entry.as_json() for entry in entries), known)

    return Plan(converse)


class _Lines:
    """Entries of a stream of JSON lines, wherever it is cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[AuditEntry]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield AuditEntry.received(_parsed(line))

    def end(self) -> None:
        if self._rest:
            raise AnswerNotUnderstood("the export ended in the middle of a line")


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        raise AnswerNotUnderstood("the export holds a line that is not JSON") from None


class Audit(Noun):
    """`client.audit`"""

    list = Items(list_entries)
    export = Items(export_entries)
    head = Call(get_head)
    verify = Call(verify_log)


class AsyncAudit(AsyncNoun):
    """`client.audit`"""

    list = AsyncItems(list_entries)
    export = AsyncItems(export_entries)
    head = AsyncCall(get_head)
    verify = AsyncCall(verify_log)
