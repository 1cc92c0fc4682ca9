"""The audit log, and what must not be deleted."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, Table, Text

from app.store.schema.base import metadata, partial_index

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
    Index("ix_audit_log_listed", "at", "id"),
    Index("ix_audit_log_project_listed", "project_id", "at", "id"),
)
partial_index(
    "ix_audit_log_chain",
    audit_log.c.project_id,
    audit_log.c.seq,
    rows=audit_log.c.seq.is_not(None),
    unique=True,
)
partial_index(
    "ix_audit_log_unsealed",
    audit_log.c.project_id,
    audit_log.c.at,
    audit_log.c.id,
    rows=audit_log.c.seq.is_(None),
)

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
