/*
 * scribe_unseen.c
 *	  Tables, sequences and schemas that C code makes and drops.
 *
 * No event trigger fires for them, so no row of scribe.ddl_history announces
 * them.  The catalog as of each change knows them: what has appeared in this
 * transaction and was not announced is made from the catalog before the next
 * row, and at the latest before the transaction ends; what was there and has
 * gone is dropped.
 *
 * Which objects a transaction touches is what its invalidations name.  The
 * server also hands it those of transactions that committed beside it, and
 * a transaction that began early first sees a catalog older than what was
 * decoded before it.  So that an object is visible or not says nothing of who
 * made or dropped it: only the transaction that wrote the catalog's row does.
 */
#include "scribe_decoder.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#define KIND_SCHEMA 'n'

typedef struct Known
{
	Oid			oid;			/* hash key, must be first */
	char		kind;			/* of pg_class, or KIND_SCHEMA */
	bool		member;			/* of an extension, which makes and drops it */
	bool		made;			/* from the catalog, by us */
	NameData	schema;
	NameData	name;
	uint64		seen;			/* transaction whose look at the schemas found it */
} Known;

/* callbacks cannot be taken back, so they look here; NULL outside decoding */
static HTAB *known = NULL;
static bool loaded = false;
static bool everything_touched = false;
static MemoryContext unseen_cxt = NULL;
static List *touched = NIL;		/* OIDs of relations */
static bool schemas_touched = false;
static ScribeState *current = NULL;	/* while a transaction is decoded */

static void
relation_touched(Datum arg, Oid relid)
{
	MemoryContext old;

	/* catalogs are touched by everything */
	if (known == NULL || (OidIsValid(relid) && relid < FirstNormalObjectId))
		return;
	if (!OidIsValid(relid))
	{
		everything_touched = true;
		return;
	}
	/* nearly always the one that was touched last */
	if (touched != NIL && llast_oid(touched) == relid)
		return;
	old = MemoryContextSwitchTo(unseen_cxt);
	touched = lappend_oid(touched, relid);
	MemoryContextSwitchTo(old);
}

static void
schema_touched(Datum arg, int cacheid, uint32 hashvalue)
{
	schemas_touched = true;
}

static void
known_gone(void *arg)
{
	if (known != arg)
		return;
	known = NULL;
	current = NULL;
	touched = NIL;
}

void
unseen_init(ScribeState *state)
{
	static bool registered = false;
	HASHCTL		ctl = {0};
	MemoryContextCallback *gone;

	unseen_cxt = AllocSetContextCreate(state->ctx->context, "scribe known objects", ALLOCSET_DEFAULT_SIZES);
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(Known);
	ctl.hcxt = unseen_cxt;
	known = hash_create("scribe known objects", 1024, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	loaded = everything_touched = false;
	touched = NIL;
	gone = MemoryContextAllocZero(unseen_cxt, sizeof(MemoryContextCallback));
	gone->func = known_gone;
	gone->arg = known;
	MemoryContextRegisterResetCallback(unseen_cxt, gone);

	if (!registered)
	{
		CacheRegisterRelcacheCallback(relation_touched, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, schema_touched, (Datum) 0);
		registered = true;
	}
}

static bool
is_users_schema(Oid oid, const char *name)
{
	return oid == PG_PUBLIC_NAMESPACE || (oid >= FirstNormalObjectId && strncmp(name, "pg_", 3) != 0 &&
										  strcmp(name, "scribe") != 0 && strcmp(name, "information_schema") != 0);
}

/*
 * A table or sequence that a restored copy has, too.  What a rewrite builds is
 * none.
 */
static bool
is_wanted(Form_pg_class form)
{
	return form->oid >= FirstNormalObjectId && form->relpersistence != RELPERSISTENCE_TEMP &&
		!OidIsValid(form->relrewrite) &&
		(form->relkind == RELKIND_RELATION || form->relkind == RELKIND_PARTITIONED_TABLE ||
		 form->relkind == RELKIND_SEQUENCE);
}

static bool
is_member(Oid class, Oid oid)
{
	return OidIsValid(getExtensionOfObject(class, oid));
}

static Known *
enter(Oid oid, char kind, const char *schema, const char *name, bool *found)
{
	Known	   *entry = hash_search(known, &oid, HASH_ENTER, found);

	if (!*found)
	{
		entry->member = entry->made = false;
		entry->seen = 0;
	}
	entry->kind = kind;
	namestrcpy(&entry->schema, schema);
	namestrcpy(&entry->name, name);
	return entry;
}

/*
 * All there is before the first transaction.
 */
static void
load(void)
{
	Relation	catalog = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	bool		found;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);
		char	   *schema;

		if (!is_wanted(form) || (schema = get_namespace_name(form->relnamespace)) == NULL)
			continue;
		if (is_users_schema(form->relnamespace, schema))
			(void) enter(form->oid, form->relkind, schema, NameStr(form->relname), &found);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);

	catalog = table_open(NamespaceRelationId, AccessShareLock);
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_namespace form = (Form_pg_namespace) GETSTRUCT(tuple);

		(void) enter(form->oid, KIND_SCHEMA, "", NameStr(form->nspname), &found);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	loaded = true;
}

