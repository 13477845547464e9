/*
 * scribe_ddl.c
 *	  Rows of scribe.ddl_history as DDL blocks, and what they tell the decoder.
 */
#include "scribe_decoder.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "nodes/bitmapset.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* how the reason of a row begins that is not a user's command */
#define OWN_REASON "own: "

/* how the dollar tags of our own blocks around a statement begin */
#define LOAN_TAG "$scribe_loan"
#define SETTING_TAG "$scribe_setting"

typedef struct Audit
{
	char	   *kind;
	char	   *tag;
	char	   *identity;
	char	   *statement;
	bool		exact;
	char	   *reason;
	char	   *role;
	const char *role_now;		/* what that role is called where the row is in the WAL */
	TimestampTz at;
	char	   *session_role;
	char	   *client_addr;
	char	   *application_name;
	char	   *search_path;
	char	  **settings;
	int			nsettings;
	List	   *relids;
} Audit;

static bool
is_own(const Audit *audit)
{
	return audit->exact && audit->reason && strncmp(audit->reason, OWN_REASON, strlen(OWN_REASON)) == 0;
}

/* what the header of a segment sets; anything else goes back by RESET */
static const struct
{
	const char *name;
	const char *value;
}			header_settings[] = {
	{"standard_conforming_strings", "on"},
	{"datestyle", "ISO"},
	{"intervalstyle", "postgres"},
	{"timezone", "UTC"},
	{"xmloption", "content"},
	{"xmlbinary", "base64"},
	{"array_nulls", "on"},
	{"backslash_quote", "safe_encoding"},
	{"bytea_output", "hex"},
	{"extra_float_digits", "3"},
	{"quote_all_identifiers", "off"},
	{"transform_null_equals", "off"},
	{"lc_monetary", "C"},
	{"default_tablespace", ""},
	{"default_table_access_method", "heap"},
	{"check_function_bodies", "off"},
	{NULL, NULL}
};

/*
 * A column by name, or NULL where it is absent, of another type or NULL.
 */
static Datum
audit_column(Relation rel, HeapTuple tuple, const char *name, Oid type, bool *isnull)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && att->atttypid == type && strcmp(NameStr(att->attname), name) == 0)
			return heap_getattr(tuple, i + 1, desc, isnull);
	}
	*isnull = true;
	return (Datum) 0;
}

static char *
audit_text(Relation rel, HeapTuple tuple, const char *name)
{
	bool		isnull;
	Datum		value = audit_column(rel, tuple, name, TEXTOID, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static char **
audit_texts(Relation rel, HeapTuple tuple, const char *name, int *count)
{
	bool		isnull;
	Datum		value = audit_column(rel, tuple, name, TEXTARRAYOID, &isnull);
	Datum	   *items;
	bool	   *nulls;
	char	  **texts;

	*count = 0;
	if (isnull)
		return NULL;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT,
					  &items, &nulls, count);
	texts = palloc(sizeof(char *) * (*count + 1));
	for (int i = 0; i < *count; i++)
		texts[i] = nulls[i] ? pstrdup("") : TextDatumGetCString(items[i]);
	return texts;
}

static List *
audit_oids(Relation rel, HeapTuple tuple, const char *name)
{
	bool		isnull;
	Datum		value = audit_column(rel, tuple, name, OIDARRAYOID, &isnull);
	Datum	   *items;
	bool	   *nulls;
	int			count;
	List	   *oids = NIL;

	if (isnull)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(value), OIDOID, sizeof(Oid), true, TYPALIGN_INT,
					  &items, &nulls, &count);
	for (int i = 0; i < count; i++)
		if (!nulls[i])
			oids = lappend_oid(oids, DatumGetObjectId(items[i]));
	return oids;
}

/*
 * Is it the setting that 19 cannot change?  Statements are written so that it
 * is of no account to their texts.
 */
static bool
is_of_strings(const char *name)
{
	return pg_strcasecmp(name, "standard_conforming_strings") == 0;
}

static bool
has_standard_strings(Audit *audit)
{
	for (int i = 0; i + 1 < audit->nsettings; i += 2)
		if (is_of_strings(audit->settings[i]) && pg_strcasecmp(audit->settings[i + 1], "on") != 0)
			return false;
	return true;
}

