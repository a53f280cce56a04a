"""Logins of this user, by API: tokens in the keyring of the system when there is one, else in a file of mode 0600."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import platformdirs
from agent_runtime import Unusable
from filelock import FileLock, Timeout

from services.cli.oauth import Tokens

SERVICE = "agent-runtime"
LOCK_SECONDS = 60  # longer than a refresh can take


@dataclass(frozen=True)
class Login:
    """Who this user is at one API."""

    api_url: str
    issuer: str
    token_endpoint: str
    revocation_endpoint: str
    tokens: Tokens


class LoginStore:
    """A directory that only its user can enter; tokens are in it or in the keyring, never in both."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or Path(platformdirs.user_state_dir("agent-runtime", appauthor=False)) / "logins"

    def find(self, api_url: str) -> Login | None:
        """The login for an API."""
        path = self._file(api_url)
        document = self._read(path)
        if document is None:
            return None
        tokens = document.pop("tokens", None) or _from_keyring(same(api_url))
        try:
            return Login(**document, tokens=Tokens(**tokens)) if tokens else None
        except TypeError:
            raise _broken(path) from None

    def current(self) -> Login | None:
        """The login that was made last, unless it was ended."""
        document = self._read(self.directory / "current.json")
        return self.find(document["api_url"]) if document else None

    def keep(self, login: Login, *, current: bool = False) -> str:
        """Store a login, for the first time or with its next tokens; says where the tokens are."""
        login = replace(login, api_url=same(login.api_url))
        document: dict[str, Any] = {name: value for name, value in asdict(login).items() if name != "tokens"}
        tokens = asdict(login.tokens)
        in_keyring = _to_keyring(login.api_url, tokens)
        path = self._file(login.api_url)
        self._write(path, document if in_keyring else {**document, "tokens": tokens})
        if current:
            self._write(self.directory / "current.json", {"api_url": login.api_url})
        return "the keyring" if in_keyring else str(path)

    def forget(self, api_url: str) -> None:
        _from_keyring(same(api_url), remove=True)
        self._file(api_url).unlink(missing_ok=True)
        document = self._read(self.directory / "current.json")
        if document and document["api_url"] == same(api_url):
            (self.directory / "current.json").unlink(missing_ok=True)

    @contextmanager
    def alone(self, api_url: str) -> Iterator[None]:
        """No other process of this user refreshes this login meanwhile: a second use would end the session."""
        self._make_directory()
        try:
            with FileLock(self._file(api_url).with_suffix(".lock"), timeout=LOCK_SECONDS, mode=0o600):
                yield
        except Timeout:
            raise Unusable(f"another process has been renewing this login for {LOCK_SECONDS} s; try again") from None

    def _file(self, api_url: str) -> Path:
        return self.directory / f"{hashlib.sha256(same(api_url).encode()).hexdigest()[:32]}.json"

    def _make_directory(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            with path.open(encoding="utf-8") as file:
                _check_private(path, os.fstat(file.fileno()))
                document = json.load(file)
        except FileNotFoundError:
            return None
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise _broken(path) from None
        if not isinstance(document, dict):
            raise _broken(path)
        return document

    def _write(self, path: Path, document: dict[str, Any]) -> None:
        """As a whole or not at all, readable by its owner only from its first moment."""
        self._make_directory()
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                json.dump(document, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def same(api_url: str) -> str:
    """One spelling for each API."""
    parts = urlsplit(api_url)
    return parts._replace(
        scheme=parts.scheme.lower(), netloc=parts.netloc.lower(), path=parts.path.rstrip("/")
    ).geturl()


def _broken(path: Path) -> Unusable:
    return Unusable(f"{path} is broken; delete it and run `agent-runtime login`")


def _check_private(path: Path, found: os.stat_result) -> None:
    if os.name == "posix" and (found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077):
        raise Unusable(f"{path} can be read by others than you; delete it and run `agent-runtime login` again")


def _keyring() -> Any:
    """A keyring that keeps what it is given, None when this system has none."""
    keyring = importlib.import_module("keyring")  # looks for backends, which no other command has to wait for
    with contextlib.suppress(Exception):  # a backend that breaks while it is looked at is none
        backend = keyring.get_keyring()
        if backend.priority > 0:
            return backend
    return None


def _to_keyring(api_url: str, tokens: dict[str, Any]) -> bool:
    backend = _keyring()
    if backend is None:
        return False
    text = json.dumps(tokens)
    try:
        backend.set_password(SERVICE, api_url, text)
        return bool(backend.get_password(SERVICE, api_url) == text)
    except Exception:  # whatever a backend fails with (locked, too long, no bus): there is the file
        return False


def _from_keyring(api_url: str, *, remove: bool = False) -> dict[str, Any] | None:
    backend = _keyring()
    if backend is None:
        return None
    try:
        text = backend.get_password(SERVICE, api_url)
        if text and remove:
            backend.delete_password(SERVICE, api_url)
        return dict(json.loads(text)) if text else None
    except Exception as error:  # locked, or no longer there
        raise Unusable(f"the keyring does not give the login ({type(error).__name__}); unlock it") from None
