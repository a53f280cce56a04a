-- No role is a superuser, passes row-level security or makes anything outside its own database.
\getenv owner DATABASE_MIGRATION_PASSWORD
\getenv app DATABASE_PASSWORD
\getenv maintenance DATABASE_MAINTENANCE_PASSWORD
\getenv temporal TEMPORAL_DATABASE_PASSWORD
\getenv keycloak KEYCLOAK_DATABASE_PASSWORD
\getenv langfuse LANGFUSE_DATABASE_PASSWORD

CREATE TEMPORARY TABLE wanted AS
SELECT unnest(ARRAY['agent_runtime_owner', 'agent_runtime_app', 'agent_runtime_maintenance', 'temporal', 'keycloak', 'langfuse']) AS name;

SELECT format('CREATE ROLE %I LOGIN', name) FROM wanted WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

SELECT rolsuper AS superuser FROM pg_roles WHERE rolname = current_user
\gset
\if :superuser
SELECT format('ALTER ROLE %I LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE', name) FROM wanted
\gexec
\else
-- The administrator of a managed PostgreSQL: a new role has none of these rights, and whoever makes a database for
-- another role must be a member of it.
SELECT format('GRANT %I TO CURRENT_USER', name) FROM wanted WHERE NOT pg_has_role(current_user, name, 'SET')
\gexec
\endif

ALTER ROLE agent_runtime_owner PASSWORD :'owner';
ALTER ROLE agent_runtime_app PASSWORD :'app';
ALTER ROLE agent_runtime_maintenance PASSWORD :'maintenance';
ALTER ROLE temporal PASSWORD :'temporal';
ALTER ROLE keycloak PASSWORD :'keycloak';
ALTER ROLE langfuse PASSWORD :'langfuse';

-- The reader of changed runs relies on no transaction being older than this.
ALTER ROLE agent_runtime_app SET transaction_timeout = '30s';
