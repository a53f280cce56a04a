"""`make bench`: prints the table with its figures and writes it as JSON. It measures; it never fails for a figure."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from pathlib import Path

from rich.console import Console
from rich.table import Table
from temporalio.client import Client

from tests.bench.lab import Lab
from tests.bench.ours import Ours
from tests.bench.rows import Bench, Row

REPETITIONS, SHORT = 50, 10


async def measure(lab: Lab, only: str, *, short: bool) -> list[Row]:
    environment = lab.stack.environment()
    temporal = await Client.connect(environment["TEMPORAL_ADDRESS"], namespace=environment["TEMPORAL_NAMESPACE"])
    ours = Ours(lab)
    bench = Bench(lab, ours, temporal, SHORT, settling=0) if short else Bench(lab, ours, temporal, REPETITIONS)
    await bench.prepare()
    figures = (
        bench.post,
        bench.one_call,
        bench.hanging_observer,
        bench.reads,
        bench.writes,
        bench.slow_writes,
        bench.throughput,
        bench.behind_http,
        bench.with_a_log,
        bench.first_event,
        bench.cpu,
        bench.history,
        bench.long_run,
        bench.noisy_neighbour,
        bench.verification,
    )
    rows = [await figure() for figure in figures if only in figure.__name__]
    await ours.close()
    await asyncio.sleep(0.05)
    return rows


def show(rows: list[Row], console: Console) -> None:
    table = Table(title="Agent Runtime against bare programs on the same servers")
    for heading in ("figure", "ours", "floor", "ratio", "must", ""):
        table.add_column(heading, justify="left" if heading in ("figure", "") else "right")
    for row in rows:
        must = "" if row.must is None else f"{'≥' if row.at_least else '≤'} {row.must:g}"
        verdict = "" if row.holds else "falls short"
        ours, floor = (f"{value:,.2f} {row.unit}" for value in (row.ours, row.floor))
        table.add_row(row.figure, ours, floor, f"{row.ratio:.2f}", must, verdict)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="few repetitions: a look, not a measurement")
    parser.add_argument("--only", default="", help="only figures whose function's name contains this")
    parser.add_argument("--json", default=os.environ.get("BENCH_JSON"), help="write the table there")
    arguments = parser.parse_args()
    with Lab() as lab:
        rows = asyncio.run(measure(lab, arguments.only, short=arguments.short))
    show(rows, Console(width=140))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps([row.as_dict() for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
