-- older.sql: what older versions installed and this one has no more.

-- Their event triggers may fire meanwhile, but ask nothing of this for what is capture's own.
DROP FUNCTION IF EXISTS scribe.statement_facts(text, text), scribe.text_without_library(), scribe.statement_settings(),
    scribe.invalid_constraints(regclass, boolean), scribe.record_own(text, text[], boolean), scribe.fill(oid[], text),
    scribe.fill(oid[], text, boolean), scribe.send_values(text, oid[], boolean), scribe.send_values(text, oid[], boolean, boolean),
    scribe.refill(regclass, text), scribe.owners(), scribe.reconcile(boolean);
DROP TRIGGER IF EXISTS complete_row ON scribe.ddl_history;
DROP FUNCTION IF EXISTS scribe.complete_row();
DO $$  -- they let users call it, and so make objects of theirs depend on it
BEGIN
    DROP FUNCTION IF EXISTS scribe.session_settings();
EXCEPTION WHEN dependent_objects_still_exist THEN
    NULL;
END
$$;