static void
read_audit(Audit *audit, Relation rel, HeapTuple tuple)
{
	bool		isnull;
	Datum		exact = audit_column(rel, tuple, "exact", BOOLOID, &isnull);

	audit->exact = isnull || DatumGetBool(exact);
	audit->at = DatumGetTimestampTz(audit_column(rel, tuple, "at", TIMESTAMPTZOID, &isnull));
	audit->kind = audit_text(rel, tuple, "kind");
	audit->tag = audit_text(rel, tuple, "tag");
	audit->identity = audit_text(rel, tuple, "object_identity");
	audit->statement = audit_text(rel, tuple, "statement");
	audit->reason = audit_text(rel, tuple, "reason");
	audit->role_now = audit->role = audit_text(rel, tuple, "role");
	audit->session_role = audit_text(rel, tuple, "session_role");
	audit->client_addr = audit_text(rel, tuple, "client_addr");
	audit->application_name = audit_text(rel, tuple, "application_name");
	audit->search_path = audit_text(rel, tuple, "search_path");
	audit->settings = audit_texts(rel, tuple, "settings", &audit->nsettings);
	audit->relids = audit_oids(rel, tuple, "relids");
	if (audit->tag == NULL)
		audit->tag = "UNKNOWN";
	if (audit->statement != NULL && !has_standard_strings(audit))
	{
		audit->statement = text_with_escape_strings(audit->statement);
		if (audit->statement == NULL)
			audit->reason = "its strings could not be read";
	}
}

/*
 * Is the list, as SHOW prints it, one that SET reads in the same way?
 */
static bool
path_is_plain(const char *path)
{
	while (*path)
	{
		if (*path == '"')
		{
			int			len = strcspn(++path, "\"");

			if (len == 0 || path[len] == '\0' || path[len + 1] == '"')
				return false;
			for (int i = 0; i < len; i++)
				if ((unsigned char) path[i] < 0x20 || path[i] == 0x7f || path[i] == '\\' || path[i] == ':')
					return false;
			path += len + 1;
		}
		else
		{
			int			len = strspn(path, "abcdefghijklmnopqrstuvwxyz0123456789_");
			char	   *word = pnstrdup(path, len);

			if (len == 0 || quote_identifier(word) != word)
				return false;
			path += len;
		}
		if (*path == ',')
		{
			path++;
			path += strspn(path, " ");
			if (*path == '\0')
				return false;
		}
		else if (*path)
			return false;
	}
	return true;
}

static void
append_search_path(StringInfo out, const char *path)
{
	if (path[0] == '\0' || strcmp(path, "\"\"") == 0)
		appendStringInfoString(out, "SET LOCAL search_path = '';\n");
	else if (path_is_plain(path))
		appendStringInfo(out, "SET LOCAL search_path = %s;\n", path);
	else
	{
		appendStringInfoString(out, "SELECT pg_catalog.set_config('search_path', ");
		append_literal(out, path, strlen(path));
		appendStringInfoString(out, ", true);\n");
	}
}

static bool
is_setting_name(const char *name)
{
	return *name && name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
								"0123456789_.")] == '\0';
}

/*
 * What a segment sets back to; NULL for what its header does not set.
 */
static const char *
header_value(const char *name)
{
	for (int i = 0; header_settings[i].name; i++)
		if (pg_strcasecmp(header_settings[i].name, name) == 0)
			return header_settings[i].value;
	return NULL;
}

/*
 * A dollar tag that a text does not have: the start and $, or the start, the
 * lowest number free and $.  Each number that the text has is noted in one
 * pass; n tags take up one of the first n numbers at most.
 */
static void
append_free_tag(StringInfo out, const char *start, const char *text)
{
	Size		length_of_start = strlen(start);
	Size		most = strlen(text) / (length_of_start + 2) + 2;
	Bitmapset  *taken = NULL;
	int			number = 0;

	for (const char *p = strstr(text, start); p != NULL; p = strstr(p + 1, start))
	{
		const char *digits = p + length_of_start;
		int			length = strspn(digits, "0123456789");

		if (digits[length] == '$' && length < 10 && *digits != '0' && (Size) atoll(digits) <= most)
			taken = bms_add_member(taken, atoi(digits));
	}
	while (bms_is_member(number, taken))
		number++;
	if (number == 0)
		appendStringInfo(out, "%s$", start);
	else
		appendStringInfo(out, "%s%d$", start, number);
}

/*
 * A block of ours on one line, that readers tell from others by its tag.
 */
