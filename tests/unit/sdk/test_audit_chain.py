"""The check of an audit log finds every kind of tampering and names the entry."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from agent_runtime import AuditHead, Unusable, verify_chain
from agent_runtime.audit_chain import entry_hash as hash_of_the_sdk

from libs.domain.audit import GENESIS, entry_hash, moment, state_text

Entry = dict[str, Any]
START = datetime(2026, 11, 23, 8, tzinfo=UTC)


def id_at(at: datetime, number: int) -> str:
    return str(UUID(int=int(at.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62 | number))


def entry(number: int, **changed: Any) -> Entry:
    at = START + timedelta(seconds=number)
    made = {
        "tenant_id": str(UUID(int=1)),
        "id": id_at(at, number),
        "at": moment(at),
        "actor": "ada",
        "source": "192.0.2.1",
        "action": "update_agent",
        "target": f"agent/a-{number}",
        "before": {"description": "früher", "n": number},
        "after": None,
    }
    return made | changed


def sealed(entries: list[Entry]) -> list[Entry]:
    """As the platform seals them."""
    previous = GENESIS
    for seq, each in enumerate(entries, 1):
        following = entry_hash(previous, {**each, "seq": seq})
        each |= {"seq": seq, "previous": previous, "hash": following}
        previous = following
    return entries


def log(count: int = 9) -> list[Entry]:
    return sealed([entry(number) for number in range(1, count + 1)])


def head_of(entries: list[Entry]) -> AuditHead:
    return AuditHead(entries[-1]["seq"], entries[-1]["hash"])


def found(entries: list[Entry], *heads: AuditHead) -> list[tuple[str, int]]:
    return [(finding.what, finding.seq) for finding in verify_chain(entries, heads).findings]


def test_a_log_that_nobody_touched_is_intact() -> None:
    entries = log()
    unsealed = [entry(10) | {"seq": None, "previous": None, "hash": None}]
    verification = verify_chain(entries + unsealed, [head_of(entries), AuditHead(3, entries[2]["hash"])])
    assert verification.intact
    assert (verification.sealed, verification.head) == (9, head_of(entries))
    assert verification.unsealed == (unsealed[0]["id"],)
    assert verify_chain([]).intact


def test_platform_and_sdk_hash_alike() -> None:
    odd = {"é": "\u2028\U0001f600", "b": [1, True, None], "a": {"z": "", "y": 2**53}}
    each = entry(1, after=odd, actor="x\u0085y")
    assert hash_of_the_sdk(GENESIS, each, 7) == entry_hash(GENESIS, {**each, "seq": 7})


def test_what_is_kept_of_a_state_has_one_form() -> None:
    assert state_text({"b": 1.5, "a": UUID(int=1), "c": {3, 1}}) == (
        '{"a":"00000000-0000-0000-0000-000000000001","b":"1.5","c":[1,3]}'
    )
    assert state_text(None) is None
    assert state_text("\x00\ud800") == '"\ufffd\ufffd"'
    large = state_text("x" * 20_000)
    assert large is not None
    assert '"size":20002' in large


def change(entries: list[Entry]) -> list[Entry]:
    entries[4]["after"] = {"description": "forged"}
    return entries


def change_with_its_hash(entries: list[Entry]) -> list[Entry]:
    entries[4]["after"] = {"description": "forged"}
    entries[4]["hash"] = entry_hash(entries[4]["previous"], entries[4])
    return entries


def remove(entries: list[Entry]) -> list[Entry]:
    return entries[:4] + entries[5:]


def remove_the_first(entries: list[Entry]) -> list[Entry]:
    return entries[1:]


def remove_and_renumber(entries: list[Entry]) -> list[Entry]:
    kept = entries[:4] + entries[5:]
    for seq, each in enumerate(kept, 1):
        each["seq"] = seq
    return kept


def swap_lines(entries: list[Entry]) -> list[Entry]:
    entries[4], entries[5] = entries[5], entries[4]
    return entries


def swap_contents(entries: list[Entry]) -> list[Entry]:
    for name in ("id", "at", "target", "before"):
        entries[4][name], entries[5][name] = entries[5][name], entries[4][name]
    return entries


def insert(entries: list[Entry]) -> list[Entry]:
    forged = entry(5, actor="eve") | {"seq": 5, "previous": entries[3]["hash"]}
    forged["hash"] = entry_hash(forged["previous"], forged)
    return [*entries[:4], forged, *entries[4:]]


def insert_and_renumber(entries: list[Entry]) -> list[Entry]:
    forged = entry(5, actor="eve") | {"previous": entries[3]["hash"], "hash": "ab" * 32}
    longer = [*entries[:4], forged, *entries[4:]]
    for seq, each in enumerate(longer, 1):
        each["seq"] = seq
    return longer


def insert_at_the_end(entries: list[Entry]) -> list[Entry]:
    return [*entries, entry(10) | {"seq": 10, "previous": "ab" * 32, "hash": "cd" * 32}]


def insert_backdated(entries: list[Entry]) -> list[Entry]:
    return sealed([*entries, entry(10, at=moment(START - timedelta(days=1)))])


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (change, [("changed", 5)]),
        (change_with_its_hash, [("changed", 5)]),
        (remove, [("removed", 5)]),
        (remove_the_first, [("removed", 1)]),
        (remove_and_renumber, [("removed", 5), ("reordered", 5)]),
        (swap_lines, [("reordered", 5)]),
        (swap_contents, [("reordered", 5), ("reordered", 6)]),
        (insert, [("inserted", 5)]),
        (insert_and_renumber, [("inserted", 5), ("reordered", 6)]),
        (insert_at_the_end, [("inserted", 10)]),
        (insert_backdated, [("inserted", 10)]),
    ],
)
def test_each_kind_of_tampering_is_found_and_named(
    tamper: Callable[[list[Entry]], list[Entry]], expected: list[tuple[str, int]]
) -> None:
    entries = log()
    head = head_of(entries)
    tampered = tamper(copy.deepcopy(entries))
    assert sorted(found(tampered)) == expected
    assert sorted(found(tampered, head)) == expected, "with a head from before"


def test_an_end_that_was_cut_off_is_found_by_a_head() -> None:
    entries = log()
    verification = verify_chain(entries[:6], [head_of(entries)])
    [finding] = verification.findings
    assert (finding.what, finding.seq, finding.last_seq) == ("cut_off", 7, 9)
    assert found([], head_of(entries)) == [("cut_off", 1)]


def test_a_chain_that_was_calculated_anew_is_found_by_a_head_and_narrowed_by_two() -> None:
    entries = log()
    heads = [AuditHead(each["seq"], each["hash"]) for each in entries]
    forged = copy.deepcopy(entries)
    forged[5]["actor"] = "somebody else"
    sealed(forged)
    assert found(forged) == []
    assert found(forged, heads[8]) == [("rewritten", 9)]
    assert found(forged, heads[4], heads[6], heads[8]) == [("rewritten", 7), ("rewritten", 9)]


def test_several_things_at_once_are_each_named() -> None:
    entries = log(20)
    head = head_of(entries)
    entries[2]["source"] = "198.51.100.1"
    del entries[9:12], entries[-2:]
    assert found(entries, head) == [("changed", 3), ("removed", 10), ("cut_off", 19)]


@pytest.mark.parametrize("text", ["", "7", "7:ab", "x:" + "0" * 64, "-1:" + "0" * 64])
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(Unusable, match="head"):
        AuditHead.parse(text)


def test_what_is_no_log_is_refused() -> None:
    with pytest.raises(Unusable, match="entry 1"):
        verify_chain([{"seq": "one"}])
