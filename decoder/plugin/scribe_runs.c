/*
 * scribe_runs.c
 *	  Runs of row changes of one relation as one statement.
 *
 * How long a run is shows only when it has ended, so the end of a statement
 * is held back: the first row is written in the single form, and when a
 * second one follows, its literals are moved into the set-based form.  The
 * effect of every statement must be that of its rows one after the other.
 *
 * A run writes to the output, or to its lane (scribe_lanes.c).
 */
#include "scribe_decoder.h"

#include "common/hashfn.h"

#define INSERT_MAX_ROWS 8		/* then COPY */
#define SET_MAX_ROWS 500
#define IN_MAX_ROWS 1000
#define SET_MAX_BYTES (64 * 1024)

/*
 * In the context that is to hold the run's buffers.
 */
void
run_init(ScribeRun *run, StringInfo out)
{
	memset(run, 0, sizeof(ScribeRun));
	run->out = out;
	initStringInfo(&run->scratch);
	run->seen = palloc(sizeof(uint64) * RUN_SEEN_SIZE);
}

static void
end_line(ScribeState *state, ScribeRun *run)
{
	if (run->out == &state->out)
		output_end_line(state);
	else
		appendStringInfoCharMacro(run->out, '\n');
}

static void
append_column_list(StringInfo buf, ScribeRun *run)
{
	ScribeRelation *relation = run->relation;

	for (int i = 0; i < relation->nkeys; i++)
		appendStringInfo(buf, "%s%s", i > 0 ? ", " : "",
						 relation->columns[relation->keys[i]].name);
	for (int i = 0; run->kind == RUN_UPDATE_SET && i < relation->natts; i++)
		if (run->set[i])
			appendStringInfo(buf, ", %s", relation->columns[i].name);
}

/*
 * End of a VALUES join.
 */
static void
append_join(StringInfo buf, ScribeRun *run)
{
	ScribeRelation *relation = run->relation;

	appendStringInfoString(buf, "\n) AS v (");
	append_column_list(buf, run);
	for (int i = 0; i < relation->nkeys; i++)
	{
		ScribeColumn *column = &relation->columns[relation->keys[i]];

		appendStringInfo(buf, "%st.%s%s%sv.%s", i == 0 ? ") WHERE " : " AND ",
						 column->name, column->base, column->equals, column->name);
	}
}

/*
 * Close the statement that the run has open, if one is.
 */
void
run_close(ScribeState *state, ScribeRun *run)
{
	StringInfo	out = run->out;
	RunKind		kind = run->kind;

	if (kind == RUN_NONE)
		return;
	if (kind == RUN_UPDATE_IMAGES || kind == RUN_DELETE_IMAGES)
	{
		images_end(state);
		return;
	}

	if (kind == RUN_UPDATE_SET || kind == RUN_DELETE_SET)
		append_join(out, run);
	if (kind == RUN_COPY)
		appendStringInfoString(out, "\\.");
	else if (kind == RUN_DELETE_IN)
		appendStringInfo(out, "); -- " INT64_FORMAT " rows", run->rows);
	else if (run->rows == 1)
		appendStringInfoChar(out, ';');
	else
		appendStringInfo(out, "; -- " INT64_FORMAT " rows", run->rows);

	run->kind = RUN_NONE;
	end_line(state, run);
}

/*
 * Close every statement that is open, before anything that is not a row.
 */
void
run_end(ScribeState *state)
{
	run_close(state, &state->run);
	lanes_end(state);
}

/*
 * Write a statement that takes no further rows.
 */
void
run_single(ScribeState *state, ScribeRelation *relation, StringInfo statement)
{
	ScribeRun  *run = lane_of(state, relation);

	run_close(state, run);
	appendBinaryStringInfo(run->out, statement->data, statement->len);
	end_line(state, run);
}

static void
begin_run(ScribeState *state, ScribeRun *run, RunKind kind, ScribeRelation *relation)
{
	run_close(state, run);
	run->kind = kind;
	run->relation = relation;
	run->rows = 1;
	run->start = run->out->len;
	run->bytes = 0;

	if (run->nslices < relation->natts + 1)
	{
		run->nslices = relation->natts + 1;
		if (run->slices)
		{
			pfree(run->slices);
			pfree(run->set);
		}
		run->slices = MemoryContextAlloc(state->ctx->context, sizeof(Slice) * run->nslices);
		run->set = MemoryContextAlloc(state->ctx->context, sizeof(bool) * run->nslices);
	}
}

