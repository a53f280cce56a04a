"""Checking an audit log: a chain of hashes, and what is wrong where it does not hold. It needs no server."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from agent_runtime.failures import Unusable

GENESIS = "0" * 64
HASHED = ("tenant_id", "seq", "id", "at", "actor", "source", "action", "target", "before", "after")
SLACK = 60.0  # seconds by which an entry may be older than the one sealed before it: transactions end in any order
NEAR = 8  # places that entries can have been moved by and are still recognised one by one
COMPARED = 200  # damaged entries that are tried in each other's places


@dataclass(frozen=True)
class AuditHead:
    """The place and hash of a sealed entry, kept outside: nothing before it can change unseen."""

    seq: int
    hash: str

    @classmethod
    def parse(cls, text: str) -> AuditHead:
        """`<seq>:<hash>`, as `str()` writes it. Raises `Unusable`."""
        seq, _, digest = text.strip().partition(":")
        if not (seq.isascii() and seq.isdecimal() and len(digest) == len(GENESIS)):
            raise Unusable(f"{text.strip()[:100]!r} is not a head: it looks like 17:<64 hex digits>")
        return cls(int(seq), digest.lower())

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: `what` is changed, removed, reordered, inserted, cut_off or rewritten."""

    what: str
    seq: int
    detail: str
    entry_id: str | None = None
    last_seq: int | None = None  # of several entries in a row


@dataclass(frozen=True)
class Verification:
    """What a check found. `head` is the last sealed entry that was seen, `unsealed` are ids of entries after it."""

    findings: tuple[Finding, ...]
    sealed: int
    head: AuditHead | None
    unsealed: tuple[str, ...]

    @property
    def intact(self) -> bool:
        return not self.findings


def entry_hash(previous: str, entry: Mapping[str, Any], seq: int) -> str:
    """SHA-256 (hex) over the previous hash, a line break, and the entry in this place as canonical JSON."""
    values = {**{name: entry.get(name) for name in HASHED}, "seq": seq}
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(f"{previous}\n{text}".encode("utf-8", "replace")).hexdigest()


@dataclass(frozen=True)
class Link:
    """A sealed entry in the order in which it was given; `seq` is its true place, as far as that can be told."""

    entry: Mapping[str, Any]
    seq: int

    @property
    def id(self) -> str:
        return str(self.entry.get("id"))

    @property
    def stated(self) -> int:
        return int(self.entry["seq"])

    @property
    def previous(self) -> str:
        return str(self.entry.get("previous"))

    @property
    def hash(self) -> str:
        return str(self.entry.get("hash"))

    @cached_property
    def whole(self) -> bool:
        """Whether the hash is that of the entry in its place."""
        return self.fits(self.seq)

    def fits(self, seq: int) -> bool:
        return entry_hash(self.previous, self.entry, seq) == self.hash

    def takes(self, other: Link) -> bool:
        """Whether the other entry is what was sealed here."""
        return entry_hash(self.previous, other.entry, self.seq) == self.hash

    @cached_property
    def at(self) -> float | None:
        return _moment(self.entry.get("at"))


def verify_chain(entries: Iterable[Mapping[str, Any]], heads: Sequence[AuditHead] = ()) -> Verification:
    """Check all entries of one tenant, from the first, in the order of an export, against heads kept elsewhere.

    Without a head a chain that was cut off at its end, or calculated anew from some entry on, looks right.
    """
    links, unsealed = _parted(entries)
    check = _Check(links)
    check.places()
    check.order()
    check.contents()
    check.joints()
    check.times()
    for head in sorted(set(heads), key=lambda each: each.seq):
        check.against(head)
    last = max(links, key=lambda link: link.stated, default=None)
    return Verification(
        tuple(sorted(check.findings, key=lambda finding: finding.seq)),
        len(links),
        AuditHead(last.stated, last.hash) if last else None,
        tuple(unsealed),
    )


def _parted(entries: Iterable[Mapping[str, Any]]) -> tuple[list[Link], list[str]]:
    links: list[Link] = []
    unsealed: list[str] = []
    for number, entry in enumerate(entries, 1):
        seq = entry.get("seq")
        if seq is None:
            unsealed.append(str(entry.get("id")))
        elif isinstance(seq, int) and seq > 0:
            links.append(Link(entry, seq))
        else:
            raise Unusable(f"entry {number} is not of an audit log: its seq is no number")
    return links, unsealed


