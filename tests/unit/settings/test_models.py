"""The file of providers: what is wrong with it is said, and nothing that stands there."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.settings.models import BadProviders, load_providers


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("providers: {a: {base_url: 'https://x', api_key: sk-written-here}}", "api_key"),
        ("providers:\n  a: {base_url: 'https://x', key: sk-written-here\n", "line "),
        ("providers: {a: {base_url: 'sk-written-here'}}", "base_url"),
        ("providers: sk-written-here", "each by its name"),
        ("- sk-written-here", "each by its name"),
    ],
)
def test_a_key_that_was_written_into_the_file_is_not_quoted(tmp_path: Path, written: str, said: str) -> None:
    path = tmp_path / "providers.yaml"
    path.write_text(written)
    with pytest.raises(BadProviders, match=said) as caught:
        load_providers(path)
    shown = f"{caught.value} {caught.value.__cause__}"
    assert "sk-written-here" not in shown
    assert str(path) in shown
