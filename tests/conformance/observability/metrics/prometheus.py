"""A real Prometheus that scrapes every second, and promtool: Debian's package."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from deploy.embedded.ports import LOOPBACK

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")


class Refused(Exception):
    """Prometheus does not take the expression."""


class Prometheus:
    """Asked at `url`."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=20)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression, now."""
        answer = self._http.get("/api/v1/query", params={"query": expression}).json()
        if answer["status"] != "success":
            raise Refused(f"{expression}: {answer['error']}")
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def values(self, expression: str) -> list[float]:
        return [float(series["value"][1]) for series in self.query(expression)]

    def firing(self) -> set[str]:
        """Alerts that fire or are about to."""
        alerts = self._http.get("/api/v1/alerts").json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts}

    def rules(self) -> dict[str, str]:
        """The health of each loaded rule: `ok` once it was evaluated."""
        groups = self._http.get("/api/v1/rules").json()["data"]["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    def await_ready(self) -> None:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                if self._http.get("/-/ready").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise TimeoutError("Prometheus was not ready within 20 s")

    def close(self) -> None:
        self._http.close()


@contextmanager
def running(directory: Path, port: int, jobs: Mapping[str, list[str]], rules: Path) -> Iterator[Prometheus]:
    """Scrapes these addresses by job."""
    assert PROMETHEUS is not None
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": targets}]} for job, targets in jobs.items()
        ],
    }
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration))
    listen = f"{LOOPBACK}:{port}"
    with open(directory / "prometheus.log", "wb") as log:
        process = subprocess.Popen(
            [
                PROMETHEUS, f"--config.file={file}", f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={listen}", "--storage.tsdb.retention.time=1h", "--log.level=warn",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
        prometheus = Prometheus(f"http://{listen}")
        try:
            prometheus.await_ready()
            yield prometheus
        finally:
            prometheus.close()
            process.kill()
            process.wait(10)
