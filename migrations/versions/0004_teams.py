"""Teams: policies, budgets, the usage ledger, the audit log, holds and admin tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("projects", sa.Column("owner", sa.Text(), nullable=True))
    op.add_column("projects", sa.Column("labels", sa.LargeBinary(), nullable=True))
    op.add_column("projects", sa.Column("policy", sa.LargeBinary(), nullable=True))
    op.add_column("projects", sa.Column("deleted_at", sa.BigInteger(), nullable=True))
    op.add_column("api_keys", sa.Column("owner", sa.Text(), nullable=True))
    op.add_column("api_keys", sa.Column("labels", sa.LargeBinary(), nullable=True))
    op.add_column("api_keys", sa.Column("policy", sa.LargeBinary(), nullable=True))
    op.create_table(
        "budgets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("hard", sa.Boolean(), nullable=False),
        sa.Column("alert_url", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_budgets_project_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_budgets"),
    )
    op.create_index("ix_budgets_project_id", "budgets", ["project_id"], unique=False)
    op.create_table(
        "budget_periods",
        sa.Column("budget_id", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.Column("alerted", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["budget_id"], ["budgets.id"], name="fk_budget_periods_budget_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("budget_id", "starts_at", name="pk_budget_periods"),
    )
    op.create_table(
        "reservations",
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("budget_id", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["budget_id"], ["budgets.id"], name="fk_reservations_budget_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("call_id", "budget_id", name="pk_reservations"),
    )
    op.create_index("ix_reservations_budget_id", "reservations", ["budget_id"], unique=False)
    op.create_index("ix_reservations_expires_at", "reservations", ["expires_at"], unique=False)
    op.create_table(
        "usage_ledger",
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=True),
        sa.Column("credential", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("thought_tokens", sa.BigInteger(), nullable=False),
        sa.Column("tool_use_tokens", sa.BigInteger(), nullable=False),
        sa.Column("total_tokens", sa.BigInteger(), nullable=False),
        sa.Column("grounding_calls", sa.Integer(), nullable=False),
        sa.Column("modalities", sa.LargeBinary(), nullable=True),
        sa.Column("labels", sa.LargeBinary(), nullable=True),
        sa.Column("cost", sa.BigInteger(), nullable=True),
        sa.Column("rolled_up", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("call_id", name="pk_usage_ledger"),
    )
    op.create_index("ix_usage_ledger_at", "usage_ledger", ["at"], unique=False)
    op.create_index(
        "ix_usage_ledger_fresh",
        "usage_ledger",
        ["at"],
        unique=False,
        sqlite_where=sa.text("rolled_up IS 0"),
        postgresql_where=sa.text("rolled_up IS false"),
    )
    op.create_index("ix_usage_ledger_project_at", "usage_ledger", ["project_id", "at"], unique=False)
    op.create_table(
        "usage_days",
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("unpriced", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("thought_tokens", sa.BigInteger(), nullable=False),
        sa.Column("tool_use_tokens", sa.BigInteger(), nullable=False),
        sa.Column("total_tokens", sa.BigInteger(), nullable=False),
        sa.Column("grounding_calls", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "project_id", "key_id", "model", "label", name="pk_usage_days"),
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("bytes_in", sa.BigInteger(), nullable=False),
        sa.Column("bytes_out", sa.BigInteger(), nullable=False),
        sa.Column("details", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_chain", "audit_log", ["project_id", "seq"], unique=True)
    op.create_index("ix_audit_log_project_at", "audit_log", ["project_id", "at"], unique=False)
    op.create_index(
        "ix_audit_log_unsealed",
        "audit_log",
        ["at"],
        unique=False,
        sqlite_where=sa.text("seq IS NULL"),
        postgresql_where=sa.text("seq IS NULL"),
    )
    op.create_table(
        "audit_heads",
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", name="pk_audit_heads"),
    )
    op.create_table(
        "holds",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_holds_project_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_holds"),
    )
    op.create_index("ix_holds_target", "holds", ["project_id", "kind", "target"], unique=True)
    op.create_table(
        "admin_tokens",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_admin_tokens"),
        sa.UniqueConstraint("digest", name="uq_admin_tokens_digest"),
        sa.UniqueConstraint("name", name="uq_admin_tokens_name"),
    )


def downgrade() -> None:
    op.drop_table("admin_tokens")
    op.drop_index("ix_holds_target", table_name="holds")
    op.drop_table("holds")
    op.drop_table("audit_heads")
    op.drop_index("ix_audit_log_chain", table_name="audit_log")
    op.drop_index("ix_audit_log_project_at", table_name="audit_log")
    op.drop_index("ix_audit_log_unsealed", table_name="audit_log")
    op.drop_table("audit_log")
    op.drop_table("usage_days")
    op.drop_index("ix_usage_ledger_at", table_name="usage_ledger")
    op.drop_index("ix_usage_ledger_fresh", table_name="usage_ledger")
    op.drop_index("ix_usage_ledger_project_at", table_name="usage_ledger")
    op.drop_table("usage_ledger")
    op.drop_index("ix_reservations_expires_at", table_name="reservations")
    op.drop_index("ix_reservations_budget_id", table_name="reservations")
    op.drop_table("reservations")
    op.drop_table("budget_periods")
    op.drop_index("ix_budgets_project_id", table_name="budgets")
    op.drop_table("budgets")
    op.drop_column("api_keys", "policy")
    op.drop_column("api_keys", "labels")
    op.drop_column("api_keys", "owner")
    op.drop_column("projects", "deleted_at")
    op.drop_column("projects", "policy")
    op.drop_column("projects", "labels")
    op.drop_column("projects", "owner")
