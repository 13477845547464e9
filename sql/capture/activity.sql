-- activity.sql: whether capture acts here, notes within a command, and statements of its own that it does not record.

-- Whether capture is to act here: this is the source, not a copy of it, and not a statement of capture itself.
CREATE OR REPLACE FUNCTION scribe.is_active() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN EXISTS (
        SELECT FROM scribe.config AS c, pg_control_system() AS s, pg_database AS d
        WHERE d.datname = current_database() AND d.oid = c.database_oid AND s.system_identifier = c.system_identifier)
        AND NOT EXISTS (SELECT FROM scribe.at_work AS w WHERE w.xact = pg_current_xact_id_if_assigned());
END
$function$;

-- A note for what runs later in the same command. Not set_config(), which extensions like set_user forbid.
CREATE OR REPLACE FUNCTION scribe.note(setting text, value text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    EXECUTE format('SET LOCAL %s = %L', setting, coalesce(value, ''));
END
$function$;

-- Run a statement of capture's own: not recorded, with users' triggers at rest.
CREATE OR REPLACE FUNCTION scribe.run_own(statement text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET session_replication_role = replica AS $function$
BEGIN
    INSERT INTO scribe.at_work VALUES (pg_current_xact_id());
    EXECUTE statement;
    DELETE FROM scribe.at_work AS w WHERE w.xact = pg_current_xact_id();
END
$function$;