static void
append_values_row(StringInfo out, ScribeRelation *relation)
{
	appendStringInfoCharMacro(out, '(');
	for (int i = 0; i < relation->nlive; i++)
	{
		int			att = relation->live[i];

		if (i > 0)
			appendBinaryStringInfo(out, ", ", 2);
		append_new_value(out, &relation->columns[att],
						 relation->values[att], relation->nulls[att]);
	}
	appendStringInfoCharMacro(out, ')');
}

/*
 * Whether the new row has a NULL that only a statement of its own brings past its domain, in one of these columns (NULL:
 * in any).
 */
bool
has_barred_null(ScribeRelation *relation, const bool *columns)
{
	for (int i = 0; relation->bars_null && i < relation->natts; i++)
	{
		ScribeColumn *column = &relation->columns[i];

		if (relation->nulls[i] && column->barred_null && column->live && (columns == NULL || columns[i]))
			return true;
	}
	return false;
}

/*
 * Write relation->values as a new row: VALUES first, then COPY.
 */
void
run_insert(ScribeState *state, ScribeRelation *relation)
{
	ScribeRun  *run = lane_of(state, relation);
	StringInfo	out = run->out;

	if (relation->nlive == 0)
	{
		run_close(state, run);
		appendStringInfoString(out, relation->insert_head);
		end_line(state, run);
		return;
	}

	if (has_barred_null(relation, NULL))
	{
		run_close(state, run);
		appendStringInfoString(out, relation->insert_head);
		append_values_row(out, relation);
		appendStringInfoChar(out, ';');
		end_line(state, run);
		return;
	}

	if (run->relation == relation && run->kind == RUN_COPY)
	{
		append_copy_row(out, relation);
		end_line(state, run);
		run->rows++;
		return;
	}

	if (run->relation != relation || run->kind != RUN_INSERT)
	{
		begin_run(state, run, RUN_INSERT, relation);
		appendStringInfoString(out, relation->insert_head);
		run->joint = out->len - 1;
		append_values_row(out, relation);
		return;
	}

	if (run->rows < INSERT_MAX_ROWS)
	{
		if (run->rows == 1)
			out->data[run->joint] = '\n';
		appendStringInfoCharMacro(out, ',');
		end_line(state, run);
		append_values_row(out, relation);
		run->rows++;
		return;
	}

	begin_run(state, run, RUN_COPY, relation);
	appendStringInfoString(out, relation->copy_head);
	end_line(state, run);
	append_copy_row(out, relation);
	end_line(state, run);
}

/*
 * A value that a constraint of its domain may bar, unless it is there already.
 */
static void
append_young(StringInfo out, ScribeRelation *relation, int att)
{
	ScribeColumn *column = &relation->columns[att];
	bool	   *compared = palloc0(relation->natts * sizeof(bool));

	compared[att] = true;
	appendStringInfoString(out, "CASE WHEN ");
	append_same(out, relation, compared, relation->values, relation->nulls);
	appendStringInfo(out, " THEN %s ELSE ", column->name);
	append_new_value(out, column, relation->values[att], relation->nulls[att]);
	appendStringInfo(out, "%s END", column->young);
}

/*
 * "a = 1, b = NULL" of the columns to SET.
 */
void
append_set(StringInfo out, ScribeRelation *relation, Slice *slices, int origin)
{
	bool		first = true;

	for (int i = 0; i < relation->natts; i++)
	{
		int			start;

		if (!relation->set[i])
			continue;
		if (!first)
			appendBinaryStringInfo(out, ", ", 2);
		first = false;
		appendStringInfoString(out, relation->columns[i].name);
		appendBinaryStringInfo(out, " = ", 3);
		start = out->len;
		if (relation->columns[i].young)
			append_young(out, relation, i);
		else
			append_new_value(out, &relation->columns[i], relation->values[i], relation->nulls[i]);
		if (slices)
		{
			slices[i].start = start - origin;
			slices[i].len = out->len - start;
		}
	}
}

/*
 * " WHERE id = 1 AND ..." by key.
 */
void
append_key_where(StringInfo buf, ScribeRelation *relation, Datum *values,
				 Slice *slices, int origin)
{
	for (int i = 0; i < relation->nkeys; i++)
	{
		int			att = relation->keys[i];
		ScribeColumn *column = &relation->columns[att];
		int			start;

		appendStringInfoString(buf, i == 0 ? " WHERE " : " AND ");
		appendStringInfoString(buf, column->name);
		appendStringInfoString(buf, column->base);
		appendStringInfoString(buf, column->collate);
		appendStringInfoString(buf, column->equals);
		start = buf->len;
		append_value(buf, column, values[att]);
		if (slices)
		{
			slices[att].start = start - origin;
			slices[att].len = buf->len - start;
		}
		if (column->equals_cast)
			appendStringInfoString(buf, column->cast);
	}
}

