/*
 * scribe_images.c
 *	  Runs of UPDATEs and DELETEs under REPLICA IDENTITY FULL.
 *
 * Without a key each single statement reads the whole table, so that changing
 * n rows costs n times n.  A run becomes one statement that reads it once and
 * finds the rows by their text, which is as exact as a dump: rows of the same
 * text are the same row to everybody who restores one.  Of equal rows, as
 * many are changed as were changed in the source; which of them is no matter.
 *
 * A table with an index that single statements can use gets the set form only
 * when the run is long.
 */
#include "scribe_decoder.h"

#include <ctype.h>

#include "common/hashfn.h"

#define IMAGE_MAX_ROWS 10000
#define IMAGE_MAX_BYTES (2 * 1024 * 1024)
#define IMAGE_FEW_ROWS 64		/* single statements while an index helps */
#define IMAGE_HASH_SIZE 32768	/* power of 2, well above IMAGE_MAX_ROWS */

/*
 * A value inside a row's text, quoted as record_out() does it.
 */
static void
append_field(StringInfo buf, const char *text)
{
	bool		quoted = *text == '\0';

	for (const char *p = text; *p && !quoted; p++)
		quoted = strchr("\"\\(),", *p) != NULL || isspace((unsigned char) *p);
	if (quoted)
		appendStringInfoCharMacro(buf, '"');
	for (const char *p = text; *p; p++)
	{
		if (*p == '"' || *p == '\\')
			appendStringInfoCharMacro(buf, *p);
		appendStringInfoCharMacro(buf, *p);
	}
	if (quoted)
		appendStringInfoCharMacro(buf, '"');
}

/*
 * The text of a row: what ROW(...)::text gives for its stored columns.
 */
static void
make_image(StringInfo buf, ScribeRelation *relation, Datum *values, bool *nulls)
{
	char		separator = '(';

	initStringInfo(buf);
	for (int i = 0; i < relation->natts; i++)
	{
		if (!relation->columns[i].stored)
			continue;
		appendStringInfoCharMacro(buf, separator);
		separator = ',';
		if (!nulls[i])
			append_field(buf, value_text(&relation->columns[i], values[i]));
	}
	appendStringInfoCharMacro(buf, ')');
}

static uint64 *
image_place(ScribeRun *run, StringInfo image)
{
	uint64		hash = DatumGetUInt64(hash_any_extended((unsigned char *) image->data, image->len, 0)) | 1;
	uint32		at = (hash >> 1) & (IMAGE_HASH_SIZE - 1);

	while (run->images[at] != 0 && run->images[at] != hash)
		at = (at + 1) & (IMAGE_HASH_SIZE - 1);
	if (run->images[at] == 0)
	{
		run->image_hash = hash;
		return &run->images[at];
	}
	return NULL;				/* it is there */
}

static bool
has_lead(ScribeRelation *relation)
{
	for (int i = 0; i < relation->natts; i++)
		if (relation->columns[i].lead)
			return true;
	return false;
}

/*
 * Columns of the row: those a set-based UPDATE gives new values.
 */
static bool
is_given(ScribeColumn *column)
{
	return column->live && !column->always;
}

static void
append_rows(ScribeState *state, const char *rows)
{
	const char *end;

	for (; (end = strchr(rows, '\n')) != NULL; rows = end + 1)
	{
		appendBinaryStringInfo(&state->out, rows, end - rows);
		output_end_line(state);
	}
	appendStringInfoString(&state->out, rows);
}

/*
 * "WITH v (image, c1, ...) AS (VALUES": the rows follow.
 */
static void
append_head(StringInfo out, ScribeRun *run)
{
	int			n = 0;

	appendStringInfoString(out, "WITH v (image");
	for (int i = 0; run->kind == RUN_UPDATE_IMAGES && i < run->relation->natts; i++)
		if (is_given(&run->relation->columns[i]))
			appendStringInfo(out, ", c%d", ++n);
	appendStringInfoString(out, ") AS (VALUES");
}

/*
 * Number equal rows on both sides, and let equal numbers meet.
 */
static void
append_tail(StringInfo out, ScribeRun *run)
{
	ScribeRelation *relation = run->relation;
	const char *separator = "";
	bool		routed = OidIsValid(relation->route);
	const char *only = routed ? "" : "ONLY ";
	int			n = 0;

	appendStringInfo(out, "), o AS (SELECT *, row_number() OVER (PARTITION BY image) AS n FROM v),"
					 " r AS (SELECT %s, image, row_number() OVER (PARTITION BY image) AS n"
					 " FROM (SELECT %s, ROW(", relation->place, relation->place);
	for (int i = 0; i < relation->natts; i++)
	{
		if (!relation->columns[i].stored)
			continue;
		appendStringInfo(out, "%s%s", separator, relation->columns[i].name);
		separator = ", ";
	}
	appendStringInfo(out, ")::text COLLATE \"C\" AS image FROM %s%s) AS s"
					 " WHERE image IN (SELECT image FROM v))", only, relation->name);
	if (run->kind == RUN_DELETE_IMAGES)
		appendStringInfo(out, " DELETE FROM %s%s AS t USING", only, relation->name);
	else
	{
		appendStringInfo(out, " UPDATE %s%s AS t SET ", only, relation->name);
		separator = "";
		for (int i = 0; i < relation->natts; i++)
		{
			if (!is_given(&relation->columns[i]))
				continue;
			appendStringInfo(out, "%s%s = o.c%d", separator, relation->columns[i].name, ++n);
			separator = ", ";
		}
		appendStringInfoString(out, " FROM");
	}
	appendStringInfo(out, " r JOIN o USING (image, n) WHERE t.ctid = r.ctid%s; -- " INT64_FORMAT " rows",
					 routed ? " AND t.tableoid = r.tableoid" : "", run->rows);
}

