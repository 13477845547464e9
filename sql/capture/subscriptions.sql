-- subscriptions.sql: subscriptions, in a form that never connects.

-- A subscription as the catalog has it, in a form that never connects.
CREATE OR REPLACE FUNCTION scribe.record_subscription(tag text, facts json, dropped json) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    statement constant text := facts->>'statement';
    exact constant boolean := coalesce((facts->>'exact')::boolean, false);
    subscription record;
    known jsonb;  -- the same, for columns that older servers lack
    origin text;
    publications text;
    commands text[] := '{}';
    made text[];
    command text;
    -- what follows the name: words within a name or a string say nothing of what the statement does
    change constant text := substring(statement FROM '(?i)^\s*ALTER\s+SUBSCRIPTION\s+(?:"(?:[^"]|"")+"|[^\s"]+)\s*(.*)$');
BEGIN
    IF tag = 'DROP SUBSCRIPTION' THEN
        commands := ARRAY[format('ALTER SUBSCRIPTION %s SET (slot_name = NONE)', dropped->'named'->0->>'identity'),
            format('DROP SUBSCRIPTION %s', dropped->'named'->0->>'identity')];
    ELSE
        IF statement IS NULL AND tag <> 'CREATE SUBSCRIPTION' THEN
            PERFORM scribe.write_row('lost', tag, 'subscription', NULL, '', false, facts->>'reason', NULL);
            RETURN;
        END IF;
        SELECT s.* INTO subscription FROM pg_event_trigger_ddl_commands() AS e JOIN pg_subscription AS s ON s.oid = e.objid;
        IF NOT FOUND THEN
            RETURN;
        END IF;
        known := to_jsonb(subscription);
        origin := coalesce((SELECT format('SERVER %I', f.srvname) FROM pg_foreign_server AS f
            WHERE f.oid = (known->>'subserver')::oid), format('CONNECTION %L', subscription.subconninfo));
        SELECT string_agg(quote_ident(p), ', ') INTO publications FROM unnest(subscription.subpublications) AS p;
        made := ARRAY[format('CREATE SUBSCRIPTION %I %s PUBLICATION %s WITH (connect = false, slot_name = %s, '
                'binary = %s, synchronous_commit = %L, streaming = %s%s%s)', subscription.subname, origin, publications, coalesce(quote_literal(subscription.subslotname), 'NONE'),
                CASE WHEN subscription.subbinary THEN 'true' ELSE 'false' END,
                subscription.subsynccommit,
                CASE subscription.substream::text WHEN 'p' THEN 'parallel' WHEN 't' THEN 'on' WHEN 'true' THEN 'on' ELSE 'off' END,
                CASE WHEN known->>'subtwophasestate' <> 'd' THEN ', two_phase = true' END,
                (SELECT string_agg(format(', %s = %L', o.option, known->>o.name), '')
                FROM (VALUES ('disable_on_error', 'subdisableonerr', 'false'), ('password_required', 'subpasswordrequired', 'true'),
                    ('run_as_owner', 'subrunasowner', 'false'), ('origin', 'suborigin', 'any'), ('failover', 'subfailover', 'false'),
                    ('retain_dead_tuples', 'subretaindeadtuples', 'false'), ('max_retention_duration', 'submaxretention', '0'),
                    ('wal_receiver_timeout', 'subwalrcvtimeout', '-1')) AS o (option, name, unset)
                WHERE known->>o.name <> o.unset)),
            format('ALTER SUBSCRIPTION %I OWNER TO %I', subscription.subname, pg_get_userbyid(subscription.subowner))];
        IF tag = 'CREATE SUBSCRIPTION' THEN
            commands := made;
        ELSIF exact AND change ~* '^OWNER\s+TO\M' THEN
            commands := made[2:];
        ELSIF exact AND (change ~* '^RENAME\s+TO\M|^SKIP\s*\(|^SET\s*\((?!.*\m(enabled|failover|two_phase|retain_dead_tuples)\M)'
                OR change IS NULL AND statement ~* '\mRENAME\M' AND statement !~* '\m(ENABLE|REFRESH|SET)\M') THEN
            commands := ARRAY[statement];
        ELSIF exact AND change ~* '^(CONNECTION|SERVER|(SET|ADD|DROP)\s+PUBLICATION)\M' THEN
            commands := ARRAY[format('ALTER SUBSCRIPTION %I %s', subscription.subname, origin),
                format('ALTER SUBSCRIPTION %I SET PUBLICATION %s WITH (refresh = false)', subscription.subname, publications)];
        ELSIF exact AND change ~* '^(ENABLE|DISABLE|REFRESH)\M' THEN
            NULL;
        ELSIF statement ~* '\mRENAME\M' THEN  -- which may be one of several statements, and the catalog does not have the old name
            PERFORM scribe.write_row('lost', tag, 'subscription', subscription.subname::text, '', false,
                coalesce(facts->>'reason', 'its name may have changed'), NULL);
        ELSE  -- made again: with our rights nothing runs that is a guess, and some options cannot be set without the publisher
            commands := ARRAY[format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', subscription.subname),
                format('DROP SUBSCRIPTION %I', subscription.subname)] || made || format('COMMENT ON SUBSCRIPTION %I IS %L', subscription.subname,
                obj_description(subscription.oid, 'pg_subscription'));
        END IF;
    END IF;
    FOREACH command IN ARRAY commands LOOP
        PERFORM scribe.write_row('ddl', tag, 'subscription', NULL, command, true, NULL, NULL, current_user);
    END LOOP;
END
$function$;
