"""docker-compose.yml, parsed and rendered: what is published, restarted, awaited, limited and checked."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import Any

import pytest

from tests.conformance.compose.facts import IMAGES, LISTENING_IS_READY, UNPINNED
from tests.fixtures.compose.rendering import ROOT, render, services, variables

SERVICES = services()
JOBS = {name for name, service in SERVICES.items() if service["restart"] == "no"}
OURS = {"api", "worker", "migrations", "realm", "minio-bucket", "langfuse-bucket", "local-model"}
SECONDS = {"s": 1, "m": 60}


def seconds(text: str) -> int:
    return int(text[:-1]) * SECONDS[text[-1]]


def image_of(service: dict[str, Any]) -> str:
    return str(service["image"]).rpartition(":")[0]


def test_only_the_gateway_is_published_and_on_the_loopback_address() -> None:
    assert {name: s["ports"] for name, s in SERVICES.items() if "ports" in s} == {"kong": ["127.0.0.1:8000:8000"]}
    elsewhere = services({"GATEWAY_ADDRESS": "10.1.2.3", "GATEWAY_PORT": "443"})["kong"]
    assert elsewhere["ports"] == ["10.1.2.3:443:8000"]
    assert not [name for name, service in SERVICES.items() if "network_mode" in service or "privileged" in service]


def test_the_gateway_alone_stands_on_both_networks() -> None:
    for name, service in SERVICES.items():
        assert service["networks"] == (["edge", "internal"] if name == "kong" else ["internal"]), name
    assert set(render()["networks"]) == {"edge", "internal"}


def test_two_projects_share_nothing() -> None:
    rendered = render()
    assert not [name for name, service in rendered["services"].items() if "container_name" in service]
    for kind in ("volumes", "networks"):
        for name, declared in rendered[kind].items():
            assert not {"name", "external"} & set(declared or {}), (kind, name)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_limited_confined_and_logs_a_bounded_amount(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert seconds(service["stop_grace_period"]) >= 10
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["cap_drop"] == ["ALL"]
    assert service["init"] is (name != "keycloak")  # most programs do not hear SIGTERM as PID 1; Keycloak does
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - JOBS))
def test_what_stays_comes_back_and_says_when_it_is_ready(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    check = service["healthcheck"]
    assert check["test"][0] == "CMD"
    assert seconds(check["interval"]) * check["retries"] >= 60
    assert seconds(check["timeout"]) < seconds(check["interval"])
    assert seconds(check["start_period"]) >= 60


@pytest.mark.parametrize("name", sorted(JOBS))
def test_a_job_is_awaited_by_somebody(name: str) -> None:
    waiting = [other for other, service in SERVICES.items() if name in service.get("depends_on", {})]
    assert waiting, f"`up --wait` would take the end of {name} for a failure"
    assert "healthcheck" not in SERVICES[name]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_dependencies_say_what_is_waited_for(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        wanted = "service_completed_successfully" if other in JOBS else "service_healthy"
        assert how == {"condition": wanted}, other
        assert set(SERVICES[other].get("profiles", [])) <= set(SERVICES[name].get("profiles", [])), other


def test_profiles() -> None:
    found = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert found == {
        "temporal-ui": ["tools"],
        "local-model": ["local-model"],
        **{name: ["observability"] for name in ("clickhouse", "langfuse-bucket", "langfuse-web", "langfuse-worker")},
    }


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_images_run_as_nobody_in_particular_and_write_nothing(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp:mode=1777,size=64m"]  # noqa: S108 - of the container


def test_images_have_versions() -> None:
    used = {service["image"] for service in SERVICES.values()}
    unpinned = {image for image in used if not re.search(r":\d", image) and not image.endswith(":dev")}
    assert unpinned == set(UNPINNED)
    assert {image for image in used if image.endswith(":dev")} == {
        s["image"] for s in SERVICES.values() if "build" in s
    }


@pytest.mark.parametrize("name", sorted(name for name, service in SERVICES.items() if "healthcheck" in service))
def test_health_checks_call_what_the_real_image_has(name: str) -> None:
    service = SERVICES[name]
    _, program, *rest = service["healthcheck"]["test"]
    known = IMAGES[image_of(service)].programs
    assert program in known
    if program in ("sh", "bash"):
        script = rest[-1].replace("$$", "$")
        called = set(re.findall(r"(?:^|[|&{;]\s*|\|\| )(?:[A-Z_]+=\S+ )?([a-z][a-z_-]+)", script))
        assert called - {"exec", "printf"} <= known, called
    if "/proc/net/tcp" in rest[-1]:
        assert name in LISTENING_IS_READY


def test_a_check_of_a_listening_socket_names_the_right_port() -> None:
    for name, port in (("temporal", 7233), ("temporal-ui", 8080)):
        assert f":{port:04X} .* 0A " in SERVICES[name]["healthcheck"]["test"][-1]


def test_health_checks_ask_whether_it_is_ready() -> None:
    asked = {name: service["healthcheck"]["test"][-1] for name, service in SERVICES.items() if "healthcheck" in service}
    api, worker = SERVICES["api"]["environment"], SERVICES["worker"]["environment"]
    assert asked["api"] == f"http://127.0.0.1:{api['API_PORT']}/readyz"
    assert asked["worker"] == f"http://127.0.0.1:{worker['WORKER_METRICS_PORT']}/readyz"
    assert "/status/ready" in asked["kong"]
    assert "/health/ready" in asked["keycloak"]
    assert "/health" in asked["local-model"]


def test_the_worker_has_time_to_hand_over() -> None:
    worker = SERVICES["worker"]
    assert seconds(worker["stop_grace_period"]) >= int(worker["environment"]["WORKER_GRACE_SECONDS"]) + 10


def test_files_that_are_mounted_are_there_and_read_only() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source, target, *mode = volume.split(":")
            if source.startswith("."):
                assert mode == ["ro"], (name, volume)
                assert (ROOT / source).exists(), (name, volume)
            else:
                assert source in render()["volumes"], (name, target)


def test_data_is_where_the_images_keep_it() -> None:
    kept = {volume for service in SERVICES.values() for volume in service.get("volumes", []) if volume[0] != "."}
    assert kept == {
        "postgres:/var/lib/postgresql", "redis:/data", "minio:/data", "clickhouse:/var/lib/clickhouse"
    }  # fmt: skip


def test_the_example_names_every_variable_with_its_default() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    example = dict(re.match(r"#([A-Z0-9_]+)=(\S*)", line).groups() for line in lines if re.match(r"#[A-Z0-9_]+=", line))  # type: ignore[union-attr,misc]  # matched just before
    assert [line for line in lines if line and not line.startswith("#")] == []
    used = variables()
    assert set(example) == set(used)
    assert {name: default for name, default in example.items() if default not in used[name]} == {}
    several = {name for name, defaults in used.items() if len(defaults) > 1}
    assert several == {"LANGFUSE_URL"}, "a variable has one default, wherever it is used"


@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker command: compared with our own rendering only")
def test_docker_renders_the_same() -> None:
    def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/root")}
        command = ["docker", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    if docker("compose", "version").returncode != 0:
        pytest.skip("docker has no compose plugin: compared with our own rendering only")
    done = docker("compose", "--env-file", os.devnull, "--profile", "*", "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "docker compose warns"
    theirs = json.loads(done.stdout.replace("$$", "$"))["services"]
    assert set(theirs) == set(SERVICES)
    for name, service in SERVICES.items():
        assert theirs[name].get("environment", {}) == service["environment"], name
        for key in ("image", "user", "read_only", "restart", "command", "entrypoint"):
            given = service.get(key)
            assert theirs[name].get(key) == (given.split() if key == "command" and isinstance(given, str) else given)
        assert set(theirs[name].get("depends_on", {})) == set(service.get("depends_on", {})), name
