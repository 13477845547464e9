/*-------------------------------------------------------------------------
 *
 * scribe_command.c
 *	  What a command did, as the catalog and the event triggers' functions
 *	  tell it.
 *
 * Contents
 *		objects it made, changed or dropped
 *		what they need
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "scribe_capture.h"
#include "scribe_record.h"

/* ----------------------------------------------------------------
 *		objects it made, changed or dropped
 * ----------------------------------------------------------------
 */

/* The rows of a function of event triggers that returns a set. */
static Tuplestorestate *
call_set(Oid function, TupleDesc *desc)
{
	LOCAL_FCINFO(fcinfo, 0);
	FmgrInfo	flinfo;
	ReturnSetInfo info = {T_ReturnSetInfo};

	info.econtext = CreateStandaloneExprContext();
	info.allowedModes = SFRM_Materialize;
	fmgr_info(function, &flinfo);
	InitFunctionCallInfoData(*fcinfo, &flinfo, 0, InvalidOid, NULL, (Node *) &info);
	(void) FunctionCallInvoke(fcinfo);
	*desc = info.setDesc;
	return info.setResult;
}

static char *
slot_text(TupleTableSlot *slot, int attribute)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, attribute, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* The schema of what is part of a table: the first of the names in its address, if it has several. */
static char *
address_schema(TupleTableSlot *slot)
{
	bool		isnull;
	Datum		names = slot_getattr(slot, 11, &isnull);
	Datum	   *items;
	int			length;

	if (isnull)
		return NULL;
	deconstruct_array(DatumGetArrayTypeP(names), TEXTOID, -1, false, TYPALIGN_INT, &items, NULL, &length);
	return length > 1 ? TextDatumGetCString(items[0]) : NULL;
}

