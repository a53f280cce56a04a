"""The calls about artifacts: files that are streamed both ways and checked against their SHA-256."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from agent_runtime.binding import AsyncCall, AsyncItems, AsyncNoun, Call, Items, Noun
from agent_runtime.bodies import body_of
from agent_runtime.delivery import ask, deliver, silently, walk
from agent_runtime.downloads import Content, receive, receive_file, target_of
from agent_runtime.failures import DigestMismatch
from agent_runtime.messages import carry, get
from agent_runtime.models import Artifact
from agent_runtime.retry import Retry
from agent_runtime.steps import Conversation, Emit, Flow, Flowing, Plan


def upload_artifact(
    source: str | Path | bytes | BinaryIO,
    *,
    name: str | None = None,
    media_type: str | None = None,
    idempotency_key: str | None = None,
) -> Plan[Artifact]:
    """Upload a file (32 MiB at most) from a path, bytes or a binary stream, which is read to its end.

    `name` defaults to the file's and is needed otherwise; `media_type` is guessed from it. A stream is kept, a long one
    in a temporary file, so that a retry can send it again.

    Raises `PayloadTooLarge`, `InvalidRequest`, `OSError`, and `DigestMismatch` when what the API stored differs.
    """

    def converse(retry: Retry) -> Conversation[Artifact]:
        with body_of(source, name, media_type) as body:
            request = carry(body, body.media_type, "artifacts", params=[("name", body.name)], key=idempotency_key)
            artifact = Artifact.received((yield from deliver(request, retry)).json())
        if artifact.sha256 != body.sha256:
            raise DigestMismatch(f"artifact {artifact.id} was stored with other content than was sent; upload it again")
        return artifact

    return Plan(converse)


def get_artifact(artifact_id: str) -> Plan[Artifact]:
    """What is known of an artifact, without its content. Raises `NotFound`."""
    return ask(get("artifacts", artifact_id), Artifact.received)


def list_artifacts(*, run_id: str | None = None, page_size: int = 50) -> Flow[Artifact]:
    """Artifacts, of one run if wanted; pages of `page_size` (1 to 200) are fetched as needed."""
    return walk(get("artifacts", params=[("run_id", run_id), ("limit", page_size)]), Artifact)


def stream_artifact(artifact_id: str) -> Flow[bytes]:
    """The content in pieces of any size, resumed by itself when a connection breaks.

    Raises `NotFound`, `ApiUnreachable`, and after the last piece `DigestMismatch` when it was not what was stored.
    """

    def converse(retry: Retry) -> Flowing[bytes]:
        artifact = yield from get_artifact(artifact_id).converse(retry)
        yield from receive(Content(artifact), retry, lambda chunk: (Emit(chunk),))

    return Flow(converse)


def read_artifact(artifact_id: str) -> Plan[bytes]:
    """The whole content, checked, in memory. Raises `NotFound`, `ApiUnreachable`, `DigestMismatch`."""

    def converse(retry: Retry) -> Conversation[bytes]:
        parts: list[bytes] = []
        yield from silently(stream_artifact(artifact_id).converse(retry), parts.append)
        return b"".join(parts)

    return Plan(converse)


def download_artifact(artifact_id: str, to: str | Path = ".") -> Plan[Path]:
    """Write the content to a path (in a directory: under the artifact's name) and return the path.

    Goes on where an earlier, broken download of the same artifact to the same place stopped. The file appears under
    its name only when it is complete and its SHA-256 is right.

    Raises `NotFound`, `ApiUnreachable`, `DigestMismatch`, `OSError`.
    """

    def converse(retry: Retry) -> Conversation[Path]:
        artifact = yield from get_artifact(artifact_id).converse(retry)
        target = target_of(artifact, to)
        yield from silently(receive_file(artifact, target, retry))
        return target

    return Plan(converse)


class Artifacts(Noun):
    """`client.artifacts`"""

    upload = Call(upload_artifact)
    get = Call(get_artifact)
    list = Items(list_artifacts)
    stream = Items(stream_artifact)
    read = Call(read_artifact)
    download = Call(download_artifact)


class AsyncArtifacts(AsyncNoun):
    """`client.artifacts`"""

    upload = AsyncCall(upload_artifact)
    get = AsyncCall(get_artifact)
    list = AsyncItems(list_artifacts)
    stream = AsyncItems(stream_artifact)
    read = AsyncCall(read_artifact)
    download = AsyncCall(download_artifact)
