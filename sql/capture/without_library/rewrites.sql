-- rewrites.sql: rows that a command rewrote are not in pgoutput's stream. The copy's go before the command, where it computes
-- nothing then; the source's are written once more at its end.

-- Whether event triggers of users' act when a table is about to be rewritten.
CREATE OR REPLACE FUNCTION scribe.others_act_on_rewrites() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT EXISTS (SELECT FROM pg_event_trigger WHERE evtevent = 'table_rewrite' AND evtname !~ '^!scribe_')
$function$;

-- The copy's rows of tables go. What such event triggers then change in these rows until the source's are written once more means nothing
-- there: the reason tells rotation so.
CREATE OR REPLACE FUNCTION scribe.empty_tables(tag text, tables oid[], before boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    reason constant text := CASE WHEN scribe.others_act_on_rewrites() THEN 'own: emptied till the rows are sent again'
        ELSE 'own: emptied, so that nothing is computed here' END;
    relation regclass;
BEGIN
    FOREACH relation IN ARRAY tables LOOP
        PERFORM scribe.record_switches(tag, relation, false);
        PERFORM scribe.write_row('ddl', tag, 'table', relation::text, format('DELETE FROM ONLY %s', relation), true,
            reason, ARRAY[relation::oid], current_user, '""');
        PERFORM scribe.record_switches(tag, relation, true);
    END LOOP;
END
$function$;

-- The tables that the running command rewrites for the same reason as a table: those of a family in which the running command has added all columns that it has added in the one. The
-- facts still tell how many each had before; what changes a column's type does it in all.
CREATE OR REPLACE FUNCTION scribe.rewritten_with(relation oid, touched json) RETURNS oid[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    line constant oid[] := scribe.lineage(relation);
BEGIN
    RETURN (WITH family AS (
            SELECT c.oid, (f.facts::json->>'n')::int AS before
            -- what the command named is the table itself, the partitioned one it is a part of, or its type
            FROM unnest(scribe.with_children(ARRAY(SELECT oid FROM pg_class WHERE oid = ANY (relation || line) AND (oid = relation OR relkind = 'p')
                    UNION SELECT t.oid FROM pg_depend AS d JOIN pg_class AS t ON t.oid = d.objid AND t.reloftype = d.refobjid
                    WHERE d.refclassid = 'pg_type'::regclass AND d.refobjid = ANY (line) AND d.classid = 'pg_class'::regclass))) AS m
                JOIN pg_class AS c ON c.oid = m JOIN scribe.table_facts AS f ON f.relid = c.oid
            WHERE c.relkind = 'r' AND c.relpersistence <> 't'),
        fresh AS (SELECT f.oid, a.attname FROM family AS f JOIN pg_attribute AS a ON a.attrelid = f.oid AND a.attnum > f.before)
        SELECT array_agg(f.oid ORDER BY f.oid <> relation, f.oid) FROM family AS f
        WHERE f.before IS NOT NULL AND (SELECT before FROM family WHERE oid = relation) IS NOT NULL AND NOT EXISTS (
            SELECT attname FROM fresh WHERE oid = relation EXCEPT SELECT attname FROM fresh WHERE oid = f.oid));
END
$function$;

-- Nobody makes anything of the catalog here, and so nobody needs to know.
CREATE OR REPLACE FUNCTION scribe.announce_rewrite(tag text, relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
END
$function$;

-- Before the source's rows of a rewritten table come, and after: refill() does it all.
CREATE OR REPLACE FUNCTION scribe.before_rows(relation oid, tag text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
END
$function$;

-- What fires in a replica, too, at rest around what is recorded for a table's rows; the translator may not know the table yet.
CREATE OR REPLACE FUNCTION scribe.record_switches(tag text, relation regclass, back boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT format('ALTER TABLE ONLY %s %s %s %I', relation, CASE WHEN NOT back THEN 'DISABLE' WHEN s.mode = 'A' THEN 'ENABLE ALWAYS'
            ELSE 'ENABLE REPLICA' END, s.what, s.name)
        FROM (SELECT 'TRIGGER', tgname, tgenabled FROM pg_trigger WHERE tgrelid = relation AND (NOT tgisinternal OR tgparentid <> 0 AND NOT EXISTS (
                SELECT FROM pg_constraint AS k WHERE k.oid = tgconstraint AND k.contype <> 't'))  -- a partition's copy, before 15
            UNION ALL SELECT 'RULE', rulename, ev_enabled FROM pg_rewrite WHERE ev_class = relation) AS s (what, name, mode)
        WHERE s.mode IN ('A', 'R') ORDER BY s.what, s.name
    LOOP
        PERFORM scribe.write_row('ddl', tag, NULL, NULL, command, true, CASE WHEN back THEN 'own: as they were'
            ELSE 'own: at rest, since they acted on the source' END, NULL, current_user, '""');
    END LOOP;
END
$function$;

-- Set back what note_caller() has set, after statements of our own. Not set_config(), which extensions like set_user forbid.
CREATE OR REPLACE FUNCTION scribe.note(setting text, value text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    EXECUTE format('SET LOCAL %s = %L', setting, coalesce(value, ''));
END
$function$;

-- Run a statement with no more rights than the owner of a table has: the expressions of its constraints, generated columns
-- and indexes are the owner's code. DDL is recorded, as the owner's own: what hides ours would be seen by that code. Only a function that is the owner's runs so here, for a role cannot be set.
CREATE OR REPLACE FUNCTION scribe.run_as(owner name, statement text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    made constant text := format('scribe.run_as_owner_%s()', pg_backend_pid());
    notes constant text[] := '{scribe.role,scribe.path,scribe.settings}';
    noted constant text[] := ARRAY(SELECT coalesce(current_setting(n, true), '') FROM unnest(notes) AS n);
BEGIN
    PERFORM scribe.run_own(format('CREATE FUNCTION %s RETURNS void LANGUAGE sql SECURITY DEFINER '
        'SET search_path = pg_catalog, pg_temp SET row_security = off AS %L', made, statement));
    PERFORM scribe.run_own(format('ALTER FUNCTION %s OWNER TO %I', made, owner));
    EXECUTE format('SELECT %s', made);
    -- Code of the owner's may set the path for good, which is stronger than the clause of this function and of its callers: nothing
    -- here may be found by it. The error takes back the setting, too.
    IF pg_catalog.current_setting('search_path') OPERATOR(pg_catalog.<>) 'pg_catalog, pg_temp' THEN
        RAISE EXCEPTION 'code of the owner''s has changed the search_path';
    END IF;
    PERFORM scribe.note(n, v) FROM unnest(notes, noted) AS x (n, v);  -- the owner's code could have set them
    PERFORM scribe.run_own(format('DROP FUNCTION %s', made));
END
$function$;

-- Write every row of a table once more, so that its values are in the stream. It is the owner's code that runs for that, with the
-- owner's rights, and no plan is made with any others. Updated under REPLICA IDENTITY FULL, a row comes whole, with what is
-- TOASTed. A publication bars that for a table with a virtual column: there the row is deleted, by its key, and inserted.
CREATE OR REPLACE FUNCTION scribe.refill(relation regclass, tag text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    identity "char";
    restore text;
    plain_column name;
    written text;  -- the columns that a new row is made of, where rows cannot be updated
    owner name;
    quieted text[];  -- what keeps users' code from running, and what ends that
    waking text[];
    command text;
    suspended json;
    part json;
    switches jsonb;
BEGIN
    SELECT relreplident, pg_get_userbyid(relowner) INTO identity, owner FROM pg_class WHERE oid = relation;
    SELECT attname INTO plain_column FROM pg_attribute
        WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND attidentity <> 'a'
        ORDER BY attlen < 0, attnum LIMIT 1;
    IF pg_relation_size(relation) = 0 THEN
        IF scribe.others_act_on_rewrites() THEN
            PERFORM scribe.write_row(mark, tag, 'table', relation::text, '', true, NULL, ARRAY[relation::oid])
            FROM unnest('{refill,refilled}'::text[]) AS mark;
        END IF;
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = relation AND attgenerated = 'v' AND NOT attisdropped)
        AND EXISTS (SELECT FROM pg_publication) THEN
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO written FROM pg_attribute
            WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    ELSIF plain_column IS NULL THEN
        RAISE EXCEPTION 'table % has no column that can be updated to itself', relation;
    END IF;
    WITH commands (quieting, ending) AS (
        SELECT format('DISABLE TRIGGER %I', tgname), format('ENABLE %sTRIGGER %I',
            CASE tgenabled WHEN 'A' THEN 'ALWAYS ' WHEN 'R' THEN 'REPLICA ' END, tgname)
        FROM pg_trigger WHERE tgrelid = relation AND tgenabled <> 'D'
        UNION ALL
        SELECT format('DISABLE RULE %I', rulename), format('ENABLE %sRULE %I',
            CASE ev_enabled WHEN 'A' THEN 'ALWAYS ' WHEN 'R' THEN 'REPLICA ' END, rulename)
        FROM pg_rewrite WHERE ev_class = relation AND (ev_type = '2' OR written IS NOT NULL AND ev_type <> '1') AND ev_enabled <> 'D'
        UNION ALL
        SELECT 'NO FORCE ROW LEVEL SECURITY', 'FORCE ROW LEVEL SECURITY' FROM pg_class WHERE oid = relation AND relforcerowsecurity
    ), grants (quieting, ending) AS (  -- the owner may have revoked privileges from itself
        SELECT format('GRANT %s ON TABLE %s TO %I', wanted, relation, owner), format('REVOKE %s ON TABLE %s FROM %I', wanted, relation, owner)
        FROM unnest(CASE WHEN written IS NULL THEN '{SELECT,UPDATE}' ELSE '{SELECT,INSERT,DELETE}' END::text[]) AS wanted
        WHERE NOT has_table_privilege(owner, relation, wanted)
    ), every (quieting, ending) AS (
        SELECT format('ALTER TABLE ONLY %s %s', relation, quieting), format('ALTER TABLE ONLY %s %s', relation, ending) FROM commands
        UNION ALL TABLE grants)
    SELECT array_agg(quieting), array_agg(ending) INTO quieted, waking FROM every;
    restore := CASE identity WHEN 'd' THEN 'DEFAULT' WHEN 'n' THEN 'NOTHING' WHEN 'i' THEN coalesce(
        (SELECT 'USING INDEX ' || quote_ident(c.relname) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
            WHERE i.indrelid = relation AND i.indisreplident), 'NOTHING') END;
    SELECT json_agg(c) INTO suspended FROM scribe.invalid_constraints(relation, true) AS c;
    PERFORM scribe.record_constraints(tag, ARRAY[relation::oid], false);
    FOR command IN SELECT c.command FROM scribe.invalid_constraints(relation, false) AS c WHERE c.own LOOP
        PERFORM scribe.run_own(command);
    END LOOP;
    SELECT jsonb_object_agg(f.relid, jsonb_build_object('q', f.facts::jsonb->'q', 'h', f.facts::jsonb->'h')) INTO switches
    FROM scribe.table_facts AS f
    WHERE f.relid = relation OR f.relid IN (SELECT relid FROM pg_partition_tree(pg_partition_root(relation)));
    FOREACH command IN ARRAY coalesce(quieted, '{}') LOOP
        PERFORM scribe.run_own(command);
    END LOOP;
    IF identity <> 'f' AND written IS NULL THEN
        PERFORM scribe.run_own(format('ALTER TABLE ONLY %s REPLICA IDENTITY FULL', relation));
    END IF;
    UPDATE scribe.table_facts AS f SET facts = (f.facts::jsonb || (switches->f.relid::text))::text  -- they rest only here
    WHERE switches ? f.relid::text;
    PERFORM scribe.write_row('refill', tag, 'table', relation::text, '', true, NULL, ARRAY[relation::oid]);
    PERFORM scribe.run_as(owner, CASE WHEN written IS NULL THEN format('UPDATE ONLY %1$s SET %2$I = %2$I', relation, plain_column)
        ELSE format('WITH d AS (DELETE FROM ONLY %1$s RETURNING %2$s) INSERT INTO %1$s (%2$s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM d',
            relation, written) END);
    PERFORM scribe.write_row('refilled', tag, 'table', relation::text, '', true, NULL, ARRAY[relation::oid]);
    IF identity <> 'f' AND written IS NULL THEN
        PERFORM scribe.run_own(format('ALTER TABLE ONLY %s REPLICA IDENTITY %s', relation, restore));
    END IF;
    -- what reads an expression may run the owner's code, for instance the domain's of a constant; recorded as the owner's statement
    FOR part IN SELECT * FROM json_array_elements(suspended) LOOP
        IF (part->>'own')::boolean THEN
            PERFORM scribe.run_as((part->>'owner')::name, part->>'command');
        ELSE
            PERFORM scribe.write_row('ddl', tag, NULL, NULL, part->>'command', true, NULL, NULL, part->>'owner', '""');
        END IF;
    END LOOP;
    FOREACH command IN ARRAY coalesce(waking, '{}') LOOP
        PERFORM scribe.run_own(command);
    END LOOP;
    RAISE NOTICE 'pg_scribe: the rows of % were written once more, since their new values cannot be computed elsewhere',
        relation;
END
$function$;

CREATE OR REPLACE FUNCTION scribe.after_rows(tables oid[], tag text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN SELECT c.oid FROM unnest(tables) AS t JOIN pg_class AS c ON c.oid = t
        WHERE c.relkind = 'r' AND c.relpersistence = 'p' ORDER BY c.oid LOOP
        IF scribe.others_act_on_rewrites() THEN
            PERFORM scribe.empty_tables(tag, ARRAY[relation::oid], true);  -- of rows that such a trigger has written to it
        END IF;
        PERFORM scribe.refill(relation, tag);
    END LOOP;
END
$function$;
