/*
 * scribe_decoder.h
 *	  What the parts of the decoder know of each other.
 *
 *	  scribe_decoder.c	callbacks, options, settings
 *	  scribe_output.c	frames and the message buffer
 *	  scribe_literal.c	values and names as SQL text
 *	  scribe_relation.c	what is remembered of each relation
 *	  scribe_identity.c	how a row of a relation is found again
 *	  scribe_rows.c		row changes as single statements
 *	  scribe_runs.c		runs of row changes as set-based statements
 *	  scribe_published.c	publications that keep a table from being emptied
 *	  scribe_routes.c	partitions whose rows lie in others in a copy
 *	  scribe_lanes.c	runs of several tables side by side
 *	  scribe_images.c	runs of changes under REPLICA IDENTITY FULL
 *	  scribe_pieces.c	rows too large for one statement
 *	  scribe_ddl.c		rows of scribe.ddl_history as DDL blocks
 *	  scribe_meanwhile.c	statements that need what others took away meanwhile
 *	  scribe_pick.c		the statement that ran, out of a string of several
 *	  scribe_text.c		is a statement's text safe for psql?
 *	  scribe_create.c	CREATE TABLE and the like from the catalog
 *	  scribe_unseen.c	what C code makes and drops, with no event trigger
 *	  scribe_unrecorded.c	schema changes that no row tells of
 *	  scribe_shared.c	roles, tablespaces and the database: what changed
 *	  scribe_roles.c	and what replay is to do about it
 */
#ifndef SCRIBE_DECODER_H
#define SCRIBE_DECODER_H

#include "compat.h"

#include "access/htup.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"

/* how the text of a value is made */
typedef enum ValueClass
{
	VALUE_OTHER,				/* the type's output function */
	VALUE_TEXT,					/* a varlena whose bytes are its text */
	VALUE_BOOL,
	VALUE_INT2,
	VALUE_INT4,
	VALUE_INT8,
	VALUE_OID
} ValueClass;

typedef struct ScribeColumn
{
	const char *name;			/* quoted */
	Oid			type;
	int16		len;
	bool		byval;
	bool		live;			/* written: neither dropped nor generated */
	bool		stored;			/* part of the row image: not dropped, not virtual */
	bool		always;			/* GENERATED ALWAYS AS IDENTITY */
	bool		key;			/* part of the replica identity's key */
	bool		lead;			/* leads an index the planner may use */
	ValueClass	class;
	FmgrInfo	output;
	const char *cast;			/* "::schema.type", of a domain that of its base type */
	bool		domain;
	bool		clean;			/* equal text has equal bytes */
	const char *young;			/* "::schema.domain" of one that may hold values its constraints bar, or NULL */
	const char *barred_null;	/* how a NULL gets past a domain that is NOT NULL, or NULL */
	const char *lost;			/* why NULL is written in the place of values, or NULL */
	Oid			names;			/* regclass or its like, aclitem: what the value or its elements are, or InvalidOid */
	bool		names_array;
	/* set where the column is a key or leads an index */
	const char *equals;			/* " = " or " OPERATOR(schema.=) " */
	const char *base;			/* cast without which equals does not take the column, or "" */
	const char *collate;		/* "" or " COLLATE schema.name" */
	bool		equals_cast;	/* the literal beside equals needs the cast */
} ScribeColumn;

typedef enum RelationUse
{
	RELATION_ROWS,
	RELATION_IGNORED,
	RELATION_AUDIT				/* scribe.ddl_history */
} RelationUse;

typedef struct ScribeRelation
{
	Oid			relid;			/* hash key, must be first */
	bool		valid;
	MemoryContext cxt;			/* everything below that is a pointer */
	RelationUse use;
	const char *name;			/* what statements on its rows name: schema-qualified, quoted */
	const char *only;			/* "ONLY " where the table has children */
	const char *place;			/* what tells a row from all others: "ctid", or with its partition */
	const char *own_name;		/* its own name: that of the route differs */
	Oid			route;			/* the ancestor through which its rows go, or InvalidOid */
	const char *insert_head;	/* up to and with "VALUES " */
	const char *copy_head;		/* the whole COPY line */
	const char *quiet;			/* lines that disable triggers and rules, or NULL */
	const char *loud;			/* and enable them again */
	TransactionId created;		/* xid of CREATE TABLE */

	int			natts;
	ScribeColumn *columns;
	bool		has_lost;
	bool		bars_null;		/* a column has a domain that is NOT NULL */
	bool		has_privileges;	/* a column of aclitem, or of a list of them */
	bool		left_out;		/* none of its rows are written */
	int			nlive;
	int		   *live;			/* indexes of live columns */
	int			nkeys;
	int		   *keys;			/* indexes of key columns, in index order */
	bool		full;			/* REPLICA IDENTITY FULL */
	bool		set_update;		/* a run of UPDATEs may be one statement */
	bool		set_delete;		/* likewise DELETEs */
	bool		image_update;	/* REPLICA IDENTITY FULL: runs by row image */
	bool		image_delete;
	bool		loose;			/* its order with other tables' rows is free */
	struct ScribeRun *lane;		/* its lane if that still names it */
	List	   *relatives;		/* relations of which something here was taken */
	List	   *types;			/* syscache hashes of the types it names, domains' base types too */

	/* room for one change */
	Datum	   *values;
	bool	   *nulls;
	Datum	   *old_values;
	bool	   *old_nulls;
	bool	   *set;			/* columns an UPDATE sets */

	/* serial numbers of what was last done; they survive a rebuild */
	uint64		touched;		/* transaction that looked at it */
	uint64		warned;			/* transaction that was warned of */
	uint64		quieted;		/* stretch in which its triggers are off */
	uint64		shape;			/* hash of its columns' names */
	uint64		changed_at;		/* how many statements had been told of when valid became false */
	bool		untold;			/* no statement has told yet of what it is now */
} ScribeRelation;

