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

static bool
is_word(char c)
{
	return isalnum((unsigned char) c) || c == '_';
}

/*
 * Whether a constant of the text may stand for another time elsewhere, as scribe.tells_time() has it: a word that means a time,
 * and is not the name of a function that is called.  A letter beyond ASCII ends no word here, which leaves more to that.
 */
static bool
may_tell_time(const char *text)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday"};

	for (int i = 0; i < (int) lengthof(words); i++)
		for (const char *p = text; (p = strcasestr(p, words[i])) != NULL; p++)
		{
			const char *end = p + strlen(words[i]);

			if ((p > text && is_word(p[-1])) || is_word(*end))
				continue;
			while (isspace((unsigned char) *end))
				end++;
			if (*end != '(')
				return true;
		}
	return false;
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
	if (!found || !statement->exact || statement->rewritten || creating_extension || may_tell_time(statement->text))
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
		case T_AlterOwnerStmt:
			return false;
		default:
			return true;
	}
}
