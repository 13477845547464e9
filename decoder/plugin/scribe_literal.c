/*
 * scribe_literal.c
 *	  Values and names as SQL text: exact, locale-free, on one line.
 */
#include "scribe_decoder.h"

#include "utils/builtins.h"

#define ONES UINT64CONST(0x0101010101010101)
#define HIGHS UINT64CONST(0x8080808080808080)

/* a bit is set in the high bit of a byte of the result where a byte of w is 0 (or follows one) */
#define HAS_ZERO(w) (((w) - ONES) & ~(w) & HIGHS)
#define HAS_BYTE(w, byte) HAS_ZERO((w) ^ (ONES * (byte)))
#define HAS_CONTROL(w) (((w) - ONES * 0x20) & ~(w) & HIGHS)

static inline bool
is_control(unsigned char c)
{
	return c < 0x20 || c == 0x7f;
}

static inline bool
is_special(unsigned char c)
{
	return is_control(c) || c == '\'' || c == '\\';
}

/*
 * How many bytes from here are neither control characters nor ' nor \.
 * Server encodings never use these bytes inside a longer character.
 */
static inline Size
plain_span(const char *text, Size len)
{
	Size		i = 0;

	for (; i + sizeof(uint64) <= len; i += sizeof(uint64))
	{
		uint64		w;

		memcpy(&w, text + i, sizeof(w));
		if (HAS_CONTROL(w) | HAS_BYTE(w, 0x7f) | HAS_BYTE(w, '\'') | HAS_BYTE(w, '\\'))
			break;
	}
	while (i < len && !is_special((unsigned char) text[i]))
		i++;
	return i;
}

static inline void
append_bytes(StringInfo buf, const char *data, Size len)
{
	enlargeStringInfo(buf, (int) Min(len, (Size) INT_MAX));
	memcpy(buf->data + buf->len, data, len);
	buf->len += (int) len;
}

/*
 * Escape for a byte that E'' and COPY both know by the same letter, or 0.
 */
static inline char
escape_letter(unsigned char c)
{
	switch (c)
	{
		case '\b':
			return 'b';
		case '\t':
			return 't';
		case '\n':
			return 'n';
		case '\f':
			return 'f';
		case '\r':
			return 'r';
		case '\\':
			return '\\';
		default:
			return 0;
	}
}

static void
append_escape(StringInfo buf, unsigned char c)
{
	char		letter = escape_letter(c);
	char		text[4] = {'\\', letter};

	if (letter)
	{
		append_bytes(buf, text, 2);
		return;
	}
	text[1] = 'x';
	text[2] = "0123456789ABCDEF"[c >> 4];
	text[3] = "0123456789ABCDEF"[c & 15];
	append_bytes(buf, text, 4);
}

bool
has_control(const char *text)
{
	for (; *text; text++)
		if (is_control((unsigned char) *text))
			return true;
	return false;
}

/*
 * '...' or, where a backslash or a control character asks for it, E'...'.
 */
void
append_literal(StringInfo buf, const char *text, Size len)
{
	int			start = buf->len;
	bool		escaped = false;

	appendStringInfoCharMacro(buf, '\'');
	for (;;)
	{
		Size		span = plain_span(text, len);

		append_bytes(buf, text, span);
		text += span;
		len -= span;
		if (len == 0)
			break;
		if (*text == '\'')
			append_bytes(buf, "''", 2);
		else
		{
			/* what stands in the buffer holds no backslash: E'' changes nothing */
			escaped = true;
			append_escape(buf, (unsigned char) *text);
		}
		text++;
		len--;
	}
	appendStringInfoCharMacro(buf, '\'');

	if (escaped)
	{
		enlargeStringInfo(buf, 1);
		memmove(buf->data + start + 1, buf->data + start, buf->len - start);
		buf->data[start] = 'E';
		buf->len++;
	}
	buf->data[buf->len] = '\0';
}

void
append_copy_text(StringInfo buf, const char *text, Size len)
{
	for (;;)
	{
		Size		span = plain_span(text, len);

		append_bytes(buf, text, span);
		text += span;
		len -= span;
		if (len == 0)
			return;
		if (*text == '\'')
			append_bytes(buf, text, 1);
		else if (*text == '\v')
			append_bytes(buf, "\\v", 2);
		else
			append_escape(buf, (unsigned char) *text);
		text++;
		len--;
	}
}

/*
 * The text of an integer in buf, or NULL where the value is not one.
 */
static inline const char *
integer_text(ScribeColumn *column, Datum value, char *text, int *len)
{
	switch (column->class)
	{
		case VALUE_INT2:
			*len = int64_text(DatumGetInt16(value), text);
			return text;
		case VALUE_INT4:
			*len = int64_text(DatumGetInt32(value), text);
			return text;
		case VALUE_INT8:
			*len = int64_text(DatumGetInt64(value), text);
			return text;
		case VALUE_OID:
			*len = int64_text((int64) DatumGetObjectId(value), text);
			return text;
		default:
			return NULL;
	}
}

/* the column whose type is making a text, for whoever reports that it failed */
static ScribeColumn *in_work = NULL;

/*
 * The text that a type makes of a value.
 */
char *
output_text(ScribeColumn *column, Datum value)
{
	char	   *text;

	column_begins(column);
	text = OutputFunctionCall(&column->output, value);
	column_begins(NULL);
	return text;
}