/*
 * Write the run that was held back.
 */
void
images_end(ScribeState *state)
{
	ScribeRun  *run = &state->run;

	if (run->rows < run->least_rows)
	{
		run->singles.data[run->singles.len - 1] = '\0';	/* its last newline is output_end_line's */
		append_rows(state, run->singles.data);
	}
	else
	{
		append_head(&state->out, run);
		output_end_line(state);
		append_rows(state, run->held.data);
		output_end_line(state);
		append_tail(&state->out, run);
	}
	run->kind = RUN_NONE;
	run->relation = NULL;
	output_end_line(state);
}

static void
begin_images(ScribeState *state, RunKind kind, ScribeRelation *relation)
{
	ScribeRun  *run = &state->run;

	run_end(state);
	run->kind = kind;
	run->relation = relation;
	run->rows = 0;
	run->least_rows = has_lead(relation) ? IMAGE_FEW_ROWS : 2;
	if (run->images == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(state->ctx->context);

		run->images = palloc(sizeof(uint64) * IMAGE_HASH_SIZE);
		initStringInfo(&run->singles);
		initStringInfo(&run->held);
		MemoryContextSwitchTo(old);
	}
	resetStringInfo(&run->singles);
	resetStringInfo(&run->held);
	if (kind == RUN_UPDATE_IMAGES)
		memset(run->images, 0, sizeof(uint64) * IMAGE_HASH_SIZE);
}

/*
 * Add the row's image, and for an UPDATE its new values, to the statement.
 */
static void
append_image_row(ScribeState *state, ScribeRelation *relation, StringInfo image)
{
	ScribeRun  *run = &state->run;
	StringInfo	held = &run->held;

	appendStringInfoString(held, run->rows > 0 ? ",\n(" : "(");
	append_literal(held, image->data, image->len);
	if (run->rows == 0)
		appendStringInfoString(held, "::text COLLATE \"C\"");
	for (int i = 0; run->kind == RUN_UPDATE_IMAGES && i < relation->natts; i++)
	{
		ScribeColumn *column = &relation->columns[i];

		if (!is_given(column))
			continue;
		appendStringInfoString(held, ", ");
		append_value_or_null(held, column, relation->values[i], relation->nulls[i]);
		if (run->rows == 0)
			appendStringInfoString(held, column->cast);
	}
	appendStringInfoChar(held, ')');
	run->rows++;
}

/*
 * Whether the run that is open takes one more row.
 */
static bool
is_open(ScribeRun *run, RunKind kind, ScribeRelation *relation)
{
	return run->kind == kind && run->relation == relation &&
		run->rows < IMAGE_MAX_ROWS && run->held.len < IMAGE_MAX_BYTES;
}

/*
 * The row old_values gets values; single is the statement that does it alone.
 * No value of it may be an unchanged TOAST value.
 */
void
images_update(ScribeState *state, ScribeRelation *relation, StringInfo single)
{
	ScribeRun  *run = &state->run;
	StringInfoData old_image;
	StringInfoData new_image;
	uint64	   *place;

	make_image(&old_image, relation, relation->old_values, relation->old_nulls);
	make_image(&new_image, relation, relation->values, relation->nulls);

	/* a row that this very statement makes is not there when it begins */
	if (!is_open(run, RUN_UPDATE_IMAGES, relation) || image_place(run, &old_image) == NULL)
		begin_images(state, RUN_UPDATE_IMAGES, relation);
	place = image_place(run, &new_image);
	if (place != NULL)
		*place = run->image_hash;
	if (run->rows + 1 < run->least_rows)
		appendStringInfo(&run->singles, "%s\n", single->data);
	append_image_row(state, relation, &old_image);
}

/*
 * The row old_values goes; single is the statement that does it alone.
 */
void
images_delete(ScribeState *state, ScribeRelation *relation, StringInfo single)
{
	ScribeRun  *run = &state->run;
	StringInfoData image;

	make_image(&image, relation, relation->old_values, relation->old_nulls);
	if (!is_open(run, RUN_DELETE_IMAGES, relation))
		begin_images(state, RUN_DELETE_IMAGES, relation);
	if (run->rows + 1 < run->least_rows)
		appendStringInfo(&run->singles, "%s\n", single->data);
	append_image_row(state, relation, &image);
}
