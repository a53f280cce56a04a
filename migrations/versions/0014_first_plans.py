"""What the planner believes of tables that nobody has analyzed: all rows are one tenant's, most calls are first ones.

Of an empty table it believes that each tenant has about one row, and so that any index beginning with the tenant finds
a run. Such plans are kept by every connection until the table is first analyzed, a minute after its first rows: until
then each step read all runs of its tenant. What ANALYZE finds later takes the place of this.
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# Only where nothing was ever found out (`reltuples` is -1): PostgreSQL's own findings are better.
BELIEVE = """
SELECT pg_restore_attribute_stats(
    'schemaname', CAST(n.nspname AS text), 'relname', CAST(c.relname AS text), 'attname', CAST(a.attname AS text),
    'inherited', false, 'null_frac', CAST(0 AS real), 'avg_width', CAST(a.attlen AS integer),
    'n_distinct', CAST(1 AS real)
)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname = current_schema() AND c.relkind = 'r' AND c.reltuples < 0
    AND (a.attname = 'tenant_id' OR c.relname = 'model_calls' AND a.attname IN ('turn', 'attempt'))
"""


def upgrade() -> None:
    op.execute(BELIEVE)
