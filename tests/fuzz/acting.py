"""What acts by itself: event triggers, functions that write, and an extension's script."""

from __future__ import annotations

from catalog import quote
from draw import Draw, Kind, NothingToDo

EXTENSION = "scribe_fuzz"
CONTROL = f"{EXTENSION}.control"


def control(version: str) -> str:
    """Return a control file for the extension that offers a version."""
    return f"default_version = '{version}'\nrelocatable = true\n"


# The extension's files: a table that a dump has in part, and an update that changes rows. Written by the runner.
FILES = {
    CONTROL: control("1"),
    f"{EXTENSION}--1.sql": """
        CREATE TABLE fuzz_config (id int PRIMARY KEY, v text);
        INSERT INTO fuzz_config SELECT i, 'of the script' FROM generate_series(1, 5) AS i;
        SELECT pg_catalog.pg_extension_config_dump('fuzz_config', 'WHERE id NOT IN (1, 2, 3, 4, 5, 90)');
        CREATE TYPE fuzz_kind AS ENUM ('a', 'b');
        CREATE FUNCTION fuzz_said(v text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT v || ''!''';
        CLUSTER fuzz_config USING fuzz_config_pkey;
    """,
    f"{EXTENSION}--1--2.sql": """
        ALTER TABLE fuzz_config ADD COLUMN w bigint DEFAULT 0;
        UPDATE fuzz_config SET v = v || ' updated' WHERE id < 3;
        INSERT INTO fuzz_config VALUES (90, 'of the update', 1);
    """,
}
# What an event trigger does; errors are its own affair. %s: its table of what happened.
_ACTS = {
    "ddl_command_end": [
        "INSERT INTO %s VALUES (tg_tag);",
        "FOR r IN SELECT * FROM pg_catalog.pg_event_trigger_ddl_commands() LOOP INSERT INTO %s VALUES (r.command_tag || r.object_identity); END LOOP;",
        "FOR r IN SELECT * FROM pg_catalog.pg_event_trigger_ddl_commands() WHERE command_tag = 'CREATE TABLE' AND NOT in_extension LOOP"
        " EXECUTE 'ALTER TABLE ' || r.object_identity || ' ENABLE ROW LEVEL SECURITY'; END LOOP;",
        "FOR r IN SELECT * FROM pg_catalog.pg_event_trigger_ddl_commands() WHERE command_tag = 'CREATE TABLE' AND NOT in_extension LOOP"
        " EXECUTE 'COMMENT ON TABLE ' || r.object_identity || ' IS ''seen'''; END LOOP;",
        "FOR r IN SELECT * FROM pg_catalog.pg_event_trigger_ddl_commands() WHERE command_tag = 'CREATE TABLE' AND NOT in_extension LOOP"
        " EXECUTE 'INSERT INTO ' || r.object_identity || ' DEFAULT VALUES'; END LOOP;",
        "FOR r IN SELECT * FROM pg_catalog.pg_event_trigger_ddl_commands() WHERE command_tag = 'CREATE TABLE' AND NOT in_extension LOOP"
        " EXECUTE 'ALTER TABLE ' || r.object_identity || ' ADD COLUMN IF NOT EXISTS made_at text DEFAULT clock_timestamp()'; END LOOP;",
    ],
    "sql_drop": [
        "FOR r IN SELECT * FROM pg_catalog.pg_event_trigger_dropped_objects() LOOP INSERT INTO %s VALUES (r.object_identity); END LOOP;",
        "FOR r IN SELECT * FROM pg_catalog.pg_event_trigger_dropped_objects() WHERE object_type = 'table' AND original LOOP"
        " EXECUTE 'CREATE TABLE ' || r.object_identity || ' (again int)'; END LOOP;",
    ],
    "table_rewrite": ["INSERT INTO %s SELECT 'rewritten ' || pg_catalog.pg_event_trigger_table_rewrite_reason();"],
    "ddl_command_start": ["INSERT INTO %s VALUES ('before ' || tg_tag);"],
}


