/*-------------------------------------------------------------------------
 *
 * scribe_capture.c
 *	  What the event triggers cannot see: the one statement that is running.
 *
 * A ProcessUtility hook keeps a stack of the utility statements in progress.
 * The event triggers of sql/capture.sql read its top through the setting
 * scribe.facts, whose show hook answers in JSON; a setting, not a function in
 * C, because a dump of the capture schema has to load on servers that do not
 * have this library.
 *
 * Of frequent commands the event triggers ask nothing at all: scribe_record.c.
 *
 * The library is loaded by the event triggers themselves at a session's first
 * DDL.  That statement is not on the stack; it is found on the call stack, and
 * where that is not provably exact, "exact" is false and "reason" says why.
 *
 * Contents
 *		reading a statement's text
 *		the statement that was running when the library was loaded
 *		facts about the parse tree
 *		the hook
 *		commands that fire no event trigger
 *		initialisation
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_language.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "parser/parser.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "scribe_capture.h"

#if PG_VERSION_NUM >= 140000
#define HOOK_READ_ONLY_PARAM	bool readOnlyTree,
#define HOOK_READ_ONLY			readOnlyTree,
#else
#define HOOK_READ_ONLY_PARAM
#define HOOK_READ_ONLY
#endif

static Statement *running = NULL;
static char *facts_dummy = NULL;
static ProcessUtility_hook_type previous_hook = NULL;

Statement *
running_statement(void)
{
	return running;
}

static void
free_statement(Statement *statement)
{
	char	   *strings[] = {
		statement->text, statement->path, statement->dropped.note, statement->dropped.type, statement->dropped.identity
	};

	for (int i = 0; i < (int) lengthof(strings); i++)
		if (strings[i])
			pfree(strings[i]);
}

/* ----------------------------------------------------------------
 *		reading a statement's text
 * ----------------------------------------------------------------
 */

/* The statement at location in a query string, without blanks around it; copied to the current context. */
char *
statement_text(const char *query, int location, int length)
{
	const char *start = query;
	const char *end;

	if (location >= 0)
	{
		start = query + location;
		end = length > 0 ? start + length : start + strlen(start);
	}
	else
		end = start + strlen(start);
	while (start < end && strchr(" \t\n\r\f\v", *start) != NULL)
		start++;
	while (end > start && strchr(" \t\n\r\f\v;", end[-1]) != NULL && end[-1] != '\0')
		end--;
	return pnstrdup(start, end - start);
}

/*
 * The first statement in a string with the given command tag, NULL when there is none.  Of several it is the one that is
 * running: an earlier one would have loaded the library.
 */
static char *
first_with_tag(const char *string, const char *tag, Node **tree)
{
	ListCell   *cell;

	foreach(cell, pg_parse_query(string))
	{
		RawStmt    *raw = lfirst_node(RawStmt, cell);

		if (strcmp(CreateCommandName(raw->stmt), tag) == 0)
		{
			*tree = raw->stmt;
			return statement_text(string, raw->stmt_location, raw->stmt_len);
		}
	}
	return NULL;
}

/* ----------------------------------------------------------------
 *		the statement that was running when the library was loaded
 * ----------------------------------------------------------------
 */

