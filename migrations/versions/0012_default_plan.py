"""The default plan runs more at once; one that somebody has set is left as it is."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# Both times of a row that nobody has written since are of its insertion, a moment apart.
MORE_AT_ONCE = """
UPDATE plans SET running_runs = 500
WHERE slug = 'default' AND running_runs = 200 AND updated_at < created_at + interval '1 second'
"""


def upgrade() -> None:
    op.execute(MORE_AT_ONCE)
