"""Definitions of what is not a table: types, sequences, views, functions, triggers, privileges; and of tables by queries."""

from __future__ import annotations

from catalog import quote
from draw import COMPARABLE, ROLES, Draw, Kind, NothingToDo
from rows import insert_into
from tables import new_column


def create_type(draw: Draw) -> str:
    name = draw.new("ty")
    match draw.random.randint(0, 3):
        case 0:
            labels = sorted({draw.values.text()[:15] or "l" for _ in range(3)})
            return f"CREATE TYPE {name} AS ENUM ({', '.join(draw.values.plain(x) for x in labels)})"
        case 1:
            base = draw.random.choice(["text", "integer", "numeric", "jsonb", "text[]"])
            return f"CREATE DOMAIN {name} AS {base}{draw.random.choice([' CHECK (VALUE IS NOT NULL OR true)', '', f' DEFAULT {draw.values.value(base, draw.catalog.types)}'])}"
        case 2:
            columns = ", ".join(f"{draw.new('a', False)} {draw.type()}" for _ in range(2))
            return f"CREATE TYPE {name} AS ({columns})"
        case _:
            return f"CREATE TYPE {name} AS RANGE (subtype = {draw.random.choice(['text', 'float8', 'date'])})"


def alter_type(draw: Draw) -> str:
    names = draw.catalog.types.names()
    # The server does not lock a type that an open transaction uses: its change may be committed before that use,
    # and then the order of commits is not one in which the statements can run.
    if not names or not draw.alone:
        raise NothingToDo
    name = draw.random.choice(names)
    if name in draw.catalog.types.enums:
        label = draw.values.plain(f"{draw.values.text()[:12]}{draw.counter}")
        draw.counter += 1
        old = draw.values.plain(draw.random.choice(draw.catalog.types.enums[name]))
        return draw.random.choice(
            [
                f"ALTER TYPE {name} ADD VALUE {label}",
                f"ALTER TYPE {name} ADD VALUE {label} BEFORE {old}",
                f"ALTER TYPE {name} RENAME VALUE {old} TO {label}",
            ]
        )
    if name in draw.catalog.types.domains:
        return draw.random.choice(
            [
                f"ALTER DOMAIN {name} ADD CONSTRAINT {draw.new('dc', False)} CHECK (VALUE IS DISTINCT FROM NULL OR true)",
                f"ALTER DOMAIN {name} SET DEFAULT {draw.values.value(draw.catalog.types.domains[name], draw.catalog.types)}",
                f"ALTER DOMAIN {name} RENAME TO {draw.new('ty', False)}",
                f"DROP DOMAIN {name}",
            ]
        )
    return draw.random.choice(
        [
            f"ALTER TYPE {name} ADD ATTRIBUTE {draw.new('a', False)} {draw.type()}{draw.random.choice(['', ' CASCADE'])}",
            f"ALTER TYPE {name} RENAME TO {draw.new('ty', False)}",
            f"DROP TYPE {name}",
            f"COMMENT ON TYPE {name} IS {draw.text()}",
        ]
    )


def create_sequence(draw: Draw) -> str:
    return f"CREATE SEQUENCE {draw.new('sq')}" + draw.random.choice(
        ["", " CYCLE MAXVALUE 7", " INCREMENT -2", " CACHE 5", " START 10 MINVALUE 5"]
    )


def alter_sequence(draw: Draw) -> str:
    s = draw.pick("S")
    return f"ALTER SEQUENCE {s.name} " + draw.random.choice(
        ["RESTART", "INCREMENT 3", f"RENAME TO {draw.new('sq', False)}", "OWNED BY NONE", "RESTART 5", "CYCLE"]
    )


def ctas(draw: Draw) -> str:
    source = draw.pick("rpvm")
    rows = f"SELECT * FROM {source.name} LIMIT {draw.random.randint(0, 9)}"
    made = f"SELECT i, random() AS r, {draw.text()}::text AS t FROM generate_series(1, {draw.random.randint(0, 30)}) i"
    query = draw.random.choice([rows, made])
    name = draw.new("ct")
    if draw.values.chance(0.2):
        return f"SELECT * INTO {name} FROM ({query}) AS q"
    return f"CREATE {draw.random.choice([''] * 8 + ['UNLOGGED ', 'TEMP '])}TABLE {draw.random.choice(['', 'IF NOT EXISTS '])}{name} AS {query}{draw.random.choice(['', '', ' WITH NO DATA'])}".replace(
        "TEMP TABLE " + name, "TEMP TABLE " + name.split(".")[-1]
    )


def view(draw: Draw) -> str:
    # a materialized view's rows are those its query gives, and an unlogged table's are not in the WAL
    t = draw.pick("rpm", lambda r: bool(r.columns) and r.raw["persistence"] == "p")
    columns = ", ".join(draw.quote(c["name"]) for c in t.columns)
    where = f" WHERE {draw.text()} <> ''" if draw.values.chance(0.3) else ""
    if draw.values.chance(0.4):
        return f"CREATE MATERIALIZED VIEW {draw.new('mv')} AS SELECT {columns} FROM {t.name}{where}{draw.random.choice(['', ' WITH NO DATA'])}"
    return f"CREATE {draw.random.choice(['', 'OR REPLACE '])}VIEW {draw.new('v')} AS SELECT {columns}, {draw.text()}::text AS said FROM {t.name}{where}"


def refresh(draw: Draw) -> str:
    return f"REFRESH MATERIALIZED VIEW {draw.pick('m').name}{draw.random.choice(['', '', ' WITH NO DATA'])}"


