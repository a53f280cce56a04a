"""The people of the embedded issuer's realm, kept in the state directory; all that is shipped share one password."""

from __future__ import annotations

import hashlib
import secrets
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from deploy.embedded.state import StateDirectory, read_json, write_json
from deploy.embedded.tokens import TokenSigner

PASSWORD_FILE = "secrets/login-password"  # noqa: S105 - the name of a file


@dataclass(frozen=True)
class User:
    """`id` is the `sub` of its tokens; `digest` is of a password of its own, else it has the shared one."""

    id: str
    username: str
    role: str | None = None
    tenant: str | None = None
    email: str | None = None
    enabled: bool = True
    digest: str | None = None
    temporary: bool = False  # the password was given by somebody else, and was not used yet
    first_name: str | None = None
    last_name: str | None = None
    created_ms: int = 0

    def with_password(self, password: str) -> User:
        salt = secrets.token_hex(16)
        return replace(self, digest=f"{salt}:{_digest(salt, password)}")


class Users:
    """Read and changed by one process, the one that runs the stack."""

    def __init__(self, state: StateDirectory) -> None:
        self._file = state.path / "secrets/users.json"
        self.password_file: Path = state.path / PASSWORD_FILE
        self._shared = state.secret("login-password")
        self._lock = threading.Lock()
        stored = read_json(self._file)
        self._users = {name: User(**each) for name, each in stored.items()} if isinstance(stored, dict) else _shipped()

    def all(self) -> list[User]:
        return sorted(self._users.values(), key=lambda user: user.username)

    def find(self, username: str) -> User | None:
        return self._users.get(username)

    def keep(self, user: User) -> None:
        """Add a user, or replace the one of this name."""
        with self._lock:
            self._users[user.username] = user
            self._store()

    def remove(self, username: str) -> None:
        with self._lock:
            self._users.pop(username, None)
            self._store()

    def authenticate(self, username: str, password: str) -> User | None:
        """The user of this name and password; None for a wrong one and for a disabled user."""
        user = self._users.get(username)
        if user is None or not user.enabled:
            return None
        if user.digest is None:
            good = secrets.compare_digest(self._shared.encode(), password.encode())
        else:
            salt, _, digest = user.digest.partition(":")
            good = secrets.compare_digest(_digest(salt, password), digest)
        if good and user.temporary:
            user = replace(user, temporary=False)
            self.keep(user)
        return user if good else None

    def _store(self) -> None:
        write_json(self._file, {name: asdict(user) for name, user in self._users.items()})


def _shipped() -> dict[str, User]:
    known: list[tuple[str, str, str | None]] = [
        ("platform-admin", "admin", None),
        ("demo-operator", "operator", "demo"),
        ("demo-user", "user", "demo"),
    ]
    return {name: User(TokenSigner.subject(tenant, name), name, role, tenant) for name, role, tenant in known}


def _digest(salt: str, password: str) -> str:
    return hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=2**12, r=8, p=1).hex()
