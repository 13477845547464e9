/*-------------------------------------------------------------------------
 *
 * scribe_silent.c
 *	  Commands that change the database and fire no event trigger.
 *
 * The hook of scribe_capture.c sees them, in sessions that have loaded the
 * library; the functions of sql/capture.sql write their rows.
 *
 * Contents
 *		which commands
 *		recording them
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"
#include "scribe_capture.h"

/* ----------------------------------------------------------------
 *		which commands
 * ----------------------------------------------------------------
 */

/* An event trigger of ours, by the name it has now or had once. */
static bool
is_ours(const char *name)
{
	return strncmp(name, "!scribe_", 8) == 0 ||
		(strncmp(name, "scribe_", 7) == 0 && name[7] >= '1' && name[7] <= '5' && name[8] == '_');
}

/* CLUSTER t USING i, or REPACK t USING INDEX i, leaves a mark in the schema: the statement that sets the same mark, else NULL.  role: who may. */
static char *
cluster_mark(Node *tree, Oid *role)
{
	ClusterStatement *cluster = (ClusterStatement *) tree;
	Oid			relation;
	HeapTuple	tuple;
	Form_pg_class form;
	char	   *mark = NULL;

	if (!IsA(tree, ClusterStatement) || clustered_relation(cluster) == NULL || cluster->indexname == NULL)
		return NULL;
	relation = RangeVarGetRelid(clustered_relation(cluster), NoLock, true);
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	if (!HeapTupleIsValid(tuple))
		return NULL;
	form = (Form_pg_class) GETSTRUCT(tuple);
	if (form->relkind != RELKIND_PARTITIONED_TABLE && form->relpersistence != RELPERSISTENCE_TEMP &&
		!IsCatalogRelationOid(relation) && !IsToastNamespace(form->relnamespace))
	{
		*role = form->relowner;
		mark = psprintf("ALTER TABLE %s CLUSTER ON %s",
						quote_qualified_identifier(get_namespace_name(form->relnamespace), NameStr(form->relname)),
						quote_identifier(cluster->indexname));
	}
	ReleaseSysCache(tuple);
	return mark;
}

/* GRANT or REVOKE on a database: the event triggers do not see it. */
static bool
grants_on_database(Node *tree)
{
	GrantStmt  *grant = (GrantStmt *) tree;

	return IsA(tree, GrantStmt) && grant->targtype == ACL_TARGET_OBJECT && grant->objtype == OBJECT_DATABASE &&
		list_length(grant->objects) == 1;
}

/* The CREATE TABLE AS under an EXPLAIN that ran it, or NULL. */
CreateTableAsStmt *
explained_creation(Node *tree)
{
	ExplainStmt *explain = (ExplainStmt *) tree;
	ListCell   *cell;
	bool		analyze = false;

	if (!IsA(tree, ExplainStmt) || !IsA(explain->query, Query) ||
		((Query *) explain->query)->utilityStmt == NULL ||
		!IsA(((Query *) explain->query)->utilityStmt, CreateTableAsStmt))
		return NULL;
	foreach(cell, explain->options)
		if (strcmp(lfirst_node(DefElem, cell)->defname, "analyze") == 0)
			analyze = defGetBoolean(lfirst_node(DefElem, cell));
	return analyze ? (CreateTableAsStmt *) ((Query *) explain->query)->utilityStmt : NULL;
}

/* Whether a command that fires no event trigger changes this database (event triggers, ownership), and is not ours. */
static bool
needs_recording(Node *tree)
{
	switch (nodeTag(tree))
	{
		case T_CreateEventTrigStmt:
			return !is_ours(((CreateEventTrigStmt *) tree)->trigname);
		case T_AlterEventTrigStmt:
			return !is_ours(((AlterEventTrigStmt *) tree)->trigname);
		case T_ReassignOwnedStmt:
			return true;
		case T_DropStmt:
			return ((DropStmt *) tree)->removeType == OBJECT_EVENT_TRIGGER &&
				!is_ours(strVal(linitial(((DropStmt *) tree)->objects)));
		case T_RenameStmt:
			return ((RenameStmt *) tree)->renameType == OBJECT_EVENT_TRIGGER;
		case T_AlterOwnerStmt:
			return ((AlterOwnerStmt *) tree)->objectType == OBJECT_EVENT_TRIGGER;
		case T_CommentStmt:
			return ((CommentStmt *) tree)->objtype == OBJECT_EVENT_TRIGGER;
		default:
			return false;
	}
}

/* ----------------------------------------------------------------
 *		recording them
 * ----------------------------------------------------------------
 */