/* The call stack in English, whatever lc_messages is. */
static char *
call_stack(void)
{
	int			level = NewGUCNestLevel();
	char	   *stack;

	(void) set_config_option("lc_messages", "C", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	stack = GetErrorContextStack();
	AtEOXact_GUC(true, level);
	return stack;
}

/* Past the frames of our own trigger functions, which are the innermost. */
static const char *
skip_own_frames(const char *stack)
{
	for (;;)
	{
		const char *line = stack;

		if (strncmp(line, "SQL expression \"", 16) == 0 || strncmp(line, "SQL statement \"SELECT pg_catalog.current_setting('scribe.facts'", 63) == 0 ||
			strncmp(line, "PL/pgSQL assignment \"", 21) == 0 || strncmp(line, "PL/pgSQL function scribe.", 25) == 0)
		{
			const char *next = strchr(line, '\n');

			if (next == NULL)
				return "";
			stack = next + 1;
		}
		else
			return line;
	}
}

/* Statement n (from 1) of the only SQL function of that name; NULL when it cannot be told. */
static char *
sql_function_statement(const char *name, int n, Node **tree)
{
	CatCList   *procs = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	char	   *body = NULL;
	int			matches = 0;

	for (int i = 0; i < procs->n_members; i++)
	{
		HeapTuple	tuple = &procs->members[i]->tuple;
		bool		isnull;
		Datum		source = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);

		if (((Form_pg_proc) GETSTRUCT(tuple))->prolang == SQLlanguageId)
		{
			matches++;
			body = isnull ? NULL : TextDatumGetCString(source);
		}
	}
	ReleaseSysCacheList(procs);
	if (matches == 1 && body != NULL && *body != '\0')
	{
		List	   *statements = pg_parse_query(body);

		if (n >= 1 && n <= list_length(statements))
		{
			RawStmt    *raw = list_nth_node(RawStmt, statements, n - 1);

			*tree = raw->stmt;
			return statement_text(body, raw->stmt_location, raw->stmt_len);
		}
	}
	return NULL;
}

/*
 * The text of a frame SQL statement "...".  The text is not escaped there: it ends before a quote, a newline and the
 * next frame, and when more than one place looks like that, nobody can tell.
 */
static char *
quoted_statement(const char *text)
{
	const char *end = NULL;

	for (const char *p = text; *p; p++)
	{
		if (*p != '"' || (p[1] != '\n' && p[1] != '\0'))
			continue;
		if (p[1] == '\n' && strncmp(p + 2, "PL/", 3) != 0 && strncmp(p + 2, "SQL ", 4) != 0)
			continue;
		if (end == NULL)
			end = p;
		else if (strncmp(p + 1, "\nSQL ", 5) == 0 || p[1] == '\n')
		{
			/* a further frame of another statement is fine if a line of PL code stands between */
			if (strstr(end, "\nPL/") == NULL || strstr(end, "\nPL/") > p)
				return NULL;
			break;
		}
	}
	return end == NULL ? NULL : pnstrdup(text, end - text);
}

/*
 * Find the statement that fired the event trigger without having passed the hook; its text is NULL where nothing is known
 * that holds it.  tag: its command tag.
 */
static Statement *
first_statement(const char *tag, const char **reason)
{
	Statement  *found = palloc0(sizeof(Statement));
	const char *frame = skip_own_frames(call_stack());

	*reason = "the session loaded the library with this statement, and its text could not be told";
	if (*frame == '\0')
	{
		if (ActivePortal != NULL && list_length(ActivePortal->stmts) == 1)
		{
			PlannedStmt *planned = linitial_node(PlannedStmt, ActivePortal->stmts);

			if (planned->commandType == CMD_UTILITY &&
				strcmp(CreateCommandName(planned->utilityStmt), tag) == 0)
			{
				found->text = statement_text(ActivePortal->sourceText, planned->stmt_location, planned->stmt_len);
				found->tree = planned->utilityStmt;
				found->exact = true;
			}
		}
	}
	else if (strncmp(frame, "SQL statement \"", 15) == 0)
	{
		char	   *string = quoted_statement(frame + 15);

		if (string != NULL)
			found->text = first_with_tag(string, tag, &found->tree);
		found->exact = found->text != NULL;
	}
	else
	{
		char		name[NAMEDATALEN * 2];
		int			n;

		if (sscanf(frame, "SQL function \"%127[^\"]\" statement %d", name, &n) == 2)
			found->text = sql_function_statement(name, n, &found->tree);
		if (found->text != NULL && strcmp(CreateCommandName(found->tree), tag) == 0)
			found->exact = true;
		else
			found->text = NULL;
	}
	return found;
}

/* ----------------------------------------------------------------
 *		facts about the parse tree
 * ----------------------------------------------------------------
 */