/*
 * Remember a key of the statement; false where it may stand there already.
 */
static bool
remember_key(ScribeRun *run, const char *key, int len)
{
	uint64		hash = DatumGetUInt64(hash_any_extended((const unsigned char *) key, len, 0));
	uint32		at;

	if (hash == 0)
		hash = 1;
	for (at = hash & (RUN_SEEN_SIZE - 1); run->seen[at] != 0; at = (at + 1) & (RUN_SEEN_SIZE - 1))
		if (run->seen[at] == hash)
			return false;
	run->seen[at] = hash;
	return true;
}

static void
append_keys(StringInfo buf, ScribeRelation *relation)
{
	for (int i = 0; i < relation->nkeys; i++)
	{
		int			att = relation->keys[i];

		if (i > 0)
			appendBinaryStringInfo(buf, ", ", 2);
		append_value(buf, &relation->columns[att], relation->old_values[att]);
	}
}

/*
 * Move the literals of the statement held back into the first row of a VALUES
 * join.  Their casts give the columns of the join their types.
 */
static void
append_first_row(ScribeRun *run)
{
	ScribeRelation *relation = run->relation;
	StringInfo	out = run->out;
	const char *held = run->scratch.data;

	appendStringInfoChar(out, '(');
	for (int i = 0; i < relation->nkeys; i++)
	{
		int			att = relation->keys[i];

		if (i > 0)
			appendStringInfoString(out, ", ");
		appendBinaryStringInfo(out, held + run->slices[att].start, run->slices[att].len);
		appendStringInfoString(out, relation->columns[att].cast);
	}
	for (int i = 0; run->kind == RUN_UPDATE_SET && i < relation->natts; i++)
	{
		if (!run->set[i])
			continue;
		appendStringInfoString(out, ", ");
		appendBinaryStringInfo(out, held + run->slices[i].start, run->slices[i].len);
		appendStringInfoString(out, relation->columns[i].cast);
	}
	appendStringInfoChar(out, ')');
}

/*
 * Take the held statement out of the buffer into scratch.
 */
static void
unhold(ScribeRun *run)
{
	StringInfo	out = run->out;

	resetStringInfo(&run->scratch);
	appendBinaryStringInfo(&run->scratch, out->data + run->start, out->len - run->start);
	out->len = run->start;
	out->data[out->len] = '\0';
}

/*
 * The key of the first row as append_keys would write it.
 */
static void
remember_first_key(ScribeRun *run)
{
	ScribeRelation *relation = run->relation;
	StringInfoData key;

	memset(run->seen, 0, sizeof(uint64) * RUN_SEEN_SIZE);
	initStringInfo(&key);
	for (int i = 0; i < relation->nkeys; i++)
	{
		Slice	   *slice = &run->slices[relation->keys[i]];

		if (i > 0)
			appendBinaryStringInfo(&key, ", ", 2);
		appendBinaryStringInfo(&key, run->scratch.data + slice->start, slice->len);
	}
	remember_key(run, key.data, key.len);
}

static void
begin_update(ScribeState *state, ScribeRun *run, ScribeRelation *relation)
{
	StringInfo	out = run->out;

	begin_run(state, run, RUN_UPDATE_ONE, relation);
	memcpy(run->set, relation->set, sizeof(bool) * relation->natts);
	appendStringInfoString(out, "UPDATE ");
	appendStringInfoString(out, relation->only);
	appendStringInfoString(out, relation->name);
	appendStringInfoString(out, " SET ");
	append_set(out, relation, run->slices, run->start);
	append_key_where(out, relation, relation->old_values, run->slices, run->start);
}

static void
widen_update(ScribeRun *run)
{
	ScribeRelation *relation = run->relation;
	StringInfo	out = run->out;
	const char *separator = " AS t SET ";

	unhold(run);
	run->kind = RUN_UPDATE_SET;
	appendStringInfo(out, "UPDATE %s%s", relation->only, relation->name);
	for (int i = 0; i < relation->natts; i++)
	{
		if (!run->set[i])
			continue;
		appendStringInfo(out, "%s%s = v.%s", separator,
						 relation->columns[i].name, relation->columns[i].name);
		separator = ", ";
	}
	appendStringInfoString(out, " FROM (VALUES\n");
	append_first_row(run);
}

