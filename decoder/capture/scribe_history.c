/*-------------------------------------------------------------------------
 *
 * scribe_history.c
 *	  The tables of the capture: their settings are read, their rows written.
 *
 * Contents
 *		the capture tables
 *		a row of scribe.ddl_history
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "compat.h"
#include "scribe_record.h"

/* ----------------------------------------------------------------
 *		the capture tables
 * ----------------------------------------------------------------
 */

/* A table of ours, locked; NULL where it is not there or somebody else has locked it. */
Relation
open_table(const char *name, LOCKMODE mode)
{
	Oid			relation = get_relname_relid(name, capture_schema());

	if (!OidIsValid(relation) || !ConditionalLockRelationOid(relation, mode))
		return NULL;
	return table_open(relation, NoLock);
}

static Datum
column(HeapTuple tuple, TupleDesc desc, const char *name, bool *isnull)
{
	for (int i = 0; i < desc->natts; i++)
		if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
			return heap_getattr(tuple, i + 1, desc, isnull);
	*isnull = true;
	return (Datum) 0;
}

/* Whether there is no row; also where it cannot be read. */
bool
is_empty(const char *name, bool *empty)
{
	Relation	rel = open_table(name, AccessShareLock);
	TableScanDesc scan;

	if (rel == NULL)
		return false;
	*empty = true;
	if (RelationGetNumberOfBlocks(rel) > 0)
	{
		scan = beginscan_table(rel, GetActiveSnapshot());
		*empty = heap_getnext(scan, ForwardScanDirection) == NULL;
		table_endscan(scan);
	}
	table_close(rel, AccessShareLock);
	return true;
}