/* Whether every function of that name is immutable, in whatever schema. */
static bool
always_immutable(const char *name)
{
	CatCList   *procs = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	bool		immutable = procs->n_members > 0;

	for (int i = 0; i < procs->n_members; i++)
		if (((Form_pg_proc) GETSTRUCT(&procs->members[i]->tuple))->provolatile != PROVOLATILE_IMMUTABLE)
			immutable = false;
	ReleaseSysCacheList(procs);
	return immutable;
}

/* Whether an operator of that name may be volatile.  Stable ones depend on settings, which are replayed. */
static bool
maybe_volatile_operator(const char *name)
{
	CatCList   *operators = SearchSysCacheList1(OPERNAMENSP, CStringGetDatum(name));
	bool		is_volatile = false;

	for (int i = 0; i < operators->n_members; i++)
	{
		Oid			function = ((Form_pg_operator) GETSTRUCT(&operators->members[i]->tuple))->oprcode;

		if (OidIsValid(function) && func_volatile(function) == PROVOLATILE_VOLATILE)
			is_volatile = true;
	}
	ReleaseSysCacheList(operators);
	return is_volatile;
}

static bool
is_time_word(const char *string)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday"};

	for (int i = 0; i < (int) lengthof(words); i++)
		for (const char *p = string; *p; p++)
			if (pg_strncasecmp(p, words[i], strlen(words[i])) == 0)
				return true;
	return false;
}

/* raw_expression_tree_walker: true when evaluating the expression elsewhere might give another value. */
static bool
mutable_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SQLValueFunction) || IsA(node, SubLink))
		return true;
	if (IsA(node, FuncCall) && !always_immutable(strVal(llast(((FuncCall *) node)->funcname))))
		return true;
	if (IsA(node, A_Expr) && ((A_Expr *) node)->name != NIL &&
		maybe_volatile_operator(strVal(llast(((A_Expr *) node)->name))))
		return true;
	if (IsA(node, A_Const))
	{
#if PG_VERSION_NUM >= 150000
		A_Const    *constant = (A_Const *) node;

		return !constant->isnull && IsA(&constant->val, String) && is_time_word(strVal(&constant->val));
#else
		Value	   *value = &((A_Const *) node)->val;

		return IsA(value, String) && is_time_word(strVal(value));
#endif
	}
	return raw_expression_tree_walker(node, mutable_walker, context);
}

/* Whether an ALTER TABLE ... TYPE ... USING has to send the rows anew.  Unknown statements: yes. */
static bool
using_is_mutable(Node *tree)
{
	ListCell   *cell;

	if (tree == NULL || !IsA(tree, AlterTableStmt))
		return true;
	foreach(cell, ((AlterTableStmt *) tree)->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, cell);

		if (cmd->subtype == AT_AlterColumnType && cmd->def != NULL &&
			mutable_walker(((ColumnDef *) cmd->def)->raw_default, NULL))
			return true;
	}
	return false;
}

/* The table or index that ALTER ... ATTACH PARTITION has attached, or InvalidOid. */
static Oid
attached_partition(Node *tree)
{
	ListCell   *cell;

	if (tree != NULL && IsA(tree, AlterTableStmt))
		foreach(cell, ((AlterTableStmt *) tree)->cmds)
		{
			AlterTableCmd *cmd = lfirst_node(AlterTableCmd, cell);

			if (cmd->subtype == AT_AttachPartition)
				return RangeVarGetRelid(((PartitionCmd *) cmd->def)->name, NoLock, true);
		}
	return InvalidOid;
}

static bool
is_mutable_bound(PartitionBoundSpec *bound)
{
	return bound != NULL && (mutable_walker((Node *) bound->listdatums, NULL) ||
							 mutable_walker((Node *) bound->lowerdatums, NULL) ||
							 mutable_walker((Node *) bound->upperdatums, NULL));
}

/* Whether the statement gives a partition a bound that might be another elsewhere. */
static bool
bound_is_mutable(Node *tree)
{
	ListCell   *cell;

	if (tree != NULL && IsA(tree, CreateStmt))
		return is_mutable_bound(((CreateStmt *) tree)->partbound);
	if (tree != NULL && IsA(tree, AlterTableStmt))
		foreach(cell, ((AlterTableStmt *) tree)->cmds)
		{
			AlterTableCmd *cmd = lfirst_node(AlterTableCmd, cell);

			if (cmd->subtype == AT_AttachPartition)
				return is_mutable_bound(((PartitionCmd *) cmd->def)->bound);
		}
	return false;
}

