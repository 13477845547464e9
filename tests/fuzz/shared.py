"""What the whole server has: roles, memberships, tablespaces; and the database itself."""

from __future__ import annotations

from catalog import quote
from draw import ROLES, Draw, Kind, NothingToDo

# A copy is made on the source's own server, on which a base cannot name what has been renamed or dropped since. So
# nothing here happens before the base; and what no open transaction may use, since the server locks none of it.
_LASTING = ["work_mem = '1MB'", "search_path = s1", "DateStyle = 'German'"]


def _require(draw: Draw) -> None:
    if draw.role is not None or not draw.streaming or not draw.alone:
        raise NothingToDo


def some_role(draw: Draw) -> str:
    """A role, quoted; one made while the stream runs, if there is one."""
    return quote(draw.random.choice(draw.catalog.roles or ROLES))


def role(draw: Draw) -> str:
    """A role that comes, changes or goes; or one of its memberships."""
    _require(draw)
    if not draw.catalog.roles or draw.values.chance(0.3):
        new = draw.new("ro", False)
        return f"CREATE ROLE {new} {draw.random.choice(['', 'LOGIN CREATEROLE', f'IN ROLE {quote(ROLES[0])}'])}"
    name = quote(draw.random.choice(draw.catalog.roles))
    return draw.random.choice(
        [
            f"ALTER ROLE {name} RENAME TO {draw.new('ro', False)}",
            f"ALTER ROLE {name} SET {draw.random.choice(_LASTING)}",
            f"ALTER ROLE {name} {draw.random.choice(['NOINHERIT', 'CONNECTION LIMIT 3', 'CREATEDB'])}",
            f"GRANT {name} TO {quote(draw.random.choice(ROLES))} {draw.random.choice(['', 'WITH ADMIN OPTION'])}",
            f"REVOKE {name} FROM {quote(draw.random.choice(ROLES))}",
            f"COMMENT ON ROLE {name} IS {draw.text()}",
            f"DROP OWNED BY {name}; DROP ROLE {name}",
            f"REASSIGN OWNED BY {name} TO {quote(draw.random.choice(ROLES))}",
        ]
    )


def belonging(draw: Draw) -> str:
    """What belongs to a role, or what one may do."""
    _require(draw)
    name = some_role(draw)
    t = draw.pick("rpvm")
    return draw.random.choice(
        [
            f"ALTER TABLE {t.name} OWNER TO {name}",
            f"GRANT SELECT, UPDATE ON {t.name} TO {name}",
            f"CREATE POLICY {draw.new('po', False)} ON {t.name} TO {name} USING (true)",
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {name} GRANT SELECT ON TABLES TO {quote(draw.random.choice(ROLES))}",
            f"CREATE SCHEMA {draw.new('sch', False)} AUTHORIZATION {name}",
        ]
    )


def database(draw: Draw) -> str:
    """What is said of the database, whatever its name is."""
    _require(draw)
    change = draw.random.choice(
        [
            f"GRANT CREATE ON DATABASE %I TO {some_role(draw)}",
            f"REVOKE ALL ON DATABASE %I FROM {some_role(draw)}",
            f"ALTER DATABASE %I SET {draw.random.choice(_LASTING)}",
            "ALTER DATABASE %I RESET ALL",
            f"COMMENT ON DATABASE %I IS {draw.values.plain(draw.values.text().replace('%', ''))}",
        ]
    )
    return f"DO $outer$ BEGIN EXECUTE format({draw.values.plain(change)}, current_database()); END $outer$"


def tablespace(draw: Draw) -> str:
    """A tablespace that comes, changes or goes: no transaction block allows the first and the last."""
    _require(draw)
    if not draw.catalog.tablespaces or draw.values.chance(0.3):
        return f"CREATE TABLESPACE {draw.new('ts', False)} LOCATION ''"
    name = quote(draw.random.choice(draw.catalog.tablespaces))
    return draw.random.choice(
        [
            f"DROP TABLESPACE {name}",
            f"ALTER TABLESPACE {name} RENAME TO {draw.new('ts', False)}",
            f"ALTER TABLESPACE {name} SET (random_page_cost = 3)",
            f"GRANT CREATE ON TABLESPACE {name} TO {some_role(draw)}",
            f"ALTER TABLE ALL IN TABLESPACE {name} SET TABLESPACE pg_default",
        ]
    )


def placed(draw: Draw) -> str:
    """A table or an index in a tablespace."""
    if not draw.catalog.tablespaces or not draw.alone:
        raise NothingToDo
    name = quote(draw.random.choice(draw.catalog.tablespaces))
    t = draw.pick("r")
    return draw.random.choice(
        [
            f"ALTER TABLE {t.name} SET TABLESPACE {name}",
            f"CREATE TABLE {draw.new('t')} ({draw.new('c', False)} int PRIMARY KEY) TABLESPACE {name}",
            f"CREATE INDEX {draw.new('ix', False)} ON {t.name} ({draw.key(t)}) TABLESPACE {name}",
        ]
    )


KINDS: dict[Kind, int] = {role: 3, belonging: 2, database: 1, placed: 1}
