"""What else a schema has: wider keys, inheritance, views that are written to, routines, foreign tables, odd statements."""

from __future__ import annotations

from catalog import Relation, quote
from draw import COMPARABLE, ROLES, SCHEMAS, Draw, Kind, NothingToDo
from rows import column_value, insert_into, where
from tables import like, new_column, parent


def _plain_table(r: Relation) -> bool:
    return r.raw["persistence"] == "p"


def _keys(draw: Draw, t: Relation, number: int = 2) -> list[str]:
    found = [draw.quote(c["name"]) for c in t.columns if c["type"] in COMPARABLE]
    if len(found) < number:
        raise NothingToDo
    return draw.random.sample(found, number)


def wide_key(draw: Draw) -> str:
    """A table whose key has several columns, in another order than the table, or one that is excluded."""
    a, b, c = (draw.new("c", False) for _ in range(3))
    kinds = [draw.random.choice(["int", "text", "bigint", "numeric", "uuid", "date", "varchar(9)"]) for _ in range(2)]
    columns = [f"{a} {kinds[0]}", f"{b} {kinds[1]} NOT NULL", new_column(draw), f"{c} text"]
    draw.random.shuffle(columns)
    key = draw.random.choice(
        [
            f"PRIMARY KEY ({b}, {a})",
            f"PRIMARY KEY ({a}, {b}) INCLUDE ({c})",
            f"UNIQUE ({b}, {a})",
            f"UNIQUE NULLS NOT DISTINCT ({a}, {b})" if draw.catalog.server >= 150000 else f"UNIQUE ({a})",
            f"EXCLUDE USING btree ({a} WITH =, {b} WITH =)",
            f"EXCLUDE USING gist (int4range(length({c}), length({c}) + 1) WITH &&) DEFERRABLE INITIALLY DEFERRED",
            f"PRIMARY KEY ({a}, {b}) DEFERRABLE",
        ]
    )
    return f"CREATE TABLE {draw.new('t')} ({', '.join(columns)}, {key})"


def several_changes(draw: Draw) -> str:
    """Several changes of a table in one command, which the server sorts into passes."""
    t = draw.pick("r", lambda r: bool(r.columns) and not r.raw["partition"])
    changes = [f"ADD COLUMN {new_column(draw)}"]
    for c in draw.random.sample(t.columns, min(len(t.columns), 3)):
        name = draw.quote(c["name"])
        changes.append(
            draw.random.choice(
                [
                    f"DROP COLUMN {name}",
                    f"ALTER {name} TYPE text USING {name}::text",
                    f"ALTER {name} DROP NOT NULL",
                    f"ALTER {name} SET DEFAULT {draw.values.value(c['type'], draw.catalog.types)}",
                    f"ADD CHECK ({name} IS NOT NULL OR true)",
                    f"ALTER {name} SET STORAGE EXTENDED",
                ]
            )
        )
    draw.random.shuffle(changes)
    return f"ALTER TABLE {t.name} {', '.join(changes)}"


def several_parents(draw: Draw) -> str:
    """A child of one or two tables, with columns of its own, or one that becomes a child later."""
    t = draw.pick("r", lambda r: not r.raw["partition"] and _plain_table(r))
    other = draw.pick("r", lambda r: not r.raw["partition"] and _plain_table(r))
    name = draw.new("t")
    both = t.name if t.name == other.name else f"{t.name}, {other.name}"
    return draw.random.choice(
        [
            f"CREATE TABLE {name} ({new_column(draw)}) INHERITS ({both})",
            f"CREATE TABLE {name} ({like(draw, t)}); ALTER TABLE {name} INHERIT {t.name}",
        ]
    )


