-- facts.sql: event triggers that bring the facts of tables up to date, before a command is recorded.

-- Event trigger sql_drop: notes of which tables the facts may have changed, before a DROP is recorded.
CREATE OR REPLACE FUNCTION scribe.note_dropped_facts() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    PERFORM scribe.keep_note('facts', (
        SELECT string_agg(DISTINCT found.relid::text, ' ')
        FROM pg_event_trigger_dropped_objects() AS d, LATERAL (
            SELECT to_regclass(format('%I.%I', d.address_names[1], d.address_names[2]))::oid WHERE d.object_type <> 'index'
            UNION ALL SELECT l.relation FROM pg_locks AS l  -- nothing says whose an index was, but its table is locked
            WHERE d.object_type = 'index' AND tg_tag NOT IN ('ALTER TABLE', 'DROP TABLE') AND l.locktype = 'relation'
                AND l.pid = pg_backend_pid() AND l.mode IN ('AccessExclusiveLock', 'ShareUpdateExclusiveLock')) AS found (relid)
        WHERE d.object_type IN ('index', 'table constraint', 'trigger', 'rule', 'table column', 'default value')));
    BEGIN
        DELETE FROM scribe.table_facts AS f USING pg_event_trigger_dropped_objects() AS d
            WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND f.relid = d.objid;
    EXCEPTION WHEN serialization_failure THEN
        NULL;  -- another transaction wrote it after the snapshot of this one; nobody asks for it again, and a rotation sweeps it up
    END;
    IF tg_tag LIKE 'DROP %' AND tg_tag <> 'DROP OWNED' AND scribe.is_active()
        AND NOT scribe.in_script() THEN
        PERFORM scribe.catch_up(tg_tag, '{}');
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not note what % dropped: %', tg_tag, SQLERRM;
    PERFORM scribe.record_failure(tg_tag, SQLERRM);
END
$function$;

-- Say of which tables UPDATE and DELETE will fail, or be missing from the stream, since a publication sends no value of a column
-- that tells rows apart: before PostgreSQL 18 a generated one in the key, from then on a virtual one where there is no key.
CREATE OR REPLACE FUNCTION scribe.warn_unpublished(tables oid[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    barred constant boolean := current_setting('server_version_num')::int >= 180000;
    relation regclass;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_publication WHERE starts_with(obj_description(oid, 'pg_publication'), 'pg_scribe:')) THEN
        RETURN;  -- another decoder
    END IF;
    FOR relation IN
        SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
            LEFT JOIN pg_index AS i ON i.indrelid = c.oid AND i.indimmediate AND i.indisvalid
                AND CASE WHEN c.relreplident = 'd' OR EXISTS (SELECT FROM scribe.replica_identity AS r WHERE r.relid = c.oid)
                    THEN i.indisprimary WHEN c.relreplident = 'i' THEN i.indisreplident ELSE false END
        WHERE c.oid = ANY (tables) AND c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^pg_'
            AND n.nspname NOT IN ('information_schema', 'scribe')
            AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND NOT a.attisdropped
                AND CASE WHEN barred THEN a.attgenerated = 'v' AND i.indexrelid IS NULL
                    ELSE a.attgenerated = 's' AND a.attnum = ANY (i.indkey) END)
        ORDER BY c.oid
    LOOP
        IF barred THEN
            RAISE WARNING 'pg_scribe: UPDATE and DELETE of table % will fail: it has a virtual generated column and no key', relation
                USING HINT = 'Give it a primary key, or make the column STORED.';
        ELSE
            RAISE WARNING 'pg_scribe: UPDATE and DELETE of table % will be missing from the archive: its key is generated', relation
                USING HINT = 'Give it a key of columns that are not generated, or REPLICA IDENTITY FULL.';
            PERFORM scribe.write_row('lost', 'ALTER TABLE', 'table', relation::text, '', false,
                format('UPDATE and DELETE of %s will be missing: its key is generated', relation), ARRAY[relation::oid], current_user, '');
        END IF;
    END LOOP;
END
$function$;

-- Event trigger ddl_command_end: brings the facts up to date, before the command itself is recorded.
CREATE OR REPLACE FUNCTION scribe.note_facts() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    noted text;
    touched oid[];
    types oid[];
