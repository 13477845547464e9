/*
 * scribe_pick.c
 *	  The one statement that ran, out of a text that is known to hold it.
 *
 * Where capture could not tell the statement, it recorded the string it stood
 * in.  The server's own grammar takes that apart; what has another command tag
 * or another target did not fire the event trigger.  When more than one
 * statement is left, nobody can tell, and none may be run.
 */
#include "scribe_decoder.h"

#include "nodes/parsenodes.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "statement_text.h"

/*
 * The text's statements; NIL where it cannot be read.
 */
static List *
parse(const char *text)
{
	int			level = NewGUCNestLevel();
	MemoryContext context = CurrentMemoryContext;
	List	   *volatile statements = NIL;

	(void) set_config_option("standard_conforming_strings", "on",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	PG_TRY();
	{
		statements = pg_parse_query(text);
	}
	PG_CATCH();
	{
		/* the parser holds nothing but memory */
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	AtEOXact_GUC(true, level);
	return statements;
}

/*
 * The name of what a statement makes or changes, without its schema, or NULL.
 */
static const char *
target_of(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_CreateStmt:
			return ((CreateStmt *) stmt)->relation->relname;
		case T_CreateForeignTableStmt:
			return ((CreateForeignTableStmt *) stmt)->base.relation->relname;
		case T_ViewStmt:
			return ((ViewStmt *) stmt)->view->relname;
		case T_CreateTableAsStmt:
			return ((CreateTableAsStmt *) stmt)->into->rel->relname;
		case T_RefreshMatViewStmt:
			return ((RefreshMatViewStmt *) stmt)->relation->relname;
		case T_IndexStmt:
			return ((IndexStmt *) stmt)->idxname;
		case T_AlterTableStmt:
			return ((AlterTableStmt *) stmt)->relation->relname;
		case T_CreateSeqStmt:
			return ((CreateSeqStmt *) stmt)->sequence->relname;
		case T_AlterSeqStmt:
			return ((AlterSeqStmt *) stmt)->sequence->relname;
		case T_CompositeTypeStmt:
			return ((CompositeTypeStmt *) stmt)->typevar->relname;
		case T_CreateEnumStmt:
			return strVal(llast(((CreateEnumStmt *) stmt)->typeName));
		case T_CreateRangeStmt:
			return strVal(llast(((CreateRangeStmt *) stmt)->typeName));
		case T_CreateDomainStmt:
			return strVal(llast(((CreateDomainStmt *) stmt)->domainname));
		case T_CreateFunctionStmt:
			return strVal(llast(((CreateFunctionStmt *) stmt)->funcname));
		case T_CreateTrigStmt:
			return ((CreateTrigStmt *) stmt)->trigname;
		case T_RuleStmt:
			return ((RuleStmt *) stmt)->rulename;
		case T_CreatePolicyStmt:
			return ((CreatePolicyStmt *) stmt)->policy_name;
		case T_CreateSchemaStmt:
			return ((CreateSchemaStmt *) stmt)->schemaname;
		default:
			return NULL;
	}
}

/*
 * Does a name stand in an object's identity as a whole?
 */
static bool
stands_in(const char *name, const char *identity)
{
	const char *quoted = quote_identifier(name);
	size_t		len = strlen(quoted);

	for (const char *p = identity; (p = strstr(p, quoted)) != NULL; p++)
		if ((p == identity || p[-1] == '.' || p[-1] == ' ') &&
			(p[len] == '\0' || p[len] == '(' || p[len] == ' '))
			return true;
	return false;
}

static bool
may_be_it(Node *stmt, const char *identity, List *relids)
{
	const char *name = target_of(stmt);
	ListCell   *cell;

	if (name == NULL || (identity == NULL && relids == NIL))
		return true;
	if (identity != NULL && stands_in(name, identity))
		return true;
	foreach(cell, relids)
	{
		char	   *relname = get_rel_name(lfirst_oid(cell));

		if (relname == NULL || strcmp(relname, name) == 0)
			return true;
	}
	return false;
}

/*
 * The statement with that tag and target, or NULL; *fitting says how many
 * there were.
 */
char *
pick_statement(const char *text, const char *tag, const char *identity, List *relids, int *fitting)
{
	List	   *statements = parse(text);
	List	   *left = NIL;
	ListCell   *cell;

	foreach(cell, statements)
	{
		RawStmt    *raw = lfirst_node(RawStmt, cell);

		if (strcmp(CreateCommandName(raw->stmt), tag) == 0)
			left = lappend(left, raw);
	}
	if (list_length(left) > 1)
	{
		List	   *named = NIL;

		foreach(cell, left)
			if (may_be_it(lfirst_node(RawStmt, cell)->stmt, identity, relids))
				named = lappend(named, lfirst(cell));
		left = named;
	}
	*fitting = list_length(left);
	if (*fitting != 1)
		return NULL;
	return statement_text(text, linitial_node(RawStmt, left)->stmt_location, linitial_node(RawStmt, left)->stmt_len);
}