def change_partition(draw: Draw) -> str:
    """A partition's own defaults, name and place, and partitions joined or split (19)."""
    part = draw.pick("r", lambda r: bool(r.raw["partition"]))
    columns = [c for c in part.columns if not c["generated"] and not c["identity"]]
    choices = [
        f"ALTER TABLE {part.name} RENAME TO {draw.new('q', False)}",
        f"ALTER TABLE {part.name} SET SCHEMA {quote(draw.random.choice(SCHEMAS))}",
        f"ALTER TABLE {part.name} SET (fillfactor = 60)",
        f"ALTER TABLE ONLY {parent(part)} ADD CHECK (true) NO INHERIT",
        f"TRUNCATE {part.name}",
        f"{insert_into(draw, part)}",
    ]
    if columns:
        c = draw.random.choice(columns)
        value = draw.values.value(c["type"], draw.catalog.types)
        choices.append(f"ALTER TABLE {part.name} ALTER {draw.quote(c['name'])} SET DEFAULT {value}")
    if draw.catalog.server >= 190000:
        new = draw.new("q")
        start = draw.random.randint(-2, 30) * 10
        parts = [r for r in draw.catalog.relations if r.raw["partition"] and r.raw["child_of"] == part.raw["child_of"]]
        other = draw.random.choice(parts)
        choices += [f"ALTER TABLE {parent(part)} MERGE PARTITIONS ({part.name}, {other.name}) INTO {new}"] * 3
        choices += [
            f"ALTER TABLE {parent(part)} SPLIT PARTITION {part.name} INTO (PARTITION {new} FOR VALUES FROM ({start}) "
            f"TO ({start + 5}), PARTITION {draw.new('q')} FOR VALUES FROM ({start + 5}) TO ({start + 10}))"
        ] * 3
    return draw.random.choice(choices)


def written_view(draw: Draw) -> str:
    """A view that is changed, or that rows are changed through."""
    v = draw.pick("v", lambda r: bool(r.columns))
    c = draw.quote(draw.column(v)["name"])
    function = draw.new("tg")
    return draw.random.choice(
        [
            f"ALTER VIEW {v.name} RENAME COLUMN {c} TO {draw.new('c', False)}",
            f"ALTER VIEW {v.name} RENAME TO {draw.new('v', False)}",
            f"ALTER VIEW {v.name} SET (security_barrier = true)",
            f"ALTER VIEW {v.name} ALTER {c} SET DEFAULT NULL",
            f"ALTER VIEW {v.name} SET SCHEMA {quote(draw.random.choice(SCHEMAS))}",
            f"ALTER VIEW {v.name} OWNER TO {quote(draw.random.choice(ROLES))}",
            f"CREATE VIEW {draw.new('v')} AS TABLE {v.name}",
            f"DELETE FROM {v.name}{where(draw, v)}",
            f"CREATE RULE {draw.new('ru', False)} AS ON INSERT TO {v.name} DO INSTEAD NOTHING",
            f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; "
            f"CREATE TRIGGER {draw.new('tr', False)} INSTEAD OF INSERT ON {v.name} FOR EACH ROW EXECUTE FUNCTION {function}()",
        ]
    )


def indexed_view(draw: Draw) -> str:
    """A materialized view that is changed, indexed or refreshed beside its readers."""
    v = draw.pick("m", lambda r: bool(r.columns))
    return draw.random.choice(
        [
            f"ALTER MATERIALIZED VIEW {v.name} RENAME TO {draw.new('mv', False)}",
            f"ALTER MATERIALIZED VIEW {v.name} SET SCHEMA {quote(draw.random.choice(SCHEMAS))}",
            f"ALTER MATERIALIZED VIEW {v.name} RENAME {draw.quote(draw.column(v)['name'])} TO {draw.new('c', False)}",
            f"CREATE UNIQUE INDEX {draw.new('ix', False)} ON {v.name} ({draw.key(v)})",
            f"REFRESH MATERIALIZED VIEW CONCURRENTLY {v.name}",
        ]
    )


