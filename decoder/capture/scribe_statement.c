/*-------------------------------------------------------------------------
 *
 * scribe_statement.c
 *	  The text of the statement that is running.
 *
 * Usually the hook of scribe_capture.c has it.  The library is loaded by the
 * event triggers themselves at a session's first DDL, though, and that
 * statement did not pass the hook.  Its text is looked for among the strings
 * that the server holds, and is believed only if the parser makes of it the
 * very tree that runs: users choose names and texts, but not that tree.
 *
 * Contents
 *		proving a text
 *		strings that may hold the statement
 *		the statement that was running when the library was loaded
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "parser/parser.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/syscache.h"

#include "compat.h"
#include "scribe_capture.h"
#include "statement_text.h"

static Statement *first = NULL;
static SubTransactionId first_transaction = InvalidSubTransactionId;

/* ----------------------------------------------------------------
 *		proving a text
 * ----------------------------------------------------------------
 */

/*
 * Whether a statement that was parsed is the one that runs, where the parser's tree is not what runs: a query that makes
 * a table is analysed first.  Its rows and the table come from elsewhere, so that nothing is made from its text.
 */
static bool
makes_same_table(Node *parsed, Node *running)
{
	CreateTableAsStmt runs;
	CreateTableAsStmt reads;

	if (!IsA(running, CreateTableAsStmt) || !makes_table((CreateTableAsStmt *) running))
		return false;
	runs = *(CreateTableAsStmt *) running;
	if (runs.is_select_into)
	{
		SelectStmt *leftmost = (SelectStmt *) parsed;

		if (!IsA(parsed, SelectStmt))
			return false;
		while (leftmost->larg != NULL)
			leftmost = leftmost->larg;
		return equal(leftmost->intoClause, runs.into);
	}
	if (!IsA(parsed, CreateTableAsStmt))
		return false;
	reads = *(CreateTableAsStmt *) parsed;
	reads.query = runs.query = NULL;
	return equal(&reads, &runs);
}

/* The statement in a string whose tree is the one that runs; NULL if there is none. */
static char *
proved_text(const char *string, Node *running)
{
	ListCell   *cell;

	foreach(cell, parse_string(string))
	{
		RawStmt    *raw = lfirst_node(RawStmt, cell);

		if (equal(raw->stmt, running) || makes_same_table(raw->stmt, running))
			return statement_text(string, raw->stmt_location, raw->stmt_len);
	}
	return NULL;
}

/*
 * Whether what has to be recorded is more than the stream can carry: escaped, a text may have four times its length, and no
 * buffer has more than a gigabyte.  See scribe.longest_text().
 */
bool
is_too_long(Statement *statement)
{
	const Size	most = 200000000;
	Size		length = statement->text ? strlen(statement->text) : 0;

	length += statement->path ? strlen(statement->path) : 0;
	length += statement->settings ? VARSIZE(statement->settings) : 0;
	return length > most;
}

/* Whether a text is the statement that a tree stands for, and no more. */
bool
is_text_of(const char *text, Node *tree)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool same = false;

	/* the parser holds nothing but memory */
	PG_TRY();
	{
		List	   *parsed = parse_string(text);

		same = list_length(parsed) == 1 && equal(linitial_node(RawStmt, parsed)->stmt, tree);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return same;
}

/* ----------------------------------------------------------------
 *		strings that may hold the statement
 * ----------------------------------------------------------------
 */

/* What one frame of the call stack says.  Of one alone it is plain where a text in it ends. */
static char *
frame_text(ErrorContextCallback *frame)
{
	ErrorContextCallback alone = {NULL, frame->callback, frame->arg};
	ErrorContextCallback *stack = error_context_stack;
	char	   *text;

	error_context_stack = &alone;	/* set right again by PG_TRY if this fails */
	text = GetErrorContextStack();
	error_context_stack = stack;
	return text ? text : pstrdup("");
}