/*
 * A transaction begins; before the first one, remember what there is.
 */
void
unseen_begin(ScribeState *state)
{
	MemoryContext old = MemoryContextSwitchTo(state->change_cxt);

	if (!loaded)
	{
		load();
		everything_touched = schemas_touched = false;
		list_free(touched);
		touched = NIL;
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(state->change_cxt);
	current = state;
	state->made = state->gone = NIL;
	state->schemas_made = NIL;
	state->audited = state->lost = state->vague = state->altering = state->dropping = state->extended = false;
}

/*
 * Whether a command of that tag makes tables or sequences, which its row would
 * name if anybody knew them.
 */
static bool
makes_tables(const char *tag)
{
	static const char *const tags[] = {"CREATE TABLE", "CREATE TABLE AS", "SELECT INTO", "CREATE SEQUENCE", "CREATE SCHEMA", "ALTER TABLE"};

	for (int i = 0; i < (int) lengthof(tags); i++)
		if (strcmp(tag, tags[i]) == 0)
			return true;
	return false;
}

/*
 * What a row of scribe.ddl_history tells of what has appeared and gone.  own:
 * it is no command of a user's, and makes no tables.
 */
void
unseen_audit(ScribeState *state, const char *kind, const char *tag, const char *identity, List *relids, bool exact,
			 bool own)
{
	MemoryContext old = MemoryContextSwitchTo(state->txn_cxt);

	state->audited = true;
	if (strncmp(tag, "DROP ", 5) == 0)
		state->dropping = true;
	if (strcmp(kind, "lost") != 0 && makes_tables(tag))
	{
		state->altering = true;
		/* what may make none and is known exactly has made none: RENAME CONSTRAINT, or a schema without elements */
		state->vague |= relids == NIL && !own &&
			!(exact && (strcmp(tag, "ALTER TABLE") == 0 || strcmp(tag, "CREATE SCHEMA") == 0));
	}
	if (strcmp(tag, "CREATE SCHEMA") == 0 && identity != NULL)
		state->schemas_made = lappend(state->schemas_made, pstrdup(identity));
	/* it makes the schema that its control file names */
	if (strcmp(tag, "CREATE EXTENSION") == 0)
		state->extended = true;
	MemoryContextSwitchTo(old);
}

static bool
schema_is_announced(ScribeState *state, const char *name)
{
	ListCell   *cell;

	if (state->vague || state->extended)
		return true;
	foreach(cell, state->schemas_made)
		if (strcmp(quote_identifier(name), lfirst(cell)) == 0)
			return true;
	return false;
}

/*
 * Whether a row of a catalog is in the snapshot, had nobody deleted it.
 */
bool
was_written(ScribeState *state, HeapTupleHeader header)
{
	TransactionId writer = HeapTupleHeaderGetXmin(header);
	Snapshot	snapshot = GetCatalogSnapshot(RelationRelationId);

	if (!TransactionIdIsNormal(writer) || TransactionIdPrecedes(writer, snapshot->xmin) || of_this_transaction(state, writer))
		return true;
	/* a historic snapshot lists what has committed */
	for (uint32 i = 0; i < snapshot->xcnt; i++)
		if (TransactionIdEquals(snapshot->xip[i], writer))
			return true;
	return false;
}

/*
 * Did this transaction delete the object's row of a catalog, which the snapshot
 * does not have?  The row is there still: the slot keeps what a transaction that
 * it has not read has deleted.  One that another transaction wrote meanwhile is
 * not yet in the snapshot, and will be deleted later.
 */
static bool
dropped_here(ScribeState *state, Oid catalog, Oid index, AttrNumber oid_column, Oid oid)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		dropped = false;

	ScanKeyInit(&key, oid_column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	scan = systable_beginscan(rel, index, true, SnapshotAny, 1, &key);
	while (!dropped && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		HeapTupleHeader header = tuple->t_data;

		/* an updated row points to its successor */
		if ((header->t_infomask & HEAP_XMAX_INVALID) == 0 && !HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) &&
			ItemPointerEquals(&tuple->t_self, &header->t_ctid))
			dropped = of_this_transaction(state, HeapTupleHeaderGetUpdateXid(header)) && was_written(state, header);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return dropped;
}

/*
 * To be dropped when the transaction ends.
 */
static void
remember_gone(ScribeState *state, Known *entry)
{
	MemoryContext old = MemoryContextSwitchTo(state->txn_cxt);
	Known	   *copy = palloc(sizeof(Known));

	*copy = *entry;
	state->gone = lappend(state->gone, copy);
	MemoryContextSwitchTo(old);
}

/*
 * Tables that we made since their rows came before the command that made them,
 * which is recorded now: what drops them is, too.
 */
void
unseen_recorded(List *relids)
{
	ListCell   *cell;

	foreach(cell, relids)
	{
		Known	   *entry = known ? hash_search(known, &lfirst_oid(cell), HASH_FIND, NULL) : NULL;

		if (entry != NULL)
			entry->made = false;
	}
}

/*
 * Schemas that have appeared are made; those that have gone are remembered.
 */
static void
look_at_schemas(ScribeState *state)
{
	static uint64 look = 0;
	Relation	catalog = table_open(NamespaceRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	HASH_SEQ_STATUS status;
	Known	   *entry;

	look++;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_namespace form = (Form_pg_namespace) GETSTRUCT(tuple);
		bool		found;

		entry = enter(form->oid, KIND_SCHEMA, "", NameStr(form->nspname), &found);
		entry->seen = look;
		if (found || !is_users_schema(form->oid, NameStr(form->nspname)))
			continue;
		entry->member = is_member(NamespaceRelationId, form->oid);
		if (!of_this_transaction(state, HeapTupleHeaderGetXmin(tuple->t_data)))
			continue;
		if (!entry->member && !schema_is_announced(state, NameStr(form->nspname)))
		{
			make_schema(state, NameStr(form->nspname), form->nspowner);
			entry->made = true;
		}
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);

	hash_seq_init(&status, known);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->kind != KIND_SCHEMA || entry->seen == look ||
			!dropped_here(state, NamespaceRelationId, NamespaceOidIndexId, Anum_pg_namespace_oid, entry->oid))
			continue;
		if (!entry->member && is_users_schema(entry->oid, NameStr(entry->name)) &&
			(!state->audited || (entry->made && !state->dropping)))
			remember_gone(state, entry);
		(void) hash_search(known, &entry->oid, HASH_REMOVE, NULL);
	}
}

