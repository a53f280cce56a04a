"""Look for secrets in the repository: every file that is tracked or new, and with --history every version of each.

`.ci/secrets-allowed.txt` names what may stand, with the reason; with --history an entry that nothing needs any more
fails too.
"""

from __future__ import annotations

import argparse
import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = ROOT / ".ci" / "secrets-allowed.txt"
LARGEST = 5_000_000
# Bits per character; random base64 has about 4.5 at these lengths, words have less than 3.5.
RANDOM = 3.7
SHAPES = {
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}",
    "signed token": r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}",
    "AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{60,})\b",
    "GitLab token": r"\bglpat-[\w-]{20}\b",
    "Slack token": r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "Google key": r"\bAIza[\w-]{35}\b",
    "model provider's key": r"\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{20,}",
    "registry token": r"\b(?:pypi-AgEI[\w-]{50,}|npm_[A-Za-z0-9]{36})\b",
    "password in a URL": r"\b[a-z][a-z0-9+.-]*://[^\s/:@'\"<>{}$]+:(?P<value>[^\s/@'\"<>{}$]{3,})@",
}
PATTERNS = {name: re.compile(pattern) for name, pattern in SHAPES.items()}
# A name that says so, and a literal that looks random.
ASSIGNED = re.compile(
    r"""(?i)(?:password|passwd|secret|token|api_?key|private_?key|credential)\w*["']?\s*[:=]\s*["'](?P<value>[^\s"'${}<>]{16,})["']"""
)


class Finding(NamedTuple):
    """`value` is what an entry of the allow-list must be equal to; it is shown in part only."""

    place: str
    kind: str
    value: str

    def __str__(self) -> str:
        return f"{self.place}: {self.kind} ({self.value[:6]}…, {len(self.value)} characters)"


def findings(place: str, text: str) -> Iterator[Finding]:
    for kind, pattern in PATTERNS.items():
        for match in pattern.finditer(text):
            value = match.groupdict().get("value") or match[0]
            yield Finding(f"{place}:{text.count(chr(10), 0, match.start()) + 1}", kind, value)
    for match in ASSIGNED.finditer(text):
        if entropy(match["value"]) >= RANDOM and re.search(r"\d", match["value"]):
            line = text.count("\n", 0, match.start()) + 1
            yield Finding(f"{place}:{line}", "random value under a secret's name", match["value"])


def entropy(text: str) -> float:
    counts = Counter(text)
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values())


def allowed(path: Path) -> dict[str, str]:
    """Value to reason: lines of `value  # reason`."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    entries = {}
    for line in lines:
        if line and not line.startswith("#"):
            value, _, reason = line.partition("  # ")
            if not reason:
                raise SystemExit(f"{path}: an entry without its reason: {value[:6]}…")
            entries[value] = reason
    return entries


def files(root: Path) -> Iterator[tuple[str, str]]:
    """Path and text of what git tracks or would."""
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").decode().split("\0")
    for name in sorted(set(listed)):
        path = root / name
        if name and path.is_file() and not path.is_symlink() and path.stat().st_size <= LARGEST:
            yield name, path.read_text(encoding="utf-8", errors="replace")


def history(root: Path) -> Iterator[tuple[str, str]]:
    """The same of every version that the current commit grew from."""
    names = {}
    for line in _git(root, "rev-list", "--objects", "HEAD").decode().splitlines():
        digest, _, name = line.partition(" ")
        if name:
            names[digest] = name
    found = _git(root, "cat-file", "--batch", stdin="\n".join(names).encode())
    position = 0
    while position < len(found):
        end = found.index(b"\n", position)
        digest, kind, size = found[position:end].decode().split()
        content = found[end + 1 : end + 1 + int(size)]
        position = end + 2 + int(size)
        if kind == "blob" and len(content) <= LARGEST:
            yield f"{digest[:8]}:{names[digest]}", content.decode("utf-8", "replace")


def _git(root: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, check=True, input=stdin).stdout  # noqa: S603 - git


def judge(texts: Iterable[tuple[str, str]], entries: dict[str, str]) -> tuple[list[Finding], set[str], int]:
    """What is not allowed, the entries that were needed, and the number of texts."""
    bad: list[Finding] = []
    needed: set[str] = set()
    count = 0
    for place, text in texts:
        count += 1
        if place.endswith(ALLOWED.name):
            continue
        for finding in findings(place, text):
            if finding.value in entries:
                needed.add(finding.value)
            else:
                bad.append(finding)
    return bad, needed, count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--history", action="store_true", help="every version too: some seconds")
    arguments = parser.parse_args()
    entries = allowed(arguments.root / ".ci" / ALLOWED.name)
    bad, needed, count = judge(files(arguments.root), entries)
    if arguments.history:
        older, also_needed, versions = judge(history(arguments.root), entries)
        bad, needed, count = bad + older, needed | also_needed, count + versions
    for finding in bad:
        sys.stderr.write(f"{finding}\n")
    # What only an older version needs is not seen without the past.
    unneeded = set(entries) - needed if arguments.history else set()
    for value in sorted(unneeded):
        sys.stderr.write(f"{ALLOWED.name}: nothing needs {value[:6]}… any more\n")
    sys.stdout.write(f"{count} texts looked at, {len(bad)} secrets found, {len(needed)} allowed\n")
    return 1 if bad or unneeded else 0


if __name__ == "__main__":
    sys.exit(main())
