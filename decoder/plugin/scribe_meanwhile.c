/*
 * scribe_meanwhile.c
 *	  What a statement needs, and another transaction took away that was
 *	  committed after it and before its own.
 *
 * Transactions are replayed in the order of their commits, so that such a
 * statement comes when what it needs is gone.  Roles and memberships are as
 * they were, see scribe_shared.c; what is locked until the end of a transaction
 * that uses it cannot go.  That is neither so of privileges, nor of types and
 * schemas, nor, before 15.20, 17.12 and 18.6, of functions and the like.
 * Such statements are flagged.
 */
#include "scribe_decoder.h"

#include "utils/builtins.h"
#include "utils/memutils.h"

struct Meanwhile
{
	/* where the last transaction that took rights away was committed, and its id */
	XLogRecPtr	rights;
	TransactionId rights_by;

	/* the same of each of the latest that took a name; a new one takes the place of the oldest */
	int			nnames;
	struct
	{
		NameData	name;
		XLogRecPtr	end;
		TransactionId by;
	}			names[TAKEN_NAMES_KEPT];
};

void
meanwhile_init(ScribeState *state)
{
	state->meanwhile = MemoryContextAllocZero(state->ctx->context, sizeof(struct Meanwhile));
}

/*
 * Does a statement take from somebody what schema changes need?
 */
static bool
takes_rights(const char *tag, const char *statement)
{
	static const char *const words[] = {"CREATE", "USAGE", "EXECUTE", "REFERENCES", "TRIGGER", "ALL"};

	if (strcmp(tag, "DROP OWNED") == 0 || strcmp(tag, "REASSIGN OWNED") == 0)
		return true;
	if (statement == NULL)
		return false;
	if (strcmp(tag, "REVOKE") == 0)
	{
		for (int i = 0; i < (int) lengthof(words); i++)
			if (strcasestr(statement, words[i]) != NULL)
				return true;
		return false;
	}
	/* a table's owner does not change beside somebody who has it locked */
	return strncmp(tag, "ALTER ", 6) == 0 && strcmp(tag, "ALTER TABLE") != 0 && strcasestr(statement, "OWNER") != NULL;
}

/*
 * May others use the object while the statement renames, moves or drops it?
 */
static bool
takes_names(const char *tag)
{
	static const char *const kinds[] = {
		"ACCESS METHOD", "AGGREGATE", "COLLATION", "CONVERSION", "DOMAIN", "FOREIGN DATA WRAPPER", "FUNCTION", "LANGUAGE",
		"OPERATOR", "OPERATOR CLASS", "OPERATOR FAMILY", "PROCEDURE", "ROUTINE", "SCHEMA", "SERVER", "TEXT SEARCH CONFIGURATION",
		"TEXT SEARCH DICTIONARY", "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE", "TYPE"
	};
	const char *kind = strchr(tag, ' ');

	if (kind == NULL || (strncmp(tag, "ALTER ", 6) != 0 && strncmp(tag, "DROP ", 5) != 0))
		return false;
	for (int i = 0; i < (int) lengthof(kinds); i++)
		if (strcmp(kind + 1, kinds[i]) == 0)
			return true;
	return false;
}

/*
 * Note what a statement of this transaction takes away.
 */
void
meanwhile_note(ScribeState *state, const char *tag, const char *statement)
{
	struct Meanwhile *meanwhile = state->meanwhile;
	ListCell   *cell;

	if (takes_rights(tag, statement))
	{
		meanwhile->rights = state->txn->final_lsn;
		meanwhile->rights_by = state->txn->xid;
	}
	if (statement == NULL || !takes_names(tag))
		return;
	foreach(cell, text_taken_names(statement, tag))
	{
		int			place = meanwhile->nnames++ % TAKEN_NAMES_KEPT;

		namestrcpy(&meanwhile->names[place].name, lfirst(cell));
		meanwhile->names[place].end = state->txn->final_lsn;
		meanwhile->names[place].by = state->txn->xid;
	}
}

/*
 * Is it one that a rotation recorded of what it holds?  No command has such a
 * tag.
 */
static bool
is_of_rotation(const char *tag)
{
	return strcmp(tag, "ALTER OWNER") == 0 || strcmp(tag, "EVENT TRIGGER") == 0 || strcmp(tag, "CLUSTER") == 0;
}

static bool
names(const char *statement, const char *path, const char *name)
{
	return strlen(statement) > LONGEST_SEARCHED || text_names(statement, name) || (path != NULL && text_names(path, name));
}

static void
look_at_names(ScribeState *state, const char *tag, const char *statement, const char *path, XLogRecPtr lsn)
{
	struct Meanwhile *meanwhile = state->meanwhile;

	for (int i = 0; i < Min(meanwhile->nnames, TAKEN_NAMES_KEPT); i++)
	{
		const char *name = NameStr(meanwhile->names[i].name);

		if (lsn >= meanwhile->names[i].end || meanwhile->names[i].by == state->txn->xid || !names(statement, path, name))
			continue;
		output_warning(state, "%s may find something else or nothing where it is restored: another transaction renamed, moved or "
					   "dropped %s before this one ended; take a new base", tag, name);
		return;
	}
}

/*
 * Report a statement that needs what was taken away since it ran.  lsn: its
 * place in the WAL; role: that ran it, or NULL.
 */
void
meanwhile_look(ScribeState *state, const char *tag, const char *statement, const char *role, const char *path, XLogRecPtr lsn)
{
	struct Meanwhile *meanwhile = state->meanwhile;
	Oid			oid;

	/* of a role that is gone nothing is known */
	if (lsn < meanwhile->rights && meanwhile->rights_by != state->txn->xid && role != NULL && !is_superuser(role, &oid) &&
		OidIsValid(oid))
		output_warning(state, "%s by role %s may not be allowed where it is restored: another transaction took privileges or "
					   "an owner's rights away before this one ended; take a new base", tag, role);
	if (statement != NULL && !is_of_rotation(tag))
		look_at_names(state, tag, statement, path, lsn);
}
