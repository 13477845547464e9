/*-------------------------------------------------------------------------
 *
 * scribe_record.c
 *	  The event trigger functions of sql/capture.sql, in C, for the commands
 *	  that are frequent and need nothing but their row.
 *
 * The functions stay in PL/pgSQL: a server without this library must run every
 * statement, and a dump of the capture schema must load there.  Where the
 * library is loaded, a function manager hook puts the functions of this file
 * in their place.  What one of them cannot do, or fails to do, it leaves to
 * the function it stands for, with the notes that function expects; so this
 * file may bail out anywhere before it has written, and after an error, too.
 *
 * Contents
 *		which functions are ours
 *		leaving it to PL/pgSQL
 *		rows of the capture tables
 *		what the command did
 *		recording
 *		the functions
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/catalog.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_event_trigger.h"
#include "catalog/pg_index.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "scribe_capture.h"

/* One object that the command made or changed. */
typedef struct Command
{
	Oid			classid;
	Oid			objid;
	char	   *type;
	char	   *schema;
	char	   *identity;
} Command;

/* What is written. */
typedef struct Row
{
	const char *kind;
	const char *tag;
	const char *object_type;
	const char *identity;
	const char *statement;
	const char *role;
	const char *path;
	bool		standard_strings;	/* as the session has them: ours are */
	List	   *relids;
} Row;

/* scribe.config */
typedef struct Config
{
	bool		active;
	bool		refuse;			/* replica_identity = refuse */
} Config;

static needs_fmgr_hook_type previous_needs_hook = NULL;
static fmgr_hook_type previous_fmgr_hook = NULL;
static PGFunction pl_handler = NULL;

static Datum c_note_caller(PG_FUNCTION_ARGS);
static Datum c_command_start(PG_FUNCTION_ARGS);
static Datum c_note_drop(PG_FUNCTION_ARGS);
static Datum c_note_rewrite(PG_FUNCTION_ARGS);
static Datum c_command_end(PG_FUNCTION_ARGS);

/* ----------------------------------------------------------------
 *		which functions are ours
 * ----------------------------------------------------------------
 */

static struct
{
	const char *name;
	PGFunction	function;
	Oid			oid;
}			ours[] = {
	{"note_caller", c_note_caller, InvalidOid},
	{"command_start", c_command_start, InvalidOid},
	{"note_drop", c_note_drop, InvalidOid},
	{"note_rewrite", c_note_rewrite, InvalidOid},
	{"command_end", c_command_end, InvalidOid}
};
static bool ours_known = false;
static bool quiet_known = false;
static List *quiet = NIL;
static Oid	scribe_schema = InvalidOid;

static void
forget_ours(Datum arg, int cacheid, uint32 hashvalue)
{
	ours_known = false;
}

static void
forget_quiet(Datum arg, int cacheid, uint32 hashvalue)
{
	quiet_known = false;
}

static void
find_ours(void)
{
	oidvector  *no_arguments = buildoidvector(NULL, 0);
	Oid			schema;
	HeapTuple	tuple;

	ours_known = true;			/* an invalidation while we look has the last word */
	schema = get_namespace_oid("scribe", true);
	tuple = OidIsValid(schema) ? SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema)) : NULL;
	if (HeapTupleIsValid(tuple))
	{
		/* a schema of this name that anybody may have made gives no orders */
		if (!superuser_arg(((Form_pg_namespace) GETSTRUCT(tuple))->nspowner))
			schema = InvalidOid;
		ReleaseSysCache(tuple);
	}
	for (int i = 0; i < (int) lengthof(ours); i++)
		ours[i].oid = !OidIsValid(schema) ? InvalidOid :
			GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(ours[i].name),
							PointerGetDatum(no_arguments), ObjectIdGetDatum(schema));
	scribe_schema = schema;
	pfree(no_arguments);
}