BEGIN
    IF tg_tag = 'REINDEX' OR tg_tag = 'CREATE INDEX' AND current_query() ~* '\mCONCURRENTLY\M' THEN
        PERFORM scribe.hold_names(i.indrelid, i.indexrelid)  -- first: whoever changes a name needs the facts' row afterwards
            FROM pg_event_trigger_ddl_commands() AS e JOIN pg_index AS i ON i.indexrelid = e.objid;
    END IF;
    noted := coalesce(scribe.take_note('facts'), '');
    IF scribe.is_active() AND NOT scribe.in_script() THEN
        PERFORM scribe.catch_up(tg_tag, ARRAY(SELECT objid FROM pg_event_trigger_ddl_commands() WHERE objid IS NOT NULL));
    END IF;
    IF tg_tag NOT IN ('ALTER SCHEMA', 'ALTER EXTENSION', 'ALTER OPERATOR', 'ALTER COLLATION') THEN  -- names in all of them
        touched := ARRAY(SELECT CASE e.classid
                WHEN 'pg_class'::regclass THEN coalesce((SELECT indrelid FROM pg_index WHERE indexrelid = e.objid), e.objid)
                WHEN 'pg_trigger'::regclass THEN (SELECT tgrelid FROM pg_trigger WHERE oid = e.objid)
                WHEN 'pg_rewrite'::regclass THEN (SELECT ev_class FROM pg_rewrite WHERE oid = e.objid) END
            FROM pg_event_trigger_ddl_commands() AS e) || string_to_array(nullif(noted, ''), ' ')::oid[];
        touched := array_remove(touched, NULL);
        types := ARRAY(SELECT e.objid FROM pg_event_trigger_ddl_commands() AS e WHERE e.classid = 'pg_type'::regclass);
        IF starts_with(tg_tag, 'ALTER') THEN  -- a relation's row type has its name
            types := types || ARRAY(SELECT c.reltype FROM pg_event_trigger_ddl_commands() AS e JOIN pg_class AS c ON c.oid = e.objid
                WHERE e.classid = 'pg_class'::regclass AND c.reltype <> 0);
        END IF;
        IF types <> '{}' THEN  -- columns of the type, of domains over it
            touched := touched || ARRAY(
                WITH RECURSIVE family (class, id) AS (
                    SELECT 'pg_type'::regclass::oid, t FROM unnest(types) AS t
                    UNION SELECT d.classid, d.objid FROM family JOIN pg_depend AS d ON d.refclassid = family.class AND d.refobjid = family.id
                    WHERE family.class = 'pg_type'::regclass
                        AND (d.classid = 'pg_type'::regclass OR (d.classid = 'pg_class'::regclass AND d.objsubid > 0)))
                SELECT id FROM family WHERE class = 'pg_class'::regclass);
        END IF;
        IF touched = '{}' THEN
            RETURN;
        END IF;
        touched := scribe.with_children(touched) || ARRAY(SELECT inhparent FROM pg_inherits WHERE inhrelid = ANY (touched));
        IF EXISTS (SELECT FROM scribe.table_facts AS f WHERE f.relid = ANY (touched) AND f.facts ~ '"h" ?: ?{') THEN  -- the whole family
            touched := ARRAY(SELECT DISTINCT t.relid FROM unnest(touched) AS x (relid), pg_partition_tree(pg_partition_root(x.relid)) AS t
                UNION SELECT unnest(touched));
        END IF;
    END IF;
    INSERT INTO scribe.table_facts AS f
        SELECT n.relid, n.facts
        FROM (SELECT r.relid, CASE WHEN tg_tag IN ('CREATE TABLE AS', 'SELECT INTO')
                THEN (r.facts::jsonb || jsonb_build_object('c', scribe.create_text(r.relid)))::text ELSE r.facts END AS facts
            FROM scribe.read_facts(touched) AS r OFFSET 0) AS n
        WHERE NOT EXISTS (SELECT FROM scribe.table_facts AS o  -- whose row another session may have in work, a parent's for instance
            WHERE o.relid = n.relid AND o.facts = n.facts)
    ON CONFLICT (relid) DO UPDATE SET facts = EXCLUDED.facts WHERE f.facts <> EXCLUDED.facts;
    IF tg_tag IN ('CREATE TABLE', 'ALTER TABLE') AND scribe.is_active() THEN
        PERFORM scribe.warn_unpublished(touched);
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not note what % changed: %', tg_tag, SQLERRM;
    PERFORM scribe.record_failure(tg_tag, SQLERRM);
END
$function$;