def routine(draw: Draw) -> str:
    """Functions with overloads, aggregates, operators, casts: made, changed, used and dropped by one string."""
    name, schema = draw.new("fo", False), quote(draw.random.choice(SCHEMAS))
    made = f"CREATE FUNCTION {schema}.{name}(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1'"
    over = f"CREATE FUNCTION {schema}.{name}(text, VARIADIC int[]) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1'"
    changed = draw.random.choice(
        [
            f"ALTER FUNCTION {schema}.{name}(int) RENAME TO {draw.new('fo', False)}",
            f"ALTER FUNCTION {schema}.{name}(int) SET search_path = ''",
            f"ALTER FUNCTION {schema}.{name}(int) COST 7 PARALLEL SAFE",
            f"ALTER FUNCTION {schema}.{name}(int) SET SCHEMA {quote(draw.random.choice(SCHEMAS))}",
            f"CREATE OR REPLACE FUNCTION {schema}.{name}(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 - 1'",
            f"DROP FUNCTION {schema}.{name}(int)",
            f"GRANT EXECUTE ON FUNCTION {schema}.{name}(int) TO {quote(draw.random.choice(ROLES))}",
            f"COMMENT ON FUNCTION {schema}.{name}(int) IS {draw.text()}",
            f"CREATE AGGREGATE {schema}.{name}(int) (SFUNC = int4pl, STYPE = int)",
            f"CREATE OPERATOR {schema}.@#@ (FUNCTION = {schema}.{name}, RIGHTARG = int)",
            f"DROP ROUTINE {schema}.{name}(int)",
            f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC",
        ]
    )
    return "; ".join([made, *([over] if draw.values.chance(0.5) else []), changed])


def sql_body(draw: Draw) -> str:
    """A function with a body that the server keeps parsed."""
    t = draw.pick("r", lambda r: bool(r.columns) and _plain_table(r))
    name = draw.new("fb")
    return draw.random.choice(
        [
            f"CREATE FUNCTION {name}() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM {t.name}; END",
            f"CREATE FUNCTION {name}() RETURNS bigint LANGUAGE sql RETURN (SELECT count(*) FROM {t.name})",
            f"CREATE PROCEDURE {name}() LANGUAGE sql BEGIN ATOMIC DELETE FROM {t.name} WHERE false; {insert_into(draw, t, 1)}; END; CALL {name}()",
        ]
    )


def foreign(draw: Draw) -> str:
    """A wrapper without a handler, a server, a mapping, a foreign table; changed by further commands."""
    wrapper, server, table = draw.new("fw", False), draw.new("fs", False), draw.new("ft")
    made = [
        f"CREATE FOREIGN DATA WRAPPER {wrapper}",
        f"CREATE SERVER {server} FOREIGN DATA WRAPPER {wrapper} OPTIONS (a 'b')",
        f"CREATE USER MAPPING FOR PUBLIC SERVER {server} OPTIONS (u {draw.values.plain(draw.values.text())})",
        f"CREATE FOREIGN TABLE {table} ({new_column(draw).split(' DEFAULT')[0]}) SERVER {server}",
    ]
    changed = draw.random.choice(
        [
            f"ALTER SERVER {server} RENAME TO {draw.new('fs', False)}",
            f"ALTER SERVER {server} OPTIONS (SET a 'c', ADD d 'e')",
            f"ALTER FOREIGN TABLE {table} ADD COLUMN {draw.new('c', False)} int DEFAULT 3",
            f"ALTER FOREIGN TABLE {table} RENAME TO {draw.new('ft', False)}",
            f"DROP SERVER {server} CASCADE",
            f"DROP FOREIGN DATA WRAPPER {wrapper} CASCADE",
            f"DROP USER MAPPING FOR PUBLIC SERVER {server}",
            f"COMMENT ON FOREIGN TABLE {table} IS {draw.text()}",
            f"GRANT USAGE ON FOREIGN SERVER {server} TO {quote(draw.random.choice(ROLES))}",
        ]
    )
    return "; ".join([*made, changed])


