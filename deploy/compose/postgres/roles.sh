#!/bin/bash
# The databases of the installation and a role for each: what is missing is made, passwords are set to what is given.
set -euo pipefail

if [ "${DEPLOYMENT:-development}" = production ]; then
  for name in PGPASSWORD "${!DATABASE_@}" TEMPORAL_DATABASE_PASSWORD KEYCLOAK_DATABASE_PASSWORD LANGFUSE_DATABASE_PASSWORD; do
    case ${!name:-development-only} in *development-only*)
      echo "$name is a development secret, which DEPLOYMENT=production refuses: agent-runtime env --production" >&2
      exit 1
    esac
  done
fi
export PGDATABASE=postgres PGCONNECT_TIMEOUT=10
sql() { psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 "$@"; }
sql --file "$(dirname "$0")/roles.sql"
for entry in agent_runtime:agent_runtime_owner temporal:temporal temporal_visibility:temporal keycloak:keycloak langfuse:langfuse; do
  sql --set "database=${entry%:*}" --set "owner=${entry#*:}" --file "$(dirname "$0")/database.sql"
done
sql <<<'GRANT CONNECT ON DATABASE agent_runtime TO agent_runtime_app, agent_runtime_maintenance;'
echo "Roles and databases are as they should be."
