/*
 * scribe_decoder.c
 *	  Logical decoding output plugin: a database's changes as plain SQL.
 *
 * docs/format.md describes what is written.  This file has the callbacks in
 * the order in which they are called.
 */
#include "scribe_decoder.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "replication/walsender.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/varlena.h"

PG_MODULE_MAGIC;

#define KEEPALIVE_CHANGES 100
#define LONGEST_LOSS 800
#define LONGEST_SESSION 256
#define LONGEST_KEY 60

static void scribe_startup(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init);
static void scribe_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn);
static void scribe_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
						  Relation rel, ReorderBufferChange *change);
static void scribe_truncate(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
							int nrelations, Relation relations[], ReorderBufferChange *change);
static void scribe_message(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn,
						   bool transactional, const char *prefix, Size size, const char *message);
static void scribe_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn);
static void scribe_shutdown(LogicalDecodingContext *ctx);
#ifdef SCRIBE_ABORTS_UNSTREAMED
static void scribe_stream_abort(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr abort_lsn);
#endif

void
_PG_output_plugin_init(OutputPluginCallbacks *cb)
{
	cb->startup_cb = scribe_startup;
	cb->begin_cb = scribe_begin;
	cb->change_cb = scribe_change;
	cb->truncate_cb = scribe_truncate;
	cb->message_cb = scribe_message;
	cb->commit_cb = scribe_commit;
	cb->shutdown_cb = scribe_shutdown;
#ifdef SCRIBE_ABORTS_UNSTREAMED
	cb->stream_abort_cb = scribe_stream_abort;
#endif
}

/*
 * A table as "schema.table", or a column of one as "schema.table.column".
 */
static List *
read_names(const char *value)
{
	List	   *names = NIL;
	ListCell   *cell;

	if (!SplitIdentifierString(pstrdup(value), '.', &names) || list_length(names) < 2 || list_length(names) > 3)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" names neither a table nor a column", value),
				 errhint("Write schema.table or schema.table.column.")));
	foreach(cell, names)
		lfirst(cell) = pstrdup(lfirst(cell));
	return names;
}

static void
read_options(ScribeState *state, List *options)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst(cell);
		const char *value = option->arg ? strVal(option->arg) : "true";

		if (strcmp(option->defname, "leave-out") == 0)
		{
			state->left_out = lappend(state->left_out, read_names(value));
			continue;
		}
		if (strcmp(option->defname, "include-position") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unrecognized option \"%s\" of scribe_decoder", option->defname)));
		if (!parse_bool(value, &state->include_position))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("could not parse value \"%s\" for option \"%s\"",
							value, option->defname)));
	}
}

/*
 * Output must not depend on settings of the server, the database or the role.
 * A walsender is ours alone; a session that calls the SQL functions gets its
 * own settings back.
 */
static void
pin_settings(ScribeState *state)
{
	static const struct
	{
		const char *name;
		const char *value;
	}			pinned[] = {
		{"DateStyle", "ISO, MDY"},
		{"IntervalStyle", "postgres"},
		{"TimeZone", "UTC"},
		{"extra_float_digits", "3"},
		{"bytea_output", "hex"},
		{"lc_monetary", "C"},
		{"xmloption", "content"},
		{"search_path", ""},
		{"quote_all_identifiers", "off"}
	};

	if (!am_walsender)
		state->guc_level = NewGUCNestLevel();
	for (int i = 0; i < (int) lengthof(pinned); i++)
		(void) set_config_option(pinned[i].name, pinned[i].value, PGC_USERSET, PGC_S_SESSION,
								 am_walsender ? GUC_ACTION_SET : GUC_ACTION_SAVE,
								 true, 0, false);
}

static void
scribe_startup(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init)
{
	ScribeState *state = palloc0(sizeof(ScribeState));

	options->output_type = OUTPUT_PLUGIN_TEXTUAL_OUTPUT;
	options->receive_rewrites = true;
	ctx->output_plugin_private = state;
#ifdef SCRIBE_ABORTS_UNSTREAMED
	ctx->streaming = false;		/* transactions come whole, and after their commit */
#endif

	state->ctx = ctx;
	state->include_position = true;
	read_options(state, ctx->output_plugin_options);
	if (is_init)
		return;

	state->change_cxt = AllocSetContextCreate(ctx->context, "scribe change", ALLOCSET_DEFAULT_SIZES);
	state->txn_cxt = AllocSetContextCreate(ctx->context, "scribe transaction", ALLOCSET_SMALL_SIZES);
	output_init(state);
	run_init(&state->run, &state->out);
	relations_init(state);
	shared_init(state);
	meanwhile_init(state);
	unseen_init(state);
	unrecorded_init();
	pin_settings(state);
}

