/*-------------------------------------------------------------------------
 *
 * scribe_touched.c
 *	  Which columns the running statement has added or changed.
 *
 * The catalog does not tell afterwards: an added column looks like one that
 * was changed later, and a child's own column like one that it inherited.  So
 * the server's access hook takes them down as they are made, in each table of
 * a family.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "utils/memutils.h"

#include "scribe_capture.h"

static object_access_hook_type previous_hook = NULL;

/* The statement that is running, also the one that loaded the library; NULL if it is not known. */
static Statement *
statement_running(void)
{
	return running_statement() ? running_statement() : first_statement(NULL);
}

List *
touched_columns(void)
{
	return statement_running() ? statement_running()->touched : NIL;
}

/* Whether the running statement has added the column. */
bool
column_was_added(Oid relation, AttrNumber number)
{
	ListCell   *cell;

	foreach(cell, touched_columns())
	{
		TouchedColumn *column = lfirst(cell);

		if (column->added && column->relation == relation && column->number == number)
			return true;
	}
	return false;
}

static void
note_access(ObjectAccessType access, Oid class, Oid object, int part, void *arg)
{
	MemoryContext old;
	TouchedColumn *column;
	Statement  *statement = statement_running();

	if (previous_hook)
		previous_hook(access, class, object, part, arg);
	if (statement == NULL || class != RelationRelationId || part <= 0 || (access != OAT_POST_CREATE && access != OAT_POST_ALTER))
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	column = palloc(sizeof(TouchedColumn));
	column->relation = object;
	column->number = part;
	column->added = access == OAT_POST_CREATE;
	statement->touched = lappend(statement->touched, column);
	MemoryContextSwitchTo(old);
}

/* Called once in each process that loads the library. */
void
touched_init(void)
{
	previous_hook = object_access_hook;
	object_access_hook = note_access;
}