/* In the bodies of SQL functions of the name that a frame tells. */
static char *
text_in_functions(const char *name, Node *running)
{
	CatCList   *procs = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	List	   *bodies = NIL;
	ListCell   *cell;
	char	   *found = NULL;

	for (int i = 0; i < procs->n_members; i++)
	{
		HeapTuple	tuple = &procs->members[i]->tuple;
		bool		isnull;
		Datum		source = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);

		if (((Form_pg_proc) GETSTRUCT(tuple))->prolang == SQLlanguageId && !isnull)
			bodies = lappend(bodies, TextDatumGetCString(source));
	}
	ReleaseSysCacheList(procs);
	foreach(cell, bodies)
		if (found == NULL)
			found = proved_text(lfirst(cell), running);
	return found;
}

/* What stands in quotes in a frame that begins so; NULL if it does not. */
static char *
quoted_in_frame(const char *text, const char *beginning)
{
	const char *end = strrchr(text, '"');
	size_t		length = strlen(beginning);

	if (strncmp(text, beginning, length) != 0 || end < text + length)
		return NULL;
	return pnstrdup(text + length, end - text - length);
}

static char *
text_in_frame(ErrorContextCallback *frame, Node *running)
{
	char	   *text = frame_text(frame);
	char	   *statement = quoted_in_frame(text, "SQL statement \"");
	char	   *function = quoted_in_frame(text, "SQL function \"");

	if (statement != NULL)
		return proved_text(statement, running);
	if (function != NULL)
		return text_in_functions(function, running);
	return NULL;
}

/* In what the client sent. */
static char *
text_in_portal(Node *running)
{
	if (ActivePortal == NULL || ActivePortal->sourceText == NULL)
		return NULL;
	if (list_length(ActivePortal->stmts) == 1)
	{
		PlannedStmt *planned = linitial_node(PlannedStmt, ActivePortal->stmts);
		char	   *text = proved_text(statement_text(ActivePortal->sourceText, planned->stmt_location,
													   planned->stmt_len), running);

		if (text != NULL)
			return text;
	}
	return proved_text(ActivePortal->sourceText, running);
}

static char *
find_text(Node *running)
{
	char	   *found = NULL;

	for (ErrorContextCallback *frame = error_context_stack; found == NULL && frame != NULL; frame = frame->previous)
		found = text_in_frame(frame, running);
	if (found == NULL)
		found = text_in_portal(running);
	if (found == NULL && debug_query_string != NULL)
		found = proved_text(debug_query_string, running);
	return found;
}

/* The same in English, whatever lc_messages is; NULL, too, if a string cannot be parsed with today's settings. */
static char *
try_to_find_text(Node *running)
{
	MemoryContext context = CurrentMemoryContext;
	int			level = NewGUCNestLevel();
	char	   *volatile found = NULL;

	PG_TRY();
	{
		(void) set_config_option("lc_messages", "C", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		found = find_text(running);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	AtEOXact_GUC(true, level);
	return found;
}

/* ----------------------------------------------------------------
 *		the statement that was running when the library was loaded
 * ----------------------------------------------------------------
 */

/* It was noted when it began.  tree: what the event trigger is fired for, NULL if that is not known. */
Statement *
first_statement(Node *tree)
{
	return first != NULL && (tree == NULL || first->tree == tree) ? first : NULL;
}

void
forget_first(void)
{
	if (first == NULL)
		return;
	free_statement(first);
	pfree(first);
	first = NULL;
}

/* Note the statement that fires ddl_command_start and did not pass the hook. */
Statement *
note_first(Node *tree)
{
	char	   *text = try_to_find_text(tree);

	forget_first();
	first = MemoryContextAllocZero(TopMemoryContext, sizeof(Statement));
	first->tree = tree;
	first->text = text ? MemoryContextStrdup(TopMemoryContext, text) : NULL;
	first->exact = text != NULL;
	first_transaction = GetCurrentSubTransactionId();
	return first;
}

/* A statement that failed leaves a tree that is none any more. */
static void
subtransaction_ended(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && mine == first_transaction)
		forget_first();
}

static void
transaction_ended(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		forget_first();
}

void
statement_init(void)
{
	RegisterSubXactCallback(subtransaction_ended, NULL);
	RegisterXactCallback(transaction_ended, NULL);
}
