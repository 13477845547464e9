"""Roles on the target: those that are missing are created, those that are there stay as they are."""

from __future__ import annotations

from restoring import TABLES, Target


def test_missing_roles_are_created_and_those_that_are_there_left_alone(target: Target) -> None:
    made, there = f"{target.name}_new", f"{target.name}_there"
    target.cluster.psql(f"CREATE ROLE {there} CONNECTION LIMIT 5 PASSWORD 'secret'")
    globals_sql = (
        f"CREATE ROLE {made};\nALTER ROLE {made} WITH NOLOGIN CONNECTION LIMIT 3;\n"
        f'CREATE ROLE "{there}";\nALTER ROLE "{there}" WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN'
        " NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 9 PASSWORD 'md5x';\n"
        f"ALTER ROLE \"{there}\" SET work_mem TO '1MB';\nCREATE ROLE postgres;\n"
    )
    database_sql = "DO $$BEGIN EXECUTE format('COMMENT ON DATABASE %I IS %L', current_database(), 'shop'); END$$;\n"
    target.archive.base(
        TABLES + f"ALTER TABLE public.t OWNER TO {made};\n",
        globals_sql=globals_sql,
        database_sql=database_sql,
        owner=made,
    )
    try:
        warnings = [line for line in target.run().stderr.splitlines() if "warning" in line]
        assert warnings == [
            f'scribe-restore: warning: globals: role "{there}" is there already and was left as it is:'
            " the source's has CONNECTION LIMIT 9, LOGIN, SET work_mem TO '1MB', a password of its own,"
            " this one CONNECTION LIMIT 5, NOLOGIN, a password of its own"
        ]
        roles = target.rows(
            "SELECT rolname, rolconnlimit, rolsuper FROM pg_roles WHERE rolname ~ '^copy.*_' ORDER BY 1"
        )
        assert roles == [(made, 3, False), (there, 5, False)]
        assert target.rows(
            "SELECT pg_get_userbyid(datdba), shobj_description(oid, 'pg_database') FROM pg_database"
            " WHERE datname = current_database()"
        ) == [(made, "shop")]
    finally:
        target.cluster.dropdb(target.name)
        target.cluster.psql(f"DROP ROLE {made}; DROP ROLE {there}")


def test_names_of_roles_that_look_like_statements_are_names(target: Target) -> None:
    """Whoever may create roles on the source must not be able to run anything on the target."""
    prefix = target.name
    old, odd, evil = f"{prefix}\nold", f"{prefix}\nCREATE ROLE postgres;", f"; CREATE ROLE {prefix}_evil SUPERUSER; --"
    target.cluster.psql(f'CREATE ROLE "{old}" CONNECTION LIMIT 5')
    target.archive.base(
        TABLES,
        globals_sql=f'CREATE ROLE "{odd}";\nCREATE ROLE "{evil}";\n'
        f'CREATE ROLE "{old}";\nALTER ROLE "{old}" WITH NOLOGIN CONNECTION LIMIT 9;\n',
    )
    try:
        warnings = [line for line in target.run().stderr.splitlines() if "warning" in line]
        assert len(warnings) == 1 and "the source's has CONNECTION LIMIT 9" in warnings[0], warnings
        query = f"SELECT rolname, rolconnlimit FROM pg_roles WHERE strpos(rolname, '{prefix}') > 0 ORDER BY 1"
        assert sorted(target.rows(query)) == sorted([(old, 5), (odd, -1), (evil, -1)])
    finally:
        target.cluster.dropdb(target.name)
        for name in (old, odd, evil, f"{prefix}_evil"):
            target.cluster.psql(f'DROP ROLE IF EXISTS "{name}"')