/* pg_event_trigger_ddl_commands(); false where something is an extension's. */
bool
read_commands(List **commands)
{
	TupleDesc	desc;
	Tuplestorestate *store = call_set(F_PG_EVENT_TRIGGER_DDL_COMMANDS, &desc);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	bool		plain = true;

	*commands = NIL;
	while (tuplestore_gettupleslot(store, true, false, slot))
	{
		Command    *command = palloc0(sizeof(Command));
		bool		isnull;
		bool		noclass;

		command->classid = DatumGetObjectId(slot_getattr(slot, 1, &noclass));
		command->objid = DatumGetObjectId(slot_getattr(slot, 2, &isnull));
		command->type = slot_text(slot, 5);
		command->schema = slot_text(slot, 6);
		command->identity = slot_text(slot, 7);
		if (noclass || isnull || command->type == NULL || command->identity == NULL ||
			DatumGetBool(slot_getattr(slot, 8, &isnull)))
			plain = false;
		*commands = lappend(*commands, command);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(store);
	return plain;
}

/* An item of a list in JSON. */
static void
append_item(StringInfo list, const char *item)
{
	if (list->len > 0)
		appendStringInfoChar(list, ',');
	escape_json(list, item);
}

/* As scribe.note_drop(), into the statement; false where that has to do it. */
bool
read_dropped(Statement *statement)
{
	TupleDesc	desc;
	Tuplestorestate *store;
	TupleTableSlot *slot;
	StringInfoData named;
	StringInfoData went;
	StringInfoData indexes;
	StringInfoData note;
	MemoryContext old;
	bool		empty;

	if (!is_empty("left_out", &empty) || !empty || !is_empty("detaching", &empty) || !empty)
		return false;
	store = call_set(F_PG_EVENT_TRIGGER_DROPPED_OBJECTS, &desc);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	initStringInfo(&named);
	initStringInfo(&went);
	initStringInfo(&indexes);
	statement->dropped = (Dropped) {0};
	while (tuplestore_gettupleslot(store, true, false, slot))
	{
		bool		isnull;
		bool		original = DatumGetBool(slot_getattr(slot, 4, &isnull));
		bool		temporary = DatumGetBool(slot_getattr(slot, 6, &isnull));
		char	   *type = slot_text(slot, 7);
		char	   *identity = slot_text(slot, 10);
		char	   *schema;

		/* names may look like anything: what may be ours or temporary is for SQL to tell */
		if (type == NULL || identity == NULL || (!temporary && strstr(identity, "pg_temp") != NULL) ||
			strstr(identity, "scribe") != NULL)
			return false;
		if (strcmp(type, "index") == 0 || strcmp(type, "table constraint") == 0 || strcmp(type, "table column") == 0)
			statement->dropped.keys++;
		if (strcmp(type, "index") == 0 || strcmp(type, "table constraint") == 0)
			statement->dropped.indexes++;
		if (original && temporary)
			statement->dropped.temporary++;
		if (!original && !temporary && strcmp(type, "table constraint") == 0)
			append_item(&went, identity);
		if (!temporary && strcmp(type, "index") == 0)
			append_item(&indexes, identity);
		if (!original || temporary)
			continue;
		appendStringInfoString(&named, statement->dropped.named++ > 0 ? ",{\"type\":" : "{\"type\":");
		escape_json(&named, type);
		appendStringInfoString(&named, ",\"identity\":");
		escape_json(&named, identity);
		appendStringInfoString(&named, ",\"schema\":");
		schema = slot_text(slot, 8) ? slot_text(slot, 8) : address_schema(slot);
		if (schema != NULL)
			escape_json(&named, schema);
		else
			appendStringInfoString(&named, "null");
		appendStringInfoChar(&named, '}');
		if (statement->dropped.named == 1)
		{
			old = MemoryContextSwitchTo(TopMemoryContext);
			statement->dropped.type = pstrdup(type);
			statement->dropped.identity = pstrdup(identity);
			statement->dropped.schema = schema ? pstrdup(schema) : NULL;
			MemoryContextSwitchTo(old);
		}
		else if (schema == NULL || statement->dropped.schema == NULL || strcmp(schema, statement->dropped.schema) != 0)
			statement->dropped.schema = NULL;
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(store);
	initStringInfo(&note);
	appendStringInfo(&note, "{\"named\":[%s],\"went\":[%s],\"indexes\":[%s],\"temporary\":%d,\"keys\":%d}", named.data, went.data,
					 indexes.data, statement->dropped.temporary, statement->dropped.keys);
	statement->dropped.note = MemoryContextStrdup(TopMemoryContext, note.data);
	return true;
}

/* ----------------------------------------------------------------
 *		what they need
 * ----------------------------------------------------------------
 */

/* Whether somebody's temporary schema is there, so that objects may depend on what is in it. */
bool
has_temporary_schema(void)
{
	Oid			schema;
	Oid			toast;

	GetTempNamespaceState(&schema, &toast);
	return OidIsValid(schema);
}

/* Whether the columns that the running statement has added got a value for the rows that were there. */
static bool
has_new_values(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
		if (TupleDescAttr(desc, i)->atthasmissing && column_was_added(RelationGetRelid(rel), i + 1))
			return true;
	return false;
}

bool
is_valid_index(Oid index)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	bool		valid = HeapTupleIsValid(tuple) && ((Form_pg_index) GETSTRUCT(tuple))->indisvalid;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return valid;
}

Need
need_of_table(Oid relation, bool made, Config *config)
{
	Relation	rel = table_open(relation, AccessShareLock);
	Form_pg_class form = rel->rd_rel;
	Need		need = NEED_NOTHING;

	if (form->relhassubclass)
		need = NEED_SQL;
	else if (form->relkind == RELKIND_RELATION && form->relpersistence == RELPERSISTENCE_PERMANENT)
	{
		bool		usable = OidIsValid(RelationGetReplicaIndex(rel));

		if (!made && has_new_values(rel))
			need = NEED_SQL;
		else if (form->relreplident == REPLICA_IDENTITY_FULL)
			need = !OidIsValid(primary_key_index(rel)) ? NEED_NOTHING :
				CheckRelationLockedByMe(rel, AccessExclusiveLock, true) && is_valid_index(primary_key_index(rel)) ?
				NEED_NO_IDENTITY : NEED_SQL;
		else if (!usable)
			need = made && !config->refuse && form->relreplident == REPLICA_IDENTITY_DEFAULT ? NEED_IDENTITY : NEED_SQL;
	}
	table_close(rel, NoLock);
	return need;
}
