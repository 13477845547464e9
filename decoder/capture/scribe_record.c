/*-------------------------------------------------------------------------
 *
 * scribe_record.c
 *	  Recording a command that has ended, as scribe.record_command() does.
 *
 * What needs more than rows of the capture tables is for SQL to do.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"
#include "scribe_capture.h"
#include "scribe_record.h"

/* Whether a table has an index that is not valid. */
static bool
has_invalid_index(Oid relation)
{
	Relation	rel = relation_open(relation, AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;
	bool		found = false;

	foreach(cell, indexes)
		found = found || !is_valid_index(lfirst_oid(cell));
	list_free(indexes);
	relation_close(rel, NoLock);
	return found;
}

/* Whether a DROP named what is not there, and what another session may have made when its transaction ends: SQL writes the rest. */
static bool
names_more(Statement *statement)
{
	return IsA(statement->tree, DropStmt) &&
		list_length(((DropStmt *) statement->tree)->objects) > statement->dropped.named + statement->dropped.temporary;
}

/* scribe.firm_path() of what has the same type and schema; NULL where SQL has to name all in full, or knows the schema. */
static const char *
firm_path(const char *path, const char *type, const char *schema)
{
	static const char *const with_arguments[] = {"function", "procedure", "aggregate", "operator", "cast", "transform"};

	if (strchr(path, ',') == NULL)
		return path;
	for (int i = 0; i < (int) lengthof(with_arguments); i++)
		if (strcmp(type, with_arguments[i]) == 0)
			return NULL;
	return schema ? quote_identifier(schema) : NULL;
}

/*
 * The note that REPLICA IDENTITY FULL of a table is ours is made, or taken away; changed: whether it was there to be taken.
 * False where that cannot be done here.
 */
static bool
note_identity(Oid relation, bool full, bool *changed)
{
	Relation	notes = open_table("replica_identity", RowExclusiveLock);
	Datum		value = ObjectIdGetDatum(relation);
	bool		isnull = false;

	*changed = false;
	if (notes == NULL || RelationGetDescr(notes)->natts != 1)
		return false;
	if (full)
		*changed = insert_row(notes, &value, &isnull);
	else
	{
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	tuple;

		ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_OIDEQ, value);
		scan = systable_beginscan(notes, primary_key_index(notes), true, GetActiveSnapshot(), 1, &key);
		tuple = systable_getnext(scan);
		if (HeapTupleIsValid(tuple))
		{
			simple_heap_delete(notes, &tuple->t_self);
			*changed = true;
		}
		systable_endscan(scan);
	}
	table_close(notes, NoLock);
	return *changed || !full;
}

/* Give a table that the running command made REPLICA IDENTITY FULL, or take it from one that has a key now, and record that. */
static bool
set_identity(Relation history, Oid relation, bool full)
{
	Relation	catalog;
	HeapTuple	tuple;
	Form_pg_class form;
	Row			row = {"ddl", "ALTER TABLE", "table"};
	bool		changed;

	if (!note_identity(relation, full, &changed))
		return false;
	if (!changed)
		return true;			/* it is not ours, and stays */
	catalog = table_open(RelationRelationId, RowExclusiveLock);
	tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(relation));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relation);
	form = (Form_pg_class) GETSTRUCT(tuple);
	form->relreplident = full ? REPLICA_IDENTITY_FULL : REPLICA_IDENTITY_DEFAULT;
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	table_close(catalog, RowExclusiveLock);

	row.identity = quote_qualified_identifier(get_namespace_name(form->relnamespace), NameStr(form->relname));
	row.statement = psprintf("ALTER TABLE ONLY %s REPLICA IDENTITY %s", row.identity, full ? "FULL" : "DEFAULT");
	row.reason = full ? "own: no key tells the rows of the table apart" : "own: a key tells the rows apart";
	row.role = GetUserNameFromId(GetUserId(), false);
	row.path = "\"\"";
	row.relids = list_make1_oid(relation);
	CommandCounterIncrement();
	return write_row(history, &row);
}

/*
 * Whether the command may have made something that uses what a copy does not have: temporary objects, those of capture, and what was
 * left out for using them.
 */
static bool
may_be_foreign(Statement *statement)
{
	bool		empty;

	return has_temporary_schema() || strcasestr(statement->text, "scribe") != NULL ||
		strcasestr(statement->path, "scribe") != NULL || strcasestr(statement->text, "pg_toast") != NULL ||
		strcasestr(statement->path, "pg_toast") != NULL || !is_empty("left_out", &empty) || !empty;
}

/* Whether a table or one of its descendants is unlogged: the rows of a copy may be others than a command has seen here. */
static bool
has_unlogged(Oid table)
{
	ListCell   *cell;

	foreach(cell, find_all_inheritors(table, NoLock, NULL))
		if (get_rel_persistence(lfirst_oid(cell)) == RELPERSISTENCE_UNLOGGED)
			return true;
	return false;
}

/* Whether a name may have been chosen, and with a number, since others had the first names of the series: SQL writes it down. */
static bool
is_numbered(const char *name, Statement *statement)
{
	Size		length = strlen(name);

	return length > 0 && isdigit((unsigned char) name[length - 1]) && strstr(statement->text, name) == NULL;
}

/* The same of the constraints that the running transaction gave a table. */
static bool
has_numbered_constraint(Oid table, Statement *statement)
{
	Relation	catalog = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(table));
	scan = systable_beginscan(catalog, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
		found = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data)) &&
			is_numbered(NameStr(((Form_pg_constraint) GETSTRUCT(tuple))->conname), statement);
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

/*
 * Record a command that has ended; false where SQL has to, and then nothing may stay written.
 */
