"""The tables. Times are epoch milliseconds; content is JSON text as bytes."""

from app.store.schema.accounts import budget_periods, budgets, reservations, usage_days, usage_ledger
from app.store.schema.base import metadata
from app.store.schema.conversations import (
    idempotency_keys,
    interaction_events,
    interaction_labels,
    interactions,
    leases,
    webhook_deliveries,
)
from app.store.schema.records import audit_heads, audit_log, holds
from app.store.schema.teams import admin_tokens, api_keys, peppers, projects
from app.store.schema.upstreams import upload_sessions, upstream_leftovers, upstream_resources

__all__ = (
    "admin_tokens",
    "api_keys",
    "audit_heads",
    "audit_log",
    "budget_periods",
    "budgets",
    "holds",
    "idempotency_keys",
    "interaction_events",
    "interaction_labels",
    "interactions",
    "leases",
    "metadata",
    "peppers",
    "projects",
    "reservations",
    "upload_sessions",
    "upstream_leftovers",
    "upstream_resources",
    "usage_days",
    "usage_ledger",
    "webhook_deliveries",
)
