-- times.sql: words like now that became a constant of the time at which a command ran, and numbers that became one of what has that OID.

-- Whether a text may hold a constant that stands for another time elsewhere: 'now'::timestamptz is one when it is read, and so is
-- 'now()', because punctuation is of no account in a literal; now() is none. Where a literal may have other ends than these quotes, any
-- such word counts. decoder/capture/scribe_plain.c asks the same.
CREATE OR REPLACE FUNCTION scribe.tells_time(statement text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT statement ~* '\m(now|today|tomorrow|yesterday)\M' AND (statement ~ '[$\\]|--|/\*'
        OR EXISTS (SELECT FROM regexp_matches(statement, '"[^"]*"|''([^'']*)''', 'g') AS m (found)
            WHERE m.found[1] ~* '\m(now|today|tomorrow|yesterday)\M'))
$function$;

-- Whether a text may hold a constant that stands for another object elsewhere: '16385'::regclass is one.
CREATE OR REPLACE FUNCTION scribe.names_by_number(statement text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT statement ~ '\d{5}' AND (statement ~ '[$\\]|--|/\*' OR statement ~ '''\s*\d{5,}\s*''')
$function$;

-- Whether a literal may spell such a word or number in another way: by an escape that makes a letter or digit, or over several lines.
CREATE OR REPLACE FUNCTION scribe.spells_otherwise(statement text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT statement ~ '\m[eE]''(?:[^''\\]|''''|\\[bfnrt\\''])*\\[^bfnrt\\'']|\m[uU]&'''
        OR statement ~ '''(?:[ \t\f\v]|--[^\n\r]*)*[\n\r](?:\s|--[^\n\r]*[\n\r])*'''
        OR (strpos(statement, '\') > 0 AND current_setting('scribe.settings', true) LIKE '{standard\_conforming\_strings,off%')
$function$;

-- The types of such constants, as alternatives of a pattern; NULL: the text holds none. A text that is not known may hold any.
CREATE OR REPLACE FUNCTION scribe.fleeting_kinds(statement text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT nullif(concat_ws('|',
        -- date, time, timestamp and with time zone
        CASE WHEN coalesce(scribe.tells_time(statement), true) OR scribe.spells_otherwise(statement) THEN '1082|1083|1114|1184|1266' END,
        -- regproc, regprocedure, regoper, regoperator, regclass, regtype, regconfig, regdictionary, regnamespace, regcollation
        CASE WHEN coalesce(scribe.names_by_number(statement), true) OR scribe.spells_otherwise(statement)
            THEN '24|2202|2203|2204|2205|2206|3734|3769|4089|4191' END), '')
$function$;

-- Statements that give what a command made the constants of these types that words or numbers became here: for each relation,
-- type or other object named, of what the catalog holds in its expressions.
CREATE OR REPLACE FUNCTION scribe.fleeting_constants(classes oid[], objects oid[], kinds text) RETURNS SETOF text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, MDY' SET IntervalStyle = postgres SET TimeZone = 'UTC'
AS $function$
DECLARE
    mark constant text := format('{CONST :consttype (%s) ', kinds);
BEGIN
    RETURN QUERY SELECT s.command FROM unnest(classes, objects) AS o (class, id), LATERAL (
        SELECT 1, format('ALTER TABLE ONLY %s ALTER COLUMN %I SET DEFAULT %s', id::regclass, a.attname, pg_get_expr(d.adbin, id))
        FROM pg_attrdef AS d JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
        WHERE class = 'pg_class'::regclass AND d.adrelid = id AND a.attgenerated = '' AND d.adbin::text ~ mark
        UNION ALL
        SELECT v.place, v.command FROM pg_constraint AS c, LATERAL (
            SELECT CASE c.contypid WHEN 0 THEN 'TABLE ' || c.conrelid::regclass ELSE 'DOMAIN ' || c.contypid::regtype END) AS n (named),
            LATERAL (VALUES (1, format('ALTER %s DROP CONSTRAINT %I', n.named, c.conname)),
                (2, format('ALTER %s ADD CONSTRAINT %I %s', n.named, c.conname, pg_get_constraintdef(c.oid)))) AS v (place, command)
        WHERE (class = 'pg_class'::regclass AND c.conrelid = id OR class = 'pg_type'::regclass AND c.contypid = id)
            AND c.contype = 'c' AND c.coninhcount = 0 AND c.conbin::text ~ mark
        UNION ALL
        SELECT 1, format('ALTER DOMAIN %s SET DEFAULT %s', id::regtype, pg_get_expr(t.typdefaultbin, 0))
        FROM pg_type AS t WHERE class = 'pg_type'::regclass AND t.oid = id AND t.typtype = 'd' AND t.typdefaultbin::text ~ mark
        UNION ALL
        SELECT 1, format('CREATE OR REPLACE VIEW %s%s AS %s', id::regclass, ' WITH (' || array_to_string(v.reloptions, ', ') || ')',
            rtrim(pg_get_viewdef(id), ';'))
        FROM pg_class AS v JOIN pg_rewrite AS r ON r.ev_class = v.oid
        WHERE class = 'pg_class'::regclass AND v.oid = id AND v.relkind = 'v' AND r.rulename = '_RETURN' AND r.ev_action::text ~ mark
        UNION ALL
        SELECT p.place, p.command FROM pg_class AS v JOIN pg_rewrite AS r ON r.ev_class = v.oid, LATERAL (VALUES
            (1, format('DROP MATERIALIZED VIEW %s', id::regclass)),
            (2, scribe.matview_text(id))) AS p (place, command)
        WHERE class = 'pg_class'::regclass AND v.oid = id AND v.relkind = 'm' AND r.ev_action::text ~ mark
        UNION ALL
        SELECT p.place, p.command FROM pg_index AS i, LATERAL (VALUES (1, format('DROP INDEX %s', id::regclass)),
            (2, pg_get_indexdef(id))) AS p (place, command)
        WHERE class = 'pg_class'::regclass AND i.indexrelid = id AND concat(i.indexprs, i.indpred) ~ mark
            AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = id)
        UNION ALL
        SELECT 1, regexp_replace(pg_get_ruledef(id), '^CREATE RULE', 'CREATE OR REPLACE RULE') FROM pg_rewrite AS r
        WHERE class = 'pg_rewrite'::regclass AND r.oid = id AND r.rulename <> '_RETURN' AND concat(r.ev_qual, r.ev_action) ~ mark
        UNION ALL
        SELECT p.place, p.command FROM pg_trigger AS t, LATERAL (VALUES
            (1, format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass)), (2, pg_get_triggerdef(id))) AS p (place, command)
        WHERE class = 'pg_trigger'::regclass AND t.oid = id AND t.tgqual::text ~ mark
        UNION ALL
        SELECT 1, format('ALTER POLICY %I ON %s%s%s', p.polname, p.polrelid::regclass,
            ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
        FROM pg_policy AS p WHERE class = 'pg_policy'::regclass AND p.oid = id AND concat(p.polqual, p.polwithcheck) ~ mark
        UNION ALL
        SELECT 1, pg_get_functiondef(id) FROM pg_proc AS p
        WHERE class = 'pg_proc'::regclass AND p.oid = id AND p.prokind <> 'a'
            AND concat(p.proargdefaults, to_jsonb(p)->>'prosqlbody') ~ mark
        UNION ALL
        SELECT p.place, p.command FROM pg_statistic_ext AS s, LATERAL (VALUES
            (1, format('DROP STATISTICS %s.%I', s.stxnamespace::regnamespace, s.stxname)), (2, pg_get_statisticsobjdef(id)))
            AS p (place, command)
        WHERE class = 'pg_statistic_ext'::regclass AND s.oid = id AND to_jsonb(s)->>'stxexprs' ~ mark
        ) AS s (place, command)
    WHERE s.command IS NOT NULL ORDER BY s.place;
END
$function$;

-- What has such a constant and no statement that could change it alone.
CREATE OR REPLACE FUNCTION scribe.keeps_fleeting(classes oid[], objects oid[], kinds text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    mark constant text := format('{CONST :consttype (%s) ', kinds);
BEGIN
    RETURN EXISTS (SELECT FROM unnest(classes, objects) AS o (class, id) WHERE
        class = 'pg_class'::regclass AND (
            EXISTS (SELECT FROM pg_attrdef AS d JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
                WHERE d.adrelid = id AND a.attgenerated <> '' AND d.adbin::text ~ mark)
            OR EXISTS (SELECT FROM pg_index AS i JOIN pg_constraint AS c ON c.conindid = i.indexrelid
                WHERE i.indrelid = id AND concat(i.indexprs, i.indpred) ~ mark)));
END
$function$;

-- ATTACH PARTITION with the bound that an expression made here.
CREATE OR REPLACE FUNCTION scribe.attach_text(partition oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, MDY' SET IntervalStyle = postgres SET TimeZone = 'UTC'
AS $function$
    SELECT format('ALTER TABLE %s ATTACH PARTITION %s %s', i.inhparent::regclass, c.oid::regclass, pg_get_expr(c.relpartbound, c.oid))
    FROM pg_class AS c JOIN pg_inherits AS i ON i.inhrelid = c.oid WHERE c.oid = partition
$function$;

-- CREATE TABLE ... PARTITION OF, or CREATE SCHEMA with such elements, with the bounds that their expressions made here; NULL: where those
-- stand cannot be told. partitions: in the order in which the statement has them.
CREATE OR REPLACE FUNCTION scribe.with_bounds(statement text, partitions oid[]) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, MDY' SET IntervalStyle = postgres SET TimeZone = 'UTC'
AS $function$
DECLARE
    made constant text[] := ARRAY(SELECT pg_get_expr(c.relpartbound, c.oid) FROM unnest(partitions) WITH ORDINALITY AS p (id, place)
        JOIN pg_class AS c ON c.oid = p.id AND c.relispartition AND c.relkind IN ('r', 'p', 'f') ORDER BY p.place);
    bounds constant text[] := array_remove(made, 'DEFAULT');
    done int := 0;
    piece text;
    word text;
    before text;  -- the word or sign before this one
    rest text := statement;
    kept text := '';
    comments int := 0;
    depth int := 0;
    lists int;  -- of the bound, that have not ended; NULL: it has not begun
BEGIN
    IF length(statement) > 10000 OR strpos(bounds::text, '\') > 0 THEN
        RETURN NULL;
    END IF;
    WHILE rest <> '' LOOP
        piece := substring(rest FROM CASE WHEN comments > 0 THEN '^(?:/\*|\*/|[^*/]+|[*/])'
            ELSE '^(?:/\*|--[^\n\r]*|"(?:[^"]|"")*"|''(?:[^''\\]|'''')*''|\$(?:[^\W\d]\w*)?\$|\w[\w$]*|\s+|[^"''$\w\s])' END);
        IF starts_with(piece, '$') THEN  -- what is quoted with dollars ends with the same
            piece := substr(rest, 1, nullif(strpos(substr(rest, length(piece) + 1), piece), 0) + 2 * length(piece) - 1);
        END IF;
        IF piece IS NULL THEN
            RETURN NULL;
        END IF;
        rest := substr(rest, length(piece) + 1);
        IF lists IS NULL THEN
            kept := kept || piece;
        END IF;
        IF comments > 0 OR piece ~ '^(/\*|--|\s)' THEN
            comments := comments + CASE piece WHEN '/*' THEN 1 WHEN '*/' THEN -1 ELSE 0 END;
            CONTINUE;
        END IF;
        word := upper(piece);
        IF word = '(' THEN
            depth := depth + 1;
        ELSIF word = ')' THEN
            depth := depth - 1;
            lists := lists - CASE depth WHEN 0 THEN 1 ELSE 0 END;
            IF lists = 0 THEN
                done := done + 1;
                kept := kept || substr(bounds[done], length('FOR VALUES') + 1);
                lists := NULL;
            END IF;
        ELSIF depth = 0 AND lists IS NOT NULL THEN
            lists := CASE WHEN word IN ('IN', 'WITH') THEN 1 ELSE lists END;
        ELSIF depth = 0 AND word = 'VALUES' AND before = 'FOR' THEN
            lists := 2;
        END IF;
        before := word;
    END LOOP;
    RETURN CASE WHEN done > 0 AND done = cardinality(bounds) THEN kept END;
END
$function$;

-- Give a partition the bound that its expressions made here, where the statement may have made another.
CREATE OR REPLACE FUNCTION scribe.record_bound(tag text, partition oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, MDY' SET IntervalStyle = postgres SET TimeZone = 'UTC'
AS $function$
DECLARE
    parent regclass;
BEGIN
    SELECT inhparent INTO parent FROM pg_inherits WHERE inhrelid = partition;
    IF FOUND THEN
        PERFORM scribe.write_row('ddl', tag, 'table', NULL, format('ALTER TABLE ONLY %s DETACH PARTITION %s', parent,
            partition::regclass), true, NULL, NULL, current_user, '""');
        PERFORM scribe.write_row('ddl', tag, 'table', NULL, format('ALTER TABLE ONLY %s ATTACH PARTITION %s %s', parent,
            partition::regclass, (SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = partition)), true, NULL,
            NULL, current_user, '""');
    END IF;
END
$function$;
