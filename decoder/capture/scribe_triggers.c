/*-------------------------------------------------------------------------
 *
 * scribe_triggers.c
 *	  The event trigger functions of sql/capture.sql, in C, for the commands
 *	  that are frequent and need nothing but their row.
 *
 * The functions stay in PL/pgSQL: a server without this library must run every
 * statement, and a dump of the capture schema must load there.  Where the
 * library is loaded, a function manager hook puts the functions of this file
 * in their place.  What one of them cannot do, or fails to do, it leaves to
 * the function it stands for, with the notes that function expects; so they
 * may bail out anywhere before they have written, and after an error, too.
 *
 * Contents
 *		which functions are ours
 *		leaving it to PL/pgSQL
 *		the functions
 *		initialisation
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "commands/event_trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "parser/parser.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "compat.h"
#include "scribe_capture.h"
#include "scribe_record.h"

static needs_fmgr_hook_type previous_needs_hook = NULL;
static fmgr_hook_type previous_fmgr_hook = NULL;
static PGFunction pl_handler = NULL;

static Datum c_note_caller(PG_FUNCTION_ARGS);
static Datum c_command_start(PG_FUNCTION_ARGS);
static Datum c_detach_start(PG_FUNCTION_ARGS);
static Datum c_note_drop(PG_FUNCTION_ARGS);
static Datum c_note_rewrite(PG_FUNCTION_ARGS);
static Datum c_command_end(PG_FUNCTION_ARGS);

/* ----------------------------------------------------------------
 *		which functions are ours
 * ----------------------------------------------------------------
 */

static struct
{
	const char *name;
	PGFunction	function;
	Oid			oid;
}			ours[] = {
	{"note_caller", c_note_caller, InvalidOid},
	{"command_start", c_command_start, InvalidOid},
	{"detach_start", c_detach_start, InvalidOid},
	{"note_drop", c_note_drop, InvalidOid},
	{"note_rewrite", c_note_rewrite, InvalidOid},
	{"command_end", c_command_end, InvalidOid}
};
static bool ours_known = false;
static Oid	scribe_schema = InvalidOid;

static void
forget_ours(Datum arg, int cacheid, uint32 hashvalue)
{
	ours_known = false;
}

/* The schema of the capture.  One that anybody may have made gives no orders. */
static Oid
find_schema(void)
{
	Oid			schema = get_namespace_oid("scribe", true);
	HeapTuple	tuple = OidIsValid(schema) ? SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema)) : NULL;
	bool		trusted = HeapTupleIsValid(tuple) && superuser_arg(((Form_pg_namespace) GETSTRUCT(tuple))->nspowner);

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return trusted ? schema : InvalidOid;
}

/* A function in it that is a superuser's, InvalidOid if there is none: in a schema, others may be allowed to make some. */
static Oid
find_function(Oid schema, const char *name, int nargs, const Oid *types)
{
	oidvector  *arguments;
	HeapTuple	tuple;
	Oid			function = InvalidOid;

	if (!OidIsValid(schema))
		return InvalidOid;
	arguments = buildoidvector(types, nargs);
	tuple = SearchSysCache3(PROCNAMEARGSNSP, CStringGetDatum(name), PointerGetDatum(arguments), ObjectIdGetDatum(schema));
	if (HeapTupleIsValid(tuple))
	{
		if (superuser_arg(((Form_pg_proc) GETSTRUCT(tuple))->proowner))
			function = ((Form_pg_proc) GETSTRUCT(tuple))->oid;
		ReleaseSysCache(tuple);
	}
	pfree(arguments);
	return function;
}

static void
find_ours(void)
{
	ours_known = true;			/* an invalidation while we look has the last word */
	scribe_schema = find_schema();
	for (int i = 0; i < (int) lengthof(ours); i++)
		ours[i].oid = find_function(scribe_schema, ours[i].name, 0, NULL);
}

/* A function of sql/capture.sql that is to be called from C. */
Oid
capture_function(const char *name, int nargs, const Oid *types)
{
	return find_function(find_schema(), name, nargs, types);
}

