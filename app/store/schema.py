"""The tables. Times are epoch milliseconds; content is JSON text as bytes."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
    false,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _partial(name: str, column: Column[Any], rows: ColumnElement[bool]) -> None:
    """An index of some rows only: as small as their number."""
    Index(name, column, sqlite_where=rows, postgresql_where=rows)


projects = Table(
    "projects",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("retention_days", Integer),
    Column("owner", Text),
    Column("labels", LargeBinary),
    # What its keys may do, as JSON text: see app.core.policy.
    Column("policy", LargeBinary),
    Column("deleted_at", BigInteger),
    # The fingerprint of the pepper that a digest is made with; here, where the name is a digest.
    Column("pepper", LargeBinary),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("owner", Text),
    Column("labels", LargeBinary),
    Column("policy", LargeBinary),
    Column("pepper", LargeBinary),
    Index("ix_api_keys_created", "created_at", "id"),
    Index("ix_api_keys_project_created", "project_id", "created_at", "id"),
)

peppers = Table(
    "peppers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False, unique=True),
)

interactions = Table(
    "interactions",
    metadata,
    Column("id", Text, primary_key=True),
    Column(
        "project_id",
        Text,
        ForeignKey("projects.id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("key_id", Text),
    # No foreign key: a parent may be deleted, and the chain must then say which link is gone.
    Column("parent_id", Text),
    Column("root_id", Text, nullable=False),
    Column("depth", Integer, nullable=False),
    Column("history_bytes", BigInteger, nullable=False),
    Column("model", Text),
    Column("agent", Text),
    Column("store", Boolean, nullable=False),
    Column("background", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    Column("options", LargeBinary),
    Column("input", LargeBinary),
    Column("output", LargeBinary),
    Column("details", LargeBinary),
    Column("error", LargeBinary),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("upstream", Text),
    # The row is the job: who runs it, in which attempt, and until when that is believed.
    Column("owner", Text),
    Column("attempt", Integer, nullable=False),
    Column("lease_until", BigInteger),
    Column("last_seq", Integer, nullable=False),
    Column("deadline", BigInteger),
    # Whether it keeps an event log; whether anybody may have read it while it ran.
    Column("streamed", Boolean, nullable=False, server_default=false()),
    Column("followed", Boolean, nullable=False, server_default=false()),
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    # Where the upstream keeps the run itself: which key made it, its id there, the last event from it.
    Column("credential", Text),
    Column("upstream_id", Text),
    Column("upstream_event_id", Text),
    Index("ix_interactions_project_created", "project_id", "created_at", "id"),
    Index("ix_interactions_expires_at", "expires_at"),
)
# Only what runs now has a lease, so the index is as small as the number of runs.
_partial("ix_interactions_lease", interactions.c.lease_until, interactions.c.lease_until.is_not(None))

# What its upstream keeps, too, and with which key it can be seen there.
_partial("ix_interactions_credential", interactions.c.credential, interactions.c.upstream_id.is_not(None))

# Ended, and with an event log that is to be compacted some day.
_partial(
    "ix_interactions_logged",
    interactions.c.updated_at,
    and_(interactions.c.last_seq > 0, interactions.c.lease_until.is_(None)),
)

_partial("ix_interactions_parent", interactions.c.parent_id, interactions.c.parent_id.is_not(None))

interaction_labels = Table(
    "interaction_labels",
    metadata,
    Column("interaction_id", Text, ForeignKey("interactions.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Index("ix_interaction_labels_search", "project_id", "name", "value"),
)

interaction_events = Table(
    "interaction_events",
    metadata,
    Column("interaction_id", Text, ForeignKey("interactions.id", ondelete="CASCADE"), primary_key=True),
    Column("first_seq", Integer, primary_key=True),
    Column("last_seq", Integer, nullable=False),
    Column("frames", LargeBinary, nullable=False),
)

upstream_resources = Table(
    "upstream_resources",
    metadata,
    # The same name may exist under two of an upstream's credentials: each has names of its own.
    Column("name", Text, primary_key=True),
    Column("upstream", Text, primary_key=True),
    Column("credential", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("key_id", Text),
    Column("kind", Text, nullable=False),
    Column("uri", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    # The interaction that made it and takes it along when it is deleted.
    Column("interaction_id", Text),
    # The call of the ledger that made it, where what that has used is told later.
    Column("call_id", Text),
    Index("ix_upstream_resources_listed", "project_id", "kind", "created_at", "name"),
)
_partial(
    "ix_upstream_resources_interaction_id",
    upstream_resources.c.interaction_id,
    upstream_resources.c.interaction_id.is_not(None),
)
_partial(
    "ix_upstream_resources_expires_at",
    upstream_resources.c.expires_at,
    upstream_resources.c.expires_at.is_not(None),
)

upload_sessions = Table(
    "upload_sessions",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("key_id", Text),
    Column("upstream", Text, nullable=False),
    Column("credential", Text, nullable=False),
    Column("kind", Text),
    Column("target", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("interaction_id", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("interaction_id", Text, nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # Whoever takes a delivery moves `due_at` on before trying: a process that dies costs a delay.
    Column("due_at", BigInteger, nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
)

# What an upstream keeps of interactions that are gone here, until it has been deleted there too.
upstream_leftovers = Table(
    "upstream_leftovers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("upstream", Text, nullable=False),
    Column("credential", Text),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("done_at", BigInteger),
)

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
    Column("at", BigInteger, nullable=False, index=True),
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
    Index("ix_usage_ledger_project_at", "project_id", "at"),
)
_partial("ix_usage_ledger_fresh", usage_ledger.c.at, usage_ledger.c.rolled_up.is_(False))

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

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", Text, primary_key=True),
    # The chain of a project: number and hash are given by the sealer, a moment later.
    Column("project_id", Text, nullable=False),
    Column("seq", BigInteger),
    Column("hash", LargeBinary),
    Column("at", BigInteger, nullable=False),
    Column("actor_kind", Text, nullable=False),
    Column("actor", Text),
    Column("address", Text),
    Column("request_id", Text),
    Column("action", Text, nullable=False),
    Column("target", Text),
    Column("outcome", Text, nullable=False),
    Column("bytes_in", BigInteger, nullable=False),
    Column("bytes_out", BigInteger, nullable=False),
    Column("details", LargeBinary),
    Index("ix_audit_log_chain", "project_id", "seq", unique=True),
    Index("ix_audit_log_listed", "at", "id"),
    Index("ix_audit_log_project_listed", "project_id", "at", "id"),
)
_partial("ix_audit_log_unsealed", audit_log.c.at, audit_log.c.seq.is_(None))

# How long each chain is: a log that was cut off at the end is found by this.
audit_heads = Table(
    "audit_heads",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)

holds = Table(
    "holds",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    # interaction, conversation, key or project
    Column("kind", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_holds_target", "project_id", "kind", "target", unique=True),
    Index("ix_holds_created", "created_at", "id"),
    Index("ix_holds_project_created", "project_id", "created_at", "id"),
)

admin_tokens = Table(
    "admin_tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("pepper", LargeBinary),
)