/*
 * A look at the shared catalogs, which leaves no memory behind.
 */
static void
look_at_shared(ScribeState *state, void (*look) (ScribeState *state))
{
	MemoryContext old = MemoryContextSwitchTo(state->change_cxt);

	look(state);
	MemoryContextSwitchTo(old);
	MemoryContextReset(state->change_cxt);
}

static void
scribe_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	ScribeState *state = ctx->output_plugin_private;

	MemoryContextReset(state->txn_cxt);
	state->txn = txn;
	state->serial++;
	state->stretch++;
	state->begun = false;
	pieces_forget();
	state->inserted = state->updated = state->deleted = state->truncated = state->ddl = 0;
	state->script = 0;
	state->refill = InvalidOid;
	state->emptying = state->rewriting = state->old_heaps = NIL;
	state->rewrite_lost = false;
	state->rewritten = InvalidOid;
	state->announced = NIL;
	state->loud = NULL;
	state->session = NULL;
	state->made_known = false;
	state->ending = false;
	relations_begin(txn);
	look_at_shared(state, shared_look);
	unseen_begin(state);
	unrecorded_begin(state);
}

/*
 * A long transaction may hold nothing for us: tell the client we are alive.
 */
static void
keep_alive(ScribeState *state)
{
#ifdef SCRIBE_KEEPS_ALIVE
	if (++state->unsent >= KEEPALIVE_CHANGES)
	{
		update_progress(state->ctx, false);
		state->unsent = 0;
	}
#endif
}

static void
write_change(ScribeState *state, Relation rel, ReorderBufferChange *change)
{
	ScribeRelation *relation = relation_lookup(state, rel);
	HeapTuple	newtuple = change_new_tuple(change);
	HeapTuple	oldtuple = change_old_tuple(change);

	if (relation->use == RELATION_ROWS)
		unseen_look(state);
	if (relation->use == RELATION_AUDIT)
	{
		if (change->action == REORDER_BUFFER_CHANGE_INSERT && newtuple != NULL)
		{
			shared_look(state);
			write_ddl(state, rel, newtuple, change->lsn);
		}
		return;
	}
	if (!relation_is_written(state, rel, relation) || list_member_oid(state->old_heaps, HeapNumber(rel)))
		return;
	switch (change->action)
	{
		case REORDER_BUFFER_CHANGE_INSERT:
			end_rewritten(state, relation);
			write_insert(state, rel, relation, newtuple);
			break;
		case REORDER_BUFFER_CHANGE_UPDATE:
			write_update(state, rel, relation, oldtuple, newtuple);
			break;
		case REORDER_BUFFER_CHANGE_DELETE:
			write_delete(state, rel, relation, oldtuple);
			break;
		default:
			elog(ERROR, "unexpected change action %d", (int) change->action);
	}
}

/*
 * A column of the row's key, as far as it can be shown without calling anything that may fail.
 */
static void
append_key_column(StringInfo buf, ScribeColumn *column, Datum value, bool isnull)
{
	struct varlena *text = (struct varlena *) DatumGetPointer(value);

	appendStringInfo(buf, "%s%s = ", buf->len > 0 ? ", " : "", column->name);
	if (!isnull && column->class == VALUE_TEXT && (VARATT_IS_SHORT(text) || VARATT_IS_4B_U(text)) && !VARATT_IS_EXTERNAL(text))
		append_literal(buf, VARDATA_ANY(text), pg_mbcliplen(VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text), LONGEST_KEY));
	else if (!isnull && column->class != VALUE_TEXT && column->class != VALUE_OTHER)
		append_value(buf, column, value);
	else
		appendStringInfoString(buf, "...");
}

/*
 * Error context: a type whose output function fails ends the stream, at the same row each time.  What it only remarks on
 * is no error.
 */
static void
describe_change(void *arg)
{
	ScribeState *state = arg;
	const char *column = column_in_work();
	int			category = ERRCODE_TO_CATEGORY(geterrcode());
	StringInfoData key;

	if (column == NULL || state->at == NULL || category == ERRCODE_SUCCESSFUL_COMPLETION || category == ERRCODE_WARNING)
		return;
	initStringInfo(&key);
	for (int i = 0; i < state->at->nkeys; i++)
	{
		int			att = state->at->keys[i];

		append_key_column(&key, &state->at->columns[att], state->at_values[att], state->at_nulls[att]);
	}
	errcontext("text of column %s of a row of %s%s%s%s, committed at %X/%X", column, state->at->own_name,
			   key.len > 0 ? " (" : "", key.data, key.len > 0 ? ")" : "", (uint32) (state->txn->end_lsn >> 32),
			   (uint32) state->txn->end_lsn);
	errhint("To go on without it, set SCRIBE_LEAVE_OUT='%s.%s' and start scribe-stream again.", state->at->own_name, column);
}