def event_trigger(draw: Draw) -> str:
    """An event trigger that comes, changes or goes. Its name is plain: one that sorts before capture's is reported."""
    if draw.role is not None:
        raise NothingToDo
    if draw.catalog.event_triggers and draw.values.chance(0.6):
        name = quote(draw.random.choice(draw.catalog.event_triggers))
        return draw.random.choice(
            [
                *(
                    f"ALTER EVENT TRIGGER {name} {how}"
                    for how in ("ENABLE ALWAYS", "ENABLE REPLICA", "DISABLE", "ENABLE")
                ),
                f"ALTER EVENT TRIGGER {name} RENAME TO {_new_name(draw)}",
                f"COMMENT ON EVENT TRIGGER {name} IS {draw.text()}",
                f"DROP EVENT TRIGGER {name}",
                f"DROP EVENT TRIGGER {name}",
            ]
        )
    event = draw.random.choice(["ddl_command_end"] * 4 + ["sql_drop"] * 2 + ["table_rewrite", "ddl_command_start"])
    draw.counter += 1
    log, function = f"public.log{draw.counter}", f"public.fe{draw.counter}"
    act = draw.random.choice(_ACTS[event]).replace("%s", log)
    security = draw.random.choice(["", "SECURITY DEFINER "])
    return (
        f"CREATE TABLE {log} (what text{draw.random.choice(['', ', id serial PRIMARY KEY'])}); GRANT INSERT ON {log} TO PUBLIC; "
        f"CREATE FUNCTION {function}() RETURNS event_trigger LANGUAGE plpgsql {security}AS $act$ DECLARE r record; BEGIN {act} "
        f"EXCEPTION WHEN OTHERS THEN NULL; END $act$; "
        f"CREATE EVENT TRIGGER {_new_name(draw)} ON {event} EXECUTE FUNCTION {function}()"
    )


def _new_name(draw: Draw) -> str:
    draw.counter += 1
    return quote(f"{draw.random.choice(['', '0', 'A ', 'zz', '~'])}ev{draw.counter}")


def computed(draw: Draw) -> str:
    """A column of which a function that writes makes the values, or an application's setting."""
    t = draw.pick("rp", lambda r: not r.raw["partition"])
    column = draw.new("c", False)
    draw.counter += 1
    log, function = f"public.made{draw.counter}", f"public.fw{draw.counter}"
    writes = (
        f"CREATE TABLE {log} (n serial, v text); CREATE FUNCTION {function}(v text) RETURNS text LANGUAGE plpgsql "
        f"SECURITY DEFINER AS $w$ BEGIN INSERT INTO {log} (v) VALUES (v); RETURN v || random(); END $w$; "
    )
    texts = [c for c in t.columns if c["type"] == "text" and not c["generated"]]
    choices = [
        f"SET app.tenant = {draw.values.plain(draw.values.text())}; "
        f"ALTER TABLE {t.name} ADD COLUMN {column} text DEFAULT current_setting('app.tenant')",
        f"{writes}ALTER TABLE {t.name} ADD COLUMN {column} text DEFAULT {function}('x')",
        f"ALTER TABLE {t.name} ADD COLUMN {column} {draw.random.choice(_FAST)}",
    ]
    if texts:
        old = draw.quote(draw.random.choice(texts)["name"])
        choices.append(f"{writes}ALTER TABLE {t.name} ALTER {old} TYPE text USING {function}({old})")
    return draw.random.choice(choices)


_FAST = [
    *("bigint NOT NULL DEFAULT 0", "varchar(20) DEFAULT 'x'", "text NOT NULL DEFAULT 'x'", "timestamptz DEFAULT now()"),
    *(
        "numeric(6,2) DEFAULT 1.5",
        "text DEFAULT 1.5::float8::text",
        "bytea DEFAULT '\\x00ff'",
        "text DEFAULT current_date",
    ),
]


def default_later(draw: Draw) -> str:
    """Another default, or none, for a column that has one."""
    t = draw.pick("rp", lambda r: any(c["default"] and not c["generated"] for c in r.columns))
    c = draw.column(t, lambda c: c["default"] and not c["generated"])
    name = draw.quote(c["name"])
    return f"ALTER TABLE {t.name} " + draw.random.choice(
        [
            f"ALTER {name} DROP DEFAULT",
            f"ALTER {name} SET DEFAULT {draw.values.value(c['type'], draw.catalog.types)}",
            f"ALTER {name} SET NOT NULL",
            f"RENAME {name} TO {draw.new('c', False)}",
            f"ALTER {name} SET STATISTICS 50",
            f"ALTER {name} SET (n_distinct = 5)",
            f"ALTER {name} DROP DEFAULT, ADD COLUMN {draw.new('c', False)} {draw.random.choice(_FAST)}",
        ]
    )


