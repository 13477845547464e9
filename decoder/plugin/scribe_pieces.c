/*
 * scribe_pieces.c
 *	  Rows too large for one statement.
 *
 * The server takes no statement and no line of COPY data beyond 1 GB, its
 * scanner no literal beyond half of that, and bytea doubles as text.  So the
 * large values of such a row go first, in pieces, into a temporary table, and
 * where a value would stand, a subquery puts its pieces together:
 *
 *	CREATE TEMP TABLE pg_temp.scribe_piece (value int, n int, t text, b bytea);
 *	COPY pg_temp.scribe_piece (value, n, t, b) FROM stdin;
 *	...
 *	INSERT INTO public.t (id, v) VALUES (1, (SELECT ... WHERE value = 1)::...);
 *	DROP TABLE pg_temp.scribe_piece;
 *
 * Nothing here holds more than one piece beside the value itself.
 */
#include "scribe_decoder.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/lsyscache.h"

#define ROW_BYTES (16 * 1024 * 1024)	/* a larger row is sent in pieces */
#define VALUE_BYTES (64 * 1024)			/* those of its values, that is */
#define PIECE_BYTES (4 * 1024 * 1024)

typedef struct Mark
{
	Datum		value;
	int			number;
	bool		bytes;			/* bytea: the pieces are in column b */
} Mark;

static Mark *marks = NULL;		/* in the change's context */
int			pieces_count = 0;

static bool
may_be_huge(HeapTuple tuple)
{
	return tuple != NULL && (HeapTupleHasExternal(tuple) || tuple->t_len > VALUE_BYTES);
}

/*
 * Bytes of a value that is written; 0 where it is none or not there to write.
 */
static Size
size_of(ScribeColumn *column, Datum value, bool isnull)
{
	if (isnull || column->len != -1 || VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value)))
		return 0;
	return toast_raw_datum_size(value) - VARHDRSZ;
}

/*
 * The value's bytes, copied only where they are compressed.
 */
static struct varlena *
plain_varlena(Datum value)
{
	struct varlena *data = (struct varlena *) DatumGetPointer(value);

	if (VARATT_IS_EXTERNAL_INDIRECT(data))
	{
		struct varatt_indirect redirect;

		VARATT_EXTERNAL_GET_POINTER(redirect, data);
		data = redirect.pointer;
	}
	return PG_DETOAST_DATUM_PACKED(PointerGetDatum(data));
}

static void
append_hex(StringInfo buf, const unsigned char *data, Size len)
{
	static const char digits[] = "0123456789abcdef";
	char	   *at;

	appendStringInfoString(buf, "\\\\x");
	enlargeStringInfo(buf, (int) (2 * len));
	at = buf->data + buf->len;
	for (Size i = 0; i < len; i++)
	{
		*at++ = digits[data[i] >> 4];
		*at++ = digits[data[i] & 15];
	}
	*at = '\0';
	buf->len += (int) (2 * len);
}

/*
 * A value as lines of COPY data.
 */
static void
write_pieces(ScribeState *state, ScribeColumn *column, Mark *mark)
{
	StringInfo	out = &state->out;
	const char *data;
	Size		len;
	int			n = 0;

	if (mark->bytes || column->class == VALUE_TEXT)
	{
		struct varlena *plain = plain_varlena(mark->value);

		data = VARDATA_ANY(plain);
		len = VARSIZE_ANY_EXHDR(plain);
	}
	else
	{
		data = output_text(column, mark->value);
		len = strlen(data);
	}

	while (len > 0)
	{
		Size		piece = Min(len, (Size) PIECE_BYTES);

		if (!mark->bytes && piece < len)
			piece = pg_mbcliplen(data, (int) piece + MAX_MULTIBYTE_CHAR_LEN, (int) piece);
		appendStringInfo(out, "%d\t%d\t", mark->number, ++n);
		if (mark->bytes)
		{
			appendStringInfoString(out, "\\N\t");
			append_hex(out, (const unsigned char *) data, piece);
		}
		else
		{
			append_copy_text(out, data, piece);
			appendStringInfoString(out, "\t\\N");
		}
		output_end_line(state);
		data += piece;
		len -= piece;
	}
}

static void
write_values(ScribeState *state, ScribeRelation *relation, Datum *values, bool *nulls, bool old)
{
	for (int i = 0; i < relation->natts; i++)
	{
		ScribeColumn *column = &relation->columns[i];
		Mark	   *mark = &marks[pieces_count];

		if (!(old ? column->stored : column->live) || size_of(column, values[i], nulls[i]) <= VALUE_BYTES)
			continue;
		mark->value = values[i];
		mark->number = pieces_count + 1;
		mark->bytes = getBaseType(column->type) == BYTEAOID;
		write_pieces(state, column, mark);
		pieces_count++;
	}
}

static Size
size_of_row(ScribeRelation *relation, Datum *values, bool *nulls)
{
	Size		total = 0;

	for (int i = 0; i < relation->natts; i++)
		if (relation->columns[i].stored)
			total += size_of(&relation->columns[i], values[i], nulls[i]);
	return total;
}

/*
 * Before a statement about the row in relation's arrays: where it is too
 * large, write its pieces and say true.  Then pieces_end() follows the
 * statement, which must stand alone.
 */
bool
pieces_begin(ScribeState *state, ScribeRelation *relation, HeapTuple oldtuple, HeapTuple newtuple)
{
	bool		old = oldtuple != NULL && relation->full;
	Size		total = 0;

	pieces_forget();
	if (!may_be_huge(oldtuple) && !may_be_huge(newtuple))
		return false;
	if (newtuple)
		total += size_of_row(relation, relation->values, relation->nulls);
	if (old)
		total += size_of_row(relation, relation->old_values, relation->old_nulls);
	if (total <= ROW_BYTES)
		return false;

	run_end(state);
	output_begin(state);
	appendStringInfoString(&state->out, "CREATE TEMP TABLE pg_temp.scribe_piece (value int, n int, t text, b bytea);");
	output_end_line(state);
	appendStringInfoString(&state->out, "COPY pg_temp.scribe_piece (value, n, t, b) FROM stdin;");
	output_end_line(state);
	marks = palloc(sizeof(Mark) * (2 * relation->natts + 1));
	if (newtuple)
		write_values(state, relation, relation->values, relation->nulls, false);
	if (old)
		write_values(state, relation, relation->old_values, relation->old_nulls, true);
	appendStringInfoString(&state->out, "\\.");
	output_end_line(state);
	return true;
}

void
pieces_end(ScribeState *state)
{
	run_end(state);
	appendStringInfoString(&state->out, "DROP TABLE pg_temp.scribe_piece;");
	output_end_line(state);
	pieces_forget();
}

/*
 * No value is in pieces any more.
 */
void
pieces_forget(void)
{
	pieces_count = 0;
	marks = NULL;
}

/*
 * Write a value that was sent in pieces; false where it was not.
 */
bool
append_pieces(StringInfo buf, ScribeColumn *column, Datum value)
{
	for (int i = 0; i < pieces_count; i++)
	{
		if (column->len != -1 || marks[i].value != value)
			continue;
		appendStringInfo(buf, "(SELECT pg_catalog.string_agg(%s, '' ORDER BY n)"
						 " FROM pg_temp.scribe_piece WHERE value = %d)%s",
						 marks[i].bytes ? "b" : "t", marks[i].number, column->cast);
		return true;
	}
	return false;
}