class _Check:
    """The steps of a check; each adds what it finds, and leaves to the next what it could explain."""

    def __init__(self, links: list[Link]) -> None:
        self.links = links
        self.findings: list[Finding] = []
        self._explained: set[int] = set()  # places, by number, of which something was said

    def _say(self, what: str, link: Link, detail: str) -> None:
        self.findings.append(Finding(what, link.seq, detail, link.id))
        self._explained.add(link.seq)

    def places(self) -> None:
        """Find the true places of entries that were given other numbers."""
        by = 0
        for index, link in enumerate(self.links):
            if link.whole:
                continue
            moves = (by, *(sign * n for n in range(1, NEAR + 1) for sign in (1, -1)))
            by = next((move for move in moves if move and link.fits(link.seq - move)), 0)
            if by:
                self.links[index] = replace(link, seq=link.seq - by)
        self._moved = [link for link in self.links if link.seq != link.stated]
        # Those that only changed places among themselves are named one by one, by `order`.
        if {link.seq for link in self._moved} != {link.stated for link in self._moved}:
            first, last = self._moved[0], self._moved[-1]
            detail = f"{len(self._moved)} entries from here on carry other numbers than they were sealed with"
            self.findings.append(Finding("reordered", first.stated, detail, first.id, last.stated))
        damaged = [link for link in self.links if not link.whole][:COMPARED]
        for place in damaged:
            for other in damaged:
                if place is not other and place.takes(other):
                    detail = f"it stands in place {other.seq} and was sealed in place {place.seq}"
                    self.findings.append(Finding("reordered", other.seq, detail, other.id))
                    self._explained.update((place.seq, other.seq))

    def order(self) -> None:
        """Places that are missing or taken twice, and entries that do not stand where their places are."""
        taken: dict[int, list[Link]] = defaultdict(list)
        highest = 0
        for link in self.links:
            taken[link.seq].append(link)
            if link.seq < highest:
                self._say("reordered", link, f"it stands after entry {highest}")
            highest = max(highest, link.seq)
        for links in taken.values():
            for extra in self._extras(links, taken):
                self._say("inserted", extra, "its place is that of another entry")
        expected = 1
        for seq in sorted(taken):
            if seq > expected:
                self._say_missing("removed", expected, seq - 1)
            expected = seq + 1
        self.chain = {seq: self._real(links, taken) for seq, links in taken.items()}

    def _say_missing(self, what: str, first: int, last: int) -> None:
        which = f"entry {first} is" if first == last else f"entries {first} to {last} are"
        self.findings.append(Finding(what, first, f"{which} missing", None, last))

    def _real(self, links: list[Link], taken: Mapping[int, list[Link]]) -> Link:
        """Of several entries in a place, the one that its neighbours know."""
        before = {link.hash for link in taken.get(links[0].seq - 1, ())} or {GENESIS}
        after = {link.previous for link in taken.get(links[0].seq + 1, ())}
        return max(links, key=lambda link: (link.hash in after, link.previous in before, link.whole))

    def _extras(self, links: list[Link], taken: Mapping[int, list[Link]]) -> list[Link]:
        real = self._real(links, taken)
        return [link for link in links if link is not real]

    def contents(self) -> None:
        """Entries that are not what was sealed."""
        for seq, link in self.chain.items():
            if link.whole or seq in self._explained:
                continue
            before, after = self.chain.get(seq - 1), self.chain.get(seq + 1)
            if after and after.previous == (before.hash if before else GENESIS):
                self._say("inserted", link, "the entries around it were sealed without it")
            elif after is None and before and link.previous != before.hash:
                self._say("inserted", link, "it does not follow the entry before it")
            else:
                self._say("changed", link, "it is not what was sealed")

    def joints(self) -> None:
        """Entries that are whole, and not what their neighbours were sealed with."""
        for seq, link in self.chain.items():
            before = self.chain.get(seq - 1)
            if seq == 1 and link.previous != GENESIS and 1 not in self._explained:
                self._say("changed", link, "the first entry does not begin a chain")
            if before is None or link.previous == before.hash or {seq, seq - 1} & self._explained:
                continue
            self._say("changed", before, f"entry {seq} was sealed after another one than this")

    def times(self) -> None:
        """Entries that were written later than they say."""
        latest = 0.0
        for seq in sorted(self.chain):
            link = self.chain[seq]
            made = _made(link.id)
            if seq not in self._explained and link.at is not None:
                if link.at < latest - SLACK:
                    self._say("inserted", link, f"it says {link.entry['at']} and was sealed after later entries")
                elif made is not None and abs(made - link.at) > SLACK:
                    self._say("inserted", link, f"it says {link.entry['at']} and its id is of another time")
            latest = max(latest, link.at or 0.0)

    def against(self, head: AuditHead) -> None:
        """Hold the chain against a head that was kept elsewhere."""
        if self._moved and any(link.hash == head.hash for link in self._moved):
            return  # of another number, like the entry itself
        last = max((link.stated for link in self.links), default=0)
        if head.seq > max(last, *self.chain, 0):
            self._say_missing("cut_off", last + 1, head.seq)
        elif (link := self.chain.get(head.seq)) and link.hash != head.hash:
            since = "at or before it entries were replaced and the chain was calculated anew"
            self.findings.append(Finding("rewritten", head.seq, f"it is not the entry of the head: {since}", link.id))


def _moment(at: object) -> float | None:
    try:
        return datetime.fromisoformat(str(at)).timestamp()
    except ValueError:
        return None


def _made(id: str) -> float | None:
    """When a UUIDv7 was made."""
    try:
        made = UUID(id)
    except ValueError:
        return None
    return (made.int >> 80) / 1000 if made.version == 7 else None