typedef enum RunKind
{
	RUN_NONE,
	RUN_INSERT,					/* VALUES rows of one INSERT */
	RUN_COPY,
	RUN_UPDATE_ONE,				/* one UPDATE, its terminator held back */
	RUN_UPDATE_SET,				/* VALUES join */
	RUN_DELETE_ONE,
	RUN_DELETE_IN,				/* IN list */
	RUN_DELETE_SET,				/* VALUES join */
	RUN_UPDATE_IMAGES,			/* by row image, held back whole */
	RUN_DELETE_IMAGES
} RunKind;

typedef struct Slice
{
	int			start;
	int			len;
} Slice;

#define RUN_SEEN_SIZE 2048		/* power of 2, well above RUN_MAX_ROWS */

typedef struct ScribeRun
{
	RunKind		kind;
	ScribeRelation *relation;
	StringInfo	out;			/* ScribeState's, or in a lane its own */
	int64		rows;
	Size		bytes;			/* about what the statement holds */
	int			start;			/* offset in out of the held statement */
	int			joint;			/* offset of the blank after VALUES */
	int			nslices;		/* room in the two arrays */
	Slice	   *slices;			/* literals of the held statement, by column */
	bool	   *set;			/* columns the run sets */
	uint64	   *seen;			/* hashes of keys in the statement */
	StringInfoData scratch;
	/* runs by row image */
	int			least_rows;		/* below it single statements are better */
	StringInfoData singles;		/* the run as single statements, up to there */
	StringInfoData held;		/* its rows */
	uint64	   *images;			/* hashes of rows the statement makes */
	uint64		image_hash;		/* of the last one not found */
} ScribeRun;

#define MAX_LANES 32

typedef struct ScribeState
{
	LogicalDecodingContext *ctx;
	MemoryContext change_cxt;	/* reset after each change */
	MemoryContext txn_cxt;		/* reset at each transaction */
	bool		include_position;
	ScribeRelation *at;			/* the relation of the change in work, or NULL */
	Datum	   *at_values;		/* and its row, or the row's old key */
	bool	   *at_nulls;
	List	   *left_out;		/* lists of two or three names: tables and columns that are left out */
	int			guc_level;		/* 0 in a walsender */

	StringInfoData out;			/* text not sent yet; lines end in \n */
	ScribeRun	run;
	int			nlanes;			/* lanes in use; then run is not */
	ScribeRun  *lanes[MAX_LANES];

	/* the transaction */
	ReorderBufferTXN *txn;
	uint64		serial;			/* of the transaction, for ScribeRelation */
	uint64		stretch;		/* of triggers being off */
	bool		begun;
	int64		inserted;
	int64		updated;
	int64		deleted;
	int64		truncated;
	int64		ddl;
	int			script;			/* depth of extension scripts */
	Oid			refill;			/* relation whose rows are sent again */
	bool		refill_begun;
	List	   *emptying;		/* OIDs of tables to be emptied before the next DDL */
	List	   *rewriting;		/* OIDs of tables whose rewritten rows are written */
	List	   *old_heaps;		/* numbers of their files before that: what is written there comes with those rows */
	bool		rewrite_lost;	/* the statement that rewrites them was left out */
	Oid			rewritten;		/* table of the last rewritten row */
	List	   *announced;		/* OIDs the DDL so far created */
	List	   *made;			/* OIDs of what C code made */
	List	   *gone;			/* what C code dropped, until the transaction ends */
	List	   *looked_at;		/* OIDs of relations whose catalog rows were touched */
	List	   *schemas_made;	/* identities of schemas the DDL so far created */
	bool		audited;		/* there was DDL */
	bool		lost;			/* and capture has told that it could not record it */
	bool		altering;		/* DDL that makes tables or sequences */
	bool		vague;			/* DDL that does not say what it made */
	bool		dropping;		/* DDL that dropped something */
	bool		extended;		/* CREATE EXTENSION */
	StringInfo	loud;			/* statements that enable triggers again */
	int			unsent;			/* changes since something was sent */
	struct Shared *shared;		/* what is known of the shared catalogs */
	bool		shared_dirty;	/* and that has to be read again */
	bool		ending;			/* the transaction's last look at them */
	char	   *session;		/* who changed rows, in txn_cxt, or NULL */
	bool		made_known;		/* this transaction has made sure of scribe.made */
	struct Meanwhile *meanwhile;	/* what other transactions took away */
} ScribeState;

