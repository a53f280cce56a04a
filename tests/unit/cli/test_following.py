"""The live view loses no character of an answer and lets no character steer the terminal."""

from __future__ import annotations

import pytest
from agent_runtime import Delta, Event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.cli.following import RunView, explain_event
from services.cli.output import safe


def delta(index: int, text: str) -> Delta:
    return Delta(turn=1, attempt=1, index=index, text=text)


def completed(content: object) -> Event:
    return Event(seq=4, type="model.completed", data={"turn": 1, "content": content, "cost_usd": "0"})


@pytest.mark.parametrize(
    "pieces",
    [["Hello", " there "], ["x" * 200 + "  ", "  y\n\n", "\tz"], ["[bold]no[/]", ":smile:"], ["partly"], []],
)
def test_an_answer_is_shown_whole(pieces: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    content = "".join(pieces) + " and the rest"
    view = RunView()
    for index, piece in enumerate(pieces):
        view.show(delta(index, piece))
    view.show(completed(content))
    assert capsys.readouterr().out == f"{content}\n{explain_event(completed(content))}\n"


def test_an_answer_that_differs_from_its_pieces_is_shown_again(capsys: pytest.CaptureFixture[str]) -> None:
    view = RunView()
    view.show(delta(0, "Hallo"))
    view.show(completed("Hello"))
    assert capsys.readouterr().out.startswith("Hallo\nHello\n")


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text())
def test_nothing_steers_the_terminal(text: str) -> None:
    assert not set(safe(text)) & set(map(chr, [*range(9), *range(11, 32), *range(127, 160)]))
    safe(text).encode()


@given(
    st.dictionaries(st.sampled_from(["turn", "attempt", "worker", "tool_calls", "duration_ms", "content"]), st.text())
)
@settings(max_examples=15)
@pytest.mark.parametrize("kind", ["model.completed", "tool.failed", "artifact.created", "run.failed", "new", "a.b.c"])
def test_any_event_is_one_line(kind: str, data: dict[str, str]) -> None:
    assert "\n" not in explain_event(Event(seq=1, type=kind, data=data))