/* The schema of the capture, as it was when its functions were looked up. */
Oid
capture_schema(void)
{
	return scribe_schema;
}

static bool
needs_hook(Oid function)
{
	if (previous_needs_hook && previous_needs_hook(function))
		return true;
	if (!IsTransactionState() || HistoricSnapshotActive())
		return false;
	if (!ours_known)
		find_ours();
	for (int i = 0; i < (int) lengthof(ours); i++)
		if (ours[i].oid == function)
			return true;
	return false;
}

static void
fmgr_event(FmgrHookEventType event, FmgrInfo *flinfo, Datum *private)
{
	if (event == FHET_START)
		for (int i = 0; i < (int) lengthof(ours); i++)
			if (ours[i].oid == flinfo->fn_oid && flinfo->fn_addr != ours[i].function)
			{
				pl_handler = flinfo->fn_addr;
				flinfo->fn_addr = ours[i].function;
			}
	if (previous_fmgr_hook)
		previous_fmgr_hook(event, flinfo, private);
}

/* ----------------------------------------------------------------
 *		leaving it to PL/pgSQL
 * ----------------------------------------------------------------
 */

static void
set_note(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * What scribe.note_rewrite() and command_end() read of the notes: users can set them, but not after this.  What was dropped is
 * noted so for functions of an older version alone; those of today ask scribe.facts.
 */
static void
pass_notes(Statement *statement)
{
	set_note("scribe.role", GetUserNameFromId(statement->caller, false));
	set_note("scribe.path", statement->path);
	set_note("scribe.settings", settings_text(PointerGetDatum(statement->settings)));
	if (!statement->drop_left)
		set_note("scribe.dropped", statement->dropped.note ? statement->dropped.note : "");
}

static Datum
leave(FunctionCallInfo fcinfo)
{
	fcinfo->flinfo->fn_addr = pl_handler;
	return pl_handler(fcinfo);
}

static Node *
tree_of(FunctionCallInfo fcinfo)
{
	return ((EventTriggerData *) fcinfo->context)->parsetree;
}

/* The statement whose event trigger this is; NULL where that is not known. */
static Statement *
statement_of(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		return NULL;
	return running_statement() ? running_statement() : first_statement(tree_of(fcinfo));
}

static const char *
tag_of(FunctionCallInfo fcinfo)
{
	return GetCommandTagName(((EventTriggerData *) fcinfo->context)->tag);
}

/* ----------------------------------------------------------------
 *		the functions
 * ----------------------------------------------------------------
 */

static bool
is_of_extension(const char *tag)
{
	return strcmp(tag, "CREATE EXTENSION") == 0 || strcmp(tag, "ALTER EXTENSION") == 0;
}

static void
note_settings(Statement *statement)
{
	Datum		settings = session_settings();
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	statement->settings = DatumGetArrayTypePCopy(settings);
	MemoryContextSwitchTo(old);
}

static bool
is_drop(const char *tag)
{
	return strncmp(tag, "DROP ", 5) == 0 && strcmp(tag, "DROP OWNED") != 0;
}

static bool
begins(FunctionCallInfo fcinfo)
{
	return CALLED_AS_EVENT_TRIGGER(fcinfo) &&
		strcmp(((EventTriggerData *) fcinfo->context)->event, "ddl_command_start") == 0;
}

/* Whether the user in effect may use a schema. */
static bool
may_use(const char *schema)
{
	Oid			oid = get_namespace_oid(schema, true);

	return OidIsValid(oid) && namespace_aclcheck(oid, GetUserId(), ACL_USAGE) == ACLCHECK_OK;
}

/* scribe.usable_path() of the search_path and the user in effect */
static char *
usable_path(void)
{
	StringInfoData path;
	List	   *names;
	ListCell   *cell;

	if (!SplitIdentifierString(pstrdup(namespace_search_path), ',', &names))
		return namespace_search_path;
	initStringInfo(&path);
	foreach(cell, names)
	{
		const char *name = lfirst(cell);

		if (strcmp(name, "$user") == 0)
			name = GetUserNameFromId(GetUserId(), false);
		if (strcmp(name, "pg_temp") == 0 || may_use(name))
			appendStringInfo(&path, "%s%s", path.len > 0 ? ", " : "", quote_identifier(name));
	}
	return path.len > 0 ? path.data : "\"\"";
}

/* scribe.note_caller(): runs as the user.  The statement that loaded the library passed no hook; it is noted here. */
static Datum
c_note_caller(PG_FUNCTION_ARGS)
{
	Statement  *statement = statement_of(fcinfo);

	if (statement == NULL && begins(fcinfo))
		statement = note_first(tree_of(fcinfo));
	if (statement == NULL)
		return leave(fcinfo);
	statement->caller = GetUserId();
	if (statement->settings == NULL)
		note_settings(statement);
	if (statement->path)
		pfree(statement->path);
	statement->path = MemoryContextStrdup(TopMemoryContext, usable_path());
	return (Datum) 0;
}

/* The lock that scribe.hold_schema_changes() keeps away; waiting for it is left to PL/pgSQL, which can catch an error. */
static bool
may_begin(void)
{
	Oid			config = get_relname_relid("config", get_namespace_oid("scribe", true));

	return !OidIsValid(config) || ConditionalLockRelationOid(config, RowShareLock);
}

/* scribe.command_start() */
static Datum
c_command_start(PG_FUNCTION_ARGS)
{
	if (statement_of(fcinfo) == NULL || is_of_extension(tag_of(fcinfo)) || !may_begin())
		return leave(fcinfo);
	return (Datum) 0;
}

/* scribe.detach_start() */
static Datum
c_detach_start(PG_FUNCTION_ARGS)
{
	Statement  *statement = statement_of(fcinfo);

	if (statement != NULL && detaching(statement->tree) == NULL)
		return (Datum) 0;
	if (statement != NULL && OidIsValid(statement->caller))
		pass_notes(statement);
	return leave(fcinfo);
}

/* scribe.note_drop() */
static Datum
c_note_drop(PG_FUNCTION_ARGS)
{
	Statement  *statement = statement_of(fcinfo);

	if (statement == NULL)
		return leave(fcinfo);
	PushActiveSnapshot(GetTransactionSnapshot());
	statement->drop_left = !read_dropped(statement);
	PopActiveSnapshot();
	if (!statement->drop_left && is_drop(tag_of(fcinfo)))
	{
		/* at once: other event triggers may make again what it dropped */
		statement->drop_left = !OidIsValid(statement->caller) || !try_to_record(tag_of(fcinfo), statement);
		forget_dropped(statement);
	}
	if (!statement->drop_left)
		return (Datum) 0;
	if (OidIsValid(statement->caller))
		pass_notes(statement);
	return leave(fcinfo);
}

/* scribe.note_rewrite() */
static Datum
c_note_rewrite(PG_FUNCTION_ARGS)
{
	Statement  *statement = statement_of(fcinfo);

	if (statement != NULL)
	{
		statement->rewritten = true;
		if (OidIsValid(statement->caller))
			pass_notes(statement);
	}
	return leave(fcinfo);
}

/* scribe.command_end() */
static Datum
c_command_end(PG_FUNCTION_ARGS)
{
	Statement  *statement = statement_of(fcinfo);

	if (statement == NULL || !OidIsValid(statement->caller))
		return leave(fcinfo);
	if (is_of_extension(tag_of(fcinfo)) || !try_to_record(tag_of(fcinfo), statement))
	{
		pass_notes(statement);
		(void) leave(fcinfo);
	}
	if (running_statement() == NULL)
		forget_first();
	return (Datum) 0;
}

/* ----------------------------------------------------------------
 *		initialisation
 * ----------------------------------------------------------------
 */

/* Called once in each process that loads the library. */
void
triggers_init(void)
{
	CacheRegisterSyscacheCallback(PROCOID, forget_ours, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_ours, (Datum) 0);
	previous_needs_hook = needs_fmgr_hook;
	needs_fmgr_hook = needs_hook;
	previous_fmgr_hook = fmgr_hook;
	fmgr_hook = fmgr_event;
}
