"""Which API and token a command uses; no token is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent_runtime import Unusable
from typer.testing import CliRunner

from services.cli.access import Access
from services.cli.main import app


def token_of(access: Access) -> object:
    client = access.client()
    client.close()
    return client._driver._token


def test_what_is_given_is_used() -> None:
    assert token_of(Access(api_url="http://127.0.0.1:1", token="t0k")) == "t0k"
    assert token_of(Access(api_url="http://127.0.0.1:1")) is None


def test_a_token_file_is_read_each_time(tmp_path: Path) -> None:
    path = tmp_path / "token"
    provider = token_of(Access(api_url="http://127.0.0.1:1", token="t0k", token_file=path))
    assert callable(provider)
    for text in ("first", "second"):
        path.write_text(f"{text}\n")
        assert provider() == text
    path.write_bytes(b"\xff")
    with pytest.raises(Unusable, match="does not hold a token"):
        provider()


@pytest.mark.parametrize("url", ["localhost", "http://me:pa55@host"])
def test_a_url_that_cannot_be_meant(url: str) -> None:
    result = CliRunner().invoke(app, ["--api-url", url, "version"])
    assert result.exit_code == 2
    assert "api_url" in result.stderr
    assert "pa55" not in result.output


def test_a_token_file_that_is_missing() -> None:
    result = CliRunner().invoke(app, ["--api-url", "http://127.0.0.1:1", "--token-file", "/nowhere/token", "version"])
    assert result.exit_code == 2
    assert "/nowhere/token" in result.stderr


def test_no_stack_and_no_url(tmp_path: Path) -> None:
    environment = {"AGENT_RUNTIME_API_URL": "", "AGENT_RUNTIME_STATE_DIR": str(tmp_path / "none")}
    result = CliRunner().invoke(app, ["version"], env=environment)
    assert result.exit_code == 4
    assert result.stderr.startswith("agent-runtime: ")


def test_completion_knows_the_commands() -> None:
    environment = {"_AGENT_RUNTIME_COMPLETE": "complete_bash", "COMP_WORDS": "agent-runtime ru", "COMP_CWORD": "1"}
    result = CliRunner().invoke(app, [], env=environment, prog_name="agent-runtime")
    assert "runs" in result.stdout
