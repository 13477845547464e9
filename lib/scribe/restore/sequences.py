"""Sequences after a restore to a point inside a segment: never behind the data they number."""

from __future__ import annotations

# Each sequence with each column of whole numbers it belongs to, or is the default of, moved to that column's furthest
# value if it is behind. Cyclic ones may be anywhere. Runs under any search_path, in psql as well. Partitions and heirs
# are read one by one: a foreign one may lead to the source's live neighbour, or nowhere. To plan a query over a table
# may run its owner's functions, and a virtual column may fail in any row: what fails keeps one sequence where it is.
ADVANCE = """\
DO LANGUAGE plpgsql $scribe$
DECLARE
  item record;
BEGIN
  FOR item IN
    WITH RECURSIVE used AS (
      SELECT d.objid AS seq, d.refobjid AS relid, d.refobjsubid AS attnum FROM pg_catalog.pg_depend AS d
       WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')
         AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
      UNION
      SELECT d.refobjid, f.adrelid, f.adnum
        FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_attrdef AS f ON f.oid = d.objid
       WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
         AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    ), columns AS (
      SELECT u.seq, u.relid, a.attname, a.atttypid FROM used AS u
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = u.relid AND a.attnum = u.attnum
      UNION SELECT c.seq, i.inhrelid, c.attname, c.atttypid
        FROM columns AS c JOIN pg_catalog.pg_inherits AS i ON i.inhparent = c.relid
    )
    SELECT s.seqrelid, pg_catalog.format('%I.%I', sn.nspname, sc.relname) AS sequence,
           pg_catalog.format('%I.%I', tn.nspname, tc.relname) AS rel, u.attname, s.seqmin, s.seqmax,
           CASE WHEN s.seqincrement > 0 THEN 'max' ELSE 'min' END AS furthest,
           CASE WHEN s.seqincrement > 0 THEN '>' ELSE '<' END AS beyond
      FROM columns AS u
      JOIN pg_catalog.pg_sequence AS s ON s.seqrelid = u.seq
      JOIN pg_catalog.pg_class AS sc ON sc.oid = u.seq JOIN pg_catalog.pg_namespace AS sn ON sn.oid = sc.relnamespace
      JOIN pg_catalog.pg_class AS tc ON tc.oid = u.relid JOIN pg_catalog.pg_namespace AS tn ON tn.oid = tc.relnamespace
     WHERE NOT s.seqcycle AND tc.relkind = 'r'
       AND u.atttypid = ANY ('{int2,int4,int8,numeric}'::pg_catalog.regtype[])
  LOOP
    BEGIN
      EXECUTE pg_catalog.format(
        'SELECT pg_catalog.setval(%s::pg_catalog.regclass, pg_catalog.trunc(v.edge)::pg_catalog.int8)'
        ' FROM (SELECT pg_catalog.%s(%I) AS edge FROM ONLY %s WHERE %I BETWEEN %s AND %s) AS v, %s AS s'
        ' WHERE v.edge %s s.last_value OR (v.edge = s.last_value AND NOT s.is_called)',
        item.seqrelid, item.furthest, item.attname, item.rel, item.attname, item.seqmin, item.seqmax, item.sequence,
        item.beyond);
    EXCEPTION WHEN OTHERS OR QUERY_CANCELED OR ASSERT_FAILURE THEN
      RAISE WARNING 'left out, since % could not be read: sequence % past its values: %',
        item.rel, item.sequence, SQLERRM;
    END;
  END LOOP;
END
$scribe$;
"""
