"""The catalog of the source, as one session sees it; nothing in it differs between two runs."""

from __future__ import annotations

from typing import Any

from values import Types

# What a session can see: relations with columns, and the user's types, functions and sequences.
QUERY = """
SELECT pg_catalog.json_build_object(
  'relations', (SELECT pg_catalog.json_agg(r ORDER BY r.schema COLLATE "C", r.name COLLATE "C") FROM (
    SELECT n.nspname AS schema, c.relname AS name, c.relkind AS kind, c.relpersistence AS persistence,
      pg_catalog.pg_get_userbyid(c.relowner) AS owner, c.relispartition AS partition,
      c.relispopulated AS populated,
      (SELECT p.partstrat FROM pg_catalog.pg_partitioned_table p WHERE p.partrelid = c.oid) AS strategy,
      EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid) AS parent,
      EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) AS up (oid)
        JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = up.oid AND p.partrelid <> c.oid AND p.partstrat = 'h'
        JOIN pg_catalog.pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
        JOIN pg_catalog.pg_type t ON t.oid = a.atttypid AND t.typtype = 'e') AS elsewhere,
      (SELECT pn.nspname || '|' || p.relname FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
        JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace WHERE i.inhrelid = c.oid ORDER BY i.inhseqno LIMIT 1) AS child_of,
      (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', i.relname, 'unique', x.indisunique, 'primary', x.indisprimary,
          'immediate', x.indimmediate, 'plain', x.indexprs IS NULL AND x.indpred IS NULL, 'valid', x.indisvalid) ORDER BY i.relname COLLATE "C")
        FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = c.oid) AS indexes,
      (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', k.conname, 'type', k.contype, 'columns', k.conkey) ORDER BY k.conname COLLATE "C")
        FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid) AS constraints,
      (SELECT pg_catalog.json_agg(t.tgname ORDER BY t.tgname COLLATE "C") FROM pg_catalog.pg_trigger t
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) AS triggers,
      (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', a.attname, 'number', a.attnum, 'notnull', a.attnotnull,
          'generated', a.attgenerated, 'identity', a.attidentity, 'default', a.atthasdef, 'local', a.attislocal,
          'type', CASE WHEN tn.nspname IN ('pg_catalog') THEN pg_catalog.format_type(a.atttypid, a.atttypmod)
            WHEN e.oid IS NOT NULL THEN pg_catalog.format('%I.%I[]', en.nspname, e.typname)
            ELSE pg_catalog.format('%I.%I', tn.nspname, t.typname) END) ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
        JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
        LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typcategory = 'A' AND tn.nspname <> 'pg_catalog'
        LEFT JOIN pg_catalog.pg_namespace en ON en.oid = e.typnamespace
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'scribe')
      AND c.relname NOT LIKE 'pg\\_%'
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.objid = c.oid AND d.deptype = 'e')) AS r),
  'types', (SELECT pg_catalog.json_agg(r ORDER BY r.name COLLATE "C") FROM (
    SELECT pg_catalog.format('%I.%I', n.nspname, t.typname) AS name, t.typtype AS kind,
      (SELECT pg_catalog.json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid) AS labels,
      pg_catalog.format_type(t.typbasetype, t.typtypmod) AS base,
      (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
    WHERE (t.typtype IN ('e', 'd') OR (t.typtype = 'c' AND c.relkind = 'c')) AND n.nspname !~ '^pg_'
      AND n.nspname NOT IN ('information_schema', 'scribe')) AS r),
  'extensions', (SELECT pg_catalog.json_agg(extname ORDER BY extname COLLATE "C") FROM pg_catalog.pg_extension
    WHERE extname IN ('hstore', 'citext')),
  'roles', (SELECT pg_catalog.json_agg(rolname ORDER BY rolname COLLATE "C") FROM pg_catalog.pg_roles WHERE rolname ~ 'ro[0-9]+$'),
  'tablespaces', (SELECT pg_catalog.json_agg(spcname ORDER BY spcname COLLATE "C") FROM pg_catalog.pg_tablespace
    WHERE spcname ~ 'ts[0-9]+$'),
  'event_triggers', (SELECT pg_catalog.json_agg(evtname ORDER BY evtname COLLATE "C") FROM pg_catalog.pg_event_trigger
    WHERE evtname ~ 'ev[0-9]+$'),
  'configured', (SELECT pg_catalog.json_build_object('version', e.extversion, 'schema', n.nspname)
    FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'scribe_fuzz'),
  'schemas', (SELECT pg_catalog.json_agg(nspname ORDER BY nspname COLLATE "C") FROM pg_catalog.pg_namespace WHERE nspname ~ 'sch[0-9]+$'),
  'server', pg_catalog.current_setting('server_version_num')::int)
"""


def quote(name: str) -> str:
    """A name as SQL writes it, always quoted."""
    return '"' + name.replace('"', '""') + '"'


class Relation:
    """A relation of the catalog."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        self.schema: str = raw["schema"]
        self.bare: str = raw["name"]
        self.name = f"{quote(raw['schema'])}.{quote(raw['name'])}"
        self.kind: str = raw["kind"]
        self.elsewhere: bool = raw["elsewhere"]  # a hash of an enum decides that rows lie here: only in this database
        self.owner: str = raw["owner"]
        self.columns: list[dict[str, Any]] = raw["columns"] or []
        self.constraints: list[dict[str, Any]] = raw["constraints"] or []
        self.indexes: list[dict[str, Any]] = raw["indexes"] or []
        self.triggers: list[str] = raw["triggers"] or []

    def numbers(self, types: tuple[str, ...] = ("integer", "bigint", "smallint", "numeric")) -> list[str]:
        """Columns that can be compared and added to."""
        return [c["name"] for c in self.columns if c["type"] in types and not c["generated"]]

    def unique(self) -> list[str]:
        """Columns of which each is alone in a unique or primary key."""
        by_number = {c["number"]: c["name"] for c in self.columns}
        return [by_number[k["columns"][0]] for k in self.constraints if k["type"] in "pu" and len(k["columns"]) == 1]

    def references(self) -> set[str]:
        """Columns of foreign keys."""
        by_number = {c["number"]: c["name"] for c in self.columns}
        return {by_number[n] for k in self.constraints if k["type"] == "f" for n in k["columns"]}


class Catalog:
    """What QUERY returned."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.relations = [Relation(r) for r in raw["relations"] or []]
        self.types = Types()
        self.attributes: dict[str, list[str]] = {}  # the names of composite types' columns
        for t in raw["types"] or []:
            if t["kind"] == "e":
                if t["labels"]:
                    self.types.enums[t["name"]] = t["labels"]
            elif t["kind"] == "d":
                self.types.domains[t["name"]] = t["base"]
            else:
                self.types.composites[t["name"]] = [c[1] for c in t["columns"] or []]
                self.attributes[t["name"]] = [c[0] for c in t["columns"] or []]
        self.extensions: list[str] = raw["extensions"] or []
        self.schemas: list[str] = raw["schemas"] or []
        self.roles: list[str] = raw["roles"] or []
        self.tablespaces: list[str] = raw["tablespaces"] or []
        self.event_triggers: list[str] = raw["event_triggers"] or []
        self.configured: dict[str, str] | None = raw["configured"]
        self.server: int = raw["server"]
