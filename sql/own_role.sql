-- own_role.sql: make a role that another file gives rights, and refuse one that is there without them.
--
-- A role with CREATEROLE could have made it first, and would have them by its password, or as its member. The other files begin with it,
-- for each role that they make, after they have set the name (role) and what it will have (rights: attributes, roles, SET for the
-- parameters of a restore, which the expression may_set looks for). One that has all of it already gains nothing: so the files can be run again.
-- -v existing=on: take the role as it is. Privilege: superuser. Oldest version: PostgreSQL 13.

\if :{?existing}
\else
    \set existing off
\endif
\if :{?may_set}
\else
    \set may_set true
\endif

SELECT pg_catalog.format('DO %L', pg_catalog.format('BEGIN RAISE EXCEPTION USING ERRCODE = ''SC003'', MESSAGE = %L, HINT = %L; END',
    pg_catalog.format('role %I is there and has no %s: whoever made it would have that', r.rolname, m.missing),
    'Drop it, name another one, or run the file with "-v existing=on" if it is yours and only you know its password.'))
FROM pg_catalog.pg_roles AS r, LATERAL (
    SELECT pg_catalog.string_agg(w.wanted, ', ') AS missing FROM pg_catalog.regexp_split_to_table(:'rights', ' ') AS w (wanted)
    WHERE NOT CASE w.wanted WHEN 'LOGIN' THEN true WHEN 'REPLICATION' THEN r.rolreplication WHEN 'BYPASSRLS' THEN r.rolbypassrls
        WHEN 'CREATEDB' THEN r.rolcreatedb
        WHEN 'SET' THEN :may_set
        ELSE pg_catalog.pg_has_role(r.oid, w.wanted::name, 'MEMBER') END) AS m
WHERE r.rolname = :'role' AND NOT r.rolsuper AND m.missing IS NOT NULL AND NOT :'existing'::boolean \gexec
SELECT pg_catalog.format('CREATE ROLE %I LOGIN', :'role')
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = :'role') \gexec
