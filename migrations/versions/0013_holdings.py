"""Plans limit how much a tenant may have of what fills the database; those that are there get generous limits."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

LIMITS = {"agents": 1000, "agent_versions": 1000, "secrets": 1000, "service_accounts": 1000, "users": 10_000}


def upgrade() -> None:
    # Nobody could choose to have no limit until now. In a plan that is made from now on, what is not said is none.
    for name, limit in LIMITS.items():
        op.execute(f"ALTER TABLE plans ADD COLUMN {name} integer DEFAULT {limit}")
        op.execute(f"ALTER TABLE plans ALTER COLUMN {name} DROP DEFAULT")
