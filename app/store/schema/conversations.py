"""Interactions: each row is also the job that executes it."""

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
    and_,
    false,
)

from app.store.schema.base import metadata, partial_index

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
partial_index(
    "ix_interactions_lease", interactions.c.lease_until, rows=interactions.c.lease_until.is_not(None)
)

# What its upstream keeps, too, and with which key it can be seen there.
partial_index(
    "ix_interactions_credential", interactions.c.credential, rows=interactions.c.upstream_id.is_not(None)
)

# Ended, and with an event log that is to be compacted some day.
partial_index(
    "ix_interactions_logged",
    interactions.c.updated_at,
    rows=and_(interactions.c.last_seq > 0, interactions.c.lease_until.is_(None)),
)

partial_index("ix_interactions_parent", interactions.c.parent_id, rows=interactions.c.parent_id.is_not(None))

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

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("done_at", BigInteger),
)