def trigger(draw: Draw) -> str:
    t = draw.pick("r", lambda r: any(c["type"] == "text" and not c["generated"] for c in r.columns))
    if t.triggers and draw.values.chance(0.6):
        name = quote(draw.random.choice(t.triggers))
        return draw.random.choice(
            [
                f"ALTER TABLE {t.name} ENABLE ALWAYS TRIGGER {name}",
                f"ALTER TABLE {t.name} ENABLE REPLICA TRIGGER {name}",
                f"ALTER TABLE {t.name} DISABLE TRIGGER {name}",
                f"DROP TRIGGER {name} ON {t.name}",
                f"COMMENT ON TRIGGER {name} ON {t.name} IS {draw.text()}",
            ]
        )
    c = draw.quote(draw.column(t, lambda c: c["type"] == "text" and not c["generated"])["name"])
    function = draw.new("tg")
    tag = "$tg$" if "$tg$" not in c else "$tg9$"
    return (
        f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS {tag} BEGIN NEW.{c} := NEW.{c} || '!'; RETURN NEW; END {tag}; "
        f"CREATE TRIGGER {draw.new('tr', False)} BEFORE INSERT OR UPDATE ON {t.name} FOR EACH ROW EXECUTE FUNCTION {function}()"
    )


def function(draw: Draw) -> str:
    function = draw.new("fn")
    body = draw.values.text()
    literal = draw.values.literal(
        f"BEGIN\n/* {body.replace('*/', '').replace('/*', '')} */\n-- {body.splitlines()[0] if body.splitlines() else ''}\nRETURN {draw.values.plain(body)};\nEND"
    )
    return f"CREATE FUNCTION {function}({draw.new('arg', False)} text DEFAULT {draw.text()}) RETURNS text LANGUAGE plpgsql AS {literal}"


def comment(draw: Draw) -> str:
    t = draw.pick("rpvm")
    kind = {"r": "TABLE", "p": "TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW"}[t.kind]
    if t.columns and draw.values.chance(0.4):
        return f"COMMENT ON COLUMN {t.name}.{draw.quote(draw.column(t)['name'])} IS {draw.text()}"
    return f"COMMENT ON {kind} {t.name} IS {draw.random.choice([draw.text(), draw.text(), 'NULL'])}"


def grant(draw: Draw) -> str:
    t = draw.pick("rpvm")
    role = quote(draw.random.choice(ROLES))
    return draw.random.choice(
        [
            f"GRANT SELECT, INSERT ON {t.name} TO {role}",
            f"GRANT ALL ON {t.name} TO {role} WITH GRANT OPTION",
            f"REVOKE ALL ON {t.name} FROM {role} CASCADE",
            f"GRANT USAGE ON SCHEMA {quote(t.schema)} TO {role}",
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {role} GRANT SELECT ON TABLES TO PUBLIC",
        ]
    )


def policy(draw: Draw) -> str:
    t = draw.pick("rp")
    return f"CREATE POLICY {draw.new('po', False)} ON {t.name} USING ({draw.text()} <> '')"


def statistics(draw: Draw) -> str:
    t = draw.pick("r", lambda r: sum(c["type"] in COMPARABLE for c in r.columns) > 1)
    columns = [draw.quote(c["name"]) for c in t.columns if c["type"] in COMPARABLE][:2]
    return f"CREATE STATISTICS {draw.new('st')} ON {', '.join(columns)} FROM {t.name}"


def rule(draw: Draw) -> str:
    t = draw.pick("r")
    return f"CREATE RULE {draw.new('ru', False)} AS ON DELETE TO {t.name} WHERE false DO ALSO NOTHING"


def publication(draw: Draw) -> str:
    t = draw.pick("rp", lambda r: r.raw["persistence"] == "p")
    return f"CREATE PUBLICATION {draw.new('pub', False)} FOR TABLE {t.name} WITH (publish = 'insert')"


def schema(draw: Draw) -> str:
    if draw.catalog.schemas and draw.alone and draw.values.chance(0.5):  # not locked either, see _do_alter_type()
        schema = quote(draw.random.choice(draw.catalog.schemas))
        return draw.random.choice(
            [
                f"ALTER SCHEMA {schema} RENAME TO {draw.new('sch', False)}",
                f"DROP SCHEMA {schema} CASCADE",
                f"COMMENT ON SCHEMA {schema} IS {draw.text()}",
            ]
        )
    table = draw.new("t", False)
    return f"CREATE SCHEMA {draw.new('sch', False)} CREATE TABLE {table} ({new_column(draw, True)}, {new_column(draw)}) CREATE VIEW {draw.new('v', False)} AS SELECT * FROM {table}"


def changing_query(draw: Draw) -> str:
    t = draw.pick("r", lambda r: bool(r.columns))
    if draw.values.chance(0.3):
        return f"EXPLAIN (ANALYZE, COSTS off) CREATE TABLE {draw.new('ex')} AS SELECT * FROM {t.name} LIMIT 3"
    return f"WITH gone AS (DELETE FROM {t.name} WHERE ctid IN (SELECT ctid FROM ONLY {t.name} ORDER BY ctid LIMIT 1) RETURNING 1) {insert_into(draw, t, 1)}"


KINDS: dict[Kind, int] = {
    create_type: 4,
    alter_type: 4,
    create_sequence: 2,
    alter_sequence: 2,
    ctas: 4,
    view: 3,
    refresh: 2,
    trigger: 4,
    function: 2,
    comment: 4,
    grant: 3,
    policy: 1,
    statistics: 1,
    rule: 1,
    publication: 1,
    schema: 2,
    changing_query: 2,
}
