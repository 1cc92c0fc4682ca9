"""Jobs: which call of the ledger has made a batch or an operation."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("upstream_resources", sa.Column("call_id", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("upstream_resources", "call_id")
