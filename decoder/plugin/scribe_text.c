/*
 * scribe_text.c
 *	  Can psql be trusted to send a statement's text as it is?  And how is it
 *	  written so that every server reads it alike?
 *
 * A small scanner with PostgreSQL's rules for quotes and comments (that is,
 * with standard_conforming_strings on).  Whatever it is not sure of makes the
 * text unfit, and the caller writes it as a literal.
 */
#include "scribe_decoder.h"

typedef enum TokenKind
{
	TOKEN_END,
	TOKEN_WORD,					/* name, keyword or number */
	TOKEN_QUOTED,				/* '...' "..." $$...$$ */
	TOKEN_COMMENT,
	TOKEN_CHAR,					/* any other character */
	TOKEN_BAD					/* unterminated or doubtful */
} TokenKind;

typedef struct Token
{
	TokenKind	kind;
	const char *start;
	int			len;
	int			depth;			/* of parentheses before it */
} Token;

typedef struct Scan
{
	const char *at;
	int			depth;
} Scan;

static bool
is_name_start(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

static bool
is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_name_part(unsigned char c)
{
	return is_name_start(c) || is_digit(c) || c == '$';
}

static bool
is_blank(unsigned char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

/*
 * After the quote that begins at at, or NULL where it does not end.
 */
static const char *
skip_quoted(const char *at, bool escapes)
{
	char		quote = *at++;

	for (; *at; at++)
	{
		if (escapes && *at == '\\' && at[1])
			at++;
		else if (*at == quote)
		{
			if (at[1] != quote)
				return at + 1;
			at++;
		}
	}
	return NULL;
}

static const char *
skip_block_comment(const char *at)
{
	int			depth = 0;

	for (; *at; at++)
	{
		if (at[0] == '/' && at[1] == '*')
		{
			depth++;
			at++;
		}
		else if (at[0] == '*' && at[1] == '/')
		{
			at++;
			if (--depth == 0)
				return at + 1;
		}
	}
	return NULL;
}

/*
 * After the dollar quote at at; NULL where it does not end; at itself where
 * this is no dollar quote.
 */
static const char *
skip_dollar_quoted(const char *at)
{
	const char *p = at + 1;
	const char *end;
	char	   *tag;

	if (is_name_start(*p))
		while (is_name_part(*p) && *p != '$')
			p++;
	if (*p != '$')
		return at;
	p++;
	tag = pnstrdup(at, p - at);
	end = strstr(p, tag);
	return end ? end + strlen(tag) : NULL;
}

/*
 * An E'' literal goes on as one after a newline and another quote.
 */
static bool
continues(const char *at)
{
	while (is_blank(*at))
		at++;
	return *at == '\'' || (at[0] == '-' && at[1] == '-');
}

static Token
next_token(Scan *scan)
{
	const char *at = scan->at;
	const char *end;
	Token		token;

	while (is_blank(*at))
		at++;
	token.start = at;
	token.depth = scan->depth;
	token.kind = TOKEN_CHAR;
	end = at + 1;

	if (*at == '\0')
	{
		token.kind = TOKEN_END;
		end = at;
	}
	else if (*at == '\'' || *at == '"')
	{
		token.kind = TOKEN_QUOTED;
		end = skip_quoted(at, false);
	}
	else if ((*at == 'e' || *at == 'E') && at[1] == '\'')
	{
		token.kind = TOKEN_QUOTED;
		end = skip_quoted(at + 1, true);
		if (end && continues(end))
			end = NULL;
	}
	else if (is_name_start(*at) || is_digit(*at))
	{
		token.kind = TOKEN_WORD;
		while (is_name_part(*end) || (is_digit(*at) && *end == '.'))
			end++;
		if (is_digit(*at) && *end == '\'')
			end = NULL;
	}
	else if (*at == '$')
	{
		end = skip_dollar_quoted(at);
		if (end == at)
			end = at + 1;
		else
			token.kind = TOKEN_QUOTED;
	}
	else if (at[0] == '-' && at[1] == '-')
	{
		token.kind = TOKEN_COMMENT;
		end = at + strcspn(at, "\n\r");
	}
	else if (at[0] == '/' && at[1] == '*')
	{
		token.kind = TOKEN_COMMENT;
		end = skip_block_comment(at);
	}
	else if (*at == '(')
		scan->depth++;
	else if (*at == ')')
		scan->depth--;

	if (end == NULL)
	{
		token.kind = TOKEN_BAD;
		end = at + strlen(at);
	}
	token.len = end - token.start;
	scan->at = end;
	return token;
}

static bool
is_word(Token *token, const char *word)
{
	return token->kind == TOKEN_WORD && token->len == (int) strlen(word) &&
		pg_strncasecmp(token->start, word, token->len) == 0;
}

/*
 * Does a line of the text begin like a frame, or like a line that means
 * something to the readers of a DDL block?
 */
static bool
has_reserved_line(const char *text)
{
	static const char *const reserved[] = {
		"BEGIN; --", "COMMIT; --", "-- rows", "-- session", "-- ddl", "-- mark", "-- warning", "-- pg_scribe:",
		"COPY", "\\", "SET LOCAL ROLE", "RESET ROLE", NULL
	};

	while (*text)
	{
		const char *line = text + strspn(text, " \t");

		for (int i = 0; reserved[i]; i++)
			if (strncmp(line, reserved[i], strlen(reserved[i])) == 0)
				return true;
		text += strcspn(text, "\n");
		if (*text)
			text++;
	}
	return false;
}

/*
 * :name, :'name', :"name" and :{?name} are psql's, except within quotes and
 * comments.  at: a colon outside of these; two are a cast.
 */
static bool
begins_variable(Scan *scan, const char *at)
{
	if (at[1] == ':')
	{
		scan->at = at + 2;
		return false;
	}
	return is_name_start(at[1]) || at[1] == '\'' || at[1] == '"' || at[1] == '{';
}

/*
 * Is this one statement that psql, at defaults, sends exactly as it stands?
 */
bool
text_is_plain(const char *text)
{
	Scan		scan = {text, 0};
	bool		empty = true;

	for (const char *p = text; *p; p++)
		if (((unsigned char) *p < 0x20 && *p != '\n' && *p != '\t') || *p == 0x7f)
			return false;
	if (has_reserved_line(text))
		return false;

	for (;;)
	{
		Token		token = next_token(&scan);

		if (token.kind == TOKEN_END)
			return token.depth == 0 && !empty;
		if (token.kind == TOKEN_BAD || scan.depth < 0)
			return false;
		if (token.kind == TOKEN_COMMENT)
		{
			if (memchr(token.start, '\\', token.len))
				return false;
			continue;
		}
		empty = false;
		if (token.kind == TOKEN_CHAR &&
			(*token.start == '\\' || (*token.start == ';' && token.depth == 0) ||
			 (*token.start == ':' && begins_variable(&scan, token.start))))
			return false;

		/* psql before 14 knows nothing of bodies in SQL, later ones guess */
		if (is_word(&token, "atomic") || (token.depth == 0 && is_word(&token, "begin")))
			return false;
	}
}

static Token
next_of_grammar(Scan *scan)
{
	Token		token;

	do
		token = next_token(scan);
	while (token.kind == TOKEN_COMMENT);
	return token;
}

static bool
is_char(Token *token, char c)
{
	return token->kind == TOKEN_CHAR && *token->start == c;
}

/*
 * Pass over a keyword if token is that one.
 */
static bool
take_word(Scan *scan, Token *token, const char *word)
{
	if (!is_word(token, word))
		return false;
	*token = next_of_grammar(scan);
	return true;
}

/*
 * Pass over a name, which may have a schema, and be written as U&"..." UESCAPE '...'.
 */
static void
skip_name(Scan *scan, Token *token)
{
	for (;;)
	{
		if (is_word(token, "u") && token->start[1] == '&' && token->start[2] == '"')
		{
			(void) next_token(scan);
			(void) next_token(scan);
			*token = next_of_grammar(scan);
			if (take_word(scan, token, "uescape"))
				*token = next_of_grammar(scan);
		}
		else
			*token = next_of_grammar(scan);
		if (!is_char(token, '.'))
			return;
		*token = next_of_grammar(scan);
	}
}

/*
 * CONCURRENTLY among the options of REINDEX; token: the first.
 */
static bool
find_option(Scan *scan, Token *token)
{
	bool		begins = true;

	while (token->kind != TOKEN_END && token->kind != TOKEN_BAD && !is_char(token, ')'))
	{
		if (begins && is_word(token, "concurrently"))
			return true;
		begins = is_char(token, ',');
		*token = next_of_grammar(scan);
	}
	return false;
}

/*
 * The place of CONCURRENTLY, or of FINALIZE after a DETACH PARTITION that had it.  Types and functions may have the one name and
 * anything the other, so they are looked for where the grammar has them alone.
 */
static bool
find_barred_word(Scan *scan, const char *tag, Token *token)
{
	*token = next_of_grammar(scan);
	if (strcmp(tag, "ALTER TABLE") == 0)
	{
		if (!take_word(scan, token, "alter") || !take_word(scan, token, "table"))
			return false;
		if (is_word(token, "if"))
		{
			Scan		ahead = *scan;
			Token		next = next_of_grammar(&ahead);

			if (is_word(&next, "exists"))
			{
				(void) next_of_grammar(scan);
				*token = next_of_grammar(scan);
			}
		}
		(void) take_word(scan, token, "only");
		if (is_char(token, '('))
			*token = next_of_grammar(scan);
		skip_name(scan, token);
		if (is_char(token, ')') || is_char(token, '*'))
			*token = next_of_grammar(scan);
		if (!take_word(scan, token, "detach") || !take_word(scan, token, "partition"))
			return false;
		skip_name(scan, token);
		return is_word(token, "concurrently") || is_word(token, "finalize");
	}
	if (strcmp(tag, "REINDEX") == 0)
	{
		if (!take_word(scan, token, "reindex"))
			return false;
		if (is_char(token, '('))
		{
			*token = next_of_grammar(scan);
			if (find_option(scan, token))
				return true;
			*token = next_of_grammar(scan);
		}
		*token = next_of_grammar(scan);
	}
	else if (strcmp(tag, "CREATE INDEX") == 0)
	{
		(void) take_word(scan, token, "create");
		(void) take_word(scan, token, "unique");
		(void) take_word(scan, token, "index");
	}
	else if (strcmp(tag, "DROP INDEX") == 0)
	{
		(void) take_word(scan, token, "drop");
		(void) take_word(scan, token, "index");
	}
	else if (strcmp(tag, "REFRESH MATERIALIZED VIEW") == 0)
	{
		(void) take_word(scan, token, "refresh");
		(void) take_word(scan, token, "materialized");
		(void) take_word(scan, token, "view");
	}
	else
		return false;
	return is_word(token, "concurrently");
}

/*
 * The text without the keyword CONCURRENTLY, which is barred from transaction
 * blocks, or FINALIZE; NULL where it does not stand there.
 */
char *
text_without_concurrently(const char *text, const char *tag)
{
	Scan		scan = {text, 0};
	Token		token;
	const char *rest;

	if (!find_barred_word(&scan, tag, &token))
		return NULL;
	rest = token.start + token.len;
	if (token.depth > 0)
	{
		/* REINDEX (CONCURRENTLY [true]) */
		Token		value = next_token(&scan);

		if (value.kind == TOKEN_WORD || value.kind == TOKEN_QUOTED)
			rest = value.start + value.len;
		return psprintf("%.*sCONCURRENTLY false%s", (int) (token.start - text), text, rest);
	}
	rest += strspn(rest, " \t");
	if (*rest == '\0')
		while (token.start > text && is_blank(token.start[-1]))
			token.start--;
	return psprintf("%.*s%s", (int) (token.start - text), text, rest);
}

/*
 * The quote that goes on with the literal before at, or NULL: it stands on a
 * later line.
 */
static const char *
next_part(const char *at)
{
	bool		newline = false;

	for (;; at++)
	{
		if (at[0] == '-' && at[1] == '-')
			at += strcspn(at, "\n\r");
		if (*at == '\'')
			return newline ? at : NULL;
		if (!is_blank(*at))
			return NULL;
		newline |= *at == '\n' || *at == '\r';
	}
}

/*
 * After a literal with all its parts, or NULL where it does not end.
 */
static const char *
skip_parts(const char *at, bool escapes)
{
	const char *part;

	for (at = skip_quoted(at, escapes); at != NULL && (part = next_part(at)) != NULL;)
		at = skip_quoted(part, escapes);
	return at;
}

/*
 * After what begins at at, literals aside; NULL where it does not end.
 */
static const char *
skip_other(const char *at)
{
	if (*at == '"')
		return skip_quoted(at, false);
	if (at[0] == '-' && at[1] == '-')
		return at + strcspn(at, "\n\r");
	if (at[0] == '/' && at[1] == '*')
		return skip_block_comment(at);
	if (*at == '$')
	{
		const char *end = skip_dollar_quoted(at);

		return end == at ? at + 1 : end;
	}
	return at + 1;
}

/*
 * A text that was read with standard_conforming_strings off, as one that means
 * the same whatever that setting is, which 19 cannot switch off: E'' for ''.
 * NULL if it cannot be read.
 */
char *
text_with_escape_strings(const char *text)
{
	StringInfoData out;
	const char *at = text;

	initStringInfo(&out);
	while (at != NULL && *at)
	{
		const char *start = at;

		if (is_name_start(*at))
		{
			while (is_name_part(*at))
				at++;
			if (*at == '\'' && at == start + 1 && strchr("eEbBxX", *start))
				at = skip_parts(at, *start == 'e' || *start == 'E');
			else if (*at == '\'' && at == start + 1 && (*start == 'n' || *start == 'N'))
			{
				appendStringInfoString(&out, "NCHAR");
				start = at;
			}
			else if (at[0] == '&' && at[1] == '\'' && at == start + 1 && (*start == 'u' || *start == 'U'))
				return NULL;
		}
		else if (*at == '\'')
		{
			at = skip_parts(at, true);
			appendStringInfoString(&out, start > text && is_name_part(start[-1]) ? " E" : "E");
		}
		else
			at = skip_other(at);
		if (at != NULL)
			appendBinaryStringInfo(&out, start, at - start);
	}
	return at == NULL ? NULL : out.data;
}

/*
 * Does a name stand in a text, in either case, as a word or quoted?  It may do
 * so within something else.
 */
bool
text_names(const char *text, const char *name)
{
	char	   *written = palloc(2 * strlen(name) + 1);
	char	   *end = written;
	bool		found = false;

	for (const char *at = name; *at; at++)
	{
		if (*at == '"')
			*end++ = '"';
		*end++ = *at;
	}
	*end = '\0';
	for (const char *at = strcasestr(text, written); at != NULL && !found; at = strcasestr(at + 1, written))
		found = !(is_name_part(*written) && at > text && is_name_part(at[-1])) &&
			!(end > written && is_name_part(end[-1]) && is_name_part(at[end - written]));
	pfree(written);
	return found;
}

#define OPERATOR_CHARACTERS "+-*/<>=~!@#%^&|`?"

/*
 * The last part of the name that begins at token, without its quotes; NULL if
 * that is none.  *token becomes what follows.
 */
static char *
last_part(Scan *scan, Token *token)
{
	char	   *name = NULL;

	if (strspn(token->start, OPERATOR_CHARACTERS) > 0)
	{
		name = pnstrdup(token->start, strspn(token->start, OPERATOR_CHARACTERS));
		scan->at = token->start + strlen(name);
		*token = next_of_grammar(scan);
		return name;
	}
	while (token->kind == TOKEN_WORD || (token->kind == TOKEN_QUOTED && *token->start == '"'))
	{
		bool		quoted = token->kind == TOKEN_QUOTED;
		char	   *end;

		end = name = palloc(token->len + 1);
		for (const char *at = token->start + quoted; at < token->start + token->len - quoted; at++)
		{
			*end++ = *at;
			at += quoted && *at == '"';
		}
		*end = '\0';
		*token = next_of_grammar(scan);
		if (!is_char(token, '.'))
			break;
		*token = next_of_grammar(scan);
		if (strspn(token->start, OPERATOR_CHARACTERS) > 0)
			return last_part(scan, token);
	}
	return name;
}

static bool
has_rename(Scan scan)
{
	for (;;)
	{
		Token		token = next_of_grammar(&scan);

		if (token.kind == TOKEN_END || token.kind == TOKEN_BAD)
			return false;
		if (is_word(&token, "rename"))
			return true;
		if (is_word(&token, "set"))
		{
			token = next_of_grammar(&scan);
			if (is_word(&token, "schema"))
				return true;
		}
	}
}

/*
 * The names, without their schemas, that what an ALTER renames or moves, or
 * what a DROP names, had before; no more than are kept.
 */
List *
text_taken_names(const char *text, const char *tag)
{
	Scan		scan = {text, 0};
	Token		token;
	List	   *names = NIL;
	bool		drop = strncmp(tag, "DROP ", 5) == 0;

	if (!drop && !has_rename(scan))
		return NIL;
	token = next_of_grammar(&scan);
	for (const char *word = tag; *word; word += strcspn(word, " "), word += *word == ' ')
	{
		if (is_word(&token, "procedural"))
			token = next_of_grammar(&scan);
		if (!take_word(&scan, &token, pnstrdup(word, strcspn(word, " "))))
			return NIL;
	}
	if (drop && is_word(&token, "if"))
	{
		token = next_of_grammar(&scan);
		(void) take_word(&scan, &token, "exists");
	}
	for (;;)
	{
		char	   *name = last_part(&scan, &token);

		if (name != NULL)
			names = lappend(names, name);
		while (drop && token.kind != TOKEN_END && token.kind != TOKEN_BAD && !(is_char(&token, ',') && token.depth == 0))
			token = next_of_grammar(&scan);
		if (!drop || !is_char(&token, ',') || list_length(names) == TAKEN_NAMES_KEPT)
			return names;
		token = next_of_grammar(&scan);
	}
}
