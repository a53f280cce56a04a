"""A person at a browser, as far as forms need one: reads pages, fills in what is asked, says yes."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import TracebackType
from typing import Self
from urllib.parse import urljoin

import httpx

MOST_PAGES = 8


class NotSignedIn(Exception):
    """The pages did not end where a login ends."""


@dataclass
class Form:
    """A form of a page; a button is sent only when it is the one that is pressed."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: dict[str, str] = field(default_factory=dict)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append(Form(has.get("action", ""), has.get("method", "get").lower()))
        elif self.found and "name" in has:
            if tag == "button" or has.get("type") == "submit":
                self.found[-1].buttons[has["name"]] = has.get("value", "")
            elif tag in ("input", "select"):
                self.found[-1].fields[has["name"]] = has.get("value", "")


class Browser:
    """Keeps cookies, also those that are marked `Secure`, which a browser takes from a loopback address too."""

    def __init__(self) -> None:
        self._http = httpx.Client(follow_redirects=False, timeout=30, trust_env=False)
        self._cookies: dict[str, str] = {}

    def confirm(self, url: str, username: str, password: str, stop_at: str | None = None) -> str:
        """Go through login and consent; the last page's text, or the address with `stop_at` it was sent to."""
        answer = self._send("GET", url)
        for _ in range(MOST_PAGES):
            if "location" in answer.headers:
                target = urljoin(str(answer.url), answer.headers["location"])
                if stop_at and target.startswith(stop_at):
                    return target
                answer = self._send("GET", target)
                continue
            forms = forms_of(answer.text)
            wanted = [form for form in forms if "username" in form.fields or "accept" in form.buttons]
            if not wanted:
                return answer.text
            answer = self._fill(str(answer.url), wanted[0], username, password)
        raise NotSignedIn(f"{MOST_PAGES} pages, and still another one")

    def _fill(self, page: str, form: Form, username: str, password: str) -> httpx.Response:
        content = dict(form.fields)
        if "username" in content:
            content |= {"username": username, "password": password}
        if "accept" in form.buttons:
            content["accept"] = form.buttons["accept"]
        return self._send(form.method.upper(), urljoin(page, form.action or page), content)

    def _send(self, method: str, url: str, content: dict[str, str] | None = None) -> httpx.Response:
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        self._http.cookies.clear()
        answer = self._http.request(method, url, data=content, headers={"Cookie": cookies} if cookies else {})
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self._cookies[name.strip()] = value.strip()
            if not value.strip() or "max-age=0" in line.lower().replace(" ", ""):
                del self._cookies[name.strip()]
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()


def forms_of(page: str) -> list[Form]:
    parser = _Forms()
    parser.feed(page)
    return parser.found