static void
scribe_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
			  Relation rel, ReorderBufferChange *change)
{
	ScribeState *state = ctx->output_plugin_private;
	ErrorContextCallback context = {NULL, describe_change, state};
	MemoryContext old;

	if (state->shared_dirty)
		look_at_shared(state, shared_look_again);
	old = MemoryContextSwitchTo(state->change_cxt);
	state->at = NULL;
	column_begins(NULL);
	context.previous = error_context_stack;
	error_context_stack = &context;
	if (OidIsValid(rel->rd_rel->relrewrite))
		write_rewritten(state, rel, change_new_tuple(change));
	else
		write_change(state, rel, change);

	error_context_stack = context.previous;
	MemoryContextSwitchTo(old);
	MemoryContextReset(state->change_cxt);
	keep_alive(state);
}

static void
scribe_truncate(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
				int nrelations, Relation relations[], ReorderBufferChange *change)
{
	ScribeState *state = ctx->output_plugin_private;
	MemoryContext old;

	if (state->shared_dirty)
		look_at_shared(state, shared_look_again);
	old = MemoryContextSwitchTo(state->change_cxt);
	write_truncate(state, nrelations, relations,
				   change->data.truncate.restart_seqs, change->data.truncate.cascade);
	MemoryContextSwitchTo(old);
	MemoryContextReset(state->change_cxt);
}

/*
 * A message of capture that could not write its row: a warning and no more.
 */
static void
warn_of_loss(ScribeState *state, const char *message, Size size)
{
	if (size == 0 || size > LONGEST_LOSS || !pg_verifymbstr(message, size, true))
		return;
	output_warning(state, "capture lost %s; take a new base", pnstrdup(message, size));
	state->lost = true;
}

/*
 * Who has changed rows, as capture notes it before the commit; what was sent under its name before is forgotten.  It stands
 * after the counts, where no restore looks at it.
 */
static void
keep_session(ScribeState *state, const char *message, Size size)
{
	MemoryContext old;

	if (size == 0 || size > LONGEST_SESSION || !pg_verifymbstr(message, size, true))
		return;
	old = MemoryContextSwitchTo(state->txn_cxt);
	state->session = pnstrdup(message, size);
	MemoryContextSwitchTo(old);
}

/*
 * Anybody may write messages, so they name points in time, losses and
 * sessions, and nothing else.
 */
static void
scribe_message(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn,
			   bool transactional, const char *prefix, Size size, const char *message)
{
	ScribeState *state = ctx->output_plugin_private;
	char		name[64];

	if (transactional && strcmp(prefix, "scribe.lost") == 0)
		warn_of_loss(state, message, size);
	if (transactional && strcmp(prefix, "scribe.session") == 0)
		keep_session(state, message, size);
	if (!transactional || strcmp(prefix, "scribe.mark") != 0 || size == 0 || size >= sizeof(name))
		return;
	memcpy(name, message, size);
	name[size] = '\0';
	if (strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != size)
		return;

	run_end(state);
	output_begin(state);
	appendStringInfo(&state->out, "-- mark %s", name);
	output_end_line(state);
}

static void
scribe_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	ScribeState *state = ctx->output_plugin_private;
	MemoryContext old = MemoryContextSwitchTo(state->change_cxt);

	run_end(state);
	unseen_commit(state);
	unrecorded_commit(state);
	restore_triggers(state);
	state->ending = true;
	shared_look(state);
	shared_committed(state);
	output_commit(state, txn->end_lsn);
	update_progress(ctx, !state->begun);
	relations_commit();
	state->txn = NULL;
	MemoryContextSwitchTo(old);
	MemoryContextReset(state->change_cxt);
}

static void
scribe_shutdown(LogicalDecodingContext *ctx)
{
	ScribeState *state = ctx->output_plugin_private;

	if (state->guc_level > 0)
		AtEOXact_GUC(false, state->guc_level);
}

/*
 * Nothing of the transaction was written, so there is nothing to take back.
 */
#ifdef SCRIBE_ABORTS_UNSTREAMED
static void
scribe_stream_abort(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr abort_lsn)
{
}
#endif
