"""Compares the locks with what they were made from, by a digest in their first line; resolves nothing, asks nobody."""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUN_LOCK, DEV_LOCK = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
API_LOCK, WORKER_LOCK = ROOT / "services/api/requirements.lock", ROOT / "services/worker/requirements.lock"
MODEL_LOCK = ROOT / "deploy/compose/local-model/requirements.lock"
LOCKS = (RUN_LOCK, DEV_LOCK, API_LOCK, WORKER_LOCK, MODEL_LOCK)
EXTRAS = {RUN_LOCK: ["embedded", "setup"], DEV_LOCK: ["embedded", "setup", "dev"]}
# What an image does without, of all that the project needs.
EXCLUDES = {API_LOCK: "lock-excludes-api.txt", WORKER_LOCK: "lock-excludes-worker.txt"}
MARK = "# inputs: sha256:"


def body(lock: Path) -> str:
    """A lock without its mark."""
    lines = lock.read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(MARK))


def inputs(lock: Path) -> str:
    """The digest of everything that decides what belongs into a lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    sdk = tomllib.loads((ROOT / "libs/sdk/pyproject.toml").read_text(encoding="utf-8"))
    extras = EXTRAS.get(lock, [])
    content = {
        "python": project["project"]["requires-python"],
        "dependencies": project["project"]["dependencies"],
        "extras": {name: project["project"]["optional-dependencies"][name] for name in extras},
        "build": [project["build-system"]["requires"], sdk["build-system"]["requires"]],
        "sdk": sdk["project"]["dependencies"],
        "excludes": (ROOT / ".ci" / EXCLUDES.get(lock, "lock-excludes.txt")).read_text(encoding="utf-8"),
        "constraint": "" if lock == RUN_LOCK else body(RUN_LOCK),
    }
    if lock == MODEL_LOCK:
        content["model"] = (lock.with_suffix(".in")).read_text(encoding="utf-8")
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def main(write: bool) -> int:
    for lock in LOCKS:
        mark = f"{MARK}{inputs(lock)}\n"
        if write:
            lock.write_text(mark + body(lock), encoding="utf-8")
        elif not lock.read_text(encoding="utf-8").startswith(mark):
            sys.stderr.write(f"{lock.name} was not made from this pyproject.toml; run `make lock`\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv[1:]))
