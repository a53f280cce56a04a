-- No role is a superuser, passes row-level security or makes anything outside its own database.
\getenv owner DATABASE_MIGRATION_PASSWORD
\getenv app DATABASE_PASSWORD
\getenv maintenance DATABASE_MAINTENANCE_PASSWORD
\getenv temporal TEMPORAL_DATABASE_PASSWORD
\getenv keycloak KEYCLOAK_DATABASE_PASSWORD
\getenv langfuse LANGFUSE_DATABASE_PASSWORD

SELECT format('CREATE ROLE %I', name)
  FROM unnest(ARRAY['agent_runtime_owner', 'agent_runtime_app', 'agent_runtime_maintenance', 'temporal', 'keycloak', 'langfuse']) AS name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

ALTER ROLE agent_runtime_owner LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD :'owner';
ALTER ROLE agent_runtime_app LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD :'app';
ALTER ROLE agent_runtime_maintenance LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD :'maintenance';
ALTER ROLE temporal LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD :'temporal';
ALTER ROLE keycloak LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD :'keycloak';
ALTER ROLE langfuse LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD :'langfuse';

-- The reader of changed runs relies on no transaction being older than this.
ALTER ROLE agent_runtime_app SET transaction_timeout = '30s';
