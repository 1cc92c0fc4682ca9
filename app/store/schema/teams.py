"""Projects, their keys, and who administers them."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text

from app.store.schema.base import metadata

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