/*
 * pg_squeeze builds a table in its own schema and exchanges the files: what
 * the user's table holds does not change.
 */
static bool
is_passing(Oid schema)
{
	Oid			extension = getExtensionOfObject(NamespaceRelationId, schema);
	char	   *name = OidIsValid(extension) ? get_extension_name(extension) : NULL;

	return name != NULL && strcmp(name, "pg_squeeze") == 0;
}

static void
append_gone(StringInfo buf, Known *entry)
{
	if (entry->kind == KIND_SCHEMA)
		append_identifier(buf, NameStr(entry->name));
	else
		append_qualified(buf, NameStr(entry->schema), NameStr(entry->name));
}

/*
 * A command that makes tables is recorded now.  One of them, or the schema, was made from the catalog already where a
 * function of a partition's bound wrote rows before the command had ended: it goes again.  identity: what it makes.
 */
void
unseen_take_back(ScribeState *state, const char *tag, const char *identity, List *relids)
{
	bool		of_schema = strcmp(tag, "CREATE SCHEMA") == 0;
	ListCell   *cell;
	StringInfoData out;
	HASH_SEQ_STATUS status;
	Known	   *entry;

	if (!of_schema && strcmp(tag, "CREATE TABLE") != 0)
		return;
	foreach(cell, state->made != NIL ? relids : NIL)
	{
		entry = hash_search(known, &lfirst_oid(cell), HASH_FIND, NULL);
		if (entry == NULL || entry->kind == RELKIND_SEQUENCE || !list_member_oid(state->made, lfirst_oid(cell)))
			continue;
		initStringInfo(&out);
		appendStringInfoString(&out, "DROP TABLE ");
		append_gone(&out, entry);
		write_own(state, "DROP TABLE", NULL, out.data);
		state->made = list_delete_oid(state->made, lfirst_oid(cell));
		entry->made = false;
	}
	if (!of_schema || identity == NULL)
		return;
	hash_seq_init(&status, known);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (entry->kind == KIND_SCHEMA && entry->made && strcmp(quote_identifier(NameStr(entry->name)), identity) == 0)
		{
			write_own(state, "DROP SCHEMA", NULL, psprintf("DROP SCHEMA %s", identity));
			entry->made = false;
		}
}