/* Whether CREATE TABLE has a temporary table to be like. */
static bool
is_like_temporary(Statement *statement)
{
	ListCell   *cell;
	List	   *parsed;

	if (statement->tree == NULL || !IsA(statement->tree, CreateStmt) || !statement->exact)
		return false;
	/* the tree that ran has the columns in the place of the clause */
	parsed = pg_parse_query(statement->text);
	if (list_length(parsed) != 1 || !IsA(linitial_node(RawStmt, parsed)->stmt, CreateStmt))
		return false;
	foreach(cell, ((CreateStmt *) linitial_node(RawStmt, parsed)->stmt)->tableElts)
		if (IsA(lfirst(cell), TableLikeClause))
		{
			Oid			relation = RangeVarGetRelid(((TableLikeClause *) lfirst(cell))->relation, NoLock, true);

			if (OidIsValid(relation) && isAnyTempNamespace(get_rel_namespace(relation)))
				return true;
		}
	return false;
}

/* The partition that ALTER TABLE ... DETACH PARTITION ... CONCURRENTLY has detached, or InvalidOid. */
static Oid
detached_concurrently(Node *tree)
{
#if PG_VERSION_NUM >= 140000
	ListCell   *cell;

	if (tree != NULL && IsA(tree, AlterTableStmt))
		foreach(cell, ((AlterTableStmt *) tree)->cmds)
		{
			AlterTableCmd *cmd = lfirst_node(AlterTableCmd, cell);

			if (cmd->subtype == AT_DetachPartition && ((PartitionCmd *) cmd->def)->concurrent)
				return RangeVarGetRelid(((PartitionCmd *) cmd->def)->name, NoLock, true);
		}
#endif
	return InvalidOid;
}

/* Whether GRANT or REVOKE names temporary relations only (the event trigger does not tell). */
static bool
grants_on_temporary(Node *tree)
{
	ListCell   *cell;
	GrantStmt  *grant = (GrantStmt *) tree;

	if (tree == NULL || !IsA(tree, GrantStmt) || grant->targtype != ACL_TARGET_OBJECT ||
		(grant->objtype != OBJECT_TABLE && grant->objtype != OBJECT_SEQUENCE) || grant->objects == NIL)
		return false;
	foreach(cell, grant->objects)
	{
		Oid			relation = RangeVarGetRelid(lfirst_node(RangeVar, cell), NoLock, true);

		if (!OidIsValid(relation) || !isAnyTempNamespace(get_rel_namespace(relation)))
			return false;
	}
	return true;
}

static void
append_fact(StringInfo out, const char *name, bool value)
{
	appendStringInfo(out, ",\"%s\":%s", name, value ? "true" : "false");
}

