"""Budgets, and what calls have used."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    false,
)

from app.store.schema.base import metadata, partial_index

budgets = Table(
    "budgets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("key_id", Text),
    # day, month or total; money is in millionths of a US dollar.
    Column("period", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("hard", Boolean, nullable=False),
    Column("alert_url", Text),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_budgets_created", "created_at", "id"),
)

budget_periods = Table(
    "budget_periods",
    metadata,
    Column("budget_id", Text, ForeignKey("budgets.id", ondelete="CASCADE"), primary_key=True),
    Column("starts_at", BigInteger, primary_key=True),
    Column("spent", BigInteger, nullable=False),
    # The highest percentage that somebody was told of.
    Column("alerted", Integer, nullable=False),
)

# What a call may cost, from before it is made until it ends; then what it did cost, with 0 for
# `expires_at`, until that has been added to what is spent in the period.
reservations = Table(
    "reservations",
    metadata,
    Column("call_id", Text, primary_key=True),
    Column("budget_id", Text, ForeignKey("budgets.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("starts_at", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
)

usage_ledger = Table(
    "usage_ledger",
    metadata,
    # One row for a call, however often its end is told.
    Column("call_id", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("key_id", Text),
    Column("kind", Text, nullable=False),
    Column("upstream", Text),
    Column("credential", Text),
    Column("model", Text),
    Column("status", Text, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("thought_tokens", BigInteger, nullable=False),
    Column("tool_use_tokens", BigInteger, nullable=False),
    Column("total_tokens", BigInteger, nullable=False),
    Column("grounding_calls", Integer, nullable=False),
    Column("modalities", LargeBinary),
    Column("labels", LargeBinary),
    # Millionths of a US dollar; NULL for a model without a price.
    Column("cost", BigInteger),
    Column("rolled_up", Boolean, nullable=False, server_default=false()),
)
# No other: each costs every call, and reports read what has been added up.
partial_index("ix_usage_ledger_fresh", usage_ledger.c.at, rows=usage_ledger.c.rolled_up.is_(False))

usage_days = Table(
    "usage_days",
    metadata,
    Column("day", Integer, primary_key=True),
    Column("project_id", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("label", Text, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    Column("unpriced", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("thought_tokens", BigInteger, nullable=False),
    Column("tool_use_tokens", BigInteger, nullable=False),
    Column("total_tokens", BigInteger, nullable=False),
    Column("grounding_calls", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),
)
