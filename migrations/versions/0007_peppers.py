"""Which pepper a digest was made with, so that the pepper can be changed."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TABLES = ("projects", "api_keys", "admin_tokens")


def upgrade() -> None:
    for table in _TABLES:
        op.add_column(table, sa.Column("pepper", sa.LargeBinary(), nullable=True))
    # Up to now there has been one pepper. Of projects, those hang on it that are a caller's own key.
    peppers = sa.table("peppers", sa.column("id", sa.Integer), sa.column("fingerprint", sa.LargeBinary))
    only = sa.select(peppers.c.fingerprint).order_by(peppers.c.id).limit(1).scalar_subquery()
    for table in _TABLES:
        columns = sa.table(table, sa.column("id", sa.Text), sa.column("pepper", sa.LargeBinary))
        made = sa.update(columns).values(pepper=only)
        own_key = columns.c.id.startswith("byok_", autoescape=True)
        op.execute(made.where(own_key) if table == "projects" else made)
    # What upstreams keep, by the fingerprint of the key that can see it: it is made with the pepper, too.
    kept = sa.text("upstream_id IS NOT NULL")
    op.create_index(
        "ix_interactions_credential",
        "interactions",
        ["credential"],
        unique=False,
        sqlite_where=kept,
        postgresql_where=kept,
    )


def downgrade() -> None:
    op.drop_index("ix_interactions_credential", table_name="interactions")
    for table in _TABLES:
        op.drop_column(table, "pepper")