/* The show hook of scribe.facts: what is known about the statement whose event trigger is running, as JSON. */
static const char *
show_facts(void)
{
	StringInfoData out;
	Statement  *statement = running;
	const char *reason = "the text had more than one statement";
	const char *tag;
	int			level;
	Oid			user;
	Oid			caller;
	int			security;

	if (!IsTransactionState())
		return "";
	tag = GetConfigOption("scribe.tag", true, false);
	if (tag == NULL || *tag == '\0')
		return "";
	if (statement == NULL)
		statement = first_statement(tag, &reason);

	/* names in the tree mean what they meant to the user: "$user" is one of the path */
	caller = get_role_oid(GetConfigOption("scribe.role", true, false), true);
	GetUserIdAndSecContext(&user, &security);
	if (OidIsValid(caller))
		SetUserIdAndSecContext(caller, security | SECURITY_LOCAL_USERID_CHANGE);
	level = NewGUCNestLevel();
	(void) set_config_option("search_path", GetConfigOption("scribe.path", true, false), PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	initStringInfo(&out);
	appendStringInfoString(&out, "{\"statement\":");
	if (statement->text != NULL)
		escape_json(&out, statement->text);
	else
		appendStringInfoString(&out, "null");
	appendStringInfo(&out, ",\"exact\":%s,\"reason\":", statement->exact ? "true" : "false");
	escape_json(&out, statement->exact ? "" : reason);
	append_fact(&out, "using_mutable", using_is_mutable(statement->tree));
	append_fact(&out, "bound_mutable", bound_is_mutable(statement->tree));
	append_fact(&out, "temporary", grants_on_temporary(statement->tree));
	append_fact(&out, "like_temporary", is_like_temporary(statement));
	append_fact(&out, "in_extension", creating_extension);
	appendStringInfo(&out, ",\"detached\":%u,\"attached\":%u}",
					 detached_concurrently(statement->tree), attached_partition(statement->tree));
	AtEOXact_GUC(true, level);
	SetUserIdAndSecContext(user, security);
	return out.data;
}

/* ----------------------------------------------------------------
 *		commands that fire no event trigger
 * ----------------------------------------------------------------
 */

static bool
is_ours(const char *name)
{
	return strncmp(name, "scribe_", 7) == 0;
}

/* CLUSTER t USING i leaves a mark in the schema: the statement that sets the same mark, else NULL.  role: who may. */
static char *
cluster_mark(Node *tree, Oid *role)
{
	ClusterStmt *cluster = (ClusterStmt *) tree;
	Oid			relation;
	HeapTuple	tuple;
	Form_pg_class form;
	char	   *mark = NULL;

	if (!IsA(tree, ClusterStmt) || cluster->relation == NULL || cluster->indexname == NULL)
		return NULL;
	relation = RangeVarGetRelid(cluster->relation, NoLock, true);
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
static CreateTableAsStmt *
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

/* Run a function of the schema scribe as the owner of that schema. */
static void
call_recorder(const char *query, int nargs, Oid *types, Datum *values)
{
	Oid			schema = get_namespace_oid("scribe", true);
	HeapTuple	tuple;
	Oid			owner;
	Oid			saved_user;
	int			saved_context;
	int			level;

	if (!OidIsValid(schema))
		return;
	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);

	GetUserIdAndSecContext(&saved_user, &saved_context);
	SetUserIdAndSecContext(owner, saved_context | SECURITY_LOCAL_USERID_CHANGE);
	level = NewGUCNestLevel();
	(void) set_config_option("scribe.strings", standard_conforming_strings ? "on" : "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("standard_conforming_strings", "on", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());	/* REINDEX CONCURRENTLY leaves none */
	SPI_execute_with_args(query, nargs, types, values, NULL, false, 0);
	PopActiveSnapshot();
	SPI_finish();
	AtEOXact_GUC(true, level);
	SetUserIdAndSecContext(saved_user, saved_context);
}

/* Record a command after it succeeded; a failure to do so is a warning, never the user's error. */
static void
record(const char *tag, const char *query, int nargs, Oid *types, Datum *values)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Oid			user;
	int			security;

	GetUserIdAndSecContext(&user, &security);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		call_recorder(query, nargs, types, values);
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
		ereport(WARNING, (errmsg("pg_scribe could not record %s: %s", tag, error->message),
						  errhint("Take a new base with scribe-dump.")));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}

static void
record_plain(const char *tag, const char *text, Oid role)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[] = {
		CStringGetTextDatum(tag), CStringGetTextDatum(text),
		CStringGetTextDatum(GetUserNameFromId(role, false)), CStringGetTextDatum(namespace_search_path)
	};

	record(tag, "SELECT scribe.record_plain($1, $2, $3, $4)", 4, types, values);
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
		record("EXPLAIN", "SELECT scribe.record_explained($1, $2, $3)", 3, types, values);
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
		record("REINDEX", "SELECT scribe.record_reindexed($1, $2)", 2, types, values);
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

	record(CreateCommandName(tree), "SELECT scribe.record_unseen($1, $2, $3, $4)", 4, types, values);
}

