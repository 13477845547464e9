"""Statements that change rows, sequences and large objects."""

from __future__ import annotations

from typing import Any

from catalog import Relation
from draw import Draw, Kind, NothingToDo


def column_value(draw: Draw, t: Relation, column: dict[str, Any]) -> str:
    """A value for a column."""
    if column["name"] in t.references():
        return "NULL"
    if (column["default"] or column["identity"]) and (column["identity"] == "a" or draw.values.chance(0.3)):
        return "DEFAULT"
    if not column["notnull"] and draw.values.chance(0.15):
        return "NULL"
    return draw.values.value(column["type"], draw.catalog.types)


def insert_into(draw: Draw, t: Relation, rows: int | None = None) -> str:
    """An INSERT of some rows."""
    columns = [c for c in t.columns if not c["generated"] and (c["notnull"] or draw.values.chance(0.85))]
    if not columns:
        return f"INSERT INTO {t.name} DEFAULT VALUES"
    rows = rows or draw.random.choice([1, 1, 2, 3, 12])
    lines = [f"({', '.join(column_value(draw, t, c) for c in columns)})" for _ in range(rows)]
    conflict = " ON CONFLICT DO NOTHING" if draw.values.chance(0.7) else ""
    overriding = "OVERRIDING SYSTEM VALUE " if draw.values.chance(0.3) and any(c["identity"] for c in columns) else ""
    names = ", ".join(draw.quote(c["name"]) for c in columns)
    return f"INSERT INTO {t.name} ({names}) {overriding}VALUES {', '.join(lines)}{conflict}"


def where(draw: Draw, t: Relation) -> str:
    """A condition that holds for some rows, or none."""
    numbers = t.numbers()
    lot = draw.random.randint(0, 4)
    if lot == 0 or not numbers:
        texts = [c["name"] for c in t.columns if c["type"] == "text"]
        if texts and lot < 3:
            return f" WHERE {draw.quote(draw.random.choice(texts))} {draw.random.choice(['IS NULL', 'IS NOT NULL'])}"
        return (
            draw.random.choice(
                ["", " WHERE true", " WHERE ctid IN (SELECT ctid FROM ONLY " + t.name + " ORDER BY ctid LIMIT 2)"]
            )
            if t.kind == "r" and not t.raw["parent"]
            else ""
        )
    name = draw.quote(draw.random.choice(numbers))
    return f" WHERE {name} {draw.random.choice(['<', '>', '=', '<>'])} {draw.random.randint(-5, 300)}"


def default_free(draw: Draw, column: dict[str, Any], value: str) -> str:
    """A value where DEFAULT may not stand."""
    return draw.values.value(column["type"], draw.catalog.types) if value == "DEFAULT" else value


def insert(draw: Draw) -> str:
    return insert_into(draw, draw.pick("rp", lambda r: bool(r.columns) or draw.values.chance(0.5)))


def insert_series(draw: Draw) -> str:
    t = draw.pick("rp")
    columns = [c for c in t.columns if not c["generated"] and c["identity"] != "a"]
    if not columns:
        raise NothingToDo
    start = draw.random.randint(-100, 5000)
    count = draw.random.choice([5, 20, 200])
    chosen = []
    for c in columns:
        value = (
            "i"
            if c["type"] in ("integer", "bigint", "numeric") and c["name"] not in t.references()
            else column_value(draw, t, c)
        )
        chosen.append(f"{default_free(draw, c, value)}")
    names = ", ".join(draw.quote(c["name"]) for c in columns)
    return (
        f"INSERT INTO {t.name} ({names}) SELECT {', '.join(chosen)} "
        f"FROM generate_series({start}, {start + count}) AS i ON CONFLICT DO NOTHING"
    )


def update(draw: Draw) -> str:
    t = draw.pick("rp", lambda r: bool(r.columns))
    columns = [c for c in t.columns if not c["generated"] and c["identity"] != "a"]
    keys = set(t.unique())
    sets = []
    for c in draw.random.sample(columns, min(len(columns), draw.random.randint(1, 3))):
        name = draw.quote(c["name"])
        if c["name"] in keys:
            value = (
                draw.random.choice([name, f"{name} + {draw.random.randint(1000, 9999)}"])
                if c["type"] in ("integer", "bigint", "numeric")
                else name
            )
        elif c["type"] == "text" and draw.values.chance(0.4):
            value = f"{name} || {draw.text()}"
        else:
            value = draw.random.choice([name, column_value(draw, t, c), column_value(draw, t, c)])
        sets.append(f"{name} = {value}")
    if not sets:
        raise NothingToDo
    only = "ONLY " if t.raw["parent"] and t.kind == "r" and draw.values.chance(0.3) else ""
    return f"UPDATE {only}{t.name} SET {', '.join(sets)}{where(draw, t)}"


def swap(draw: Draw) -> str:
    """Swap unique values; a deferrable constraint allows it in one statement, others when nothing collides."""
    t = draw.pick("r", lambda r: bool(set(r.unique()) & set(r.numbers())))
    name = draw.quote(draw.random.choice(sorted(set(t.unique()) & set(t.numbers()))))
    return f"UPDATE {t.name} SET {name} = {draw.random.choice([f'- {name}', f'{name} + 1', f'300 - {name}'])}"


