"""Thousands of cases that schemathesis makes from the OpenAPI document, against the API on the embedded stack.

    python -m tests.conformance.api [--cases 10000] [--processes 2] [--seed 1]

It fails for a 5xx and for an answer that the document does not have: status, media type, schema, headers.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.conformance.api.fuzz import Findings, fuzz
from tests.conformance.api.ground import prepared


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.api")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    began = time.monotonic()
    findings = Findings()
    each = -(-arguments.cases // arguments.processes)
    with (
        prepared() as ground,
        ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool,
    ):
        of = arguments.processes
        shares = [pool.submit(fuzz, ground, each, number, of, arguments.seed) for number in range(of)]
        for share in shares:
            findings.add(share.result())
    seconds = time.monotonic() - began
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(findings.statuses.items()))
    say(f"{findings.cases} cases over {len(findings.by_operation)} operations in {seconds:.0f} s: {statuses}")
    slowest = sorted(findings.seconds.items(), key=lambda pair: -pair[1])[:5]
    say("waited for: " + ", ".join(f"{name} {waited:.0f} s" for name, waited in slowest))
    for name, example in sorted(findings.failures.items()):
        say(f"\nFAILED {name}\n{example}")
    say(f"\n{findings.cases} cases, {len(findings.failures)} kinds of failure")
    return 1 if findings.failures or findings.cases < arguments.cases else 0


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
