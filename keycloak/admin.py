"""Keycloak's admin REST API, as far as the update of a realm needs it."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

TIMEOUT_SECONDS = 60
TOKEN_SECONDS = 45  # an administrator's token is good for 60


class Unreachable(Exception):
    """Keycloak does not answer, or something else answers."""


class Refused(Exception):
    """Keycloak said no; `status` is its answer's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Admin:
    """Calls with an administrator's token, renewed as it ages."""

    def __init__(self, url: str, login: Mapping[str, str], ca_file: str | None = None) -> None:
        """`login` is the form of a token request at the realm `master`."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Unreachable(f"{url} is not the URL of a Keycloak")
        self._secure = parts.scheme == "https"
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path.rstrip("/")
        self._context = ssl.create_default_context(cafile=ca_file) if self._secure else None
        self._login = dict(login)
        self._token, self._until = "", 0.0

    def get(self, path: str, **parameters: str) -> Any:
        return self._call("GET", path, parameters=parameters)

    def find(self, path: str, **parameters: str) -> Any:
        """What is there, None when nothing is."""
        try:
            return self.get(path, **parameters)
        except Refused as refusal:
            if refusal.status == 404:
                return None
            raise

    def post(self, path: str, content: Any) -> Any:
        return self._call("POST", path, content)

    def put(self, path: str, content: Any) -> Any:
        return self._call("PUT", path, content)

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path)

    def _call(self, method: str, path: str, content: Any = None, parameters: Mapping[str, str] | None = None) -> Any:
        query = f"?{urlencode(parameters)}" if parameters else ""
        body = None if content is None else json.dumps(content).encode()
        headers = {"Authorization": f"Bearer {self._fresh_token()}", "Content-Type": "application/json"}
        status, answer = self._send(method, f"/admin/realms{quote(path)}{query}", body, headers)
        if status >= 400:
            raise Refused(status, f"{method} {path}: {status} {_said(answer)}")
        return json.loads(answer) if answer else None

    def _fresh_token(self) -> str:
        if time.monotonic() >= self._until:
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            body = urlencode(self._login).encode()
            status, answer = self._send("POST", "/realms/master/protocol/openid-connect/token", body, headers)
            if status != 200:
                raise Refused(status, f"Keycloak gave no administrator's token: {status} {_said(answer)}")
            self._token, self._until = json.loads(answer)["access_token"], time.monotonic() + TOKEN_SECONDS
        return self._token

    def _send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        connection = self._connect()
        try:
            connection.request(method, self._path + path, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            place = f"{self._host}:{connection.port}"
            raise Unreachable(f"Keycloak does not answer at {place}: {type(error).__name__}: {error}") from None
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        if self._context:
            return http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_SECONDS, context=self._context)
        return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)


def _said(answer: bytes) -> str:
    """What Keycloak gives as the reason, cut short: never the request."""
    try:
        document = json.loads(answer)
        return str(document.get("errorMessage") or document.get("error_description") or document.get("error"))[:300]
    except (ValueError, AttributeError):
        return answer[:80].decode("utf-8", "replace")
