/*
 * scribe_output.c
 *	  The message buffer and the frames of a transaction.
 *
 * Text gathers in state->out and leaves it at line boundaries only: when it
 * has passed FLUSH_BYTES, and at the end of the transaction.  A message per
 * row would cost more than the row itself.
 */
#include "scribe_decoder.h"

#include "datatype/timestamp.h"
#include "utils/timestamp.h"

#define FLUSH_BYTES (64 * 1024)
#define SHRINK_BYTES (1024 * 1024)

void
output_init(ScribeState *state)
{
	initStringInfo(&state->out);
	enlargeStringInfo(&state->out, FLUSH_BYTES + 8192);
}

/*
 * Empty a buffer, and give back what one huge value made of it.
 */
static void
empty_buffer(StringInfo buf)
{
	if (buf->maxlen > SHRINK_BYTES)
	{
		pfree(buf->data);
		initStringInfo(buf);
	}
	else
		resetStringInfo(buf);
}

/*
 * Send lines without the last newline, which the receiver adds.
 */
static void
send_lines(ScribeState *state, StringInfo lines)
{
	LogicalDecodingContext *ctx = state->ctx;
	MemoryContext old;

	if (lines->len <= 1)
		return;
	Assert(lines->data[lines->len - 1] == '\n');

	OutputPluginPrepareWrite(ctx, true);
	appendBinaryStringInfo(ctx->out, lines->data, lines->len - 1);
	OutputPluginWrite(ctx, true);
	state->unsent = 0;

	old = MemoryContextSwitchTo(ctx->context);
	empty_buffer(lines);
	empty_buffer(ctx->out);
	MemoryContextSwitchTo(old);
}

/*
 * End the line being written.  No other place sends text, so a statement that
 * is still open may reach out over lines but never loses its last one.
 */
void
output_end_line(ScribeState *state)
{
	appendStringInfoCharMacro(&state->out, '\n');
	if (state->out.len > FLUSH_BYTES)
		send_lines(state, &state->out);
}

/*
 * Take over whole lines, and leave the buffer they stood in empty.
 */
void
output_append(ScribeState *state, StringInfo lines)
{
	if (lines->len > FLUSH_BYTES)
	{
		send_lines(state, &state->out);
		send_lines(state, lines);
		return;
	}
	appendBinaryStringInfo(&state->out, lines->data, lines->len);
	resetStringInfo(lines);
	if (state->out.len > FLUSH_BYTES)
		send_lines(state, &state->out);
}

static void
append_time(StringInfo buf, TimestampTz when)
{
	struct pg_tm tm;
	fsec_t		fsec;

	if (timestamp2tm(when, NULL, &tm, &fsec, NULL, NULL) != 0)
		elog(ERROR, "commit time out of range");
	appendStringInfo(buf, "%04d-%02d-%02d %02d:%02d:%02d.%06d+00",
					 tm.tm_year, tm.tm_mon, tm.tm_mday,
					 tm.tm_hour, tm.tm_min, tm.tm_sec, (int) fsec);
}

static void
append_lsn(StringInfo buf, XLogRecPtr lsn)
{
	appendStringInfo(buf, "%X/%X", (uint32) (lsn >> 32), (uint32) lsn);
}

/*
 * Open the transaction's frame if nothing of it was written yet.
 */
void
output_begin(ScribeState *state)
{
	ReorderBufferTXN *txn = state->txn;
	bool		shown = state->include_position;
	StringInfo	out = &state->out;

	if (state->begun)
		return;
	state->begun = true;

	appendStringInfo(out, "BEGIN; -- xid %u commit ", shown ? txn->xid : 0);
	append_lsn(out, shown ? txn->final_lsn : 0);
	appendStringInfoString(out, " time ");
	append_time(out, shown ? txn_commit_time(txn) : 0);
	output_end_line(state);
}

static void
append_count(StringInfo buf, int64 count, const char *what)
{
	if (count > 0)
		appendStringInfo(buf, " " INT64_FORMAT " %s", count, what);
}

/*
 * Who has changed rows: role, address and application, with tabs between them.
 */
static void
append_session(StringInfo out, char *session)
{
	char	   *address = strchr(session, '\t');
	char	   *application = address ? strchr(address + 1, '\t') : NULL;

	if (application == NULL)
		return;
	*address++ = *application++ = '\0';
	appendStringInfoString(out, "-- session ");
	append_asker(out, session, *address ? address : NULL, application);
	appendStringInfoChar(out, '\n');
}

/*
 * Close the frame and send the rest of the transaction.
 */
void
output_commit(ScribeState *state, XLogRecPtr end_lsn)
{
	StringInfo	out = &state->out;

	if (!state->begun)
		return;

	if (state->inserted + state->updated + state->deleted + state->truncated + state->ddl > 0)
	{
		appendStringInfoString(out, "-- rows");
		append_count(out, state->inserted, "inserted");
		append_count(out, state->updated, "updated");
		append_count(out, state->deleted, "deleted");
		append_count(out, state->truncated, "truncated");
		append_count(out, state->ddl, "ddl");
		appendStringInfoChar(out, '\n');
	}
	if (state->session != NULL)
		append_session(out, state->session);
	appendStringInfoString(out, "COMMIT; -- end ");
	append_lsn(out, state->include_position ? end_lsn : 0);
	appendStringInfoChar(out, '\n');
	send_lines(state, &state->out);
}

/*
 * Append text on one line whatever it holds: it only informs.
 */
void
append_one_line(StringInfo buf, const char *text)
{
	for (; *text; text++)
		appendStringInfoChar(buf, (unsigned char) *text < 0x20 || *text == 0x7f ? ' ' : *text);
}

/*
 * A text that users choose, in the line of a frame: it can neither end that
 * nor look like another part of it.
 */
static void
append_words(StringInfo out, const char *text)
{
	for (const char *p = text; *p; p++)
		appendStringInfoChar(out, (unsigned char) *p < 0x20 || *p == 0x7f || strchr(":()", *p) ? '?' : *p);
}

/*
 * Who asked for something; address: NULL where it is not known.
 */
void
append_asker(StringInfo out, const char *role, const char *address, const char *application)
{
	append_words(out, role);
	if (address != NULL)
	{
		appendStringInfoString(out, " from ");
		append_one_line(out, address);
	}
	if (application != NULL && *application)
	{
		appendStringInfoString(out, " (");
		append_words(out, application);
		appendStringInfoChar(out, ')');
	}
}

/*
 * Say inside the transaction what could not be carried.
 */
void
output_warning(ScribeState *state, const char *fmt,...)
{
	StringInfoData text;
	int			needed;

	run_end(state);
	output_begin(state);

	initStringInfo(&text);
	for (;;)
	{
		va_list		args;

		va_start(args, fmt);
		needed = appendStringInfoVA(&text, fmt, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&text, needed);
	}
	appendStringInfoString(&state->out, "-- warning: ");
	append_one_line(&state->out, text.data);
	output_end_line(state);
	pfree(text.data);
}
