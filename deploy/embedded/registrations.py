"""The embedded issuer's clients that have a secret: those that are shipped, and those that were registered."""

from __future__ import annotations

import secrets
import threading
from typing import Any

from deploy.embedded.state import StateDirectory, read_json, write_json

PROVISIONER = "agent-runtime-provisioner"
PROVISIONER_SECRET = "provisioner-secret"  # noqa: S105 - the name of a file

Client = dict[str, Any]


class Clients:
    """By id. Registered ones are changed by the process that runs the stack, and by no other."""

    def __init__(self, state: StateDirectory) -> None:
        self._file = state.path / "secrets/registered-clients.json"
        self._shipped = shipped(state)
        stored = read_json(self._file)
        self._registered: dict[str, Client] = stored if isinstance(stored, dict) else {}
        self._lock = threading.Lock()

    def find(self, client_id: str) -> Client | None:
        """What is known of a client: its secret, and for shipped ones role and tenant."""
        return self._shipped.get(client_id) or self._registered.get(client_id)

    def register(self, client_id: str, name: str, secret: str | None = None) -> Client:
        """A client that has nothing but itself; its `token` changes it, once."""
        made = {"secret": secret or secrets.token_urlsafe(32), "name": name, "token": secrets.token_urlsafe(32)}
        self._keep(client_id, made)
        return made

    def manages(self, client_id: str, token: str) -> bool:
        known = self._registered.get(client_id)
        return known is not None and secrets.compare_digest(known["token"].encode(), token.encode())

    def remove(self, client_id: str) -> None:
        self._keep(client_id, None)

    def _keep(self, client_id: str, client: Client | None) -> None:
        with self._lock:
            self._registered.pop(client_id, None)
            if client is not None:
                self._registered[client_id] = client
            write_json(self._file, self._registered)


def shipped(state: StateDirectory) -> dict[str, Client]:
    """The clients that every embedded stack has, with the secrets that its state directory keeps."""
    path = state.path / "secrets/clients.json"
    stored = read_json(path)
    known = {
        "platform-admin": {"secret": secrets.token_urlsafe(24), "role": "admin"},
        "demo-operator": {"secret": secrets.token_urlsafe(24), "role": "operator", "tenant": "demo"},
        "demo-user": {"secret": secrets.token_urlsafe(24), "role": "user", "tenant": "demo"},
    }
    if isinstance(stored, dict):
        known |= stored
    else:
        write_json(path, known)
    return {**known, PROVISIONER: {"secret": state.secret(PROVISIONER_SECRET), "audience": "realm-management"}}
