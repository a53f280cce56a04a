"""The tables around the ledger: prices, what is priced again, the corrections, and what erased runs had used."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)

from libs.database.columns import NEW_ID, metadata
from libs.database.columns import count as _count
from libs.database.columns import time as _time

model_prices = Table(  # USD per million tokens; rows are only ever added
    "model_prices",
    metadata,
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),  # "*" stands for the provider's others
    Column("input_price", Numeric, nullable=False),
    Column("cached_input_price", Numeric, nullable=False),
    Column("output_price", Numeric, nullable=False),
    _time("valid_from", now=True),
    Column("id", Uuid, nullable=False, server_default=NEW_ID),
    _time("created_at", now=True),
    Column("created_by", Text, nullable=False, server_default=text("'configuration'")),
    PrimaryKeyConstraint("id"),
    CheckConstraint(
        "input_price >= 0 AND cached_input_price >= 0 AND output_price >= 0", name="model_prices_not_negative"
    ),
    Index("model_prices_in_force", "provider", "model", "valid_from", "id"),
)

re_ratings = Table(
    "re_ratings",
    metadata,
    Column("id", Uuid, nullable=False, server_default=NEW_ID),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),  # "*": every model of the provider
    Column("since", DateTime(timezone=True), nullable=False),
    Column("until", DateTime(timezone=True), nullable=False),
    Column("requested_by", Text, nullable=False),
    _time("created_at", now=True),
    _time("finished_at"),
    _time("next_look_at", now=True),
    Column("at_tenant", Uuid),  # how far it has come: the tenant, and in it the time that a call was opened at
    _time("looked_to"),
    _count("calls", BigInteger),
    _count("corrected", BigInteger),
    Column("amount", Numeric, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("id"),
    CheckConstraint("since < until", name="re_ratings_period"),
    Index("re_ratings_next_look", "next_look_at", postgresql_where=text("finished_at IS NULL")),
)

cost_corrections = Table(  # what a call cost is its row plus these; rows are only ever added
    "cost_corrections",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("run_id", Uuid, nullable=False),
    Column("turn", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("re_rating_id", Uuid, nullable=False),
    Column("provider", Text, nullable=False),  # this and the time are the call's: sums need no join
    Column("model", Text, nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Column("input_price", Numeric, nullable=False),
    Column("cached_input_price", Numeric, nullable=False),
    Column("output_price", Numeric, nullable=False),
    Column("amount", Numeric, nullable=False),
    Column("first", Boolean, nullable=False),  # the call had no price before
    _time("created_at", now=True),
    PrimaryKeyConstraint("tenant_id", "run_id", "turn", "attempt", "number"),
    ForeignKeyConstraint(
        ["tenant_id", "run_id", "turn", "attempt"],
        ["model_calls.tenant_id", "model_calls.run_id", "model_calls.turn", "model_calls.attempt"],
        name="cost_corrections_call_fkey",
        ondelete="CASCADE",
    ),
    Index("cost_corrections_opened_at", "tenant_id", "opened_at"),
)
erased_usage = Table(  # a trigger on runs writes it
    "erased_usage",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("day", Date, nullable=False),
    Column("agent_id", Uuid, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("unpriced_calls", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("cost", Numeric, nullable=False),
    Column("correction", Numeric, nullable=False),
    PrimaryKeyConstraint("tenant_id", "day", "agent_id", "provider", "model", "estimated"),
    ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="erased_usage_tenant_id_fkey"),
)
