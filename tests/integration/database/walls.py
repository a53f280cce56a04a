"""What `alembic check` does not see of a database: owners, row security, policies, grants and constraints, as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

STORED = Path(__file__).with_name("walls.txt")

_QUESTIONS = {
    "roles": """
        SELECT rolname, concat_ws(' ', CASE WHEN rolsuper THEN 'SUPERUSER' END,
            CASE WHEN rolbypassrls THEN 'BYPASSRLS' END, CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
            CASE WHEN rolcreatedb THEN 'CREATEDB' END, CASE WHEN rolreplication THEN 'REPLICATION' END,
            CASE WHEN rolcanlogin THEN 'LOGIN' END, array_to_string(rolconfig, ' '),
            (SELECT string_agg('member of ' || roleid::regrole, ' ') FROM pg_auth_members WHERE member = r.oid))
        FROM pg_roles r WHERE rolname LIKE 'agent_runtime%'
    """,
    "tables": """
        SELECT relname, concat_ws(' ', 'owner', relowner::regrole, CASE WHEN relrowsecurity THEN 'ROW SECURITY' END,
            CASE WHEN relforcerowsecurity THEN 'FORCED' END, array_to_string(reloptions, ' '))
        FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S') AND relnamespace = 'public'::regnamespace
    """,
    "policies": """
        SELECT tablename || ' ' || policyname, concat_ws(' ', permissive, cmd, 'TO', array_to_string(roles, ','),
            'USING ' || regexp_replace(qual, '\\s+', ' ', 'g'),
            'WITH CHECK ' || regexp_replace(with_check, '\\s+', ' ', 'g'))
        FROM pg_policies WHERE schemaname = 'public'
    """,
    "grants": """
        SELECT relname || ' ' || CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
            string_agg(privilege_type, ' ' ORDER BY privilege_type)
        FROM pg_class, aclexplode(relacl) WHERE relnamespace = 'public'::regnamespace GROUP BY relname, grantee
    """,
    "grants on columns": """
        SELECT relname || ' ' || grantee::regrole || ' ' || privilege_type,
            string_agg(attname, ' ' ORDER BY attname)
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid, aclexplode(attacl)
        WHERE relnamespace = 'public'::regnamespace GROUP BY relname, grantee, privilege_type
    """,
    "grants on the schema": """
        SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE regexp_replace(grantee::regrole::text, 'pg_.*', 'owner') END,
            string_agg(privilege_type, ' ' ORDER BY privilege_type)
        FROM pg_namespace, aclexplode(nspacl) WHERE nspname = 'public' GROUP BY grantee
    """,
    "constraints": """
        SELECT conrelid::regclass || ' ' || conname, concat_ws(' ', pg_get_constraintdef(oid),
            CASE WHEN NOT convalidated THEN 'NOT VALIDATED' END)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
    """,
    "indexes": """
        SELECT indexname, regexp_replace(indexdef, '^CREATE (UNIQUE )?INDEX \\S+ ON public.', '\\1')
        FROM pg_indexes WHERE schemaname = 'public'
    """,
    "functions": """
        SELECT proname, concat_ws(' ', 'owner', proowner::regrole, CASE WHEN prosecdef THEN 'SECURITY DEFINER' END,
                'executed by', COALESCE(proacl::text, 'anyone'))
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    """,
}


async def describe(connection: AsyncConnection) -> str:
    """One line for each fact, sorted, so that a difference reads like a review."""
    lines = []
    for title, question in _QUESTIONS.items():
        rows: list[Any] = list(await connection.exec_driver_sql(question))
        lines += [f"[{title}]", *sorted(f"{row[0]}: {row[1]}".rstrip(": ") for row in rows), ""]
    return "\n".join(lines)