static void
append_block(StringInfo out, const char *start, const char *body)
{
	StringInfoData tag;

	initStringInfo(&tag);
	append_free_tag(&tag, start, body);
	appendStringInfo(out, "DO LANGUAGE plpgsql %sBEGIN %s END%s;\n", tag.data, body, tag.data);
}

/*
 * A setting that no header has.  A name with a dot that no library of the
 * session defines takes any value from anybody, and a text search
 * configuration may be gone: where the server refuses it, the restore goes on
 * without.  The former is given with the rights of the statement's role, since
 * a library that the copy loads may keep it to superusers; where that role
 * cannot be taken on, nothing is run as another's than who restores.
 */
static void
append_tried_setting(StringInfo out, const char *role, const char *name, const char *value)
{
	StringInfoData body;
	bool		dotted = strchr(name, '.') != NULL;

	initStringInfo(&body);
	if (dotted && role != NULL)
	{
		appendStringInfoString(&body, "BEGIN SET LOCAL ROLE ");
		append_identifier(&body, role);
		appendStringInfoString(&body, "; EXCEPTION WHEN OTHERS THEN NULL; END; ");
	}
	appendStringInfo(&body, "PERFORM pg_catalog.set_config('%s', ", name);
	append_literal(&body, value, strlen(value));
	appendStringInfoString(&body, ", true)");
	if (!dotted)
		appendStringInfo(&body, " FROM pg_catalog.pg_settings WHERE name = '%s'", name);
	appendStringInfoString(&body, dotted && role != NULL ? "; SET LOCAL ROLE NONE;" : ";");
	appendStringInfoString(&body, " EXCEPTION WHEN OTHERS THEN RAISE WARNING 'setting left out: %', SQLERRM;");
	append_block(out, SETTING_TAG, body.data);
}

static void
append_settings(StringInfo out, Audit *audit)
{
	for (int i = 0; i + 1 < audit->nsettings; i += 2)
	{
		const char *name = audit->settings[i];
		const char *value = audit->settings[i + 1];

		if (!is_setting_name(name))
		{
			appendStringInfoString(out, "-- warning: setting left out: ");
			append_one_line(out, name);
			appendStringInfoChar(out, '\n');
		}
		else if (is_of_strings(name))
		{
			appendStringInfo(out, "SELECT pg_catalog.set_config('%s', ", name);
			append_literal(out, value, strlen(value));
			appendStringInfoString(out, ", true) WHERE pg_catalog.current_setting('server_version_num')::int < 190000;\n");
		}
		else if (header_value(name) != NULL)
		{
			appendStringInfo(out, "SET LOCAL %s = ", name);
			append_literal(out, value, strlen(value));
			appendStringInfoString(out, ";\n");
		}
		else
			append_tried_setting(out, audit->role, name, value);
	}
}

static void
append_settings_back(StringInfo out, Audit *audit)
{
	for (int i = 0; i + 1 < audit->nsettings; i += 2)
	{
		const char *name = audit->settings[i];

		if (!is_setting_name(name))
			continue;
		if (header_value(name) != NULL)
			appendStringInfo(out, "SET LOCAL %s = '%s';\n", name, header_value(name));
		else if (strchr(name, '.') != NULL)
		{
			StringInfoData body;

			initStringInfo(&body);
			appendStringInfoString(&body, "RESET ");
			append_setting_name(&body, name);
			appendStringInfoString(&body, "; EXCEPTION WHEN OTHERS THEN NULL;");
			append_block(out, SETTING_TAG, body.data);
		}
		else
			appendStringInfo(out, "SELECT pg_catalog.set_config(name, reset_val, true) FROM pg_catalog.pg_settings"
							 " WHERE name = '%s';\n", name);
	}
}

/*
 * Which event triggers fire may change with the statement: as on the source
 * while it runs, which fires none, and none again after it.
 */
static void
append_firing(StringInfo out, Audit *audit, bool fire)
{
	if (strstr(audit->tag, "EVENT TRIGGER") || strstr(audit->tag, "EXTENSION"))
		appendStringInfo(out, "SELECT scribe.fire_event_triggers(%s);\n", fire ? "true" : "false");
}

/*
 * The statement in a form that can neither be misread nor forge a line.
 */
