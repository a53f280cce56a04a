"""Where a person says yes to a program, in a browser: the device flow's page and the code flow's."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from deploy.embedded.forms import read_form
from deploy.embedded.login_page import HEADERS, code_form, login_form, notice
from deploy.embedded.realm import AUTHORIZE_PATH, CLI_CLIENT, CONFIRM_PATH
from deploy.embedded.sessions import Login, Sessions
from deploy.embedded.token_endpoint import CHALLENGE, Form
from deploy.embedded.users import Users

# Any port: the program listens where it can.
_CALLBACK = re.compile(r"http://127\.0\.0\.1(:\d{1,5})?/callback")
_KEPT = ("client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method")
_WRONG = "The user or the password is wrong."


class Confirmation:
    """The pages; every yes needs a user's password."""

    def __init__(self, users: Users, sessions: Sessions) -> None:
        self._users = users
        self._sessions = sessions

    async def show_device(self, request: Request) -> Response:
        code = request.query_params.get("user_code", "")
        if not code:
            return _page(code_form(CONFIRM_PATH))
        if self._sessions.waiting(code) is None:
            return _page(code_form(CONFIRM_PATH, "That code is not known, or no longer."), 400)
        return self._ask(CONFIRM_PATH, {"user_code": code})

    async def answer_device(self, request: Request) -> Response:
        form = await read_form(request)
        code = form.get("user_code", "")
        login = self._sessions.waiting(code)
        if login is None:
            return _page(code_form(CONFIRM_PATH, "That code is not known, or no longer."), 400)
        if "deny" in form:
            login.denied = True
            return _page(notice("It is not allowed. You may close this page."))
        user = self._users.authenticate(form.get("username", ""), form.get("password", ""))
        if user is None:
            return self._ask(CONFIRM_PATH, {"user_code": code}, _WRONG)
        login.user = user
        return _page(notice(f"The program now acts for {user.username}. You may close this page."))

    async def show_authorization(self, request: Request) -> Response:
        asked = {name: value for name, value in request.query_params.items() if name in _KEPT}
        if flaw := _flaw(asked, request.query_params.get("response_type")):
            return _page(notice(flaw), 400)
        return self._ask(AUTHORIZE_PATH, asked)

    async def answer_authorization(self, request: Request) -> Response:
        form = await read_form(request)
        asked = {name: value for name, value in form.items() if name in _KEPT}
        if flaw := _flaw(asked, "code"):
            return _page(notice(flaw), 400)
        if "deny" in form:
            return _back(asked, {"error": "access_denied"})
        user = self._users.authenticate(form.get("username", ""), form.get("password", ""))
        if user is None:
            return self._ask(AUTHORIZE_PATH, asked, _WRONG)
        login = Login(
            client=asked["client_id"],
            scope=asked.get("scope", ""),
            challenge=asked["code_challenge"],
            until=0,
            redirect_uri=asked["redirect_uri"],
            nonce=asked.get("nonce"),
            user=user,
        )
        return _back(asked, {"code": self._sessions.issue_code(login)})

    def _ask(self, action: str, kept: Form, said: str = "") -> Response:
        names = [user.username for user in self._users.all() if user.enabled]
        return _page(login_form(action, CLI_CLIENT, names, kept, str(self._users.password_file), said))


def _flaw(asked: Form, response_type: str | None) -> str | None:
    """Why nobody is asked; where it is the address that is wrong, nobody is sent there either."""
    if asked.get("client_id") != CLI_CLIENT or not _CALLBACK.fullmatch(asked.get("redirect_uri", "")):
        return "Invalid client or redirect_uri."
    if response_type != "code":
        return "Only response_type=code is known."
    if asked.get("code_challenge_method") != "S256" or not CHALLENGE.fullmatch(asked.get("code_challenge", "")):
        return "This needs PKCE with S256."
    return None


def _back(asked: Form, answer: dict[str, str]) -> Response:
    state = {"state": asked["state"]} if "state" in asked else {}
    return RedirectResponse(f"{asked['redirect_uri']}?{urlencode({**answer, **state})}", 303, headers=HEADERS)


def _page(html: str, status: int = 200) -> Response:
    return HTMLResponse(html, status, headers=HEADERS)