static bool
record_ended(const char *tag, Statement *statement, bool *wrote)
{
	Config		config;
	Row			row = {"ddl", tag};
	List	   *commands = NIL;
	List	   *keyless = NIL;
	List	   *keyed = NIL;
	ListCell   *cell;
	Relation	history;
	bool		is_drop = strncmp(tag, "DROP ", 5) == 0;
	bool		made = strncmp(tag, "CREATE TABLE", 12) == 0;
	/* DROP USER MAPPING FOR CURRENT_USER names who runs it */
	bool		taken = (is_drop && strcmp(tag, "DROP USER MAPPING") != 0) || strcmp(tag, "COMMENT") == 0;
	int			temporary = 0;

	if (!read_config(&config))
		return false;
	if (!config.active)
		return true;
	if (statement->drop_left || is_too_long(statement) || !is_plain(tag, statement) || names_more(statement))
		return false;

	if (is_drop)
	{
		if (statement->dropped.named == 0)
			return true;
		if (statement->dropped.temporary > 0 ||
			(statement->dropped.keys > 0 && strcmp(tag, "DROP TABLE") != 0))
			return false;
		row.object_type = statement->dropped.type;
		row.identity = statement->dropped.identity;
	}
	else
	{
		if (!read_commands(&commands) || statement->dropped.indexes > 0)
			return false;
		if (commands == NIL)
			return statement->dropped.named == 0;
	}
	foreach(cell, commands)
	{
		Command    *command = lfirst(cell);
		bool		relation = command->classid == RelationRelationId;

		if (relation && command->schema && strcmp(command->schema, "pg_temp") == 0)
			temporary++;
		else if (has_temporary_schema() || strstr(command->identity, "pg_temp") != NULL ||
				 (command->schema && (strcmp(command->schema, "scribe") == 0 || strcmp(command->schema, "pg_toast") == 0)) ||
				 pg_strcasecmp(command->type, "large object") == 0)
			return false;
		if (row.identity == NULL)
		{
			row.object_type = command->type;
			row.identity = command->identity;
		}
		if (relation)
			row.relids = lappend_oid(row.relids, command->objid);
	}
	if (temporary > 0)
		return temporary == list_length(commands);
	if (!is_drop && may_be_foreign(statement))
		return false;

	foreach(cell, row.relids)
	{
		Oid			relation = lfirst_oid(cell);

		switch (get_rel_relkind(relation))
		{
			case RELKIND_RELATION:
			case RELKIND_PARTITIONED_TABLE:
				if (!made && has_unlogged(relation))
					return false;
				if (strcmp(tag, "COMMENT") != 0 && has_numbered_constraint(relation, statement))
					return false;
				switch (need_of_table(relation, made, &config))
				{
					case NEED_NOTHING:
						break;
					case NEED_IDENTITY:
						keyless = lappend_oid(keyless, relation);
						break;
					case NEED_NO_IDENTITY:
						keyed = lappend_oid(keyed, relation);
						break;
					case NEED_SQL:
						return false;
				}
				break;
			case RELKIND_INDEX:
			case RELKIND_PARTITIONED_INDEX:
				/* of equal indexes of a partition it took one: SQL writes down which */
				if (get_rel_relkind(relation) == RELKIND_PARTITIONED_INDEX && !made && strcmp(tag, "COMMENT") != 0)
					return false;
				if (strcmp(tag, "COMMENT") != 0 && is_numbered(get_rel_name(relation), statement))
					return false;
				if (!is_valid_index(relation) || (!made && has_unlogged(IndexGetRelation(relation, false))))
					return false;
				/* a name that was chosen beside one that is nowhere else: SQL writes it down */
				if (IsA(statement->tree, IndexStmt) && ((IndexStmt *) statement->tree)->idxname == NULL &&
					has_invalid_index(IndexGetRelation(relation, false)))
					return false;
				break;
			case RELKIND_SEQUENCE:
				if (strcmp(tag, "COMMENT") != 0 && is_numbered(get_rel_name(relation), statement))
					return false;
				break;
			default:
				break;
		}
	}

	row.statement = statement->text;
	row.role = GetUserNameFromId(statement->caller, false);
	row.path = statement->path;
	row.settings = statement->settings;
	if (taken && statement->caller != GetUserId())
	{
		/* it needs no role, and is done by us at replay: see scribe.record_command() */
		row.role = GetUserNameFromId(GetUserId(), false);
		row.path = firm_path(statement->path, row.object_type,
							 is_drop ? statement->dropped.schema : ((Command *) linitial(commands))->schema);
		if (row.path == NULL)
			return false;
	}
	if (strcmp(tag, "CREATE TABLE AS") == 0)
		row.kind = "create";
	history = open_table("ddl_history", RowExclusiveLock);
	if (history == NULL)
		return false;
	*wrote = true;
	if (!write_row(history, &row))
		return false;
	foreach(cell, keyless)
		if (!set_identity(history, lfirst_oid(cell), true))
			return false;
	foreach(cell, keyed)
		if (!set_identity(history, lfirst_oid(cell), false))
			return false;
	table_close(history, NoLock);
	return true;
}

/* Record a command in a subtransaction; false, with nothing done, where that failed or is for SQL to do. */
bool
try_to_record(const char *tag, Statement *statement)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;
	bool		wrote = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		done = record_ended(tag, statement, &wrote);
		PopActiveSnapshot();
		if (wrote && !done)
			RollbackAndReleaseCurrentSubTransaction();
		else
			ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		/* the user, or a timeout of the user's, ends the statement */
		if (geterrcode() == ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		done = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return done;
}