static void
append_executed(StringInfo out, const char *text)
{
	StringInfoData literal;
	StringInfoData tag;
	int			start;

	initStringInfo(&literal);
	append_literal(&literal, text, strlen(text));
	start = literal.data[0] == 'E' ? 1 : 0;

	initStringInfo(&tag);
	append_free_tag(&tag, "$scribe", text);
	appendStringInfo(out, "DO LANGUAGE plpgsql %sBEGIN EXECUTE E", tag.data);
	appendBinaryStringInfo(out, literal.data + start, literal.len - start);
	appendStringInfo(out, "; END%s;\n", tag.data);
}

/*
 * A statement that the decoder itself makes, as that role where one is named.
 */
void
write_own(ScribeState *state, const char *tag, const char *role, const char *text)
{
	StringInfo	out = &state->out;

	run_end(state);
	output_begin(state);
	appendStringInfo(out, "-- ddl %s\n", tag);
	if (role)
	{
		appendStringInfoString(out, "SET LOCAL ROLE ");
		append_identifier(out, role);
		appendStringInfoString(out, ";\n");
	}
	if (text_is_plain(text))
		appendStringInfo(out, "%s\n;\n", text);
	else
		append_executed(out, text);
	if (role)
		appendStringInfoString(out, "SET LOCAL ROLE NONE;\n");
	appendStringInfoString(out, "-- ddl end");
	state->ddl++;
	output_end_line(state);
}

static void
append_statement(StringInfo out, Audit *audit)
{
	const char *text = audit->statement;
	char	   *inside = text_without_concurrently(text, audit->tag);

	if (inside)
	{
		appendStringInfoString(out, "-- CONCURRENTLY left out\n");
		text = inside;
	}
	if (text_is_plain(text))
		appendStringInfo(out, "%s\n;\n", text);
	else
		append_executed(out, text);
}

/*
 * The tables that the next statement rewrites, or with it left out none.
 */
static void
empty_announced(ScribeState *state)
{
	List	   *relids = state->emptying;

	state->emptying = NIL;
	if (relids == NIL)
		return;
	empty_relations(state, relids);
	restore_triggers(state);
}

static void
forget_emptying(ScribeState *state)
{
	if (state->emptying != NIL)
		state->rewrite_lost = true;
	state->emptying = NIL;
}

/*
 * Was the role a superuser when it ran the statement?  The one that made the
 * cluster stays one.
 */
static bool
was_superuser(const char *role)
{
	Oid			oid;

	return is_superuser(role, &oid) && oid != BOOTSTRAP_SUPERUSERID;
}

static bool
needs_database(const char *tag)
{
	return strcmp(tag, "CREATE EXTENSION") == 0 || strcmp(tag, "CREATE SCHEMA") == 0 || strcmp(tag, "ALTER SCHEMA") == 0;
}

/*
 * What the role had when it ran the statement, and where the statement is run
 * again may have no longer, or not have at all: to be a superuser, or CREATE on
 * the database.  It is lent for the statement, within its transaction, so that
 * nobody sees it and nothing stays.  That it was lent is noted in a table, which
 * code that the statement runs cannot write as it could a setting.
 */
static bool
append_loan(StringInfo out, Audit *audit, bool super)
{
	StringInfoData role;
	StringInfoData body;

	if (!super && !needs_database(audit->tag))
		return false;
	initStringInfo(&role);
	append_literal(&role, audit->role, strlen(audit->role));
	initStringInfo(&body);
	appendStringInfoString(&body, "IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER) AND EXISTS (SELECT FROM "
						   "pg_catalog.pg_roles AS r WHERE r.rolname = ");
	appendStringInfo(&body, super ? "%s AND NOT r.rolsuper) THEN EXECUTE pg_catalog.format('ALTER ROLE %%I SUPERUSER', %s);" :
					 "%s AND NOT pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CREATE')) THEN "
					 "EXECUTE pg_catalog.format('GRANT CREATE ON DATABASE %%I TO %%I', pg_catalog.current_database(), %s);",
					 role.data, role.data);
	appendStringInfo(&body, " IF pg_catalog.to_regclass('scribe.made') IS NULL THEN CREATE TABLE scribe.made "
					 "(kind text, name text, PRIMARY KEY (kind, name)); END IF; INSERT INTO scribe.made VALUES ('loan', %s); END IF;",
					 role.data);
	append_block(out, LOAN_TAG, body.data);
	return true;
}

