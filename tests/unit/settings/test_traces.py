"""Projects of traces: what is said of a file that does not fit."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from libs.settings.traces import BadProjects, TracesSettings, load_destinations


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("projects: {a: {url: 'https://x', secret_key: sk-lf-secret}}", "projects.a.secret_key"),
        ("projects:\n  a: {url: 'https://x', key: sk-lf-secret\n", "line "),
        ("projects: {a: {url: 'sk-lf-secret'}}", "projects.a.url"),
        ("- sk-lf-secret\xff\x00", "TRACES_PROJECTS_FILE"),
    ],
)
def test_a_file_that_does_not_fit_is_explained_without_what_stands_in_it(text: str, where: str, tmp_path: Path) -> None:
    """Somebody may have written a key where its variable is to be named; a worker that does not start logs why."""
    path = tmp_path / "projects.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadProjects, match=where) as failed:
        load_destinations(TracesSettings(traces_projects_file=path))
    assert "sk-lf" not in "".join(traceback.format_exception(failed.value))