static Oid
function_owner(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * Call a function of sql/capture.sql as its owner, for what the user did.  Nothing is called if capture is not installed
 * (any more), or if somebody else has made something of that name.
 */
static void
call_recorder(const char *name, int nargs, Oid *types, Datum *values)
{
	Oid			function = capture_function(name, nargs, types);
	LOCAL_FCINFO(fcinfo, 4);
	FmgrInfo	flinfo;
	Oid			owner;
	Oid			saved_user;
	int			saved_context;
	int			level;
	char	   *settings;

	if (!OidIsValid(function))
		return;
	owner = function_owner(function);
	settings = settings_text(session_settings());
	GetUserIdAndSecContext(&saved_user, &saved_context);
	SetUserIdAndSecContext(owner, saved_context | SECURITY_LOCAL_USERID_CHANGE);
	level = NewGUCNestLevel();
	(void) set_config_option("scribe.role", GetUserNameFromId(saved_user, false), PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("scribe.settings", settings, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("standard_conforming_strings", "on", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	PushActiveSnapshot(GetTransactionSnapshot());	/* REINDEX CONCURRENTLY leaves none */
	fmgr_info(function, &flinfo);
	InitFunctionCallInfoData(*fcinfo, &flinfo, nargs, InvalidOid, NULL, NULL);
	for (int i = 0; i < nargs; i++)
		fcinfo->args[i] = (NullableDatum) {values[i], false};
	(void) FunctionCallInvoke(fcinfo);
	PopActiveSnapshot();
	AtEOXact_GUC(true, level);
	SetUserIdAndSecContext(saved_user, saved_context);
}

/* Call a recorder; returns what went wrong, NULL where nothing did. */
static char *
try_recorder(const char *name, int nargs, Oid *types, Datum *values)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Oid			user;
	int			security;
	char	   *volatile fault = NULL;

	GetUserIdAndSecContext(&user, &security);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		call_recorder(name, nargs, types, values);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		/* the user, or a timeout of the user's, ends the statement */
		if (geterrcode() == ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		SetUserIdAndSecContext(user, security);
		fault = error->message;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return fault;
}

/* Record a command after it succeeded; a failure to do so is a warning and a flag, never the user's error. */
static void
record(const char *tag, const char *name, int nargs, Oid *types, Datum *values)
{
	char	   *fault = try_recorder(name, nargs, types, values);
	Oid			failure_types[] = {TEXTOID, TEXTOID};
	Datum		failure[2];

	if (fault == NULL)
		return;
	ereport(WARNING, (errmsg("pg_scribe could not record %s: %s", tag, fault),
					  errhint("Take a new base with scribe-dump.")));
	failure[0] = CStringGetTextDatum(tag);
	failure[1] = CStringGetTextDatum(fault);
	(void) try_recorder("record_failure", 2, failure_types, failure);
}

static void
record_plain(const char *tag, const char *text, Oid role)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[] = {
		CStringGetTextDatum(tag), CStringGetTextDatum(text),
		CStringGetTextDatum(GetUserNameFromId(role, false)), CStringGetTextDatum(namespace_search_path)
	};

	record(tag, "record_plain", 4, types, values);
}

static void
record_explained(CreateTableAsStmt *creation, const char *text, Oid role)
{
	Oid			types[] = {OIDOID, TEXTOID, TEXTOID};
	Oid			relation = RangeVarGetRelid(creation->into->rel, NoLock, true);
	Datum		values[] = {
		ObjectIdGetDatum(relation), CStringGetTextDatum(text),
		CStringGetTextDatum(GetUserNameFromId(role, false))
	};

	if (OidIsValid(relation))
		record("EXPLAIN", "record_explained", 3, types, values);
}

#if PG_VERSION_NUM < 170000
/* REINDEX may have made an index valid that is nowhere else. */
static void
record_reindexed(ReindexStmt *reindex, const char *text)
{
	Oid			types[] = {OIDOID, BOOLOID};
	Oid			relation = reindex->relation ? RangeVarGetRelid(reindex->relation, NoLock, true) : InvalidOid;
	Datum		values[] = {ObjectIdGetDatum(relation), BoolGetDatum(strcasestr(text, "tablespace") != NULL)};

	if (OidIsValid(relation) && !isAnyTempNamespace(get_rel_namespace(relation)))
		record("REINDEX", "record_reindexed", 2, types, values);
}
#endif

/* A schema change while the user keeps event triggers from firing: the statement, flagged. */
static void
record_unseen(Node *tree, const char *text, Oid role)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[] = {
		CStringGetTextDatum(CreateCommandName(tree)), CStringGetTextDatum(text),
		CStringGetTextDatum(GetUserNameFromId(role, false)), CStringGetTextDatum(namespace_search_path)
	};

	record(CreateCommandName(tree), "record_unseen", 4, types, values);
}

/* Record what the event triggers did not see of a statement that succeeded. */
void
record_rest(Statement *statement, Oid role)
{
	Node	   *tree = statement->tree;
	CreateTableAsStmt *explained = explained_creation(tree);
	Oid			owner;
	char	   *mark = cluster_mark(tree, &owner);

	if (creating_extension)
		return;					/* the extension's script runs it again */
	if (mark != NULL)
		record_plain("CLUSTER", mark, owner);
	else if (explained != NULL && !statement->explains_existing)
		record_explained(explained, statement->text, role);
#if PG_VERSION_NUM < 170000
	else if (IsA(tree, ReindexStmt))
		record_reindexed((ReindexStmt *) tree, statement->text);
#endif
	else if (needs_recording(tree) || grants_on_database(tree))
		record_plain(CreateCommandName(tree), statement->text, role);
	else if (GetCommandLogLevel(tree) == LOGSTMT_DDL)
	{
		const char *firing = GetConfigOption("event_triggers", true, false);

		if (firing != NULL && strcmp(firing, "off") == 0)
			record_unseen(tree, statement->text, role);
	}
}