static void
append_loan_back(StringInfo out, Audit *audit, bool super)
{
	StringInfoData role;
	StringInfoData body;

	initStringInfo(&role);
	append_literal(&role, audit->role, strlen(audit->role));
	initStringInfo(&body);
	appendStringInfo(&body, "IF pg_catalog.to_regclass('scribe.made') IS NOT NULL THEN DELETE FROM scribe.made "
					 "WHERE kind = 'loan' AND name = %s; IF FOUND THEN EXECUTE pg_catalog.format(", role.data);
	appendStringInfo(&body, super ? "'ALTER ROLE %%I NOSUPERUSER', %s);" :
					 "'REVOKE CREATE ON DATABASE %%I FROM %%I', pg_catalog.current_database(), %s);", role.data);
	appendStringInfoString(&body, " END IF; END IF;");
	append_block(out, LOAN_TAG, body.data);
}

/*
 * The statement with what stands around it.  Our own lines are read before its
 * search_path is set and after it is set back: an operator of a user's that the
 * path finds before the server's would run with the rights of whoever restores.
 */
static void
write_block(ScribeState *state, Audit *audit)
{
	StringInfo	out = &state->out;
	struct Facts *old;
	bool		super;
	bool		lent;

	if (audit->statement == NULL || audit->statement[strspn(audit->statement, " \t\r\n")] == '\0')
	{
		forget_emptying(state);
		output_warning(state, "%s without its statement: %s", audit->tag,
					   audit->reason ? audit->reason : "no reason given");
		return;
	}

	old = shared_names_back(state, audit->role ? audit->role : "", audit->statement, audit->at, &audit->role_now);
	output_begin(state);
	empty_announced(state);
	if (is_own(audit))
	{
		appendStringInfoString(out, "-- pg_scribe: ");
		append_one_line(out, audit->reason + strlen(OWN_REASON));
		appendStringInfoChar(out, '\n');
	}
	appendStringInfoString(out, "-- ddl ");
	append_one_line(out, audit->tag);
	if (audit->session_role != NULL)
	{
		appendStringInfoString(out, " by ");
		append_asker(out, audit->session_role, audit->client_addr, audit->application_name);
	}
	if (!audit->exact)
	{
		appendStringInfoString(out, " inexact: ");
		append_one_line(out, audit->reason ? audit->reason : "no reason given");
	}
	appendStringInfoChar(out, '\n');

	append_firing(out, audit, true);
	super = audit->role && was_superuser(audit->role_now);
	lent = audit->role && append_loan(out, audit, super);
	append_settings(out, audit);
	if (audit->search_path)
		append_search_path(out, audit->search_path);
	if (audit->role)
	{
		appendStringInfoString(out, "SET LOCAL ROLE ");
		append_identifier(out, audit->role);
		appendStringInfoString(out, ";\n");
	}

	append_statement(out, audit);

	if (audit->role)
		appendStringInfoString(out, "SET LOCAL ROLE NONE;\n");
	if (audit->search_path)
		appendStringInfoString(out, "SET LOCAL search_path = '';\n");
	append_settings_back(out, audit);
	if (lent)
		append_loan_back(out, audit, super);
	append_firing(out, audit, false);
	appendStringInfoString(out, "-- ddl end");
	state->ddl++;
	output_end_line(state);
	if (old != NULL)
		shared_names_again(state, old);
}

static void
announce(ScribeState *state, List *relids)
{
	MemoryContext old = MemoryContextSwitchTo(state->txn_cxt);

	state->announced = list_concat_unique_oid(state->announced, relids);
	MemoryContextSwitchTo(old);
}

static List *
keep_oids(ScribeState *state, List *oids)
{
	MemoryContext old = MemoryContextSwitchTo(state->txn_cxt);
	List	   *kept = list_copy(oids);

	MemoryContextSwitchTo(old);
	return kept;
}

/*
 * A text that was not proved to be the statement that ran: only what can be
 * nothing else out of it.
 */
static void
write_inexact(ScribeState *state, Audit *audit)
{
	int			fitting = 0;
	char	   *statement = NULL;
	const char *reason = audit->reason ? audit->reason : "no reason given";

	if (audit->statement != NULL)
		statement = pick_statement(audit->statement, audit->tag, audit->identity, audit->relids, &fitting);
	if (statement != NULL)
	{
		audit->statement = statement;
		announce(state, audit->relids);
		unseen_look(state);
		write_block(state, audit);
	}
	else
	{
		forget_emptying(state);
		output_warning(state, "%s left out, its text has %d statements that may be it: %s; take a new base",
					   audit->tag, fitting, reason);
		unseen_look(state);
	}
}

