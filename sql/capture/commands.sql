-- commands.sql: a command that has ended, and whatever must follow it.

-- Whether a statement does nothing but give an object to a role that it names. What else an ALTER may do runs code: a list of changes, an
-- expression. So there is no comma, no parenthesis but those of a function's types, no operator, and no string in it.
CREATE OR REPLACE FUNCTION scribe.is_owner_change(statement text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT coalesce(statement ~* (
        '^ALTER\s+(?:TABLE|VIEW|MATERIALIZED\s+VIEW|SEQUENCE|INDEX|FOREIGN\s+TABLE|SCHEMA|TYPE|DOMAIN|FUNCTION|PROCEDURE|ROUTINE|AGGREGATE'
        || '|COLLATION|CONVERSION|DATABASE|EVENT\s+TRIGGER|FOREIGN\s+DATA\s+WRAPPER|(?:PROCEDURAL\s+)?LANGUAGE|PUBLICATION|SERVER'
        || '|STATISTICS|SUBSCRIPTION|TEXT\s+SEARCH\s+(?:CONFIGURATION|DICTIONARY)|OPERATOR\s+(?:CLASS|FAMILY)|TABLESPACE)'
        || '(?:\s+IF\s+EXISTS)?(?:\s+ONLY)?\s+' || n.name || '(?:\s*\.\s*' || n.name || ')*'
        || '(?:\s*\*|\s*\((?:[^"''()]|"(?:[^"]|"")*")*\)|\s+USING\s+' || n.name || ')?'
        || '\s+OWNER\s+TO\s+' || n.name || '\s*;?\s*$')
        AND statement !~* '\m(CURRENT_USER|CURRENT_ROLE|SESSION_USER)\s*;?\s*$', false)
    FROM (VALUES ('(?:"(?:[^"]|"")+"|[^\s"''(),.;:*/=<>+|&~!@#%^`?\\\[\]{}-]+)')) AS n (name)
$function$;

-- Record one command. commands: what pg_event_trigger_ddl_commands() says of it, gathered by the caller.
CREATE OR REPLACE FUNCTION scribe.record_command(tag text, facts json, dropped json, total int, relids oid[],
    object_type text, object_identity text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    statement text := facts->>'statement';
    exact boolean := coalesce((facts->>'exact')::boolean, false);
    reason text := facts->>'reason';
    command text;
    detached oid := (facts->>'detached')::oid;
    attached oid := (facts->>'attached')::oid;
    caller text := current_setting('scribe.role', true);
    partition oid;
    invalid oid;
    is_drop constant boolean := tag LIKE 'DROP %' AND tag NOT IN ('DROP OWNED', 'DROP USER MAPPING');
    as_role text;
    as_path text;
    firm boolean := true;
    concurrent boolean := false;
BEGIN
    IF tag = 'CREATE SCHEMA' AND total = 1 AND (caller <> current_user OR NOT exact) THEN  -- what it made says enough
        statement := format('CREATE SCHEMA %s AUTHORIZATION %I', object_identity, (SELECT pg_get_userbyid(nspowner)
            FROM pg_namespace WHERE nspname = (parse_ident(object_identity))[1]));
        exact := true;
        reason := NULL;
    END IF;
    -- What neither depends on who does it nor runs anybody's code is done by us: the role may have lost its privileges, or
    -- have them in the database's own, which another database need not have. Not a guess: who shaped it would have our rights.
    IF exact AND caller <> current_user AND (is_drop OR tag IN ('COMMENT', 'CREATE PUBLICATION')
            OR (tag = 'CREATE SCHEMA' AND total = 1)
            OR scribe.is_owner_change(statement)) THEN
        as_role := current_user;
        as_path := coalesce(nullif(scribe.usable_path(current_setting('scribe.path', true), caller), '""'), '');
        IF is_drop THEN
            SELECT CASE WHEN bool_and(d->'schema' IS NOT NULL)  -- a library that was loaded before it was brought up to date tells none
                    THEN scribe.firm_path(array_agg(d->>'type'), array_agg(d->>'schema'), as_path) END
                INTO as_path FROM json_array_elements(dropped->'named') AS d;
            firm := as_path IS NOT NULL;
        ELSE
            as_path := scribe.firm_path_of_made(as_path);
            firm := as_path IS NOT NULL AND (tag <> 'CREATE PUBLICATION' OR statement !~* '\mCURRENT_SCHEMA\M');
        END IF;
        IF NOT firm THEN
            as_path := '""';
        END IF;
        IF NOT firm AND NOT is_drop THEN
            statement := scribe.firm_statement(tag);
            IF statement IS NULL THEN  -- the user's own rights do, then: with them it touches nobody else's
                statement := facts->>'statement';
                as_role := NULL;
                as_path := NULL;
            END IF;
        END IF;
    END IF;
    IF tag LIKE '% SUBSCRIPTION' AND tag <> 'COMMENT' THEN
        PERFORM scribe.record_subscription(tag, facts, dropped);
    ELSIF tag = 'IMPORT FOREIGN SCHEMA' THEN  -- what it made, which asking the same server again need not make
        FOR command IN SELECT d FROM pg_class AS c, scribe.table_definition(c.oid) AS d
            WHERE c.oid = ANY (relids) AND c.relkind = 'f' ORDER BY c.oid LOOP
            PERFORM scribe.write_row('ddl', 'CREATE FOREIGN TABLE', 'foreign table', NULL, command, true, NULL, relids, NULL, '""');
        END LOOP;
    ELSIF tag IN ('CREATE TABLE AS', 'SELECT INTO') THEN
        PERFORM scribe.write_row('create', tag, object_type, object_identity,  -- as it is in the catalog, whatever else the text may hold
            CASE WHEN exact OR statement IS NULL THEN statement ELSE coalesce(scribe.without_passwords(statement), '') END, true, NULL, relids);
    ELSIF tag = 'CREATE MATERIALIZED VIEW' AND NOT exact AND cardinality(relids) = 1 THEN  -- its query was analysed before anybody saw it
        PERFORM scribe.write_row('ddl', tag, object_type, object_identity, scribe.matview_text(relids[1]), true, NULL, relids, NULL, '""');
    ELSIF is_drop AND (NOT firm OR scribe.drops_by_identity(facts, dropped)
            OR (tag = 'DROP INDEX' AND statement ~ '--|/\*')) THEN  -- what it dropped says enough
        -- in one statement: the first of several may depend on, or take along, another
        PERFORM scribe.write_row('ddl', tag, object_type, object_identity, format('%s %s%s CASCADE', tag,
                CASE tag WHEN 'DROP INDEX' THEN 'IF EXISTS ' END,  -- an invalid one is nowhere else
                (SELECT string_agg(CASE tag WHEN 'DROP AGGREGATE' THEN regexp_replace(d.object->>'identity', '\(\)$', '(*)')
                    ELSE d.object->>'identity' END, ', ' ORDER BY d.place)
                FROM json_array_elements(dropped->'named') WITH ORDINALITY AS d (object, place))),
            true, NULL, NULL, as_role, CASE WHEN as_role IS NOT NULL THEN '""' END);
    ELSIF detached <> 0 THEN
        PERFORM scribe.record_detached(tag, relids[1], detached);
    ELSIF statement IS NULL THEN
        PERFORM scribe.write_row('lost', tag, object_type, object_identity, '', false, reason, relids);
    ELSIF (facts->>'like_temporary')::boolean AND cardinality(relids) > 0 THEN
        FOR command IN SELECT * FROM scribe.table_definition((SELECT oid FROM pg_class WHERE oid = ANY (relids) AND relkind = 'r'
            ORDER BY oid LIMIT 1)) LOOP
            PERFORM scribe.write_row('ddl', tag, object_type, object_identity, command, true, NULL, relids, NULL, '""');
        END LOOP;
    ELSE
        IF tag = 'DROP INDEX' THEN  -- one that CREATE INDEX CONCURRENTLY left invalid is nowhere else
            statement := regexp_replace(statement, '^\s*(DROP\s+INDEX(?:\s+CONCURRENTLY)?)\s+(?!(?:IF\s+EXISTS|CONCURRENTLY)\M)',
                '\1 IF EXISTS ', 'i');
        ELSIF tag IN ('ALTER INDEX', 'ALTER TABLE', 'COMMENT')  -- ALTER TABLE may rename it as well
            AND EXISTS (SELECT FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
                WHERE c.oid = CASE WHEN attached <> 0 THEN attached ELSE relids[1] END AND c.relkind = 'i' AND NOT i.indisvalid) THEN
            RETURN;  -- as above; it will be recorded as it is when it becomes valid
        ELSIF tag IN ('ALTER INDEX', 'COMMENT') AND attached = 0 AND scribe.is_unrecorded_index(relids[1]) THEN
            IF tag = 'ALTER INDEX' THEN  -- there it is only if it was recorded under another oid
                PERFORM scribe.write_row('ddl', tag, object_type, object_identity, regexp_replace(statement,
                    '^\s*(ALTER\s+INDEX)\s+(?!IF\s+EXISTS\M)', '\1 IF EXISTS ', 'i'), exact, reason, relids, as_role, as_path);
            END IF;
            PERFORM scribe.record_reindex(relids, false);
            RETURN;
        ELSIF tag = 'ALTER TABLE' AND statement ~* '^[^,]*\mREPLICA\s+IDENTITY\s+USING\s+INDEX\M[^,]*$'
            AND EXISTS (SELECT FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
                WHERE i.indrelid = ANY (relids) AND i.indisreplident AND NOT i.indisvalid AND c.relkind = 'i') THEN
            RETURN;  -- as above, and the table gets another identity at once
        ELSIF tag = 'CREATE INDEX' THEN
            SELECT indexrelid INTO invalid FROM pg_index WHERE indexrelid = ANY (relids) AND NOT indisvalid
                AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = indexrelid);
            IF FOUND THEN
                PERFORM scribe.record_invalid_index(invalid);
                RETURN;
            END IF;
            concurrent := exact AND statement ~* '^[^(]*\mINDEX\M[^(]*\mCONCURRENTLY\M';
            command := CASE WHEN concurrent THEN scribe.built_otherwise(relids[1], statement,
                scribe.usable_path(current_setting('scribe.path', true), caller)) END;
            -- a name that was chosen beside indexes which are nowhere else would be another one there
            IF command IS NOT NULL THEN
                statement := command;
                as_path := '""';
            ELSIF statement ~* '^[^(]*\mINDEX\M[^(]*\mCONCURRENTLY\M' OR EXISTS (SELECT FROM pg_index AS i JOIN pg_index AS made
                    ON made.indrelid = i.indrelid WHERE made.indexrelid = relids[1] AND NOT i.indisvalid) THEN
                statement := (SELECT CASE WHEN statement ~ '--|/\*' AND strpos(statement, quote_ident(relname)) = 0  -- which hide the place
                        AND relkind = 'i' AND reltablespace = 0 THEN pg_get_indexdef(oid)
                    ELSE regexp_replace(statement, '^(\s*CREATE\s+(?:UNIQUE\s+)?INDEX\s+(?:CONCURRENTLY\s+)?)(?=ON\M)', '\1'
                        || replace(quote_ident(relname), '\', '\\') || ' ', 'i') END FROM pg_class WHERE oid = relids[1]);
            END IF;
        END IF;
        IF tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') AND exact AND object_type = 'extension' THEN
            statement := scribe.with_version(tag, statement, (parse_ident(object_identity))[1]::name);
        ELSIF tag IN ('COMMENT', 'ALTER TRIGGER', 'ALTER TABLE', 'GRANT', 'REVOKE') AND exact THEN
            command := scribe.about_numbered(tag, statement);
            as_path := CASE WHEN command IS NULL THEN as_path ELSE '""' END;
            statement := coalesce(command, scribe.with_numbered(tag, statement));
        END IF;
        IF (facts->>'bound_mutable')::boolean THEN
            partition := CASE WHEN attached <> 0 THEN attached ELSE relids[1] END;
            command := CASE WHEN NOT exact THEN NULL WHEN tag = 'ALTER TABLE' THEN scribe.attach_text(partition)
                -- so that nothing is computed again
                ELSE scribe.with_bounds(statement, CASE tag WHEN 'CREATE SCHEMA' THEN relids ELSE ARRAY[partition] END) END;
            statement := coalesce(command, statement);
        END IF;
        PERFORM scribe.write_row('ddl', tag, object_type, object_identity, statement, exact, reason, relids, as_role, as_path);
        IF concurrent THEN  -- while it was built
            FOR command IN SELECT c FROM unnest(scribe.done_to_index(relids[1], command IS NOT NULL)) AS c LOOP
                PERFORM scribe.write_row('ddl', 'ALTER INDEX', object_type, object_identity, command, true, NULL, relids, NULL, '""');
            END LOOP;
        END IF;
        IF tag = 'CREATE PUBLICATION' AND as_role IS NOT NULL THEN
            PERFORM scribe.write_row('ddl', 'ALTER PUBLICATION', object_type, object_identity,
                format('ALTER PUBLICATION %s OWNER TO %I', object_identity, caller), true, NULL, NULL, as_role, '""');
        END IF;
        IF partition IS NOT NULL AND command IS NULL THEN
            PERFORM scribe.record_bound(tag, c.oid) FROM pg_class AS c
                WHERE c.relispartition AND c.relkind IN ('r', 'p', 'f') AND c.oid = ANY (CASE tag WHEN 'CREATE SCHEMA' THEN relids ELSE ARRAY[partition] END);
        END IF;
    END IF;
END
$function$;

-- Record a command that has ended, then whatever must follow it. dropped: of a DROP, what it dropped; a DROP is recorded with that, and
-- its end has nothing to add.
CREATE OR REPLACE FUNCTION scribe.record_ended_once(tg_tag text, dropped json) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    is_drop constant boolean := tg_tag LIKE 'DROP %' AND tg_tag <> 'DROP OWNED';
    facts json;
    extension boolean;
    total int;
    kept int;
    ours int;
    tables oid[];
    classes oid[];
    objects oid[];
    command text;
    kinds text;
    stale oid[];
    first record;
BEGIN
    IF NOT scribe.is_active() OR (is_drop AND dropped IS NULL) THEN
        RETURN true;
    END IF;
    SELECT count(*), count(*) FILTER (WHERE NOT (scribe.is_temporary(object_type, object_identity,
                    scribe.schema_of(schema_name, classid, objid, objsubid))
                OR lower(object_type) = 'large object'  -- sent by rotation
                OR (pg_my_temp_schema() <> 0 AND scribe.depends_on_temporary(classid, objid)))),
            count(*) FILTER (WHERE scribe.schema_of(schema_name, classid, objid, objsubid) = 'scribe' OR (object_type = 'schema' AND object_identity = 'scribe')),
            coalesce(bool_or(in_extension), false),
            array_agg(objid) FILTER (WHERE classid = 'pg_class'::regclass),
            array_agg(classid), array_agg(objid)
        INTO total, kept, ours, extension, tables, classes, objects FROM pg_event_trigger_ddl_commands();
    IF total > 0 AND kept = 0 AND pg_my_temp_schema() <> 0 THEN
        PERFORM scribe.flag_passing(tg_tag, classes, objects);
        INSERT INTO scribe.left_out SELECT e.classid, e.objid FROM pg_event_trigger_ddl_commands() AS e
            WHERE scribe.depends_on_temporary(e.classid, e.objid) ON CONFLICT DO NOTHING;
    END IF;
    IF extension THEN
        PERFORM scribe.flag_within_script(tg_tag);
    END IF;
    IF extension OR (total > 0 AND (kept = 0 OR ours = total)) THEN
        RETURN true;
    END IF;
    IF tg_tag = 'REINDEX' THEN
        PERFORM scribe.record_reindex(tables, current_query() ~* '\mTABLESPACE\M');
        RETURN true;
    END IF;
    IF tg_tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') AND total = 0 THEN
        PERFORM scribe.write_row('scripted', tg_tag, NULL, NULL, '', true, NULL, NULL);
        RETURN true;
    END IF;
    dropped := coalesce(dropped, scribe.take_dropped(), '{"named": [], "temporary": 0, "keys": 0}');
    IF (CASE WHEN is_drop THEN json_array_length(dropped->'named') = 0
            -- ALTER PUBLICATION ... DROP shows only in what it dropped
            ELSE total = 0 AND json_array_length(dropped->'named') = 0 AND tg_tag <> 'DROP OWNED' END) THEN
        RETURN true;
    END IF;
    IF is_drop AND NOT EXISTS (SELECT FROM json_array_elements(dropped->'named') AS d
            WHERE NOT coalesce((d->>'ours')::boolean, false)) THEN
        RETURN true;
    END IF;
    facts := scribe.statement_facts(tg_tag);
    IF (facts->>'in_extension')::boolean THEN
        PERFORM scribe.flag_within_script(tg_tag);
    END IF;
    IF (facts->>'temporary')::boolean OR (facts->>'in_extension')::boolean THEN
        RETURN true;
    END IF;
    SELECT * INTO first FROM pg_event_trigger_ddl_commands() LIMIT 1;
    IF lower(first.object_type) = 'large object' THEN
        RETURN true;  -- rotation sends large objects with their owner, privileges and comment
    END IF;
    IF NOT scribe.leave_out(tg_tag, facts, classes, objects, tables) AND NOT EXISTS (SELECT FROM scribe.rewritten AS r WHERE r.recorded AND r.pid = pg_backend_pid()
            AND r.xact = pg_current_xact_id() AND r.relid = ANY (scribe.rewritten_by(scribe.with_children(coalesce(tables, '{}'))))) THEN
        stale := CASE WHEN tg_tag IN ('CREATE INDEX', 'CREATE TABLE', 'ALTER TABLE', 'ALTER DOMAIN') AND NOT scribe.gives_names(tg_tag, facts)
            THEN scribe.looked_through(coalesce(tables, '{}'), objects) END;
        IF stale <> '{}' THEN
            PERFORM scribe.empty_tables(tg_tag, stale, true);
        END IF;
        PERFORM scribe.record_references(tg_tag, tables, dropped, false);
        PERFORM scribe.record_command(tg_tag, facts, dropped, total, tables,
            coalesce(first.object_type, dropped->'named'->0->>'type'),
            coalesce(first.object_identity, dropped->'named'->0->>'identity'));
        PERFORM scribe.record_references(tg_tag, tables, dropped, true);
        IF tg_tag IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE SCHEMA', 'CREATE INDEX') AND NOT coalesce((facts->>'like_temporary')::boolean, false) THEN
            PERFORM scribe.record_chosen_names(tg_tag, facts->>'statement', tables, coalesce((facts->>'attached')::oid, 0));
        END IF;
    END IF;
    IF tg_tag IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE SCHEMA', 'CREATE INDEX') AND NOT coalesce((facts->>'like_temporary')::boolean, false) THEN
        PERFORM scribe.record_numbering(tg_tag, coalesce(facts->>'statement', ''), tables);  -- of what a rewrite has recorded, too
    END IF;
    IF tg_tag = 'ALTER SCHEMA' THEN
        PERFORM scribe.flag_renamed_schema(tg_tag, facts->>'statement', first.objid);
    END IF;
    IF tg_tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') THEN
        PERFORM scribe.write_row('scripted', tg_tag, NULL, NULL, '', true, NULL, NULL);
        IF first.object_type = 'extension' AND tg_tag = 'ALTER EXTENSION' AND facts->>'statement' ~* '\mUPDATE\M' THEN
            PERFORM scribe.record_config(tg_tag, (parse_ident(first.object_identity))[1]::name);
        ELSIF first.object_type = 'extension' AND tg_tag = 'CREATE EXTENSION' THEN
            PERFORM scribe.refuse_extension(tg_tag, (parse_ident(first.object_identity))[1]::name);
        END IF;
        tables := NULL;
    END IF;
    kinds := scribe.fleeting_kinds(facts->>'statement');
    IF kinds IS NOT NULL AND tg_tag ~ '^(CREATE|ALTER)\M' AND tg_tag NOT IN ('CREATE EXTENSION', 'ALTER EXTENSION', 'CREATE TABLE AS') THEN
        FOR command IN SELECT * FROM scribe.fleeting_constants(classes, objects, kinds) LOOP
            PERFORM scribe.write_row('ddl', tg_tag, NULL, NULL, command, true, 'own: the time or object that a word or number stood for', NULL, NULL,
                '""');
        END LOOP;
        IF scribe.keeps_fleeting(classes, objects, kinds) THEN
            PERFORM scribe.write_row('lost', tg_tag, NULL, NULL, facts->>'statement', false,
                'it made a constant of the time it ran at or of a number, and another would be in its place', NULL);
        END IF;
    END IF;
    IF coalesce(facts->>'statement' ~* '\mFROM\s+CURRENT\M', true) AND tg_tag ~ '^(CREATE|ALTER) (FUNCTION|PROCEDURE|ROUTINE)$' THEN
        FOR command IN SELECT pg_get_functiondef(id) FROM unnest(classes, objects) AS o (class, id)
            WHERE class = 'pg_proc'::regclass AND EXISTS (SELECT FROM pg_proc AS p WHERE p.oid = id AND p.prokind <> 'a') LOOP
            PERFORM scribe.write_row('ddl', tg_tag, NULL, NULL, command, true, NULL, NULL, NULL, '""');  -- settings as they were
        END LOOP;
    END IF;
    tables := scribe.with_children(coalesce(tables, '{}'));
    IF tg_tag IN ('ALTER TABLE', 'ALTER FOREIGN TABLE', 'ALTER TYPE') THEN
        BEGIN
            PERFORM scribe.send_values(tg_tag, tables, facts->>'statement', facts->'touched');
        EXCEPTION WHEN OTHERS THEN  -- the command itself stays recorded
            IF scribe.is_run_again(SQLSTATE) THEN
                RAISE;  -- all of it is done once more
            END IF;
            RAISE WARNING 'pg_scribe could not send the values that % made: %', tg_tag, SQLERRM
                USING HINT = 'Take a new base with scribe-dump.';
            PERFORM scribe.record_failure(tg_tag, SQLERRM);
        END;
    END IF;
    IF tables <> '{}' THEN
        PERFORM scribe.flag_unseen(tg_tag, tables);
        PERFORM scribe.mend_identity(tables);
    END IF;
    IF tg_tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') OR (tg_tag <> 'DROP TABLE' AND (dropped->>'keys')::int > 0) THEN
        -- of tables that the transaction has changed; looking at all of them takes long where there are thousands
        PERFORM scribe.mend_identity(ARRAY(SELECT scribe.lacking_identity(ARRAY(SELECT l.relation FROM pg_locks AS l
            WHERE l.locktype = 'relation' AND l.pid = pg_backend_pid() AND l.mode IN ('ShareUpdateExclusiveLock', 'AccessExclusiveLock')))));
    END IF;
    RETURN true;
END
$function$;

-- The same; called by event triggers. What a SERIALIZABLE transaction depends on is known after it has failed, and mostly does not make it
-- fail a second time.
CREATE OR REPLACE FUNCTION scribe.record_ended(tg_tag text, dropped json) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    attempt int := 0;
BEGIN
    LOOP
        BEGIN
            attempt := attempt + 1;
            RETURN scribe.record_ended_once(tg_tag, dropped);
        EXCEPTION
            WHEN SQLSTATE 'SC001' THEN
                RAISE;  -- the refusal that SCRIBE_REPLICA_IDENTITY=refuse asks for
            WHEN OTHERS THEN
                IF scribe.is_run_again(SQLSTATE) THEN
                    CONTINUE WHEN attempt < 3;
                    RAISE;
                END IF;
                RAISE WARNING 'pg_scribe could not record %: %', tg_tag, SQLERRM
                    USING HINT = 'Take a new base with scribe-dump.';
                PERFORM scribe.record_failure(tg_tag, SQLERRM);
                RETURN false;
        END;
    END LOOP;
END
$function$;

-- Event trigger ddl_command_end. Names are looked at as they are quoted by default, in the call stack, too. What can make it wait, such
-- as VACUUM FULL of a catalog, holds up the user's own commands as well: it waits for a minute rather than lose the command.
CREATE OR REPLACE FUNCTION scribe.command_end() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET lock_timeout = '1min'
SET standard_conforming_strings = on AS $function$
DECLARE
    done boolean;
BEGIN
    IF tg_tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') THEN
        done := scribe.end_script();
    END IF;
    done := scribe.record_ended(tg_tag, NULL);  -- an assignment adds nothing to the call stack
END
$function$;