/*
 * column: NULL where none is in work, also where an error left one behind.
 */
void
column_begins(ScribeColumn *column)
{
	in_work = column;
}

/*
 * The name of the column whose type is making a text, or NULL.
 */
const char *
column_in_work(void)
{
	return in_work ? in_work->name : NULL;
}

/*
 * A value that is not NULL as a literal without its type.
 */
void
append_value(StringInfo buf, ScribeColumn *column, Datum value)
{
	char		digits[32];
	int			len;
	const char *text;

	if (pieces_count > 0 && append_pieces(buf, column, value))
		return;
	if ((text = unseen_name(column->type, value)) != NULL)
		append_literal(buf, text, strlen(text));
	else if ((text = integer_text(column, value, digits, &len)) != NULL)
	{
		if (digits[0] == '-')
			append_literal(buf, digits, len);
		else
			append_bytes(buf, digits, len);
	}
	else if (column->class == VALUE_BOOL)
	{
		if (DatumGetBool(value))
			append_bytes(buf, "true", 4);
		else
			append_bytes(buf, "false", 5);
	}
	else if (column->class == VALUE_TEXT)
	{
		struct varlena *packed = PG_DETOAST_DATUM_PACKED(value);

		append_literal(buf, VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed));
	}
	else
	{
		text = value_text(column, value);
		append_literal(buf, text, strlen(text));
	}
}

void
append_value_or_null(StringInfo buf, ScribeColumn *column, Datum value, bool isnull)
{
	if (isnull)
		append_bytes(buf, "NULL", 4);
	else
		append_value(buf, column, value);
}

/*
 * A value that a column is to get.  Its domain may be NOT NULL: a COPY of other
 * columns lets a NULL in all the same, and so does a subquery without a row.
 */
void
append_new_value(StringInfo buf, ScribeColumn *column, Datum value, bool isnull)
{
	if (isnull && column->barred_null)
		appendStringInfoString(buf, column->barred_null);
	else
		append_value_or_null(buf, column, value, isnull);
}

static void
append_copy_value(StringInfo buf, ScribeColumn *column, Datum value)
{
	char		digits[32];
	int			len;
	const char *text;

	if ((text = integer_text(column, value, digits, &len)) != NULL)
		append_bytes(buf, digits, len);
	else if (column->class == VALUE_BOOL)
		append_bytes(buf, DatumGetBool(value) ? "t" : "f", 1);
	else if (column->class == VALUE_TEXT)
	{
		struct varlena *packed = PG_DETOAST_DATUM_PACKED(value);

		append_copy_text(buf, VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed));
	}
	else
	{
		text = value_text(column, value);
		append_copy_text(buf, text, strlen(text));
	}
}

static bool
begins_with(const char *text, int len, const char *prefix)
{
	int			n = strlen(prefix);

	return len >= n && memcmp(text, prefix, n) == 0;
}

/*
 * One line of COPY data from relation->values.  It must not look like a frame.
 */
void
append_copy_row(StringInfo buf, ScribeRelation *relation)
{
	int			start = buf->len;
	const char *line;
	int			len;

	for (int i = 0; i < relation->nlive; i++)
	{
		int			att = relation->live[i];

		if (i > 0)
			append_bytes(buf, "\t", 1);
		if (relation->nulls[att])
			append_bytes(buf, "\\N", 2);
		else
			append_copy_value(buf, &relation->columns[att], relation->values[att]);
	}

	line = buf->data + start;
	len = buf->len - start;
	if (len > 1 && (line[0] == '-' || line[0] == 'B' || line[0] == 'C') &&
		(begins_with(line, len, "--") || begins_with(line, len, "BEGIN;") ||
		 begins_with(line, len, "COMMIT;") || begins_with(line, len, "COPY ")))
	{
		enlargeStringInfo(buf, 1);
		memmove(buf->data + start + 1, buf->data + start, len);
		buf->data[start] = '\\';
		buf->len++;
	}
	buf->data[buf->len] = '\0';
}

/*
 * A name as quote_identifier does it, or as U&"" to keep it on one line.
 */
void
append_identifier(StringInfo buf, const char *name)
{
	if (!has_control(name))
	{
		appendStringInfoString(buf, quote_identifier(name));
		return;
	}

	appendStringInfoString(buf, "U&\"");
	for (; *name; name++)
	{
		unsigned char c = (unsigned char) *name;

		if (is_control(c))
			appendStringInfo(buf, "\\%04X", c);
		else
		{
			if (c == '"' || c == '\\')
				appendStringInfoChar(buf, c);
			appendStringInfoChar(buf, c);
		}
	}
	appendStringInfoChar(buf, '"');
}

/*
 * A setting's name, of which each part may be a key word.
 */
void
append_setting_name(StringInfo out, const char *name)
{
	const char *dot;

	for (; (dot = strchr(name, '.')) != NULL; name = dot + 1)
	{
		append_identifier(out, pnstrdup(name, dot - name));
		appendStringInfoChar(out, '.');
	}
	append_identifier(out, name);
}

void
append_qualified(StringInfo buf, const char *schema, const char *name)
{
	append_identifier(buf, schema);
	appendStringInfoChar(buf, '.');
	append_identifier(buf, name);
}
