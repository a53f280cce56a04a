"""How arguments become a request."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.domain.secrets import Revealed
from libs.domain.tool_specs import HttpToolSpec
from libs.domain.tools import CallForbidden, ToolCall
from libs.tools.egress import Outgoing
from libs.tools.http_request import UnusableArgument, build, redirected


def spec(url: str, *names: str, **given: Any) -> HttpToolSpec:
    required = [name for name in names if f"{{{name}}}" in url]
    parameters = {"type": "object", "properties": {name: {} for name in names}, "required": required}
    plain = {"type": "http", "name": "f", "description": "d", "effect": "read", "method": "GET"}
    return HttpToolSpec.model_validate(plain | {"url": url, "parameters": parameters} | given)


def request(declared: HttpToolSpec, **arguments: Any) -> Outgoing:
    return build(declared, ToolCall("f", arguments, "run.1.0"), {"traceparent": "00-1-2-01"})


def test_arguments_fill_the_path_then_the_query() -> None:
    made = request(
        spec("https://h/a/{id}?fixed=1", "id", "q", "list", "none"), id="x/y z", q="a&b=c", list=[1, True], none=None
    )
    assert str(made.url) == "https://h/a/x%2Fy%20z?fixed=1&q=a%26b%3Dc&list=1&list=true"
    assert made.body is None
    assert made.headers["traceparent"] == "00-1-2-01"
    assert "Idempotency-Key" not in made.headers


def test_the_rest_is_the_body_of_a_post() -> None:
    declared = spec("http://h/{id}", "id", "q", "n", "x", method="POST", effect="write", query=["q"])
    made = request(declared, id=7, q="é", n=2.5, x={"deep": ["ü", None]})
    assert made.url.raw_path == b"/7?q=%C3%A9"
    assert made.body == '{"n":2.5,"x":{"deep":["ü",null]}}'.encode()
    assert made.headers["Content-Type"] == "application/json"
    assert made.headers["Idempotency-Key"] == "run.1.0"


def test_a_body_is_sent_when_one_is_declared() -> None:
    assert request(spec("http://h/", "n", method="POST")).body == b"{}"
    assert request(spec("http://h/{id}", "id", method="POST"), id="1").body is None
    assert request(spec("http://h/", "n", method="DELETE"), n=1).url.raw_path == b"/?n=1"


def test_declared_headers_win_but_not_over_the_platform() -> None:
    made = request(spec("http://h/", headers={"user-agent": "mine", "Authorization": "Bearer t"}))
    assert made.headers["user-agent"] == "mine"
    assert "User-Agent" not in made.headers
    assert made.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("value", ["", ".", "..", "a/../b", "..\\x", None])
def test_an_argument_does_not_change_the_path(value: str | None) -> None:
    with pytest.raises(UnusableArgument, match="id"):
        request(spec("http://h/items/{id}/stock", "id"), id=value)


@pytest.mark.parametrize("value", ["\r\nX: y", "\0", "\ud800", "@evil", "#x", "?x", "%2e%2e", "a" * 70_000])
def test_strange_arguments_stay_data(value: str) -> None:
    declared = spec("http://h/items/{id}", "id", "q")
    if len(value) > 65_536:
        with pytest.raises(UnusableArgument):
            request(declared, id=value)
        return
    made = request(declared, id=value, q=value)
    assert made.url.host == "h"
    assert made.url.raw_path.startswith(b"/items/")
    assert not set(made.url.raw_path) & set(b"\r\n\0 #@")


def test_numbers_that_json_does_not_know() -> None:
    with pytest.raises(UnusableArgument):
        request(spec("http://h/", "n", method="POST"), n=float("nan"))


def test_a_redirect_to_another_origin_loses_what_identifies_the_caller() -> None:
    first = request(spec("https://h/a", headers={"X-Key": "s", "Accept-Language": "de"}, effect="idempotent"))
    assert redirected(first, "/b?c=1").headers == first.headers
    assert str(redirected(first, "/b?c=1").url) == "https://h/b?c=1"
    other = redirected(first, "https://h:444/b").headers
    assert {name.lower() for name in other} == {"user-agent", "accept", "accept-encoding", "accept-language"}


@pytest.mark.parametrize("location", ["http://h/", "ftp://h/", "file:///etc/passwd", "https://u:p@h/", "javascript:x"])
def test_redirects_that_are_not_followed(location: str) -> None:
    with pytest.raises(CallForbidden):
        redirected(request(spec("https://h/a")), location)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(path=VALUES, query=VALUES, rest=VALUES, method=st.sampled_from(["GET", "POST", "DELETE"]))
def test_no_argument_moves_a_request(path: Any, query: Any, rest: Any, method: str) -> None:
    declared = spec("https://h:8443/a/{id}/b?f=1", "id", "q", "r", method=method, query=["q"])
    try:
        made = request(declared, id=path, q=query, r=rest)
    except UnusableArgument:
        return
    assert (made.url.scheme, made.url.host, made.url.port) == ("https", "h", 8443)
    target = made.url.raw_path
    assert target.startswith(b"/a/")
    assert target.partition(b"?")[0].endswith(b"/b")
    assert target.partition(b"?")[0].count(b"/") == 3
    assert all(0x21 <= byte <= 0x7E for byte in target)


def test_secrets_stand_in_headers_and_go_to_their_origin_only() -> None:
    headers = {
        "Authorization": {"secret": "crm", "prefix": "Bearer "},
        "User-Agent": {"secret": "agent"},
        "Accept": "a/b",
    }
    declared = spec("https://h/a", headers=headers)
    secrets = Revealed({"crm": "value-of-crm", "agent": "value-of-agent"})
    made = build(declared, ToolCall("f", {}, "run.1.0"), {}, secrets)
    assert (made.headers["Authorization"], made.headers["User-Agent"]) == ("Bearer value-of-crm", "value-of-agent")
    assert "value-of-crm" not in repr(made)
    assert dict(redirected(made, "/b").headers) == dict(made.headers)
    for elsewhere in ("https://other/b", "https://h:8443/b", "//other"):
        there = redirected(made, elsewhere)
        assert "value-of" not in str(dict(there.headers)), elsewhere
        assert there.headers["Accept"] == "a/b"
        assert "value-of" not in str(dict(redirected(there, "https://h/a").headers))