def extension(draw: Draw) -> str:
    """The extension that comes, changes or goes, and rows of its table."""
    configured = draw.catalog.configured
    table = "fuzz_config" if configured is None else f"{quote(configured['schema'])}.fuzz_config"
    number = draw.random.randint(1, 40)
    rows = [
        f"INSERT INTO {table} VALUES ({number}, {draw.text()}) ON CONFLICT DO NOTHING",
        f"UPDATE {table} SET v = {draw.text()} WHERE id > {number - 20}",
        f"DELETE FROM {table} WHERE id = {number // 4}",
    ]
    if configured is None:
        if draw.role is not None:
            raise NothingToDo
        made = f"CREATE EXTENSION {EXTENSION} SCHEMA {quote(draw.random.choice(['public', 's1', 'S two']))}"
        row = f"INSERT INTO fuzz_config VALUES ({number + 10}, {draw.text()})"
        return draw.random.choice([made, f'SET search_path = public, s1, "S two"; {made}; {row}'])
    choices = rows * 3
    if draw.role is None and draw.alone:  # its types are not locked either, see objects.alter_type()
        choices.append(f"DROP EXTENSION {EXTENSION} CASCADE")
        if draw.streaming:  # in a base it would be the version that CREATE EXTENSION makes
            choices.append(f"ALTER EXTENSION {EXTENSION} UPDATE TO '2'")
        choices.append(f"ALTER EXTENSION {EXTENSION} SET SCHEMA {quote(draw.random.choice(['public', 's1']))}")
    return draw.random.choice(choices)


def composite(draw: Draw) -> str:
    """An attribute of a row type that comes, goes or changes, and rows of the table that has it."""
    names = sorted(name for name, of in draw.catalog.attributes.items() if of)
    if not names or not draw.alone:
        raise NothingToDo
    name = draw.random.choice(names)
    attribute = quote(draw.random.choice(draw.catalog.attributes[name]))
    return f"ALTER TYPE {name} " + draw.random.choice(
        [
            f"ADD ATTRIBUTE {draw.new('a', False)} {draw.type()}",
            f"DROP ATTRIBUTE {attribute}",
            f"DROP ATTRIBUTE {attribute}, ADD ATTRIBUTE {draw.new('a', False)} text",
            f"RENAME ATTRIBUTE {attribute} TO {draw.new('a', False)}",
            f"ALTER ATTRIBUTE {attribute} TYPE text",
        ]
    )


def of_composites(draw: Draw) -> str:
    """A table without a key that has rows and arrays of a row type."""
    names = sorted(draw.catalog.attributes)
    if not names:
        raise NothingToDo
    kind = draw.random.choice(names)
    return f"CREATE TABLE {draw.new('t')} ({draw.new('c', False)} {kind}, {draw.new('c', False)} {kind}[], {draw.new('c', False)} int)"


def enum_partitions(draw: Draw) -> str:
    """A table partitioned by an enum, with its partitions and, mostly, an identity column."""
    draw.counter += 1
    name, kind = f"public.p{draw.counter}", f"public.ty{draw.counter}"
    labels = ["'sad'", "'ok'", "'happy'", "'odd'", "'even'"]
    identity = draw.random.choice(
        ["", ", id int GENERATED ALWAYS AS IDENTITY", ", id int GENERATED BY DEFAULT AS IDENTITY"]
    )
    how = draw.random.choice(["HASH", "HASH", "LIST", "RANGE"])
    bounds = {
        "HASH": ["FOR VALUES WITH (MODULUS 2, REMAINDER 0)", "FOR VALUES WITH (MODULUS 2, REMAINDER 1)"],
        "LIST": ["FOR VALUES IN ('sad', 'odd')", "DEFAULT"],
        "RANGE": ["FOR VALUES FROM (MINVALUE) TO ('happy')", "FOR VALUES FROM ('happy') TO (MAXVALUE)"],
    }[how]
    parts = "".join(f"; CREATE TABLE {name}_{n} PARTITION OF {name} {bound}" for n, bound in enumerate(bounds))
    key = draw.random.choice(["", ", PRIMARY KEY (m, n)"])
    return (
        f"CREATE TYPE {kind} AS ENUM ({', '.join(labels)}); "
        f"CREATE TABLE {name} (m {kind}, n int, v text{identity}{key}) PARTITION BY {how} (m){parts}; "
        f"INSERT INTO {name} (m, n, v) SELECT e, i, {draw.text()} FROM unnest(enum_range(NULL::{kind})) AS e, generate_series(1, 4) AS i"
    )


KINDS: dict[Kind, int] = {
    event_trigger: 2,
    computed: 4,
    default_later: 6,
    extension: 4,
    composite: 4,
    of_composites: 2,
    enum_partitions: 2,
}
SEVERAL = (event_trigger, computed, extension, enum_partitions)