def delete(draw: Draw) -> str:
    t = draw.pick("rp")
    return f"DELETE FROM {t.name}{where(draw, t)}"


def merge(draw: Draw) -> str:
    t = draw.pick("rp", lambda r: bool(r.numbers()))
    if draw.catalog.server < 150000:
        raise NothingToDo
    key = draw.quote(draw.random.choice(t.numbers()))
    sets = [c for c in t.columns if not c["generated"] and not c["identity"] and c["name"] not in t.unique()]
    if not sets:
        raise NothingToDo
    c = draw.random.choice(sets)
    return (
        f"MERGE INTO {t.name} AS m USING generate_series({draw.random.randint(0, 50)}, {draw.random.randint(51, 90)}) AS s(n) "
        f"ON m.{key} = s.n WHEN MATCHED AND s.n % 2 = 0 THEN DELETE "
        f"WHEN MATCHED THEN UPDATE SET {draw.quote(c['name'])} = {column_value(draw, t, c)} "
        f"WHEN NOT MATCHED THEN INSERT ({key}) VALUES (s.n)"
    )


def truncate(draw: Draw) -> str:
    some = [draw.pick("rp") for _ in range(draw.random.choice([1, 1, 2]))]
    names = ", ".join(draw.random.choice(["", "", "ONLY " if t.kind == "r" else ""]) + t.name for t in some)
    return f"TRUNCATE {names}{draw.random.choice(['', ' RESTART IDENTITY'])}{draw.random.choice(['', ' CASCADE'])}"


def sequence_value(draw: Draw) -> str:
    s = draw.pick("S")
    return draw.random.choice(
        [
            f"SELECT nextval({draw.values.plain(s.name)}) FROM generate_series(1, {draw.random.randint(1, 40)})",
            f"SELECT setval({draw.values.plain(s.name)}, {draw.random.randint(1, 20)}, {draw.random.choice(['true', 'false'])})",
        ]
    )


def large_object(draw: Draw) -> str:
    number = draw.random.randint(900000, 900020)
    data = draw.values.value("bytea", draw.catalog.types)
    return draw.random.choice(
        [
            f"SELECT lo_from_bytea({number}, {data})",
            f"SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid = {number}",
            f"SELECT lo_put({number}, 5, {data}) FROM pg_largeobject_metadata WHERE oid = {number}",
        ]
    )


def toast(draw: Draw) -> str:
    """Give a row a value kept out of line, or change another column of a row that has one."""
    t = draw.pick("r", lambda r: any(c["type"] == "text" and not c["generated"] for c in r.columns))
    c = draw.column(t, lambda c: c["type"] == "text" and not c["generated"])
    name = draw.quote(c["name"])
    return f"UPDATE {t.name} SET {name} = (SELECT string_agg(md5(i::text), {draw.text()}) FROM generate_series(1, {draw.random.choice([90, 400])}) i){where(draw, t)}"


def message(draw: Draw) -> str:
    return f"SELECT pg_logical_emit_message(true, {draw.random.choice(['scribe.mark', 'scribe.ddl', 'x'])!r}, {draw.text()})"


def copy(draw: Draw) -> tuple[str, str]:
    """A COPY and its data. Raises NothingToDo."""
    t = draw.pick("rp", lambda r: any(c["type"] in ("text", "integer") for c in r.columns))
    columns = [c for c in t.columns if not c["generated"] and (c["notnull"] or c["type"] in ("text", "integer"))]
    if any(c["type"] not in ("text", "integer", "bigint") for c in columns):
        raise NothingToDo
    lines = []
    for _ in range(draw.random.randint(1, 30)):
        fields = []
        for c in columns:
            text = str(draw.random.randint(100, 100000)) if c["type"] != "text" else draw.values.text()
            for plain, escaped in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
                text = text.replace(plain, escaped)
            fields.append(text)
        lines.append("\t".join(fields) + "\n")
    names = ", ".join(draw.quote(c["name"]) for c in columns)
    return f"COPY {t.name} ({names}) FROM STDIN", "".join(lines)


def with_parameter(draw: Draw) -> tuple[str, tuple[str | None]]:
    """A statement and its parameter. Raises NothingToDo."""
    t = draw.pick("rp", lambda r: any(c["type"] == "text" and not c["generated"] for c in r.columns))
    c = draw.column(t, lambda c: c["type"] == "text" and not c["generated"])
    name = draw.quote(c["name"])
    parameter = draw.random.choice([draw.values.text(), None])
    sql = draw.random.choice(
        [
            f"UPDATE {t.name} SET {name} = $1::text{where(draw, t)}",
            f"INSERT INTO {t.name} ({name}) VALUES ($1::text)",
            f"CREATE TABLE {draw.new('xt')} AS SELECT $1::text AS a, i FROM generate_series(1, 3) i",
        ]
    )
    return sql, (parameter,)


KINDS: dict[Kind, int] = {
    insert: 30,
    insert_series: 8,
    update: 26,
    swap: 4,
    delete: 12,
    merge: 3,
    truncate: 3,
    sequence_value: 4,
    large_object: 2,
    toast: 4,
    message: 1,
}
