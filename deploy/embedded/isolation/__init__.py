"""Attacks on the walls below the API, at the servers of an embedded stack: SQL, S3, Redis, Temporal."""

from deploy.embedded.isolation.attacking import Tried, Victim, attack_servers

__all__ = ["Tried", "Victim", "attack_servers"]
