"""What upstreams keep for projects: whose it is, and what has to be deleted there."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text

from app.store.schema.base import metadata, partial_index

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
partial_index(
    "ix_upstream_resources_interaction_id",
    upstream_resources.c.interaction_id,
    rows=upstream_resources.c.interaction_id.is_not(None),
)
partial_index(
    "ix_upstream_resources_expires_at",
    upstream_resources.c.expires_at,
    rows=upstream_resources.c.expires_at.is_not(None),
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