def generated(draw: Draw) -> str:
    """A generated or an identity column that is changed."""
    t = draw.pick("rp", lambda r: any(c["generated"] or c["identity"] for c in r.columns))
    c = draw.column(t, lambda c: c["generated"] or c["identity"])
    name = draw.quote(c["name"])
    if c["identity"]:
        change = [
            f"ALTER {name} SET GENERATED ALWAYS RESTART WITH {draw.random.randint(5000, 6000)}",
            f"ALTER {name} SET GENERATED BY DEFAULT SET INCREMENT BY 3",
            f"ALTER {name} DROP IDENTITY",
            f"ALTER {name} TYPE bigint",
        ]
    else:
        change = [
            f"ALTER {name} DROP EXPRESSION",
            f"ALTER {name} TYPE bigint",
            f"RENAME {name} TO {draw.new('g', False)}",
        ]
        if draw.catalog.server >= 170000:
            change.append(f"ALTER {name} SET EXPRESSION AS ({draw.random.randint(1, 9)})")
    return f"ALTER TABLE {t.name} {draw.random.choice(change)}"


def constraint_forms(draw: Draw) -> str:
    """Foreign keys over partitions or deferred later, keys out of indexes, constraints with new forms (18)."""
    t = draw.pick("rp", lambda r: bool(r.columns))
    name, column = draw.new("con", False), draw.quote(draw.column(t)["name"])
    choices = [f"ADD CONSTRAINT {name} CHECK ({column} IS NOT NULL OR true) NO INHERIT"]
    for k in t.constraints:
        if k["type"] == "f":
            choices += [f"ALTER CONSTRAINT {quote(k['name'])} DEFERRABLE INITIALLY DEFERRED"] * 3
            if draw.catalog.server >= 180000:
                choices += [f"ALTER CONSTRAINT {quote(k['name'])} {draw.random.choice(['NOT ', ''])}ENFORCED"] * 3
    for i in t.indexes:
        if i["unique"] and i["plain"] and not any(k["name"] == i["name"] for k in t.constraints):
            choices.append(f"ADD CONSTRAINT {name} UNIQUE USING INDEX {quote(i['name'])}")
            choices.append(f"ADD PRIMARY KEY USING INDEX {quote(i['name'])}")
    if draw.catalog.server >= 180000:
        choices += [
            f"ADD CONSTRAINT {name} CHECK ({column} IS NULL) NOT ENFORCED",
            f"ADD CONSTRAINT {name} NOT NULL {column} NOT VALID",
            f"ADD CONSTRAINT {name} NOT NULL {column} NO INHERIT",
        ]
    return f"ALTER TABLE {t.name} {draw.random.choice(choices)}"


def temporal(draw: Draw) -> str:
    """A table with a temporal key, and one that refers to it; rows for a portion of time (19)."""
    if draw.catalog.server < 180000:
        raise NothingToDo
    draw.counter += 1
    name = f"public.per{draw.counter}"
    made = (
        f"CREATE TABLE {name} (id int4range, at daterange, v text, PRIMARY KEY (id, at WITHOUT OVERLAPS)); "
        f"CREATE TABLE {name}_of (id int4range, at daterange, "
        f"FOREIGN KEY (id, PERIOD at) REFERENCES {name} (id, PERIOD at)); "
        f"INSERT INTO {name} SELECT int4range(i, i + 1), '[2026-01-01,2027-01-01)', {draw.text()} FROM generate_series(1, 5) AS i; "
        f"INSERT INTO {name}_of VALUES ('[2,3)', '[2026-02-01,2026-03-01)')"
    )
    if draw.catalog.server >= 190000:
        made += f"; UPDATE {name} FOR PORTION OF at FROM '2026-05-01' TO '2026-06-01' SET v = {draw.text()} WHERE id = '[3,4)'"
        made += f"; DELETE FROM {name} FOR PORTION OF at FROM '2026-07-01' TO '2026-08-01' WHERE id @> 4"
    return made


