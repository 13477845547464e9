"""What statements run in: functions, blocks and triggers, settings, and no transaction block at all."""

from __future__ import annotations

from catalog import quote
from draw import Draw
from objects import comment
from rows import insert_into
from shared import tablespace
from statements import PLAIN, one
from tables import parent

SETTINGS = [
    "search_path = s1, public",
    'search_path = "S two", s1',
    "DateStyle = 'SQL, DMY'",
    "DateStyle = 'German'",
    "IntervalStyle = sql_standard",
    "TimeZone = 'Asia/Tokyo'",
    "standard_conforming_strings = off",
    "backslash_quote = on",
    "extra_float_digits = 0",
    "bytea_output = escape",
    "array_nulls = off",
    "xmloption = document",
    "xmlbinary = hex",
    "extra_float_digits = -3",
    "app.tenant = 'one'",
    "lc_time = 'C'",
    "default_text_search_config = 'pg_catalog.german'",
    "default_tablespace = ''",
    "row_security = off",
    "plpgsql.variable_conflict = use_column",
    "session_replication_role = replica",
    "default_toast_compression = pglz",
    "check_function_bodies = off",
    "lc_monetary = 'C'",
    "transform_null_equals = on",
    "quote_all_identifiers = on",
    "search_path = public",
]


def outside(draw: Draw) -> str:
    """What no transaction block allows. Raises NothingToDo."""
    t = draw.pick("rpm")
    index = [quote(i["name"]) for i in t.indexes]
    match draw.random.randint(0, 9):
        case 0:
            return f"CREATE INDEX CONCURRENTLY {draw.new('ix', False)} ON {t.name} ({draw.key(t)})"
        case 1 if index:
            return f"DROP INDEX CONCURRENTLY {quote(t.schema)}.{draw.random.choice(index)}"
        case 2:
            return f"REINDEX TABLE CONCURRENTLY {t.name}"
        case 3:
            return f"VACUUM {draw.random.choice(['', '(FULL) ', '(FREEZE) '])}{t.name}"
        case 4:
            # one that fails on a lock leaves the partition half detached, which pg_dump takes for attached
            part = draw.pick("rp", lambda r: bool(r.raw["partition"]) and draw.alone)
            return f"ALTER TABLE {parent(part)} DETACH PARTITION {part.name} CONCURRENTLY"
        case 5:
            body = f"{one(draw, PLAIN)}; COMMIT; {one(draw, PLAIN)}; {draw.random.choice(['ROLLBACK;', 'COMMIT;', ''])}"
            return f"DO $outer$ BEGIN {body} END $outer$"
        case 6:
            procedure = draw.new("pr")
            body = f"BEGIN {one(draw, PLAIN)}; COMMIT; {one(draw, PLAIN)}; END"
            return f"CREATE PROCEDURE {procedure}() LANGUAGE plpgsql AS $outer$ {body} $outer$; CALL {procedure}()"
        case 7 if index:
            # its mark on the index is recorded where another schema change has loaded the library
            return f"{comment(draw)}; CLUSTER {t.name} USING {draw.random.choice(index)}"
        case 7:
            return f"ANALYZE {t.name}"
        case 8:
            return tablespace(draw)
        case _:
            return f"CREATE UNIQUE INDEX CONCURRENTLY {draw.new('ix', False)} ON {t.name} ({draw.key(t)})"


def setting(draw: Draw, how: str) -> str:
    """A setting that changes how texts are read or what statements do."""
    choice = draw.random.choice(SETTINGS)
    if draw.values.chance(0.4):
        choice = "RESET ALL" if how == "SET" else "standard_conforming_strings = on"
        return choice if how == "SET" else f"{how} {choice}"
    return f"{how} {choice}"


def wrapped(draw: Draw) -> str:
    """A statement run by a function, a DO block or a trigger instead of the client."""
    first, second = one(draw, PLAIN), one(draw, PLAIN)
    security = draw.random.choice(["", "", "SECURITY DEFINER ", "SET search_path = s1 ", "SET DateStyle = 'German' "])
    body = f"$outer$ BEGIN {first}; {second}; END $outer$"
    name = draw.new("fn")
    match draw.random.randint(0, 6):
        case 0:
            return f"DO {body}"
        case 1:
            return f"DO $outer$ BEGIN EXECUTE {draw.values.plain(first + '; ' + second)}; END $outer$"
        case 2:
            return f"CREATE FUNCTION {name}() RETURNS void LANGUAGE plpgsql {security}AS {body}; SELECT {name}()"
        case 3:
            return (
                f"CREATE FUNCTION {name}() RETURNS void LANGUAGE sql {security}AS $outer$ {first}; {second} $outer$; "
                f"SELECT {name}()"
            )
        case 4:
            caught = f"BEGIN {first}; RAISE 'x'; EXCEPTION WHEN OTHERS THEN {second}; END;"
            return f"DO $outer$ BEGIN {caught} END $outer$"
        case 5:
            inner = f"BEGIN EXECUTE {draw.values.plain(first)}; EXECUTE {draw.values.plain(second)}; RETURN NEW; END"
            there = any(r.kind == "r" and not r.elsewhere for r in draw.catalog.relations)
            t = draw.pick("r") if there and draw.role is None else None
            if t is None:
                return first
            trigger = draw.new("tr", False)
            return (
                f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $outer$ {inner} $outer$; "
                f"CREATE TRIGGER {trigger} AFTER INSERT ON {t.name} EXECUTE FUNCTION {name}(); "
                f"{insert_into(draw, t)}; DROP TRIGGER {trigger} ON {t.name}"
            )
        case _:
            return f"DO $outer$ BEGIN FOR i IN 1..2 LOOP BEGIN {first}; EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $outer$"
