-- families.sql: relations that belong together: parents, partitions, types; and what the present transaction has made.

-- A relation and whatever it inherits from or is a partition of, and the types they are made of: what a command that rewrites it
-- may have named.
CREATE OR REPLACE FUNCTION scribe.lineage(relation oid) RETURNS oid[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN (WITH RECURSIVE line (id) AS (
        SELECT relation UNION SELECT i.inhparent FROM line, LATERAL (SELECT h.inhparent FROM pg_inherits AS h WHERE h.inhrelid = line.id OFFSET 0) AS i)
        SELECT array_agg(id) || ARRAY(SELECT c.reloftype FROM pg_class AS c WHERE c.oid = ANY (ARRAY(SELECT id FROM line)) AND c.reloftype <> 0)
        FROM line);
END
$function$;

-- What a command named that rewrites a relation first of all: this one, unless that has no rows of its own.
CREATE OR REPLACE FUNCTION scribe.altered_by(tag text, relation oid) RETURNS regclass
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN coalesce((SELECT CASE WHEN tag = 'ALTER TYPE' THEN t.typrelid END
            FROM pg_class AS c JOIN pg_type AS t ON t.oid = c.reloftype WHERE c.oid = relation),
        (SELECT c.oid FROM unnest(scribe.lineage(relation)) AS l JOIN pg_class AS c ON c.oid = l
            WHERE CASE WHEN tag = 'ALTER FOREIGN TABLE' THEN c.relkind = 'f' ELSE c.relkind = 'p' AND NOT c.relispartition END LIMIT 1),
        relation);
END
$function$;

-- Relations in relids and everything that inherits from them or is a partition of them.
CREATE OR REPLACE FUNCTION scribe.with_children(relids oid[]) RETURNS oid[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = ANY (relids)) THEN
        RETURN relids;
    END IF;
    RETURN (WITH RECURSIVE family (relid) AS (
        SELECT unnest(relids) UNION SELECT i.inhrelid FROM family,  -- one by one
            LATERAL (SELECT h.inhrelid FROM pg_inherits AS h WHERE h.inhparent = family.relid OFFSET 0) AS i)
        SELECT array_agg(relid) FROM family);
END
$function$;

-- Whether a row of the catalog was written by the present transaction: nobody else's row in progress can be seen.
CREATE OR REPLACE FUNCTION scribe.is_ours(writer xid) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    epoch constant bigint := pg_current_xact_id()::text::bigint >> 32;
    top_xid constant bigint := pg_current_xact_id()::text::bigint & 4294967295;
BEGIN
    RETURN CASE WHEN writer::text::bigint >= top_xid
        THEN pg_xact_status(((epoch << 32) | writer::text::bigint)::text::xid8) = 'in progress' ELSE false END;
END
$function$;

-- Whether a table was made by the present transaction: the row of a system column is written then, and never again.
CREATE OR REPLACE FUNCTION scribe.is_new(relation oid) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN (SELECT scribe.is_ours(xmin) FROM pg_attribute WHERE attrelid = relation AND attnum = -1);
END
$function$;