static bool
needs_hook(Oid function)
{
	if (previous_needs_hook && previous_needs_hook(function))
		return true;
	if (!IsTransactionState() || HistoricSnapshotActive())
		return false;
	if (!ours_known)
		find_ours();
	for (int i = 0; i < (int) lengthof(ours); i++)
		if (ours[i].oid == function)
			return true;
	return false;
}

static void
fmgr_event(FmgrHookEventType event, FmgrInfo *flinfo, Datum *private)
{
	if (event == FHET_START)
		for (int i = 0; i < (int) lengthof(ours); i++)
			if (ours[i].oid == flinfo->fn_oid && flinfo->fn_addr != ours[i].function)
			{
				pl_handler = flinfo->fn_addr;
				flinfo->fn_addr = ours[i].function;
			}
	if (previous_fmgr_hook)
		previous_fmgr_hook(event, flinfo, private);
}

/* ----------------------------------------------------------------
 *		leaving it to PL/pgSQL
 * ----------------------------------------------------------------
 */

static void
set_note(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

static Datum
leave(FunctionCallInfo fcinfo)
{
	fcinfo->flinfo->fn_addr = pl_handler;
	return pl_handler(fcinfo);
}

/* The statement whose event trigger this is; NULL where that is not known. */
static Statement *
statement_of(FunctionCallInfo fcinfo)
{
	return CALLED_AS_EVENT_TRIGGER(fcinfo) ? running_statement() : NULL;
}

static const char *
tag_of(FunctionCallInfo fcinfo)
{
	return GetCommandTagName(((EventTriggerData *) fcinfo->context)->tag);
}

/* ----------------------------------------------------------------
 *		rows of the capture tables
 * ----------------------------------------------------------------
 */

/* A table of ours, locked; NULL where it is not there or somebody else has locked it. */
static Relation
open_table(const char *name, LOCKMODE mode)
{
	Oid			relation = get_relname_relid(name, scribe_schema);

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
static bool
is_empty(const char *name, bool *empty)
{
	Relation	rel = open_table(name, AccessShareLock);
	TableScanDesc scan;

	if (rel == NULL)
		return false;
	*empty = true;
	if (RelationGetNumberOfBlocks(rel) > 0)
	{
		scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
		*empty = heap_getnext(scan, ForwardScanDirection) == NULL;
		table_endscan(scan);
	}
	table_close(rel, AccessShareLock);
	return true;
}

/* scribe.config and whether capture is to act; false where that cannot be told. */
static bool
read_config(Config *config)
{
	Relation	rel = open_table("config", AccessShareLock);
	const char *own = GetConfigOption("scribe.own", true, false);
	TableScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	if (rel == NULL)
		return false;
	scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	tuple = heap_getnext(scan, ForwardScanDirection);
	if (tuple != NULL)
	{
		TupleDesc	desc = RelationGetDescr(rel);
		bool		isnull[4];
		Datum		identifier = column(tuple, desc, "system_identifier", &isnull[0]);
		Datum		database = column(tuple, desc, "database_oid", &isnull[1]);
		Datum		replica_identity = column(tuple, desc, "replica_identity", &isnull[2]);
		Datum		token = column(tuple, desc, "token", &isnull[3]);

		found = !isnull[0] && !isnull[1] && !isnull[2] && !isnull[3];
		if (found)
		{
			config->active = (uint64) DatumGetInt64(identifier) == GetSystemIdentifier() &&
				DatumGetObjectId(database) == MyDatabaseId &&
				(own == NULL || strcmp(own, TextDatumGetCString(token)) != 0);
			config->refuse = strcmp(TextDatumGetCString(replica_identity), "full") != 0;
		}
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * A row, without what a statement would cost.  The partial index of rows that are not exact has none of ours.  False,
 * and nothing is written, where the table is not as we made it.
 */
static bool
insert_row(Relation rel, Datum *values, bool *isnull)
{
	HeapTuple	tuple;
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;
	TupleTableSlot *slot;

	if (rel->rd_rel->relam != HEAP_TABLE_AM_OID || rel->rd_rel->relhastriggers)
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

/* As scribe.statement_settings(). */
static List *
statement_settings(bool standard_strings)
{
	static const struct
	{
		const char *name;
		const char *value;
	}			defaults[] = {
		{"standard_conforming_strings", "on"}, {"backslash_quote", "safe_encoding"}, {"DateStyle", "ISO, MDY"},
		{"IntervalStyle", "postgres"}, {"TimeZone", "UTC"}, {"lc_monetary", "C"}, {"xmloption", "content"},
		{"array_nulls", "on"}, {"transform_null_equals", "off"}, {"default_tablespace", ""},
		{"default_table_access_method", "heap"}, {"default_toast_compression", "pglz"},
		{"timezone_abbreviations", "Default"}
	};
	static const char *const universal[] = {"Etc/UTC", "Etc/UCT", "UCT", "Zulu", "Universal"};
	List	   *found = NIL;

	for (int i = 0; i < (int) lengthof(defaults); i++)
	{
		const char *value = i > 0 ? GetConfigOption(defaults[i].name, true, false) : standard_strings ? "on" : "off";
		bool		same = value == NULL || strcmp(value, defaults[i].value) == 0;

		for (int k = 0; !same && k < (int) lengthof(universal); k++)
			same = strcmp(value, universal[k]) == 0;
		if (!same)
			found = lappend(lappend(found, pstrdup(defaults[i].name)), pstrdup(value));
	}
	return found;
}

/* Event triggers of others that would fire at replay: looked up again when one has changed. */
static List *
quiet_event_triggers(void)
{
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (quiet_known)
		return quiet;
	list_free_deep(quiet);
	quiet = NIL;
	quiet_known = true;
	rel = table_open(EventTriggerRelationId, AccessShareLock);
	scan = systable_beginscan(rel, EventTriggerNameIndexId, true, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_event_trigger form = (Form_pg_event_trigger) GETSTRUCT(tuple);
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		if ((form->evtenabled == TRIGGER_FIRES_ALWAYS || form->evtenabled == TRIGGER_FIRES_ON_REPLICA) &&
			strncmp(NameStr(form->evtname), "scribe_", 7) != 0)
			quiet = lappend(quiet, pstrdup(NameStr(form->evtname)));
		MemoryContextSwitchTo(old);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return quiet;
}

/* One row of scribe.ddl_history, opened by the caller; false where it has not the columns we know. */
static bool
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
		{"reason", NULL, 0},
		{"role", row->role, 0},
		{"search_path", row->path, 0},
		{"settings", NULL, text_array(statement_settings(row->standard_strings))},
		{"relids", NULL, oid_array(row->relids)},
		{"quiet", NULL, text_array(quiet_event_triggers())}
	};
	TupleDesc	desc = RelationGetDescr(history);
	Datum		values[lengthof(columns)];
	bool		isnull[lengthof(columns)];

	if (desc->natts != lengthof(columns))
		return false;
	for (int i = 0; i < (int) lengthof(columns); i++)
	{
		if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), columns[i].name) != 0)
			return false;
		values[i] = columns[i].text ? CStringGetTextDatum(columns[i].text) : columns[i].value;
		isnull[i] = values[i] == 0 && TupleDescAttr(desc, i)->atttypid == TEXTOID;
	}
	return insert_row(history, values, isnull);
}

/* ----------------------------------------------------------------
 *		what the command did
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

/* pg_event_trigger_ddl_commands(); false where something is an extension's. */
static bool
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

/* As scribe.note_drop(), into the statement; false where that has to do it. */
static bool
read_dropped(Statement *statement)
{
	TupleDesc	desc;
	Tuplestorestate *store;
	TupleTableSlot *slot;
	StringInfoData named;
	StringInfoData note;
	MemoryContext old;
	bool		empty;

	if (!is_empty("left_out", &empty) || !empty)
		return false;
	store = call_set(F_PG_EVENT_TRIGGER_DROPPED_OBJECTS, &desc);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	initStringInfo(&named);
	statement->dropped = (Dropped) {0};
	while (tuplestore_gettupleslot(store, true, false, slot))
	{
		bool		isnull;
		bool		original = DatumGetBool(slot_getattr(slot, 4, &isnull));
		bool		temporary = DatumGetBool(slot_getattr(slot, 6, &isnull));
		char	   *type = slot_text(slot, 7);
		char	   *identity = slot_text(slot, 10);

		if (type == NULL || identity == NULL || (!temporary && strstr(identity, "pg_temp") != NULL))
			return false;
		if (strcmp(type, "index") == 0 || strcmp(type, "table constraint") == 0 || strcmp(type, "table column") == 0)
			statement->dropped.keys++;
		if (strcmp(type, "index") == 0 || strcmp(type, "table constraint") == 0)
			statement->dropped.indexes++;
		if (original && temporary)
			statement->dropped.temporary++;
		if (!original || temporary)
			continue;
		appendStringInfoString(&named, statement->dropped.named++ > 0 ? ",{\"type\":" : "{\"type\":");
		escape_json(&named, type);
		appendStringInfoString(&named, ",\"identity\":");
		escape_json(&named, identity);
		appendStringInfoChar(&named, '}');
		if (strncmp(identity, "scribe", 6) == 0 || strstr(identity, "scribe.") != NULL)
			statement->dropped.ours = true;
		if (statement->dropped.named == 1)
		{
			old = MemoryContextSwitchTo(TopMemoryContext);
			statement->dropped.type = pstrdup(type);
			statement->dropped.identity = pstrdup(identity);
			MemoryContextSwitchTo(old);
		}
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(store);
	initStringInfo(&note);
	appendStringInfo(&note, "{\"named\":[%s],\"temporary\":%d,\"keys\":%d}", named.data,
					 statement->dropped.temporary, statement->dropped.keys);
	statement->dropped.note = MemoryContextStrdup(TopMemoryContext, note.data);
	return true;
}

/* Whether somebody's temporary schema is there, so that objects may depend on what is in it. */
static bool
has_temporary_schema(void)
{
	Oid			schema;
	Oid			toast;

	GetTempNamespaceState(&schema, &toast);
	return OidIsValid(schema);
}

/* Whether the columns an ALTER TABLE has just added got a value for the rows that were there. */
static bool
has_new_values(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		HeapTuple	tuple;
		TransactionId xmin;

		if (!TupleDescAttr(desc, i)->atthasmissing)
			continue;
		tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(RelationGetRelid(rel)), Int16GetDatum(i + 1));
		if (!HeapTupleIsValid(tuple))
			return true;
		xmin = HeapTupleHeaderGetXmin(tuple->t_data);
		ReleaseSysCache(tuple);
		if (TransactionIdIsNormal(xmin) && TransactionIdIsCurrentTransactionId(xmin))
			return true;
	}
	return false;
}

