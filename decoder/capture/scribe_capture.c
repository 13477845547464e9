/*-------------------------------------------------------------------------
 *
 * scribe_capture.c
 *	  What the event triggers cannot see: the one statement that is running.
 *
 * A ProcessUtility hook keeps a stack of the utility statements in progress.
 * Its top is what the event triggers of sql/capture.sql ask about
 * (scribe_facts.c) and what their equals in C record (scribe_triggers.c).
 * Commands that fire no event trigger are recorded from here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "tcop/utility.h"
#include "utils/memutils.h"

#include "compat.h"
#include "scribe_capture.h"
#include "statement_text.h"

PG_MODULE_MAGIC;

#if PG_VERSION_NUM >= 140000
#define HOOK_READ_ONLY_PARAM	bool readOnlyTree,
#define HOOK_READ_ONLY			readOnlyTree,
#else
#define HOOK_READ_ONLY_PARAM
#define HOOK_READ_ONLY
#endif

static Statement *running = NULL;
static ProcessUtility_hook_type previous_hook = NULL;

Statement *
running_statement(void)
{
	return running;
}

/* What the statement dropped is recorded, or left to the functions in PL/pgSQL. */
void
forget_dropped(Statement *statement)
{
	char	   *strings[] = {statement->dropped.note, statement->dropped.type, statement->dropped.identity,
	statement->dropped.schema};

	for (int i = 0; i < (int) lengthof(strings); i++)
		if (strings[i])
			pfree(strings[i]);
	statement->dropped = (Dropped) {0};
}

void
free_statement(Statement *statement)
{
	forget_dropped(statement);
	if (statement->text)		/* the first of a session may not be known */
		pfree(statement->text);
	if (statement->path)
		pfree(statement->path);
	list_free_deep(statement->touched);
	if (statement->settings)
		pfree(statement->settings);
}

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

	/* the server says where the statement is; code in C that does not may pass any string */
	statement.exact = planned->stmt_location >= 0 || is_text_of(statement.text, planned->utilityStmt);
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

void
_PG_init(void)
{
	facts_init();
	statement_init();
	touched_init();
	previous_hook = ProcessUtility_hook;
	ProcessUtility_hook = scribe_ProcessUtility;
	triggers_init();
	users_init();
}
