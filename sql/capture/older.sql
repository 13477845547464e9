-- older.sql: what older versions installed and this one has no more. It goes last: until here their event triggers may have fired.

DROP FUNCTION IF EXISTS scribe.statement_facts(text, text), scribe.text_without_library(), scribe.statement_settings(),
    scribe.invalid_constraints(regclass, boolean), scribe.record_own(text, text[], boolean), scribe.fill(oid[], text),
    scribe.fill(oid[], text, boolean), scribe.send_values(text, oid[], boolean), scribe.send_values(text, oid[], boolean, boolean),
    scribe.owners(), scribe.reconcile_owners(boolean, oid[]), scribe.record_ended(text), scribe.is_scripted(),
    scribe.record_command(text, json, json, int, int, oid[], text, text, text), scribe.setting_text(text);
DROP TRIGGER IF EXISTS complete_row ON scribe.ddl_history;
DROP FUNCTION IF EXISTS scribe.complete_row(), scribe.without_identity(oid[]), scribe.without_identity_now();
DO $$  -- they let users call it, and so make objects of theirs depend on it
BEGIN
    DROP FUNCTION IF EXISTS scribe.session_settings();
EXCEPTION WHEN dependent_objects_still_exist THEN
    NULL;
END
$$;
ALTER TABLE scribe.config DROP COLUMN IF EXISTS token;