/* What a table needs besides the row of the command that made or changed it. */
typedef enum Need
{
	NEED_NOTHING,
	NEED_IDENTITY,				/* REPLICA IDENTITY FULL, and nobody else can see the table yet */
	NEED_SQL
} Need;

static Need
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
			need = OidIsValid(primary_key_index(rel)) ? NEED_SQL : NEED_NOTHING;
		else if (!usable)
			need = made && !config->refuse && form->relreplident == REPLICA_IDENTITY_DEFAULT ? NEED_IDENTITY : NEED_SQL;
	}
	table_close(rel, NoLock);
	return need;
}

/* ----------------------------------------------------------------
 *		recording
 * ----------------------------------------------------------------
 */

/* Whether a text has a word that may become another time elsewhere. */
static bool
may_tell_time(const char *text)
{
	return strcasestr(text, "now") || strcasestr(text, "today") || strcasestr(text, "tomorrow") ||
		strcasestr(text, "yesterday");
}

/* Whether the statement itself is all that has to be recorded of it; SQL does the rest. */
static bool
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

static bool
is_valid_index(Oid index)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	bool		valid = HeapTupleIsValid(tuple) && ((Form_pg_index) GETSTRUCT(tuple))->indisvalid;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return valid;
}

/* What a dropped object or a comment needs no role for is done by us at replay: see scribe.record_command(). */
static void
take_over(Row *row, Oid caller)
{
	Oid			owner = GetUserId();	/* of the event trigger function */
	char	   *name;
	StringInfoData path;

	if (caller == owner)
		return;
	name = GetUserNameFromId(caller, false);
	row->role = GetUserNameFromId(owner, false);
	initStringInfo(&path);
	for (const char *p = row->path; *p;)
	{
		if (strncmp(p, "\"$user\"", 7) == 0)
		{
			appendStringInfoString(&path, quote_identifier(name));
			p += 7;
		}
		else
			appendStringInfoChar(&path, *p++);
	}
	row->path = path.data;
}