/* Whether the running transaction says that capture itself is at work; false, too, where that cannot be told. */
static bool
read_at_work(bool *at_work)
{
	Relation	rel = open_table("at_work", AccessShareLock);
	TableScanDesc scan;
	HeapTuple	tuple;

	if (rel == NULL)
		return false;
	*at_work = false;
	if (RelationGetNumberOfBlocks(rel) > 0)
	{
		scan = beginscan_table(rel, GetActiveSnapshot());
		while (!*at_work && (tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
		{
			bool		isnull;
			Datum		xact = column(tuple, RelationGetDescr(rel), "xact", &isnull);

			*at_work = !isnull && FullTransactionIdEquals(DatumGetFullTransactionId(xact),
														  GetTopFullTransactionIdIfAny());
		}
		table_endscan(scan);
	}
	table_close(rel, AccessShareLock);
	return true;
}

/* scribe.config and whether capture is to act; false where that cannot be told. */
bool
read_config(Config *config)
{
	Relation	rel = open_table("config", AccessShareLock);
	TableScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;
	bool		at_work;

	if (rel == NULL)
		return false;
	scan = beginscan_table(rel, GetActiveSnapshot());
	tuple = heap_getnext(scan, ForwardScanDirection);
	if (tuple != NULL)
	{
		TupleDesc	desc = RelationGetDescr(rel);
		bool		isnull[3];
		Datum		identifier = column(tuple, desc, "system_identifier", &isnull[0]);
		Datum		database = column(tuple, desc, "database_oid", &isnull[1]);
		Datum		replica_identity = column(tuple, desc, "replica_identity", &isnull[2]);

		found = !isnull[0] && !isnull[1] && !isnull[2] && read_at_work(&at_work);
		if (found)
		{
			config->active = (uint64) DatumGetInt64(identifier) == GetSystemIdentifier() &&
				DatumGetObjectId(database) == MyDatabaseId && !at_work;
			config->refuse = strcmp(TextDatumGetCString(replica_identity), "full") != 0;
		}
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* Whether a table of ours has triggers other than those that keep others from writing. */
static bool
has_other_triggers(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		if (get_func_namespace(triggers->triggers[i].tgfoid) != capture_schema())
			return true;
	return false;
}

/*
 * A row, without what a statement would cost.  The partial index of rows that are not exact has none of ours.  False,
 * and nothing is written, where the table is not as we made it.
 */
bool
insert_row(Relation rel, Datum *values, bool *isnull)
{
	HeapTuple	tuple;
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;
	TupleTableSlot *slot;

	if (rel->rd_rel->relam != HEAP_TABLE_AM_OID || has_other_triggers(rel))
		return false;
	tuple = heap_form_tuple(RelationGetDescr(rel), values, isnull);
	simple_heap_insert(rel, tuple);
	slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsHeapTuple);
	ExecStoreHeapTuple(tuple, slot, false);
	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), RowExclusiveLock);
		IndexInfo  *info;
		Datum		keys[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];

		if (heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		{
			info = BuildIndexInfo(index);
			FormIndexDatum(info, slot, NULL, keys, nulls);
			(void) index_insert(index, keys, nulls, &tuple->t_self, rel,
								info->ii_Unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO, INDEX_UNCHANGED info);
		}
		index_close(index, NoLock);
	}
	ExecDropSingleTupleTableSlot(slot);
	return true;
}

/* ----------------------------------------------------------------
 *		a row of scribe.ddl_history
 * ----------------------------------------------------------------
 */

static Datum
text_array(List *strings)
{
	Datum	   *items = palloc(sizeof(Datum) * (list_length(strings) + 1));
	ListCell   *cell;
	int			n = 0;

	foreach(cell, strings)
		items[n++] = CStringGetTextDatum((char *) lfirst(cell));
	return PointerGetDatum(construct_array(items, n, TEXTOID, -1, false, TYPALIGN_INT));
}

static Datum
oid_array(List *oids)
{
	Datum	   *items = palloc(sizeof(Datum) * (list_length(oids) + 1));
	ListCell   *cell;
	int			n = 0;

	foreach(cell, oids)
		items[n++] = ObjectIdGetDatum(lfirst_oid(cell));
	return PointerGetDatum(construct_array(items, n, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
}

/* inet_client_addr() */
char *
client_address(void)
{
	LOCAL_FCINFO(fcinfo, 0);
	Datum		address;

	InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
	address = inet_client_addr(fcinfo);
	return fcinfo->isnull ? NULL : TextDatumGetCString(DirectFunctionCall1(network_host, address));
}

/* One row of scribe.ddl_history, opened by the caller; false where it has not the columns we know. */
bool
write_row(Relation history, Row *row)
{
	struct
	{
		const char *name;
		const char *text;
		Datum		value;
	}			columns[] = {
		{"id", NULL, Int64GetDatum((int64) GetXLogInsertRecPtr())},
		{"pid", NULL, Int32GetDatum(MyProcPid)},
		{"at", NULL, TimestampTzGetDatum(GetCurrentTimestamp())},
		{"kind", row->kind, 0},
		{"tag", row->tag, 0},
		{"object_type", row->object_type, 0},
		{"object_identity", row->identity, 0},
		{"statement", row->statement, 0},
		{"exact", NULL, BoolGetDatum(true)},
		{"reason", row->reason, 0},
		{"role", row->role, 0},
		{"search_path", row->path, 0},
		{"settings", NULL, row->settings ? PointerGetDatum(row->settings) : text_array(NIL)},
		{"relids", NULL, oid_array(row->relids)},
		{"quiet", NULL, text_array(NIL)},
		{"session_role", GetUserNameFromId(GetSessionUserId(), false), 0},
		{"client_addr", client_address(), 0},
		{"application_name", application_name, 0}
	};
	TupleDesc	desc = RelationGetDescr(history);
	Datum		values[lengthof(columns)];
	bool		isnull[lengthof(columns)];

	/* who asked is not in a table that an older version made */
	if (desc->natts != lengthof(columns) && desc->natts != lengthof(columns) - 3)
		return false;
	for (int i = 0; i < desc->natts; i++)
	{
		if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), columns[i].name) != 0)
			return false;
		values[i] = columns[i].text ? CStringGetTextDatum(columns[i].text) : columns[i].value;
		isnull[i] = values[i] == 0 && TupleDescAttr(desc, i)->atttypid == TEXTOID;
	}
	return insert_row(history, values, isnull);
}