def graph(draw: Draw) -> str:
    """A property graph over a table (19)."""
    if draw.catalog.server < 190000:
        raise NothingToDo
    t = draw.pick("r", lambda r: bool(r.unique()) and _plain_table(r))
    name = draw.new("gr")
    change = draw.random.choice(
        [
            f"ALTER PROPERTY GRAPH {name} RENAME TO {draw.new('gr', False)}",
            f"DROP PROPERTY GRAPH {name}",
            f"ALTER PROPERTY GRAPH {name} OWNER TO {quote(draw.random.choice(ROLES))}",
            f"GRANT SELECT ON PROPERTY GRAPH {name} TO {quote(draw.random.choice(ROLES))}",
            f"COMMENT ON PROPERTY GRAPH {name} IS {draw.text()}",
            "SELECT 1",
        ]
    )
    return (
        f"CREATE PROPERTY GRAPH {name} VERTEX TABLES ({t.name} AS vertex KEY ({draw.quote(t.unique()[0])})); {change}"
    )


def table_of_type(draw: Draw) -> str:
    """A typed table; a table's row type as the type of another's column."""
    names = sorted(name for name, of in draw.catalog.attributes.items() if of)
    if names and draw.values.chance(0.5):
        return f"CREATE TABLE {draw.new('to')} OF {draw.random.choice(names)}"
    t = draw.pick("r", lambda r: _plain_table(r) and not r.raw["partition"])
    other = draw.new("t")
    return (
        f"CREATE TABLE {other} (id int PRIMARY KEY, c {t.name}, d {t.name}[]); "
        f"INSERT INTO {other} SELECT row_number() OVER (), q, ARRAY[q] FROM (SELECT t AS q FROM {t.name} AS t LIMIT 3) AS s"
    )


def odd_rows(draw: Draw) -> str:
    """Rows by upsert, from another table, by a cursor, and by a prepared statement."""
    t = draw.pick("r", lambda r: bool(r.columns))
    sets = [c for c in t.columns if not c["generated"] and not c["identity"] and c["name"] not in t.unique()]
    if not sets:
        raise NothingToDo
    c = draw.random.choice(sets)
    name, value = draw.quote(c["name"]), column_value(draw, t, c)
    plan = draw.quote(f"plan{draw.counter}")
    draw.counter += 1
    choices = [
        f"UPDATE {t.name} AS x SET {name} = y.{name} FROM {t.name} AS y WHERE x.ctid <> y.ctid",
        f"INSERT INTO {t.name} SELECT * FROM {t.name} LIMIT 2 ON CONFLICT DO NOTHING",
        f"PREPARE {plan} AS UPDATE {t.name} SET {name} = {value}; EXECUTE {plan}; DEALLOCATE {plan}",
        f"PREPARE {plan} AS SELECT * FROM {t.name} LIMIT 4; CREATE TABLE {draw.new('xt')} AS EXECUTE {plan}; DEALLOCATE {plan}",
        f"DO $c$ DECLARE k CURSOR FOR SELECT * FROM ONLY {t.name} FOR UPDATE; r record; BEGIN FOR r IN k LOOP "
        f"UPDATE {t.name} SET {name} = {value if value != 'DEFAULT' else name} WHERE CURRENT OF k; EXIT WHEN random() < 0; END LOOP; END $c$",
    ]
    if t.unique():
        key = draw.quote(draw.random.choice(t.unique()))
        rows = insert_into(draw, t).removesuffix(" ON CONFLICT DO NOTHING")
        choices += [f"{rows} ON CONFLICT ({key}) DO UPDATE SET {name} = EXCLUDED.{name}"] * 2
    return draw.random.choice(choices)