/* Give a table that the running command made REPLICA IDENTITY FULL, and record that. */
static bool
set_identity(Relation history, Oid relation)
{
	Relation	catalog;
	Relation	mended = open_table("replica_identity", RowExclusiveLock);
	HeapTuple	tuple;
	Form_pg_class form;
	Datum		value = ObjectIdGetDatum(relation);
	bool		isnull = false;
	Row			row = {"ddl", "ALTER TABLE", "table"};

	if (mended == NULL || RelationGetDescr(mended)->natts != 1)
		return false;
	catalog = table_open(RelationRelationId, RowExclusiveLock);
	tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(relation));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relation);
	form = (Form_pg_class) GETSTRUCT(tuple);
	form->relreplident = REPLICA_IDENTITY_FULL;
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	table_close(catalog, RowExclusiveLock);

	row.identity = quote_qualified_identifier(get_namespace_name(form->relnamespace), NameStr(form->relname));
	row.statement = psprintf("ALTER TABLE ONLY %s REPLICA IDENTITY FULL", row.identity);
	row.role = GetUserNameFromId(GetUserId(), false);
	row.path = "\"\"";
	row.standard_strings = true;
	row.relids = list_make1_oid(relation);
	if (!insert_row(mended, &value, &isnull))
		return false;
	table_close(mended, NoLock);
	CommandCounterIncrement();
	return write_row(history, &row);
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
	ListCell   *cell;
	Relation	history;
	bool		is_drop = strncmp(tag, "DROP ", 5) == 0;
	bool		made = strncmp(tag, "CREATE TABLE", 12) == 0;
	int			temporary = 0;

	if (!read_config(&config))
		return false;
	if (!config.active)
		return true;
	if (statement->drop_left || !is_plain(tag, statement))
		return false;

	if (is_drop)
	{
		if (statement->dropped.named == 0)
			return true;
		if (statement->dropped.temporary > 0 || statement->dropped.ours ||
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
		else if ((!relation && has_temporary_schema()) || strstr(command->identity, "pg_temp") != NULL ||
				 (command->schema && strcmp(command->schema, "scribe") == 0) ||
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

	foreach(cell, row.relids)
	{
		Oid			relation = lfirst_oid(cell);

		switch (get_rel_relkind(relation))
		{
			case RELKIND_RELATION:
			case RELKIND_PARTITIONED_TABLE:
				switch (need_of_table(relation, made, &config))
				{
					case NEED_NOTHING:
						break;
					case NEED_IDENTITY:
						keyless = lappend_oid(keyless, relation);
						break;
					case NEED_SQL:
						return false;
				}
				break;
			case RELKIND_INDEX:
			case RELKIND_PARTITIONED_INDEX:
				if (!is_valid_index(relation))
					return false;
				break;
			default:
				break;
		}
	}

	row.statement = statement->text;
	row.role = GetUserNameFromId(statement->caller, false);
	row.path = statement->path;
	row.standard_strings = statement->standard_strings;
	if (is_drop || strcmp(tag, "COMMENT") == 0)
		take_over(&row, statement->caller);
	if (strcmp(tag, "CREATE TABLE AS") == 0)
		row.kind = "create";
	history = open_table("ddl_history", RowExclusiveLock);
	if (history == NULL)
		return false;
	*wrote = true;
	if (!write_row(history, &row))
		return false;
	foreach(cell, keyless)
		if (!set_identity(history, lfirst_oid(cell)))
			return false;
	table_close(history, NoLock);
	return true;
}

/* Record a command in a subtransaction; false, with nothing done, where that failed or is for SQL to do. */
static bool
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
		quiet_known = false;
		done = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return done;
}

/* ----------------------------------------------------------------
 *		the functions
 * ----------------------------------------------------------------
 */

static bool
is_of_extension(const char *tag)
{
	return strcmp(tag, "CREATE EXTENSION") == 0 || strcmp(tag, "ALTER EXTENSION") == 0;
}

/* scribe.note_caller(): runs as the user. */
static Datum
c_note_caller(PG_FUNCTION_ARGS)
{
	Statement  *statement = statement_of(fcinfo);

	if (statement == NULL || is_of_extension(tag_of(fcinfo)))
		return leave(fcinfo);
	statement->caller = GetUserId();
	statement->standard_strings = standard_conforming_strings;
	if (statement->path == NULL || strcmp(statement->path, namespace_search_path) != 0)
	{
		if (statement->path)
			pfree(statement->path);
		statement->path = MemoryContextStrdup(TopMemoryContext, namespace_search_path);
	}
	return (Datum) 0;
}

/* scribe.command_start() */
static Datum
c_command_start(PG_FUNCTION_ARGS)
{
	if (statement_of(fcinfo) == NULL || is_of_extension(tag_of(fcinfo)))
		return leave(fcinfo);
	return (Datum) 0;
}

/* scribe.note_drop() */
static Datum
c_note_drop(PG_FUNCTION_ARGS)
{
	Statement  *statement = statement_of(fcinfo);

	if (statement == NULL)
		return leave(fcinfo);
	PushActiveSnapshot(GetTransactionSnapshot());
	statement->drop_left = !read_dropped(statement);
	PopActiveSnapshot();
	return statement->drop_left ? leave(fcinfo) : (Datum) 0;
}

/* scribe.note_rewrite() */
static Datum
c_note_rewrite(PG_FUNCTION_ARGS)
{
	Statement  *statement = statement_of(fcinfo);

	if (statement != NULL && !statement->rewritten)
	{
		set_note("scribe.rewritten", "");
		statement->rewritten = true;
	}
	return leave(fcinfo);
}

/* scribe.command_end() */
static Datum
c_command_end(PG_FUNCTION_ARGS)
{
	Statement  *statement = statement_of(fcinfo);

	if (statement == NULL || !OidIsValid(statement->caller))
		return leave(fcinfo);
	if (!is_of_extension(tag_of(fcinfo)) && try_to_record(tag_of(fcinfo), statement))
		return (Datum) 0;
	set_note("scribe.role", GetUserNameFromId(statement->caller, false));
	set_note("scribe.path", statement->path);
	set_note("scribe.strings", statement->standard_strings ? "on" : "off");
	if (!statement->drop_left)
		set_note("scribe.dropped", statement->dropped.note ? statement->dropped.note : "");
	if (!statement->rewritten)
		set_note("scribe.rewritten", "");
	return leave(fcinfo);
}

/* Called once in each process that loads the library. */
void
scribe_record_init(void)
{
	CacheRegisterSyscacheCallback(PROCOID, forget_ours, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_ours, (Datum) 0);
	CacheRegisterSyscacheCallback(EVENTTRIGGEROID, forget_quiet, (Datum) 0);
	previous_needs_hook = needs_fmgr_hook;
	needs_fmgr_hook = needs_hook;
	previous_fmgr_hook = fmgr_hook;
	fmgr_hook = fmgr_event;
}