/* scribe_output.c */
extern void output_init(ScribeState *state);
extern void output_end_line(ScribeState *state);
extern void output_append(ScribeState *state, StringInfo lines);
extern void output_begin(ScribeState *state);
extern void output_commit(ScribeState *state, XLogRecPtr end_lsn);
extern void output_warning(ScribeState *state, const char *fmt,...) pg_attribute_printf(2, 3);
extern void append_one_line(StringInfo buf, const char *text);
extern void append_asker(StringInfo out, const char *role, const char *address, const char *application);

/* scribe_literal.c */
extern char *output_text(ScribeColumn *column, Datum value);
extern void column_begins(ScribeColumn *column);
extern const char *column_in_work(void);
extern void append_value(StringInfo buf, ScribeColumn *column, Datum value);
extern void append_value_or_null(StringInfo buf, ScribeColumn *column, Datum value, bool isnull);
extern void append_new_value(StringInfo buf, ScribeColumn *column, Datum value, bool isnull);
extern void append_copy_row(StringInfo buf, ScribeRelation *relation);
extern void append_copy_text(StringInfo buf, const char *text, Size len);
extern void append_literal(StringInfo buf, const char *text, Size len);
extern void append_identifier(StringInfo buf, const char *name);
extern void append_setting_name(StringInfo out, const char *name);
extern void append_qualified(StringInfo buf, const char *schema, const char *name);
extern bool has_control(const char *text);

/* scribe_relation.c */
extern void relations_init(ScribeState *state);
extern void relations_begin(ReorderBufferTXN *txn);
extern void relations_commit(void);
extern char *schema_name(Oid schema);
extern bool names_at_end(Oid catalog, Oid index, Oid oid, char **schema, char **name, bool *differs);
extern ScribeRelation *relation_lookup(ScribeState *state, Relation rel);
extern char *type_name(Oid type);
extern TransactionId creator_of_relation(Oid relid);

extern void relations_told(void);
extern uint64 *quieted_of(ScribeRelation *relation);
extern bool was_routed(const char *name);

/* scribe_identity.c */
extern void find_identity(Relation rel, ScribeRelation *relation);
extern void append_same(StringInfo buf, ScribeRelation *relation, bool *compared, Datum *values, bool *nulls);
extern bool has_clean_image(Oid type);

/* scribe_published.c */
extern bool append_unpublished(StringInfo quiet, StringInfo loud, Relation rel, ScribeRelation *relation);

/* scribe_routes.c */
extern Oid	find_route(Oid relid);
extern bool is_key_of_route(ScribeRelation *relation, Oid index);
extern bool is_whole_route(ScribeRelation *relation, List *relids);
extern void warn_regrouped(ScribeState *state, const char *tag, const char *identity, const char *statement,
						   List *relids);

/* scribe_rows.c */
extern void write_insert(ScribeState *state, Relation rel, ScribeRelation *relation, HeapTuple newtuple);
extern void write_update(ScribeState *state, Relation rel, ScribeRelation *relation,
						 HeapTuple oldtuple, HeapTuple newtuple);
extern void write_delete(ScribeState *state, Relation rel, ScribeRelation *relation, HeapTuple oldtuple);
extern void write_truncate(ScribeState *state, int nrelations, Relation relations[],
						   bool restart, bool cascade);
extern void write_rewritten(ScribeState *state, Relation heap, HeapTuple newtuple);
extern void end_rewritten(ScribeState *state, ScribeRelation *relation);
extern void empty_relations(ScribeState *state, List *relids);
extern void quiet_relation(ScribeState *state, ScribeRelation *relation);
extern void restore_triggers(ScribeState *state);
extern bool relation_is_written(ScribeState *state, Relation rel, ScribeRelation *relation);