def statement_trigger(draw: Draw) -> str:
    """A trigger that writes elsewhere: with transition tables, deferred, or in place of a DELETE."""
    t = draw.pick("r", lambda r: bool(r.columns) and not r.raw["child_of"])
    draw.counter += 1
    log, function = f"public.tl{draw.counter}", f"public.tf{draw.counter}"
    made, name = f"CREATE TABLE {log} (n bigint, at text DEFAULT clock_timestamp())", draw.new("tr", False)
    how = draw.random.choice(
        [
            (
                f"BEGIN INSERT INTO {log} (n) SELECT count(*) FROM fresh; RETURN NULL; END",
                f"TRIGGER {name} AFTER INSERT ON {t.name} REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT",
            ),
            (
                f"BEGIN INSERT INTO {log} (n) VALUES (1); RETURN NULL; END",
                f"CONSTRAINT TRIGGER {name} AFTER INSERT OR UPDATE ON {t.name} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW",
            ),
            (
                f"BEGIN INSERT INTO {log} (n) VALUES (2); RETURN NULL; END",
                f"TRIGGER {name} BEFORE DELETE ON {t.name} FOR EACH ROW",
            ),
            (
                f"BEGIN INSERT INTO {log} (n) VALUES (3); RETURN NULL; END",
                f"TRIGGER {name} AFTER TRUNCATE ON {t.name} FOR EACH STATEMENT",
            ),
        ]
    )
    body = f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $t$ {how[0]} $t$"
    enabled = draw.random.choice(["", f"; ALTER TABLE {t.name} ENABLE ALWAYS TRIGGER {name}"])
    return f"{made}; {body}; CREATE {how[1]} EXECUTE FUNCTION {function}(){enabled}"


def domains_and_types(draw: Draw) -> str:
    """Types over types, text search, collations, conversions of types to other owners and schemas."""
    name = draw.new("ty")
    named = sorted(draw.catalog.types.names())
    of = draw.random.choice(named) if named else "int"
    choices = [
        f"CREATE DOMAIN {name} AS {of}[]",
        f"CREATE DOMAIN {name} AS {of} NOT NULL",
        f"CREATE TYPE {name} AS ({draw.new('a', False)} {of}[], {draw.new('a', False)} {draw.type()})",
        f'CREATE COLLATION {name} FROM "C"',
        f"CREATE TEXT SEARCH DICTIONARY {name} (TEMPLATE = simple)",
        f"CREATE TEXT SEARCH CONFIGURATION {name} (COPY = simple)",
        f"CREATE TYPE {name} AS RANGE (subtype = int8, multirange_type_name = {draw.new('tym', False)})",
    ]
    if named and draw.alone:
        choices += [
            f"ALTER TYPE {of} OWNER TO {quote(draw.random.choice(ROLES))}",
            f"ALTER TYPE {of} SET SCHEMA {quote(draw.random.choice(SCHEMAS))}",
            f"COMMENT ON TYPE {of} IS {draw.text()}",
            f"REVOKE USAGE ON TYPE {of} FROM PUBLIC",
        ]
    return draw.random.choice(choices)


def owned_sequence(draw: Draw) -> str:
    """A sequence that belongs to a column, has another type, or is used by several tables."""
    s, t = draw.pick("S"), draw.pick("r", lambda r: bool(r.numbers()))
    c = draw.quote(draw.random.choice(t.numbers()))
    return draw.random.choice(
        [
            f"ALTER SEQUENCE {s.name} OWNED BY {t.name}.{c}",
            f"ALTER SEQUENCE {s.name} AS smallint",
            f"ALTER TABLE {t.name} ALTER {c} SET DEFAULT nextval({draw.values.plain(s.name)})",
            f"ALTER SEQUENCE {s.name} SET SCHEMA {quote(draw.random.choice(SCHEMAS))}",
            f"ALTER SEQUENCE {s.name} SET UNLOGGED" if draw.catalog.server >= 150000 else f"DROP SEQUENCE {s.name}",
            f"GRANT USAGE ON SEQUENCE {s.name} TO {quote(draw.random.choice(ROLES))}",
            f"CREATE SEQUENCE {draw.new('sq')} AS smallint OWNED BY {t.name}.{c}",
        ]
    )


