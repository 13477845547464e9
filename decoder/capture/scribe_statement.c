/*-------------------------------------------------------------------------
 *
 * scribe_statement.c
 *	  The text of the statement that is running.
 *
 * Usually the hook of scribe_capture.c has it.  The library is loaded by the
 * event triggers themselves at a session's first DDL, though.  That statement
 * did not pass the hook; it is found on the call stack, and where that is not
 * provably exact, "exact" is false and "reason" says why.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/guc.h"
#include "utils/portal.h"
#include "utils/syscache.h"

#include "scribe_capture.h"
#include "statement_text.h"

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
Statement *
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