static void
drop_each(ScribeState *state, char kind, const char *what)
{
	ListCell   *cell;

	foreach(cell, state->gone)
	{
		Known	   *entry = lfirst(cell);
		StringInfoData out;

		if (entry->kind != kind)
			continue;
		initStringInfo(&out);
		appendStringInfo(&out, "DROP %s IF EXISTS ", what);
		append_gone(&out, entry);
		write_own(state, psprintf("DROP %s", what), NULL, out.data);
	}
}

/*
 * Drop what has gone: tables first and at once, since they may inherit from
 * each other and their defaults hold on to sequences.
 */
static void
drop_gone(ScribeState *state)
{
	StringInfoData out;
	ListCell   *cell;

	initStringInfo(&out);
	foreach(cell, state->gone)
	{
		Known	   *entry = lfirst(cell);

		if (entry->kind == RELKIND_SEQUENCE || entry->kind == KIND_SCHEMA)
			continue;
		appendStringInfoString(&out, out.len > 0 ? ", " : "DROP TABLE IF EXISTS ");
		append_gone(&out, entry);
	}
	if (out.len > 0)
		write_own(state, "DROP TABLE", NULL, out.data);
	drop_each(state, RELKIND_SEQUENCE, "SEQUENCE");
	drop_each(state, KIND_SCHEMA, "SCHEMA");
	state->gone = NIL;
}

/*
 * A relation is no more: remember to drop it, unless a command that was
 * recorded took it, or an extension's own script does.
 */
static void
note_gone(ScribeState *state, Oid oid)
{
	Known	   *entry = hash_search(known, &oid, HASH_FIND, NULL);

	if (entry == NULL || !dropped_here(state, RelationRelationId, ClassOidIndexId, Anum_pg_class_oid, oid))
		return;
	if (!entry->member &&
		(!state->audited || entry->made || (!state->dropping && entry->kind != RELKIND_SEQUENCE)))
		remember_gone(state, entry);
	(void) hash_search(known, &oid, HASH_REMOVE, NULL);
}

/*
 * Whether a name is free only after what has gone was dropped.
 */
static bool
is_taken(ScribeState *state, const char *schema, const char *name)
{
	ListCell   *cell;

	foreach(cell, state->gone)
	{
		Known	   *entry = lfirst(cell);

		if (strcmp(NameStr(entry->schema), schema) == 0 && strcmp(NameStr(entry->name), name) == 0)
			return true;
	}
	return false;
}

static bool
is_owned(Oid sequence)
{
	Oid			table;
	int32		column;

	return sequenceIsOwned(sequence, DEPENDENCY_AUTO, &table, &column) ||
		sequenceIsOwned(sequence, DEPENDENCY_INTERNAL, &table, &column);
}

/*
 * A relation that is there: make it unless somebody else does.
 */