def publications(draw: Draw) -> str:
    """Publications with conditions and lists of columns, changed and dropped."""
    t = draw.pick("rp", lambda r: bool(r.columns) and _plain_table(r))
    name = draw.new("pub", False)
    columns = f" ({draw.quote(draw.column(t)['name'])})" if draw.catalog.server >= 150000 else ""
    change = draw.random.choice(
        [
            f"ALTER PUBLICATION {name} SET (publish = 'insert, truncate')",
            f"ALTER PUBLICATION {name} RENAME TO {draw.new('pub', False)}",
            f"ALTER PUBLICATION {name} OWNER TO CURRENT_USER",
            f"DROP PUBLICATION {name}",
            f"ALTER PUBLICATION {name} DROP TABLE {t.name}",
        ]
    )
    return f"CREATE PUBLICATION {name} FOR TABLE {t.name}{columns} WITH (publish = 'insert'); {change}"


def large_object_forms(draw: Draw) -> str:
    """A large object's owner, rights and comment."""
    number = draw.random.randint(900000, 900020)
    made = f"SELECT lo_create({number}) WHERE NOT EXISTS (SELECT FROM pg_largeobject_metadata WHERE oid = {number})"
    change = draw.random.choice(
        [
            f"ALTER LARGE OBJECT {number} OWNER TO {quote(draw.random.choice(ROLES))}",
            f"GRANT SELECT ON LARGE OBJECT {number} TO {quote(draw.random.choice(ROLES))}",
            f"COMMENT ON LARGE OBJECT {number} IS {draw.text()}",
        ]
    )
    return f"{made}; {change}"


def drop_several(draw: Draw) -> str:
    """Several objects dropped by one command."""
    kind, word = draw.random.choice([("r", "TABLE"), ("rp", "TABLE"), ("v", "VIEW"), ("S", "SEQUENCE")])
    names = sorted({draw.pick(kind).name for _ in range(draw.random.randint(1, 3))})
    return f"DROP {word} IF EXISTS nobody.has_it, {', '.join(names)}{draw.random.choice(['', ' CASCADE'])}"


def organised(draw: Draw) -> str:
    """How a table is stored and ordered, and what its rows are identified by."""
    t = draw.pick("r", lambda r: bool(r.columns))
    choices = ["SET WITHOUT CLUSTER", "SET ACCESS METHOD heap", "RESET (fillfactor)", "SET WITHOUT OIDS", "NOT OF"]
    choices += [f"CLUSTER ON {quote(i['name'])}" for i in t.indexes]
    choices += [f"ALTER {draw.quote(draw.column(t)['name'])} SET COMPRESSION {draw.random.choice(['pglz', 'default'])}"]
    return f"ALTER TABLE {t.name} {draw.random.choice(choices)}"


KINDS: dict[Kind, int] = {
    wide_key: 4,
    several_changes: 4,
    several_parents: 2,
    change_partition: 4,
    written_view: 3,
    indexed_view: 2,
    routine: 3,
    sql_body: 2,
    foreign: 2,
    generated: 3,
    constraint_forms: 4,
    temporal: 1,
    graph: 1,
    table_of_type: 2,
    odd_rows: 8,
    statement_trigger: 2,
    domains_and_types: 3,
    owned_sequence: 3,
    publications: 1,
    large_object_forms: 1,
    drop_several: 2,
    organised: 2,
}
# Several statements, or one that returns rows, or one that no block of PL/pgSQL may hold.
SEVERAL = (
    *(several_parents, change_partition, written_view, routine, sql_body, foreign, temporal, graph, table_of_type),
    *(odd_rows, statement_trigger, publications, large_object_forms),
)
