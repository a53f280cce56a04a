#!/bin/sh
# Brings Temporal's two databases, which exist, to the schema of this version.
set -eu
for database in temporal temporal_visibility; do
  versions=/etc/temporal/schema/postgresql/v12/${database#temporal_}/versioned
  if ! temporal-sql-tool --db "$database" update-schema -d "$versions"; then
    temporal-sql-tool --db "$database" setup-schema -v 0.0
    temporal-sql-tool --db "$database" update-schema -d "$versions"
  fi
done