static void
look_at_relation(ScribeState *state, Form_pg_class form)
{
	char	   *schema = get_namespace_name(form->relnamespace);
	MemoryContext old;
	Known	   *entry;
	bool		found;

	if (schema != NULL && is_taken(state, schema, NameStr(form->relname)))
		drop_gone(state);		/* before whatever gave the name away is written */
	if (!is_wanted(form) || schema == NULL || !is_users_schema(form->relnamespace, schema))
		return;
	/* a function of its bound wrote rows before it had a key */
	if (form->relkind == RELKIND_PARTITIONED_TABLE && !SearchSysCacheExists1(PARTRELID, ObjectIdGetDatum(form->oid)))
	{
		relation_touched((Datum) 0, form->oid);
		return;
	}
	entry = enter(form->oid, form->relkind, schema, NameStr(form->relname), &found);
	if (found)
		return;
	entry->member = is_member(RelationRelationId, form->oid);
	if (entry->member || list_member_oid(state->announced, form->oid) ||
		!of_this_transaction(state, creator_of_relation(form->oid)))
		return;
	/* a row written before its command has ended does not name them yet; one that rewrites tables comes before they are owned */
	if (form->relkind == RELKIND_SEQUENCE && state->altering && (is_owned(form->oid) || state->emptying != NIL))
		return;
	if (state->vague)
	{
		output_warning(state, "table %s may have been made by no statement that was recorded; take a new base",
					   quote_identifier(NameStr(form->relname)));
		return;
	}
	if (is_passing(form->relnamespace))
	{
		entry->member = true;
		return;
	}
	entry->made = true;
	old = MemoryContextSwitchTo(state->txn_cxt);
	state->made = lappend_oid(state->made, form->oid);
	MemoryContextSwitchTo(old);
	if (form->relkind == RELKIND_SEQUENCE)
		make_sequence(state, form->oid, form->relowner);
	else
	{
		Relation	rel = RelationIdGetRelation(form->oid);

		if (!RelationIsValid(rel))
			return;
		write_create(state, rel);
		RelationClose(rel);
	}
}

static int
compare_oids(const ListCell *a, const ListCell *b)
{
	return lfirst_oid(a) < lfirst_oid(b) ? -1 : lfirst_oid(a) > lfirst_oid(b);
}

/*
 * Everything there is and was, when the server no longer knows what changed.
 */
static List *
list_everything(void)
{
	Relation	catalog = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	HASH_SEQ_STATUS status;
	HeapTuple	tuple;
	Known	   *entry;
	List	   *oids = NIL;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		oids = lappend_oid(oids, ((Form_pg_class) GETSTRUCT(tuple))->oid);
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	hash_seq_init(&status, known);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (entry->kind != KIND_SCHEMA)
			oids = lappend_oid(oids, entry->oid);
	return oids;
}

/*
 * Look at what was touched since the last look, before a row is written or
 * the transaction ends.  Within an extension's script nothing is to be made:
 * CREATE EXTENSION follows.
 */
void
unseen_look(ScribeState *state)
{
	List	   *oids = touched;
	ListCell   *cell;

	if ((touched == NIL && !schemas_touched && !everything_touched) || state->script > 0)
		return;
	touched = NIL;
	if (everything_touched)
	{
		everything_touched = false;
		list_free(oids);
		oids = list_everything();
		schemas_touched = true;
	}
	if (schemas_touched)
	{
		schemas_touched = false;
		look_at_schemas(state);
	}
	list_sort(oids, compare_oids);
	list_deduplicate_oid(oids);
	unrecorded_note(state, oids);
	/* what has gone first, since its name may be another's by now */
	foreach(cell, oids)
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(lfirst_oid(cell))))
			note_gone(state, lfirst_oid(cell));
	foreach(cell, oids)
	{
		HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(lfirst_oid(cell)));

		if (HeapTupleIsValid(tuple))
		{
			look_at_relation(state, (Form_pg_class) GETSTRUCT(tuple));
			ReleaseSysCache(tuple);
		}
	}
	list_free(oids);
}

/*
 * The name of what this transaction drops, for a value that stands for it; a
 * copy still has it.
 */
const char *
unseen_name(Oid type, Datum value)
{
	ListCell   *cell;

	if (current == NULL || current->gone == NIL || (type != REGNAMESPACEOID && type != REGCLASSOID))
		return NULL;
	foreach(cell, current->gone)
	{
		Known	   *entry = lfirst(cell);
		StringInfoData name;

		if (entry->oid != DatumGetObjectId(value) || (entry->kind == KIND_SCHEMA) != (type == REGNAMESPACEOID))
			continue;
		initStringInfo(&name);
		append_gone(&name, entry);
		return name.data;
	}
	return NULL;
}

/*
 * The transaction ends: what was made in it gets what came after its rows.
 */
void
unseen_commit(ScribeState *state)
{
	ListCell   *cell;

	unseen_look(state);
	drop_gone(state);
	foreach(cell, state->made)
		finish_made(state, lfirst_oid(cell));
}
