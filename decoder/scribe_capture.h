/*-------------------------------------------------------------------------
 *
 * scribe_capture.h
 *	  The statement that is running, for the event triggers of sql/capture.sql.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SCRIBE_CAPTURE_H
#define SCRIBE_CAPTURE_H

#include "nodes/nodes.h"

/* What a command dropped, as scribe.note_drop() has it; strings live in TopMemoryContext. */
typedef struct Dropped
{
	char	   *note;			/* as JSON, for the functions in SQL */
	int			named;			/* objects the statement named that are not temporary */
	int			temporary;
	int			keys;			/* indexes, constraints, columns */
	int			indexes;		/* indexes, constraints */
	bool		ours;			/* one of them is in our schema */
	char	   *type;			/* of the first */
	char	   *identity;
} Dropped;

/* A utility statement in progress; strings live in TopMemoryContext, as CALL may commit. */
typedef struct Statement
{
	struct Statement *outer;
	char	   *text;
	bool		exact;
	Node	   *tree;			/* valid while the statement runs */
	bool		explains_existing;	/* EXPLAIN of CREATE TABLE IF NOT EXISTS ... AS, and it existed */
	/* what the event triggers note */
	Oid			caller;			/* the user in effect, and the search_path */
	char	   *path;
	bool		standard_strings;
	bool		rewritten;		/* it rewrites a table */
	bool		drop_left;		/* what it dropped was noted in SQL */
	Dropped		dropped;
} Statement;

/* The innermost utility statement in progress, NULL where none passed the hook. */
extern Statement *running_statement(void);

/* Install the hook that puts the event trigger functions of scribe_record.c in their place. */
extern void scribe_record_init(void);

/* Install the ProcessUtility hook and the setting scribe.facts; from _PG_init(). */
extern void scribe_capture_init(void);

/* The statement at location in a query string, without blanks around it. */
extern char *statement_text(const char *query, int location, int length);

#endif