/*
 * SET relation->set of the row with the key old_values to values.
 */
void
run_update(ScribeState *state, ScribeRelation *relation)
{
	ScribeRun  *run = lane_of(state, relation);
	StringInfo	out = run->out;
	StringInfoData key;

	if (run->relation != relation ||
		(run->kind != RUN_UPDATE_ONE && run->kind != RUN_UPDATE_SET) ||
		run->rows >= SET_MAX_ROWS || run->bytes > SET_MAX_BYTES ||
		memcmp(run->set, relation->set, sizeof(bool) * relation->natts) != 0)
	{
		begin_update(state, run, relation);
		return;
	}

	initStringInfo(&key);
	append_keys(&key, relation);
	if (run->kind == RUN_UPDATE_ONE)
	{
		resetStringInfo(&run->scratch);
		appendBinaryStringInfo(&run->scratch, out->data + run->start, out->len - run->start);
		remember_first_key(run);
	}
	if (!remember_key(run, key.data, key.len))
	{
		begin_update(state, run, relation);
		return;
	}
	if (run->kind == RUN_UPDATE_ONE)
		widen_update(run);

	appendStringInfoCharMacro(out, ',');
	end_line(state, run);
	run->start = out->len;
	appendStringInfoCharMacro(out, '(');
	appendBinaryStringInfo(out, key.data, key.len);
	for (int i = 0; i < relation->natts; i++)
	{
		if (!relation->set[i])
			continue;
		appendBinaryStringInfo(out, ", ", 2);
		append_value_or_null(out, &relation->columns[i], relation->values[i], relation->nulls[i]);
	}
	appendStringInfoCharMacro(out, ')');
	run->bytes += out->len - run->start;
	run->rows++;
}

static void
widen_delete(ScribeRun *run)
{
	ScribeRelation *relation = run->relation;
	ScribeColumn *column = &relation->columns[relation->keys[0]];
	StringInfo	out = run->out;

	unhold(run);
	appendStringInfo(out, "DELETE FROM %s%s", relation->only, relation->name);

	/* IN would look for an operator = that search_path shows */
	if (relation->nkeys == 1 && column->equals[1] == '=')
	{
		Slice	   *slice = &run->slices[relation->keys[0]];

		run->kind = RUN_DELETE_IN;
		appendStringInfo(out, " WHERE %s%s IN (", column->name, column->base);
		appendBinaryStringInfo(out, run->scratch.data + slice->start, slice->len);
		if (column->equals_cast)
			appendStringInfoString(out, column->cast);
		return;
	}
	run->kind = RUN_DELETE_SET;
	appendStringInfoString(out, " AS t USING (VALUES\n");
	append_first_row(run);
}

/*
 * Delete the row with the key old_values.  A row cannot be deleted twice in
 * a run, so keys need not be compared.
 */
void
run_delete(ScribeState *state, ScribeRelation *relation)
{
	ScribeRun  *run = lane_of(state, relation);
	StringInfo	out = run->out;
	ScribeColumn *column = &relation->columns[relation->keys[0]];
	bool		open = run->relation == relation &&
		(run->kind == RUN_DELETE_ONE || run->kind == RUN_DELETE_IN || run->kind == RUN_DELETE_SET);

	if (!open || run->bytes > SET_MAX_BYTES ||
		run->rows >= (run->kind == RUN_DELETE_IN ? IN_MAX_ROWS : SET_MAX_ROWS))
	{
		begin_run(state, run, RUN_DELETE_ONE, relation);
		appendStringInfo(out, "DELETE FROM %s%s", relation->only, relation->name);
		append_key_where(out, relation, relation->old_values, run->slices, run->start);
		return;
	}

	if (run->kind == RUN_DELETE_ONE)
		widen_delete(run);
	run->rows++;
	if (run->kind == RUN_DELETE_IN)
	{
		int			start = out->len;

		appendBinaryStringInfo(out, ", ", 2);
		append_value(out, column, relation->old_values[relation->keys[0]]);
		if (column->equals_cast)
			appendStringInfoString(out, column->cast);
		run->bytes += out->len - start;
		return;
	}
	appendStringInfoCharMacro(out, ',');
	end_line(state, run);
	run->start = out->len;
	appendStringInfoCharMacro(out, '(');
	append_keys(out, relation);
	appendStringInfoCharMacro(out, ')');
	run->bytes += out->len - run->start;
}
