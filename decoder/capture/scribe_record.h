/*-------------------------------------------------------------------------
 *
 * scribe_record.h
 *	  What the parts that record a command in C know of each other.
 *
 *	  scribe_triggers.c	the event trigger functions
 *	  scribe_record.c	recording a command that has ended
 *	  scribe_plain.c	which statements are recorded by their text alone
 *	  scribe_command.c	what a command did
 *	  scribe_history.c	the tables of the capture
 *
 *-------------------------------------------------------------------------
 */
#ifndef SCRIBE_RECORD_H
#define SCRIBE_RECORD_H

#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

#include "scribe_capture.h"

/* One object that the command made or changed. */
typedef struct Command
{
	Oid			classid;
	Oid			objid;
	char	   *type;
	char	   *schema;
	char	   *identity;
} Command;

/* What is written. */
typedef struct Row
{
	const char *kind;
	const char *tag;
	const char *object_type;
	const char *identity;
	const char *statement;
	const char *reason;
	const char *role;
	const char *path;
	ArrayType  *settings;		/* NULL for none */
	List	   *relids;
} Row;

/* scribe.config */
typedef struct Config
{
	bool		active;
	bool		refuse;			/* replica_identity = refuse */
} Config;

/* What a table needs besides the row of the command that made or changed it. */
typedef enum Need
{
	NEED_NOTHING,
	NEED_IDENTITY,				/* REPLICA IDENTITY FULL, and nobody else can see the table yet */
	NEED_NO_IDENTITY,			/* the table that nobody else can use now has got a key: DEFAULT again, if FULL is ours */
	NEED_SQL
} Need;

/* scribe_triggers.c */
extern Oid	capture_schema(void);

/* scribe_record.c */
extern bool try_to_record(const char *tag, Statement *statement);

/* scribe_plain.c */
extern bool is_plain(const char *tag, Statement *statement);

/* scribe_command.c */
extern bool read_commands(List **commands);
extern bool read_dropped(Statement *statement);
extern bool has_temporary_schema(void);
extern Need need_of_table(Oid relation, bool made, Config *config);
extern bool is_valid_index(Oid index);

/* scribe_history.c */
extern Relation open_table(const char *name, LOCKMODE mode);
extern bool is_empty(const char *name, bool *empty);
extern bool read_config(Config *config);
extern bool insert_row(Relation rel, Datum *values, bool *isnull);
extern bool write_row(Relation history, Row *row);
extern char *client_address(void);	/* NULL for a local socket */

#endif							/* SCRIBE_RECORD_H */
