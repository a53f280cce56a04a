"""What spans a log gives, what they show, and what is said of a file of projects that does not fit."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from libs.domain.events import LOG_VERSION, UnknownEvent
from libs.domain.traces import Span, nanoseconds, span_id
from libs.settings.traces import BadProjects, Destinations, Redaction, TracesSettings, load_destinations
from services.worker.exporting.content import Content, Conversation, clip
from services.worker.exporting.fold import About, Fold, Shown

RUN = UUID("01a2086a-6e52-7f39-8a6e-01ec03db1d9a")
BEGAN = datetime(2026, 11, 23, 12, 0, 0, 123456, UTC)
CALL = {"index": 0, "id": "x", "name": "look", "arguments": '{"item": "a"}'}


class Log:
    """Folds events one by one, a second apart."""

    def __init__(self, redaction: Redaction = "nothing", limit: int = 1000) -> None:
        content = Content(redaction, limit)
        about = About(
            RUN, "acme", "helper", 3, "ada", {"team": "blue"}, "default", BEGAN, content.text("hello"),
            content.text("Be brief."), "local", "smol", {"temperature": 0.5}, ("greeting", 7),
        )  # fmt: skip
        self.fold = Fold(about, content)
        self.spans: list[Span] = []

    def take(self, kind: str, **data: Any) -> list[Span]:
        seq = self.fold.seq + 1
        found = self.fold.take(Shown(seq, kind, data, BEGAN + timedelta(seconds=seq)))
        self.spans += found
        return found

    def started(self, turn: int = 1, attempt: int = 1) -> None:
        self.take("model.started", turn=turn, attempt=attempt, worker="w", provider="local", model="smol")

    def answered(self, *calls: dict[str, Any], turn: int = 1, attempt: int = 1, content: str = "Hi") -> list[Span]:
        return self.take(
            "model.completed", turn=turn, attempt=attempt, content=content, tool_calls=list(calls), finish_reason="stop"
        )

    def called(self, attempt: int = 1, turn: int = 1) -> None:
        more = {"worker": "w", "name": "look", "effect": "read"}
        self.take("tool.started", turn=turn, index=0, attempt=attempt, **more)

    def result(self, content: str = "found", attempt: int = 1, *, is_error: bool = False) -> list[Span]:
        more = {"worker": "w", "name": "look", "content": content, "is_error": is_error}
        return self.take("tool.completed", turn=1, index=0, attempt=attempt, **more)


def of(spans: list[Span]) -> list[str]:
    return [span.of for span in spans]


def test_the_name_of_a_span_is_that_of_the_documentation() -> None:
    assert span_id(RUN, "m1.1").hex() == "be4ed27831c5bb6a"
    assert nanoseconds(BEGAN) == 1795435200123456000


def test_answers_stand_below_the_agent_and_calls_below_the_answer() -> None:
    log = Log()
    log.started()
    log.take("model.failed", turn=1, attempt=1, code="http_500", message="It failed.", sent=True)
    log.started(attempt=2)
    log.answered(CALL, attempt=2)
    log.called()
    log.result()
    log.started(2)
    log.answered(turn=2)
    log.take("run.completed", output="Hi")
    assert of(log.spans) == ["m1.1", "m1.2", "t1.0.1", "m2.1", "run"]
    assert [span.parent for span in log.spans] == ["run", "run", "m1.2", "run", None]
    assert [span.failed for span in log.spans] == [True, False, False, False, False]
    first, second = (json.loads(str(log.spans[n].attributes["langfuse.observation.input"])) for n in (1, 3))
    assert [message["role"] for message in second] == ["system", "user", "assistant", "tool"]
    assert second[: len(first)] == first
    prompts = {span.attributes.get("langfuse.observation.prompt.version") for span in log.spans if span.call}
    assert prompts == {7}


def test_every_attempt_that_was_opened_has_an_end() -> None:
    """Whoever was lost without a word, and whatever the end of the run left open."""
    log = Log()
    log.started()
    log.started(attempt=2)
    assert of(log.answered(CALL, attempt=2)) == ["m1.2", "m1.1"]
    log.called()
    log.called(attempt=2)
    assert of(log.result(attempt=2)) == ["t1.0.2", "t1.0.1"]
    log.started(2)
    assert of(log.take("run.cancelled")) == ["m2.1", "run"]


def test_a_result_after_the_end_of_its_last_attempt_is_no_second_span() -> None:
    log = Log()
    log.started()
    log.answered(CALL)
    log.called()
    assert of(log.take("tool.failed", turn=1, index=0, attempt=1, code="outcome_unknown", message="?")) == ["t1.0.1"]
    assert log.result("The call failed.", is_error=True) == []


def test_a_call_that_was_refused_is_a_moment() -> None:
    log = Log()
    log.started()
    log.answered(CALL)
    [span] = log.result("There is no such tool.", attempt=0, is_error=True)
    assert (span.of, span.started_at) == ("t1.0.0", span.ended_at)
    assert span.attributes["langfuse.observation.level"] == "WARNING"


def test_a_log_that_is_newer_is_left_to_a_newer_worker() -> None:
    with pytest.raises(UnknownEvent):
        Log().fold.take(Shown(1, "run.queued", {}, BEGAN, LOG_VERSION + 1))


@pytest.mark.parametrize("redaction", ["hashes", "all"])
def test_redacted_content_is_nowhere(redaction: Redaction) -> None:
    log = Log(redaction)
    log.started()
    log.answered(CALL | {"arguments": "Ada's secret"}, content="Ada's secret")
    log.called()
    log.result("Ada's secret")
    log.started(2)
    log.take("model.failed", turn=2, attempt=1, code="http_500", message="Ada's secret", fatal=True)
    log.take("run.failed", code="model_error", message="Ada's secret")
    shown = str([dict(span.attributes) for span in [log.fold.root(), *log.spans]])
    for content in ("Ada", "hello", "brief"):
        assert content not in shown
    assert ("sha256:" in shown) == (redaction == "hashes")
    assert "model_error" in shown


def test_what_is_cut_says_how_long_it_was() -> None:
    assert clip("ü" * 100, 200) == "ü" * 100
    cut = clip("ü" * 101, 200)
    assert cut.endswith("… [cut: 202 bytes in all]")
    assert len(cut.encode()) <= 200


@pytest.mark.parametrize("size", [10, 300, 3000])
def test_a_long_conversation_shows_its_beginning_and_its_newest_messages(size: int) -> None:
    conversation = Conversation(1000)
    conversation.open({"role": "system", "content": "s" * size}, {"role": "user", "content": "u" * size})
    for number in range(50):
        conversation.add({"role": "assistant", "content": f'{number} "{"x" * size}"'})
    shown = conversation.shown()
    assert len(shown.encode()) <= 1000
    messages = json.loads(shown)
    assert [message["role"] for message in messages[:2]] == ["system", "user"]
    assert "left out" in messages[2]["content"]
    assert messages[-1]["content"].startswith("49 ")


@pytest.mark.parametrize("text", ["plain", 'a "quoted" line\n', "\\", "\u2028 \x01", "\U0001f600"])
def test_the_beginning_of_a_large_string_is_shown_as_text(text: str) -> None:
    """Wherever it was cut, also within an escape."""
    whole = json.dumps("x" * 50 + text + "y" * 1000).encode()
    content = Content("nothing", 1000)
    for end in range(45, 90):
        shown = content.large({"size": len(whole)}, whole[:end], is_json=True).removesuffix(
            f" … [cut: {len(whole)} bytes in all]"
        )
        assert ("x" * 50 + text + "y" * 1000).startswith(shown.rstrip("\ufffd"))
        assert len(shown) >= end - 14


def test_text_that_cannot_be_sent_is_replaced() -> None:
    assert Content("nothing", 100).text("a\ud800b") == "a\ufffdb"


# Projects


def load(path: Path, content: str) -> Destinations | None:
    path.write_text(content)
    return load_destinations(TracesSettings.model_validate({"traces_projects_file": path}))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("projects: [1]", "cannot be used"),
        ("projects: {a: {url: 'ftp://x'}}", "cannot be used"),
        ("projects: {a: {url: 'http://x'}}", "needs public_key_env"),
        ("projects: {a: {url: 'http://x', public_key_env: NOT_SET, secret_key_env: NOT_SET}}", "NOT_SET"),
        ("tenants: {t: {project: b}}", "there is no project 'b'"),
        ("projects: {none: {kind: otlp, url: 'http://x'}}", "cannot be called none"),
    ],
)
def test_what_is_wrong_with_the_file_of_projects_is_said(tmp_path: Path, content: str, problem: str) -> None:
    with pytest.raises(BadProjects, match=problem):
        load(tmp_path / "projects.yaml", content)


def test_a_tenant_without_a_project_of_its_own_has_the_default_one(tmp_path: Path) -> None:
    content = "projects: {c: {kind: otlp, url: 'http://x', redact: all}}\ndefault: c\ntenants: {t: {project: none}}"
    found = load(tmp_path / "projects.yaml", content)
    assert found is not None
    assert (found.project_of("t"), found.project_of("u"), found.redaction_of("u")) == ("none", "c", "all")


def test_keys_do_not_show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PUBLIC", "pk-lf-1")
    monkeypatch.setenv("SECRET", "sk-lf-hidden")
    content = "projects: {a: {url: 'http://x', public_key_env: PUBLIC, secret_key_env: SECRET}}"
    found = load(tmp_path / "projects.yaml", content)
    assert found is not None
    assert "Basic" in str(found.projects["a"].headers)
    assert "Basic" not in repr(found)
