/*-------------------------------------------------------------------------
 *
 * scribe_plain.c
 *	  Which statements are recorded by their text alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "commands/extension.h"
#include "nodes/parsenodes.h"

#include "scribe_capture.h"
#include "scribe_record.h"

/* Whether a stretch of text has a word that means a time, or looks like one. */
static bool
has_time_word(const char *text, Size length)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday"};

	for (int i = 0; i < (int) lengthof(words); i++)
		for (Size at = 0; at + strlen(words[i]) <= length; at++)
			if (pg_strncasecmp(text + at, words[i], strlen(words[i])) == 0)
				return true;
	return false;
}

/* Whether a stretch of text has as many digits in a row as the OID of what a user made. */
static bool
has_number(const char *text, Size length)
{
	int			digits = 0;

	for (Size at = 0; at < length && digits < 5; at++)
		digits = text[at] >= '0' && text[at] <= '9' ? digits + 1 : 0;
	return digits == 5;
}

/* Whether the quote at p begins a literal with escapes: E'...', U&'...', or any if the session's strings are not standard ones. */
static bool
begins_escapes(const char *text, const char *p, bool standard)
{
	const char *prefix = p - 1;

	if (!standard)
		return strchr(p, '\\') != NULL;
	if (prefix < text)
		return false;
	if (*prefix == '&')
		return prefix > text && (prefix[-1] == 'u' || prefix[-1] == 'U');
	return (*prefix == 'e' || *prefix == 'E') && strchr(p, '\\') != NULL &&
		(prefix == text || !(isalnum((unsigned char) prefix[-1]) || prefix[-1] == '_'));
}

/* Whether a literal may spell a word or a number in another way, by escapes or over several lines: see scribe.spells_otherwise(). */
static bool
may_spell_otherwise(const char *text, bool standard)
{
	for (const char *p = text; (p = strchr(p, '\'')) != NULL;)
	{
		bool		newline = false;

		if (begins_escapes(text, p, standard))
			return true;
		p++;
		while (*p != '\0' && (strchr(" \t\n\r\f\v", *p) != NULL || (p[0] == '-' && p[1] == '-')))
		{
			newline = newline || *p == '\n' || *p == '\r';
			p += *p == '-' ? strcspn(p, "\n\r") : 1;
		}
		if (newline && *p == '\'')
			return true;
	}
	return false;
}

/*
 * Whether a constant of the text may stand for another time or object elsewhere: see scribe.fleeting_kinds(), which has the last
 * word.  A call of now() is no constant, and 'now()' is one.
 */
static bool
may_be_fleeting(const char *text, bool standard)
{
	if (may_spell_otherwise(text, standard))
		return true;
	if (!has_time_word(text, strlen(text)) && !has_number(text, strlen(text)))
		return false;
	if (strpbrk(text, "$\\") != NULL || strstr(text, "--") != NULL || strstr(text, "/*") != NULL)
		return true;
	for (const char *p = text; (p += strcspn(p, "'\""), *p);)
	{
		const char *start = p + 1;
		Size		length = strcspn(start, *p == '"' ? "\"" : "'");

		if (*p == '\'' && (has_time_word(start, length) || has_number(start, length)))
			return true;
		p = start + length + (start[length] != '\0');
	}
	return false;
}

/* The setting is the first of the notes, if it was changed; here it is on already. */
static bool
has_standard_strings(Statement *statement)
{
	static const char off[] = "{standard_conforming_strings,off";

	return statement->settings == NULL ||
		strncmp(settings_text(PointerGetDatum(statement->settings)), off, sizeof(off) - 1) != 0;
}

/* Whether the statement itself is all that has to be recorded of it; SQL does the rest. */
bool
is_plain(const char *tag, Statement *statement)
{
	static const char *const plain[] = {
		"CREATE TABLE", "CREATE TABLE AS", "CREATE INDEX", "CREATE VIEW", "CREATE SEQUENCE", "CREATE FUNCTION",
		"CREATE PROCEDURE", "CREATE TRIGGER", "CREATE TYPE", "COMMENT", "ALTER TABLE", "DROP TABLE", "DROP VIEW",
		"DROP MATERIALIZED VIEW", "DROP SEQUENCE", "DROP FUNCTION", "DROP PROCEDURE", "DROP TRIGGER"
	};
	Node	   *tree = statement->tree;
	ListCell   *cell;
	bool		found = false;

	for (int i = 0; !found && i < (int) lengthof(plain); i++)
		found = strcmp(plain[i], tag) == 0;
	if (!found || !statement->exact || statement->rewritten || creating_extension ||
		may_be_fleeting(statement->text, has_standard_strings(statement)))
		return false;
	switch (nodeTag(tree))
	{
		case T_CreateStmt:
			return ((CreateStmt *) tree)->partbound == NULL && strcasestr(statement->text, "like") == NULL;
		case T_IndexStmt:
			return !((IndexStmt *) tree)->concurrent;
		case T_AlterTableStmt:
			foreach(cell, ((AlterTableStmt *) tree)->cmds)
			{
				switch (lfirst_node(AlterTableCmd, cell)->subtype)
				{
					case AT_AddColumn:
					case AT_DropColumn:
					case AT_ColumnDefault:
					case AT_SetNotNull:
					case AT_DropNotNull:
					case AT_SetStatistics:
					case AT_SetOptions:
					case AT_ResetOptions:
					case AT_SetStorage:
					case AT_AddConstraint:
					case AT_ValidateConstraint:
					case AT_SetRelOptions:
					case AT_ResetRelOptions:
					case AT_EnableRowSecurity:
					case AT_DisableRowSecurity:
						break;
					default:
						return false;
				}
			}
			return true;
		case T_CreateFunctionStmt:
			return strcasestr(statement->text, "current") == NULL;	/* SET ... FROM CURRENT */
		case T_CommentStmt:
			return ((CommentStmt *) tree)->objtype != OBJECT_TRIGGER;	/* a constraint's has an OID in its name */
		case T_AlterOwnerStmt:
			return false;
		default:
			return true;
	}
}
