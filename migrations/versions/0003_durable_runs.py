"""Durable runs: deadlines, cancel, resume at the upstream, idempotency, webhooks, retention."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    false = sa.false()
    op.add_column("interactions", sa.Column("streamed", sa.Boolean(), nullable=False, server_default=false))
    op.add_column("interactions", sa.Column("followed", sa.Boolean(), nullable=False, server_default=false))
    op.add_column(
        "interactions", sa.Column("cancel_requested", sa.Boolean(), nullable=False, server_default=false)
    )
    op.add_column("interactions", sa.Column("deadline", sa.BigInteger(), nullable=True))
    # What runs right now has been run by the version before this one: its log has to get its end.
    op.execute(
        "UPDATE interactions SET streamed = true, followed = true, deadline = lease_until + 14400000 "
        "WHERE lease_until IS NOT NULL AND EXISTS "
        "(SELECT 1 FROM interaction_events WHERE interaction_events.interaction_id = interactions.id)"
    )
    op.add_column("interactions", sa.Column("credential", sa.Text(), nullable=True))
    op.add_column("interactions", sa.Column("upstream_id", sa.Text(), nullable=True))
    op.add_column("interactions", sa.Column("upstream_event_id", sa.Text(), nullable=True))
    op.create_index(
        "ix_interactions_logged",
        "interactions",
        ["updated_at"],
        unique=False,
        sqlite_where=sa.text("last_seq > 0 AND lease_until IS NULL"),
        postgresql_where=sa.text("last_seq > 0 AND lease_until IS NULL"),
    )
    op.create_index("ix_interactions_expires_at", "interactions", ["expires_at"], unique=False)
    op.add_column("upstream_resources", sa.Column("interaction_id", sa.Text(), nullable=True))
    op.create_index(
        "ix_upstream_resources_interaction_id",
        "upstream_resources",
        ["interaction_id"],
        unique=False,
        sqlite_where=sa.text("interaction_id IS NOT NULL"),
        postgresql_where=sa.text("interaction_id IS NOT NULL"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("interaction_id", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_idempotency_keys_project_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"], unique=False)
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("interaction_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_webhook_deliveries_project_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
    )
    op.create_index("ix_webhook_deliveries_due_at", "webhook_deliveries", ["due_at"], unique=False)
    op.create_index(
        "ix_webhook_deliveries_interaction_id", "webhook_deliveries", ["interaction_id"], unique=False
    )
    op.create_table(
        "upstream_leftovers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("credential", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_upstream_leftovers"),
    )
    op.create_index("ix_upstream_leftovers_due_at", "upstream_leftovers", ["due_at"], unique=False)
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )


def downgrade() -> None:
    op.drop_table("leases")
    op.drop_index("ix_upstream_leftovers_due_at", table_name="upstream_leftovers")
    op.drop_table("upstream_leftovers")
    op.drop_index("ix_webhook_deliveries_interaction_id", table_name="webhook_deliveries")
    op.drop_index("ix_webhook_deliveries_due_at", table_name="webhook_deliveries")
    op.drop_table("webhook_deliveries")
    op.drop_index("ix_idempotency_keys_expires_at", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_index(
        "ix_upstream_resources_interaction_id",
        table_name="upstream_resources",
        sqlite_where=sa.text("interaction_id IS NOT NULL"),
        postgresql_where=sa.text("interaction_id IS NOT NULL"),
    )
    op.drop_column("upstream_resources", "interaction_id")
    op.drop_index("ix_interactions_expires_at", table_name="interactions")
    op.drop_index(
        "ix_interactions_logged",
        table_name="interactions",
        sqlite_where=sa.text("last_seq > 0 AND lease_until IS NULL"),
        postgresql_where=sa.text("last_seq > 0 AND lease_until IS NULL"),
    )
    columns = (
        "upstream_event_id",
        "upstream_id",
        "credential",
        "deadline",
        "cancel_requested",
        "followed",
        "streamed",
    )
    for column in columns:
        op.drop_column("interactions", column)
