/*-------------------------------------------------------------------------
 *
 * scribe_capture.h
 *	  The statement that is running, for the event triggers of sql/capture.sql.
 *
 *	  scribe_capture.c	the hook that sees statements begin and end
 *	  scribe_statement.c	the text of one
 *	  scribe_touched.c	the columns it added or changed
 *	  scribe_facts.c	what the event triggers ask about it
 *	  scribe_settings.c	the session's settings
 *	  scribe_silent.c	commands that fire no event trigger
 *	  scribe_record.h	has the parts that record a command in C
 *
 *-------------------------------------------------------------------------
 */
#ifndef SCRIBE_CAPTURE_H
#define SCRIBE_CAPTURE_H

#include "access/attnum.h"
#include "nodes/parsenodes.h"
#include "utils/array.h"

/* What a command dropped, as scribe.note_drop() has it; strings live in TopMemoryContext. */
typedef struct Dropped
{
	char	   *note;			/* as JSON, for the functions in SQL */
	int			named;			/* objects the statement named that are not temporary */
	int			temporary;
	int			keys;			/* indexes, constraints, columns */
	int			indexes;		/* indexes, constraints */
	char	   *type;			/* of the first */
	char	   *identity;
	char	   *schema;			/* of all that is named; NULL if they are of several, or of none */
} Dropped;

/* A column that a statement has added or changed. */
typedef struct TouchedColumn
{
	Oid			relation;
	AttrNumber	number;
	bool		added;
} TouchedColumn;

/* A utility statement in progress; strings live in TopMemoryContext, as CALL may commit. */
typedef struct Statement
{
	struct Statement *outer;
	char	   *text;			/* NULL if it is not known */
	bool		exact;
	Node	   *tree;			/* valid while the statement runs */
	bool		explains_existing;	/* EXPLAIN of CREATE TABLE IF NOT EXISTS ... AS, and it existed */
	/* what the event triggers note */
	Oid			caller;			/* the user in effect, and the search_path */
	char	   *path;
	ArrayType  *settings;		/* names and values, as it began */
	bool		rewritten;		/* it rewrites a table */
	bool		drop_left;		/* what it dropped was noted in SQL */
	List	   *touched;		/* of TouchedColumn, in TopMemoryContext */
	Dropped		dropped;
} Statement;

/* scribe_capture.c */
extern void forget_dropped(Statement *statement);
extern Statement *running_statement(void);	/* the innermost in progress, NULL where none passed the hook */
extern void free_statement(Statement *statement);	/* its strings */

/* scribe_statement.c */
extern bool is_too_long(Statement *statement);
extern bool is_text_of(const char *text, Node *tree);
extern Statement *note_first(Node *tree);
extern Statement *first_statement(Node *tree);
extern void forget_first(void);
extern void statement_init(void);

/* scribe_touched.c */
extern void touched_init(void);
extern List *touched_columns(void);
extern bool column_was_added(Oid relation, AttrNumber number);

/* scribe_facts.c */
extern void facts_init(void);
extern PartitionCmd *detaching(Node *tree);

/* scribe_settings.c */
extern Datum session_settings(void);
extern char *settings_text(Datum settings);

/* scribe_silent.c */
extern CreateTableAsStmt *explained_creation(Node *tree);
extern void record_rest(Statement *statement, Oid role);

/* scribe_triggers.c */
extern void triggers_init(void);
extern Oid	capture_function(const char *name, int nargs, const Oid *types);

/* scribe_users.c */
extern void users_init(void);

#endif							/* SCRIBE_CAPTURE_H */