/* scribe_runs.c */
extern void run_init(ScribeRun *run, StringInfo out);
extern void run_end(ScribeState *state);
extern void run_close(ScribeState *state, ScribeRun *run);
extern void run_single(ScribeState *state, ScribeRelation *relation, StringInfo statement);
extern void run_insert(ScribeState *state, ScribeRelation *relation);
extern bool has_barred_null(ScribeRelation *relation, const bool *columns);
extern void run_update(ScribeState *state, ScribeRelation *relation);
extern void run_delete(ScribeState *state, ScribeRelation *relation);
extern void append_set(StringInfo out, ScribeRelation *relation, Slice *slices, int origin);
extern void append_key_where(StringInfo buf, ScribeRelation *relation,
							 Datum *values, Slice *slices, int origin);

/* scribe_lanes.c */
extern void find_loose(Relation rel, ScribeRelation *relation);
extern ScribeRun *lane_of(ScribeState *state, ScribeRelation *relation);
extern bool has_lane(ScribeRelation *relation);
extern void lanes_end(ScribeState *state);
extern bool text_looks_around(const char *expression);

/* scribe_images.c */
extern void images_update(ScribeState *state, ScribeRelation *relation, StringInfo single);
extern void images_delete(ScribeState *state, ScribeRelation *relation, StringInfo single);
extern void images_end(ScribeState *state);

/* scribe_pieces.c */
extern bool pieces_begin(ScribeState *state, ScribeRelation *relation, HeapTuple oldtuple, HeapTuple newtuple);
extern void pieces_end(ScribeState *state);
extern void pieces_forget(void);
extern int	pieces_count;		/* values that are in pieces now */
extern bool append_pieces(StringInfo buf, ScribeColumn *column, Datum value);

/* scribe_ddl.c */
extern void write_ddl(ScribeState *state, Relation rel, HeapTuple tuple, XLogRecPtr lsn);
extern void write_own(ScribeState *state, const char *tag, const char *role, const char *text);

/* scribe_meanwhile.c */
extern void meanwhile_init(ScribeState *state);
extern void meanwhile_note(ScribeState *state, const char *tag, const char *statement);
extern void meanwhile_look(ScribeState *state, const char *tag, const char *statement, const char *role, const char *path,
						   XLogRecPtr lsn);

/* scribe_pick.c */
extern char *pick_statement(const char *text, const char *tag, const char *identity,
							List *relids, int *fitting);

/* scribe_text.c */
extern bool text_is_plain(const char *text);
extern char *text_without_concurrently(const char *text, const char *tag);
extern char *text_with_escape_strings(const char *text);
#define TAKEN_NAMES_KEPT 256	/* of all transactions; a statement has no more, either */
#define LONGEST_SEARCHED (1 << 20)	/* bytes of a text, which anybody may make as long as he likes */
extern bool text_names(const char *text, const char *name);
extern List *text_taken_names(const char *text, const char *tag);

/* scribe_create.c */
extern bool of_this_transaction(ScribeState *state, TransactionId xid);
extern bool created_here(ScribeState *state, ScribeRelation *relation);
extern void announce_oid(ScribeState *state, Oid oid);
extern void write_create(ScribeState *state, Relation rel);
extern void make_schema(ScribeState *state, const char *name, Oid owner);
extern void make_sequence(ScribeState *state, Oid relid, Oid owner);
extern void finish_made(ScribeState *state, Oid relid);

/* scribe_unseen.c */
extern void unseen_init(ScribeState *state);
extern void unseen_begin(ScribeState *state);
extern void unseen_recorded(List *relids);
extern void unseen_take_back(ScribeState *state, const char *tag, const char *identity, List *relids);
extern void unseen_audit(ScribeState *state, const char *kind, const char *tag, const char *identity, List *relids,
						 bool exact, bool own);
extern void unseen_look(ScribeState *state);
extern void unseen_commit(ScribeState *state);
extern const char *unseen_name(Oid type, Datum value);
extern bool was_written(ScribeState *state, HeapTupleHeader header);

/* scribe_unrecorded.c */
extern void unrecorded_init(void);
extern void unrecorded_begin(ScribeState *state);
extern void unrecorded_note(ScribeState *state, List *oids);
extern void unrecorded_commit(ScribeState *state);

/* scribe_absent.c */
extern bool is_absent_type(Oid type);
extern char *value_text(ScribeColumn *column, Datum value);
extern bool loses_privileges(ScribeColumn *column, Datum value);
extern void find_names(ScribeColumn *column);

/* scribe_shared.c */
extern void shared_init(ScribeState *state);
extern void shared_look(ScribeState *state);
extern void shared_look_again(ScribeState *state);
extern void shared_committed(ScribeState *state);
extern bool shared_has_role(Oid role);
extern bool is_superuser(const char *name, Oid *oid);
extern struct Facts *shared_names_back(ScribeState *state, const char *role, const char *text, TimestampTz at,
									   const char **now);
extern void shared_names_again(ScribeState *state, struct Facts *old);

#endif							/* SCRIBE_DECODER_H */
