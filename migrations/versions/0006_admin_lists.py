"""Indexes in the order of the lists of the admin API, and of the whole audit log."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ADDED = (
    ("ix_api_keys_created", "api_keys", ["created_at", "id"]),
    ("ix_api_keys_project_created", "api_keys", ["project_id", "created_at", "id"]),
    ("ix_budgets_created", "budgets", ["created_at", "id"]),
    ("ix_holds_created", "holds", ["created_at", "id"]),
    ("ix_holds_project_created", "holds", ["project_id", "created_at", "id"]),
    ("ix_audit_log_listed", "audit_log", ["at", "id"]),
    ("ix_audit_log_project_listed", "audit_log", ["project_id", "at", "id"]),
)
_REMOVED = (
    ("ix_api_keys_project_id", "api_keys", ["project_id"]),
    ("ix_audit_log_project_at", "audit_log", ["project_id", "at"]),
)


def upgrade() -> None:
    for name, table, columns in _ADDED:
        op.create_index(name, table, columns)
    for name, table, _ in _REMOVED:
        op.drop_index(name, table)


def downgrade() -> None:
    for name, table, columns in _REMOVED:
        op.create_index(name, table, columns)
    for name, table, _ in _ADDED:
        op.drop_index(name, table)
