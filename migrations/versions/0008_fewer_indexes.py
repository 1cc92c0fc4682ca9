"""Of the audit log and the usage ledger, only those indexes that somebody reads: each costs every request."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_SEALED, _OPEN = sa.text("seq IS NOT NULL"), sa.text("seq IS NULL")


def upgrade() -> None:
    op.drop_index("ix_usage_ledger_at", table_name="usage_ledger")
    op.drop_index("ix_usage_ledger_project_at", table_name="usage_ledger")
    op.drop_index("ix_audit_log_chain", table_name="audit_log")
    op.drop_index("ix_audit_log_unsealed", table_name="audit_log")
    op.create_index(
        "ix_audit_log_chain",
        "audit_log",
        ["project_id", "seq"],
        unique=True,
        sqlite_where=_SEALED,
        postgresql_where=_SEALED,
    )
    op.create_index(
        "ix_audit_log_unsealed",
        "audit_log",
        ["project_id", "at", "id"],
        unique=False,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )


def downgrade() -> None:
    op.drop_index("ix_audit_log_unsealed", table_name="audit_log")
    op.drop_index("ix_audit_log_chain", table_name="audit_log")
    op.create_index("ix_audit_log_chain", "audit_log", ["project_id", "seq"], unique=True)
    op.create_index(
        "ix_audit_log_unsealed",
        "audit_log",
        ["at"],
        unique=False,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )
    op.create_index("ix_usage_ledger_project_at", "usage_ledger", ["project_id", "at"], unique=False)
    op.create_index("ix_usage_ledger_at", "usage_ledger", ["at"], unique=False)