/*
 * CREATE TABLE AS: its rows, if any, made us write the table already.
 */
static void
write_created(ScribeState *state, Audit *audit)
{
	Relation	rel;

	if (audit->relids == NIL)
	{
		output_warning(state, "%s could not be carried: no table recorded", audit->tag);
		return;
	}
	rel = RelationIdGetRelation(linitial_oid(audit->relids));
	if (!RelationIsValid(rel))
	{
		output_warning(state, "%s could not be carried: table %u not found",
					   audit->tag, linitial_oid(audit->relids));
		return;
	}
	write_create(state, rel);
	RelationClose(rel);
}

/*
 * A complete UPDATE must not wake triggers that the source's rows woke.
 */
static void
quiet_relids(ScribeState *state, List *relids)
{
	ListCell   *cell;

	foreach(cell, relids)
	{
		Relation	rel = RelationIdGetRelation(lfirst_oid(cell));

		if (!RelationIsValid(rel))
			continue;
		quiet_relation(state, relation_lookup(state, rel));
		RelationClose(rel);
	}
}

/*
 * A row was added to scribe.ddl_history; lsn: its place in the WAL.
 */
void
write_ddl(ScribeState *state, Relation rel, HeapTuple tuple, XLogRecPtr lsn)
{
	Audit		audit;

	read_audit(&audit, rel, tuple);
	relations_told();
	run_end(state);
	if (state->loud != NULL)
		restore_triggers(state);
	if (audit.kind != NULL && strncmp(audit.kind, "script", 6) != 0)
		unseen_audit(state, audit.kind, audit.tag, audit.identity, audit.relids, audit.exact, is_own(&audit));

	if (audit.kind == NULL)
		output_warning(state, "DDL of no kind left out: %s", audit.tag);
	else if (strcmp(audit.kind, "ddl") == 0 && !audit.exact)
		write_inexact(state, &audit);
	else if (strcmp(audit.kind, "ddl") == 0)
	{
		meanwhile_note(state, audit.tag, audit.statement);
		if (!is_own(&audit))
			meanwhile_look(state, audit.tag, audit.statement, audit.role, audit.search_path, lsn);
		announce(state, audit.relids);
		unseen_look(state);
		unseen_take_back(state, audit.tag, audit.identity, audit.relids);
		write_block(state, &audit);
		warn_regrouped(state, audit.tag, audit.identity, audit.statement, audit.relids);
	}
	else if (strcmp(audit.kind, "create") == 0)
	{
		unseen_look(state);
		/* its rows came first and had the table made; what came after has statements of its own */
		state->made = keep_oids(state, list_difference_oid(state->made, audit.relids));
		unseen_recorded(audit.relids);
		write_created(state, &audit);
	}
	else if (strcmp(audit.kind, "fill") == 0)
	{
		quiet_relids(state, audit.relids);
		write_block(state, &audit);
		restore_triggers(state);
	}
	else if (strcmp(audit.kind, "script") == 0)
		state->script++;
	else if (strcmp(audit.kind, "scripted") == 0)
		state->script = Max(state->script - 1, 0);
	else if (strcmp(audit.kind, "refill") == 0)
	{
		state->refill = audit.relids ? linitial_oid(audit.relids) : InvalidOid;
		state->refill_begun = false;
	}
	else if (strcmp(audit.kind, "refilled") == 0)
	{
		state->refill = InvalidOid;
		state->rewriting = keep_oids(state, list_difference_oid(state->rewriting, audit.relids));
		if (state->rewriting == NIL)
			state->old_heaps = NIL;
	}
	else if (strcmp(audit.kind, "rewrite") == 0)
	{
		state->emptying = keep_oids(state, audit.relids);
		state->rewrite_lost = false;
	}
	else if (strcmp(audit.kind, "rewritten") == 0)
	{
		if (!state->rewrite_lost)
			empty_relations(state, audit.relids);
	}
	else if (strcmp(audit.kind, "lost") == 0)
	{
		output_warning(state, "%s could not be recorded: %s; take a new base",
					   audit.tag, audit.reason ? audit.reason : "no reason given");
		unseen_look(state);
	}
	else
		output_warning(state, "DDL of unknown kind %s left out: %s", audit.kind, audit.tag);
}