/* Record what the event triggers did not see of a statement that succeeded. */
static void
record_rest(Statement *statement, Oid role)
{
	Node	   *tree = statement->tree;
	CreateTableAsStmt *explained = explained_creation(tree);
	Oid			owner;
	char	   *mark = cluster_mark(tree, &owner);

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

/* ----------------------------------------------------------------
 *		the hook
 * ----------------------------------------------------------------
 */

/* Statements that neither fire event triggers nor are recorded, and are frequent. */
static bool
is_uninteresting(Node *tree)
{
	switch (nodeTag(tree))
	{
		case T_TransactionStmt:
		case T_VariableSetStmt:
		case T_VariableShowStmt:
		case T_CopyStmt:
		case T_ExecuteStmt:
		case T_PrepareStmt:
		case T_DeallocateStmt:
		case T_PlannedStmt:
		case T_DeclareCursorStmt:
		case T_FetchStmt:
		case T_ClosePortalStmt:
		case T_LockStmt:
		case T_CallStmt:
		case T_DoStmt:
		case T_LoadStmt:
		case T_NotifyStmt:
		case T_ListenStmt:
		case T_UnlistenStmt:
		case T_ConstraintsSetStmt:
		case T_DiscardStmt:
		case T_CheckPointStmt:
		case T_VacuumStmt:
		case T_TruncateStmt:
			return true;
		default:
			return false;
	}
}

static void
call_next(PlannedStmt *planned, const char *query, HOOK_READ_ONLY_PARAM ProcessUtilityContext context,
		  ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	if (previous_hook)
		previous_hook(planned, query, HOOK_READ_ONLY context, params, environment, dest, completion);
	else
		standard_ProcessUtility(planned, query, HOOK_READ_ONLY context, params, environment, dest, completion);
}

static void
scribe_ProcessUtility(PlannedStmt *planned, const char *query, HOOK_READ_ONLY_PARAM ProcessUtilityContext context,
					  ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest,
					  QueryCompletion *completion)
{
	Statement	statement = {0};
	MemoryContext old;
	Oid			role = GetUserId();

	if (context == PROCESS_UTILITY_SUBCOMMAND || is_uninteresting(planned->utilityStmt))
	{
		call_next(planned, query, HOOK_READ_ONLY context, params, environment, dest, completion);
		return;
	}

	old = MemoryContextSwitchTo(TopMemoryContext);
	statement.text = statement_text(query, planned->stmt_location, planned->stmt_len);
	MemoryContextSwitchTo(old);

	/* without a location the string is the statement, unless it holds several */
	statement.exact = planned->stmt_location >= 0 || strchr(statement.text, ';') == NULL ||
		list_length(pg_parse_query(statement.text)) == 1;
	statement.tree = planned->utilityStmt;
	if (IsA(statement.tree, ExplainStmt) && explained_creation(statement.tree) != NULL)
		statement.explains_existing =
			OidIsValid(RangeVarGetRelid(explained_creation(statement.tree)->into->rel, NoLock, true));
	statement.outer = running;
	running = &statement;
	PG_TRY();
	{
		call_next(planned, query, HOOK_READ_ONLY context, params, environment, dest, completion);
		if (IsTransactionState() && OidIsValid(MyDatabaseId))
			record_rest(&statement, role);
	}
	PG_FINALLY();
	{
		running = statement.outer;
		free_statement(&statement);
	}
	PG_END_TRY();
}

/* ----------------------------------------------------------------
 *		initialisation
 * ----------------------------------------------------------------
 */

/* Called by _PG_init(), once in each process that loads the library. */
void
scribe_capture_init(void)
{
	DefineCustomStringVariable("scribe.facts",
							   "What pg_scribe knows of the statement whose event trigger is running.",
							   NULL, &facts_dummy, "", PGC_INTERNAL,
							   GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE | GUC_NO_RESET_ALL,
							   NULL, NULL, show_facts);
	previous_hook = ProcessUtility_hook;
	ProcessUtility_hook = scribe_ProcessUtility;
	scribe_record_init();
}
