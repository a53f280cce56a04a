"""The metadata that all tables belong to, and columns that many of them have."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, Integer, MetaData, text
from sqlalchemy.types import TypeEngine

metadata = MetaData()
NOW = text("clock_timestamp()")
NEW_ID = text("uuidv7()")


def time(name: str, *, now: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=not now, server_default=NOW if now else None)


def count(name: str, kind: type[TypeEngine[int]] = Integer) -> Column[int]:
    return Column(name, kind, nullable=False, server_default=text("0"))
