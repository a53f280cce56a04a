"""Values are found in every form that docs/secrets.md names, whole or in pieces, and nothing else is touched."""

from __future__ import annotations

import base64
import html
import json
import time
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.domain.redaction import RedactedStream, Redactor, canonical, places

VALUES = ("sk-test-3f9a/AbC+d==", 'p a"ss<w>&rd#1/x', "deadbeef12345678", "abababababab", "x" * 40)


def forms(value: str) -> Iterator[str]:
    yield from (value, value.upper(), value.encode().hex(), value[:5] + "\r\n" + value[5:])
    yield from (quote(value, safe=""), quote_plus(value), quote(quote(value, safe=""), safe=""))
    yield from ("".join(f"%{ord(c):02x}" for c in value), "".join(f"\\u{ord(c):04x}" for c in value))
    yield from (json.dumps(value), json.dumps(json.dumps(value)), json.dumps(value).replace("/", "\\/"))
    yield from (html.escape(value), "".join(f"&#{ord(c)};" for c in value))
    for before in ("", "u", "us", "user:"):
        for after in ("", "x", "\n"):
            packed = base64.b64encode(f"{before}{value}{after}".encode()).decode()
            yield from (packed, packed.replace("+", "-").replace("/", "_"), quote(packed, safe=""))
            yield "\n".join(packed[at : at + 10] for at in range(0, len(packed), 10))


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_found_in_every_form(value: str) -> None:
    redactor = Redactor({"name": value})
    for form in forms(value):
        for before, after in (("", ""), ("Hello ", " world"), ('{"k": "', '"}'), ("\\", "&"), ("üß", "ü")):
            text = before + form + after
            check_hidden(redactor.redact(text), value, text)
            for size in (1, 2, 7):
                check_hidden(streamed(redactor, text, size), value, text)


def check_hidden(shown: str, value: str, text: str) -> None:
    assert "[secret name]" in shown, text
    assert canonical(value) not in canonical(shown), text
    assert value.lower() not in shown.lower(), text


def streamed(redactor: Redactor, text: str, size: int) -> str:
    stream = RedactedStream(redactor)
    return "".join([*(stream.take(text[at : at + size]) for at in range(0, len(text), size)), stream.rest()])


def test_what_stands_around_a_value_stays() -> None:
    redactor = Redactor({"key": "sk-12345678", "other": "zz-87654321"})
    text = '{"a": "sk-12345678", "b": ["%73k-12345678", "zz-87654321sk-12345678"], "c": "\\n&amp; 100%"}'
    shown = '{"a": "[secret key]", "b": ["[secret key]", "[secret other][secret key]"], "c": "\\n&amp; 100%"}'
    assert redactor.redact(text) == shown
    assert json.loads(redactor.redact(text))


@pytest.mark.parametrize("text", ["nothing here", "100% \\n &amp; ok", "a\nb\tc\\", "sk-1234567", "%", ""])
@pytest.mark.parametrize("redactor", [Redactor({"key": "sk-12345678"}), Redactor({})])
def test_other_text_is_not_touched(text: str, redactor: Redactor) -> None:
    assert redactor.redact(text) == text
    assert streamed(redactor, text, 1) in (text, "[secret key]" if text.startswith("sk-") and redactor else text)


@given(st.text(alphabet='ab%\\&#;u0 6\n"', max_size=60), st.integers(1, 9))
def test_pieces_show_what_the_whole_shows(text: str, size: int) -> None:
    """Whatever stands around the value and however it is cut: the value is hidden, the rest is there."""
    value = "Value:0123456789"
    redactor = Redactor({"name": value})
    whole = f"{text} {value} {text}"
    shown = streamed(redactor, whole, size)
    assert shown == f"{text} [secret name] {text}" == redactor.redact(whole)


def test_the_beginning_of_a_value_at_a_cut_is_hidden() -> None:
    redactor = Redactor({"key": "sk-12345678-abcdef"})
    assert redactor.redact("see sk-12345678", cut=True) == "see [secret key]"
    assert redactor.redact("see sk-12345678", cut=False) == "see sk-12345678"
    assert redactor.redact("see sk-1", cut=True) == "see sk-1"
    assert streamed(redactor, "see sk-12345678", 3) == "see [secret key]"


def test_text_waits_no_longer_than_it_must() -> None:
    stream = RedactedStream(Redactor({"key": "sk-12345678"}))
    assert stream.take("It is s") == "It is "
    assert stream.take("unny, 100%") == "sunny, 100"
    assert stream.take(" sure") == "% sure"
    assert stream.take(" sk-1234") == " "
    assert stream.take("5678!") == "[secret key]!"


@pytest.mark.parametrize("text", ["\\" * 200_000, "a" * 200_000, "a" * 100_000 + "b" * 100_000], ids=["\\", "a", "ab"])
def test_no_answer_of_a_server_takes_long(text: str) -> None:
    """A worker looks at what servers answer while the runs of other tenants wait."""
    redactor = Redactor({"one": "a" * 4000, "two": "a" * 3999 + "b", "three": "c\\" * 2000 + "c"})
    began = time.perf_counter()
    redactor.redact(text, cut=True)
    assert time.perf_counter() - began < 3


@given(st.text(alphabet="ab", min_size=1, max_size=9), st.text(alphabet="ab", max_size=60))
def test_a_value_that_overlaps_itself_is_covered_as_a_whole(value: str, text: str) -> None:
    covered = {at + more for at in range(len(text)) if text.startswith(value, at) for more in range(len(value))}
    found = list(places(value, text))
    assert {at for start, end in found for at in range(start, end)} == covered
    assert all(text.startswith(value, start) and text.endswith(value, 0, end) for start, end in found)
