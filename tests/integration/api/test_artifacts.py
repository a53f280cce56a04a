"""Artifacts over HTTP: uploaded and downloaded in a stream, whole or in part."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database import artifacts, tenants
from services.api.operations.artifacts import MAX_ARTIFACT
from tests.integration.api.records import Records
from tests.integration.api.test_runs import start


def upload(client: httpx.Client, content: bytes, name: str = "a.txt", **headers: str) -> httpx.Response:
    sent = {"Content-Type": "text/plain", **headers}
    return client.post("/v1/artifacts", params={"name": name}, content=content, headers=sent)


@pytest.mark.parametrize("size", [0, 1, 300_000, 6_000_000])
def test_what_was_uploaded_comes_back(operator: httpx.Client, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    made = upload(operator, content, "räport 1.txt", **{"Content-Type": "text/plain; charset=utf-8"})
    assert made.status_code == 201, made.text
    artifact = made.json()
    assert made.headers["location"] == f"/v1/artifacts/{artifact['id']}"
    assert (artifact["size"], artifact["run_id"]) == (size, None)
    assert artifact["sha256"] == hashlib.sha256(content).hexdigest()
    assert operator.get(made.headers["location"]).json() == artifact
    answer = operator.get(f"{made.headers['location']}/content")
    assert answer.content == content
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''r%C3%A4port%201.txt"
    assert answer.headers["etag"] == f'"{artifact["sha256"]}"'


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-3", 206, slice(0, 4)),
        ("bytes=4-", 206, slice(4, None)),
        ("bytes=-2", 206, slice(-2, None)),
        ("bytes=5-999", 206, slice(5, None)),
        ("bytes=-999", 206, slice(None)),
        ("bytes=10-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=5-2", 200, slice(None)),
        ("bytes=0-1,4-5", 200, slice(None)),
        ("lines=1-2", 200, slice(None)),
        ("bytes=99999999999999999999999-", 200, slice(None)),
    ],
)
def test_parts(operator: httpx.Client, asked: str, status: int, part: slice | None) -> None:
    content = b"0123456789"
    path = upload(operator, content).headers["location"] + "/content"
    answer = operator.get(path, headers={"Range": asked})
    assert answer.status_code == status
    if part is None:
        assert answer.headers["content-range"] == "bytes */10"
    else:
        assert answer.content == content[part]
    if status == 206:
        first = content.index(answer.content)
        assert answer.headers["content-range"] == f"bytes {first}-{first + len(answer.content) - 1}/10"


def test_conditions(operator: httpx.Client) -> None:
    path = upload(operator, b"0123456789").headers["location"] + "/content"
    tag = operator.get(path).headers["etag"]
    for header in (tag, f'"other", W/{tag}', "*"):
        assert operator.get(path, headers={"If-None-Match": header}).status_code == 304
    assert operator.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    assert operator.get(path, headers={"Range": "bytes=0-0", "If-Range": tag}).status_code == 206
    assert operator.get(path, headers={"Range": "bytes=0-0", "If-Range": '"other"'}).status_code == 200


def test_an_upload_repeats_by_its_key(operator: httpx.Client) -> None:
    first = upload(operator, b"one", **{"Idempotency-Key": "u"})
    again = upload(operator, b"one", **{"Idempotency-Key": "u"})
    assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (201, first.json(), "true")
    for changed in (
        upload(operator, b"two", **{"Idempotency-Key": "u"}),
        upload(operator, b"one", "b.txt", **{"Idempotency-Key": "u"}),
        upload(operator, b"one", **{"Idempotency-Key": "u", "Content-Type": "text/html"}),
    ):
        assert changed.json()["code"] == "idempotency_key_reused"


def test_a_key_is_in_use_while_the_first_upload_goes_on(operator: httpx.Client, records: Records) -> None:
    upload(operator, b"one", **{"Idempotency-Key": "slow"})
    records.sql("UPDATE idempotency_keys SET status = NULL WHERE key = 'slow'")
    answer = upload(operator, b"one", **{"Idempotency-Key": "slow"})
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_in_use")
    assert answer.headers["retry-after"] == "1"
    records.sql("UPDATE idempotency_keys SET created_at = created_at - interval '20 minutes' WHERE key = 'slow'")
    assert upload(operator, b"one", **{"Idempotency-Key": "slow"}).status_code == 201


def test_too_much_is_declined_and_frees_the_key(operator: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(MAX_ARTIFACT // 1_048_576 + 1):
            yield b"x" * 1_048_576

    params, headers = {"name": "big"}, {"Idempotency-Key": "big", "Content-Type": "text/plain"}
    answer = operator.post("/v1/artifacts", params=params, content=chunks(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    assert operator.get("/v1/artifacts").json()["items"] == []
    assert operator.post("/v1/artifacts", params=params, content=b"x", headers=headers).status_code == 201


@pytest.mark.parametrize("name", ["", "a/b", "a\\b", "a\nb", "x" * 256, "\x00"])
def test_odd_names_are_declined(operator: httpx.Client, name: str) -> None:
    assert upload(operator, b"x", name).status_code == 422


def test_odd_media_types_are_declined(operator: httpx.Client) -> None:
    assert upload(operator, b"x", **{"Content-Type": "no media type"}).status_code == 422


def test_lists_and_who_sees_what(operator: httpx.Client, user: httpx.Client, agent: str, records: Records) -> None:
    run = start(user, agent)
    other = start(operator, agent)

    async def record(connection: AsyncConnection, tenant_id: UUID) -> Any:
        return await artifacts.add(
            connection, tenant_id, await tenants.new_id(connection), name="r.txt", media_type="text/plain", size=1,
            sha256="0" * 64, object_key="gone", by=run["created_by"], run_id=UUID(run["id"]),
        )  # fmt: skip

    of_run = str(records.run(record).id)
    theirs = upload(operator, b"operator's").json()["id"]
    own = upload(user, b"own").json()["id"]
    assert [item["id"] for item in user.get("/v1/artifacts").json()["items"]] == [own, of_run]
    assert [item["id"] for item in operator.get("/v1/artifacts").json()["items"]] == [own, theirs, of_run]
    for path in (f"/v1/runs/{run['id']}/artifacts", f"/v1/artifacts?run_id={run['id']}"):
        assert [item["id"] for item in user.get(path).json()["items"]] == [of_run]
    assert user.get(f"/v1/artifacts/{theirs}").status_code == 404
    assert user.get(f"/v1/artifacts/{theirs}/content").status_code == 404
    assert operator.get(f"/v1/runs/{other['id']}/artifacts").json()["items"] == []
    page = operator.get("/v1/artifacts", params={"limit": 1}).json()
    assert (
        operator.get("/v1/artifacts", params={"limit": 1, "cursor": page["next_cursor"]}).json()["items"][0]["id"]
        == theirs
    )
    assert operator.get(f"/v1/artifacts/{of_run}/content").status_code == 404
