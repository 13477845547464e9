/*
 * scribe_relation.c
 *	  What is remembered of each relation, so that a row costs no lookup.
 *
 * Everything is read through the historic snapshot and thrown away when the
 * relation, a schema or one of the types it names changes.
 */
#include "scribe_decoder.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/partition.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "replication/snapbuild.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* callbacks cannot be taken back, so they look here; NULL outside decoding */
static HTAB *relations = NULL;
static MemoryContext relations_cxt = NULL;
static ScribeRelation *latest = NULL;
static bool have_relatives = false;
static uint64 told = 0;			/* rows of scribe.ddl_history so far */

/* a schema was renamed, perhaps, by what was committed here */
static XLogRecPtr schemas_changed_at = InvalidXLogRecPtr;
static LogicalDecodingContext *decoding = NULL;

/* of a transaction that is older: what is committed when it ends; NULL for all others */
static Snapshot at_end = NULL;
static Snapshot others = NULL;	/* snapshot_of_others() of the transaction that is decoded */
static ReorderBufferTXN *ending = NULL;

static void
invalidate(ScribeRelation *relation)
{
	if (relation->valid)
		relation->changed_at = told;
	relation->valid = false;
}

/*
 * A statement is told of: what changed before it was its doing.
 */
void
relations_told(void)
{
	told++;
}

static void
relation_changed(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	ScribeRelation *relation;

	if (relations == NULL)
		return;
	if (OidIsValid(relid))
	{
		relation = hash_search(relations, &relid, HASH_FIND, NULL);
		if (relation)
			invalidate(relation);
		if (!have_relatives)
			return;
	}
	hash_seq_init(&status, relations);
	while ((relation = hash_seq_search(&status)) != NULL)
		if (!OidIsValid(relid) || list_member_oid(relation->relatives, relid))
			invalidate(relation);
}

static void
schema_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	relation_changed(arg, InvalidOid);
	if (relations != NULL)
		schemas_changed_at = decoding->reader->ReadRecPtr;
}

static void
type_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	HASH_SEQ_STATUS status;
	ScribeRelation *relation;

	if (relations == NULL)
		return;
	hash_seq_init(&status, relations);
	while ((relation = hash_seq_search(&status)) != NULL)
	{
		if (hashvalue == 0 || list_member_int(relation->types, (int) hashvalue))
			invalidate(relation);
	}
}

static void
relations_gone(void *arg)
{
	if (relations != arg)
		return;
	relations = NULL;
	latest = NULL;
	decoding = NULL;
}

void
relations_init(ScribeState *state)
{
	static bool registered = false;
	HASHCTL		ctl = {0};
	MemoryContextCallback *gone;

	relations_cxt = AllocSetContextCreate(state->ctx->context, "scribe relations",
										  ALLOCSET_DEFAULT_SIZES);
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(ScribeRelation);
	ctl.hcxt = relations_cxt;
	relations = hash_create("scribe relations", 256, &ctl,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	latest = NULL;
	decoding = state->ctx;
	schemas_changed_at = InvalidXLogRecPtr;
	at_end = NULL;
	others = NULL;
	gone = MemoryContextAllocZero(relations_cxt, sizeof(MemoryContextCallback));
	gone->func = relations_gone;
	gone->arg = relations;
	MemoryContextRegisterResetCallback(relations_cxt, gone);

	if (!registered)
	{
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, schema_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(TYPEOID, type_changed, (Datum) 0);
		registered = true;
	}
}

/*
 * ALTER SCHEMA ... RENAME waits for no change of rows, so that others may have renamed a schema between one and the end of its
 * transaction.  It is decoded as the catalog was, and replayed after them: it has to name what the schema is called then.
 */
void
relations_begin(ReorderBufferTXN *txn)
{
	at_end = NULL;
	ending = txn;
	if (others != NULL)
	{
		pfree(others->xip);
		pfree(others);
		others = NULL;
	}
	if (txn->first_lsn >= schemas_changed_at)
		return;
	at_end = present_snapshot(decoding->snapshot_builder, txn->xid);
	relation_changed((Datum) 0, InvalidOid);
}

void
relations_commit(void)
{
	if (at_end != NULL)
		relation_changed((Datum) 0, InvalidOid);
	at_end = NULL;
}

/* Whether the transaction that is being decoded has written a row of the catalog itself: it then has its place among the changes. */
static bool
is_own(TransactionId xid)
{
	dlist_iter	iter;

	if (xid == ending->xid)
		return true;
	dlist_foreach(iter, &ending->subtxns)
		if (dlist_container(ReorderBufferTXN, node, iter.cur)->xid == xid)
			return true;
	return false;
}

char *
schema_name(Oid schema)
{
	char	   *name = get_namespace_name(schema);
	Relation	catalog;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (at_end == NULL || name == NULL)
		return name;
	catalog = table_open(NamespaceRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_namespace_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(schema));
	scan = systable_beginscan(catalog, NamespaceOidIndexId, true, at_end, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple) && !is_own(HeapTupleHeaderGetXmin(tuple->t_data)))
		name = pstrdup(NameStr(((Form_pg_namespace) GETSTRUCT(tuple))->nspname));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return name;
}

/* An object of which values may tell.  own: the row of the catalog is this transaction's. */
typedef struct Named
{
	bool		found;
	bool		own;
	Oid			schema;
	char	   *name;
} Named;

static Named
look_up(Relation catalog, Oid index, Snapshot snapshot, Oid oid)
{
	Named		named = {0};
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		isnull;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	scan = systable_beginscan(catalog, index, true, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		named.found = true;
		named.own = is_own(HeapTupleHeaderGetXmin(tuple->t_data));
		named.name = pstrdup(NameStr(*DatumGetName(heap_getattr(tuple, 2, RelationGetDescr(catalog), &isnull))));
		if (RelationGetRelid(catalog) != NamespaceRelationId)
			named.schema = DatumGetObjectId(heap_getattr(tuple, 3, RelationGetDescr(catalog), &isnull));
	}
	systable_endscan(scan);
	return named;
}

/* The catalog when the transaction ends, as if it had changed nothing itself. */
static Snapshot
snapshot_of_others(Snapshot at_the_end)
{
	if (others == NULL)
	{
		others = MemoryContextAlloc(relations_cxt, sizeof(SnapshotData));
		*others = *at_the_end;
		others->xip = MemoryContextAlloc(relations_cxt, sizeof(TransactionId) * Max(at_the_end->xcnt, 1));
		others->xcnt = 0;
		for (uint32 i = 0; i < at_the_end->xcnt; i++)
			if (!is_own(at_the_end->xip[i]))
				others->xip[others->xcnt++] = at_the_end->xip[i];
	}
	return others;
}

/*
 * The name and schema of an object when the transaction ends, as others that are replayed before it have changed them; false: it
 * is gone by then.  What the transaction drops itself is there at its statements before that.  catalog: one whose first columns
 * are OID, name and schema; schemas have none.  differs: set if they are others than this transaction sees.
 */
bool
names_at_end(Oid catalog, Oid index, Oid oid, char **schema, char **name, bool *differs)
{
	Snapshot	snapshot = present_snapshot(decoding->snapshot_builder, ending->xid);
	Relation	rel = table_open(catalog, AccessShareLock);
	Named		end = look_up(rel, index, snapshot, oid);
	Named		now = look_up(rel, index, NULL, oid);
	char	   *seen;

	if (!end.found && now.found)
		end = now.own ? now : look_up(rel, index, snapshot_of_others(snapshot), oid);
	table_close(rel, AccessShareLock);
	if (!end.found)
		return false;
	if (end.own && now.found)
		end = now;
	*name = end.name;
	*schema = OidIsValid(end.schema) ? schema_name(end.schema) : NULL;
	if (now.found && (strcmp(end.name, now.name) != 0 || end.schema != now.schema))
		*differs = true;
	seen = OidIsValid(end.schema) ? get_namespace_name(end.schema) : NULL;
	if (*schema != NULL && seen != NULL && strcmp(*schema, seen) != 0)
		*differs = true;
	return true;
}

/*
 * A type's own name with its schema.  format_type() would spell bpchar as
 * "character", which is character(1).
 */
char *
type_name(Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	Form_pg_type form;
	StringInfoData name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type);
	form = (Form_pg_type) GETSTRUCT(tuple);
	initStringInfo(&name);
	/* behind a dot every keyword is a name, whichever version reads it */
	if (form->typnamespace == PG_CATALOG_NAMESPACE && type != CHAROID)
		appendStringInfo(&name, "pg_catalog.%s", NameStr(form->typname));
	else
		append_qualified(&name, schema_name(form->typnamespace), NameStr(form->typname));
	ReleaseSysCache(tuple);
	return name.data;
}

static ValueClass
class_of_type(Oid type)
{
	switch (getBaseType(type))
	{
		case BOOLOID:
			return VALUE_BOOL;
		case INT2OID:
			return VALUE_INT2;
		case INT4OID:
			return VALUE_INT4;
		case INT8OID:
			return VALUE_INT8;
		case OIDOID:
			return VALUE_OID;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case JSONOID:
			return VALUE_TEXT;
		default:
			return VALUE_OTHER;
	}
}

/*
 * Types whose input functions refuse every value; tables made of a query on
 * the catalogs have them.
 */
static bool
is_unreadable(Oid type)
{
	switch (type)
	{
		case PG_NODE_TREEOID:
		case PG_NDISTINCTOID:
		case PG_DEPENDENCIESOID:
		case PG_MCV_LISTOID:
#if PG_VERSION_NUM >= 140000
		case PG_BRIN_BLOOM_SUMMARYOID:
		case PG_BRIN_MINMAX_MULTI_SUMMARYOID:
#endif
			return true;
		default:
			return false;
	}
}

/*
 * Whether a domain has a NOT VALID constraint, which values may be older than.
 */
static bool
is_young_domain(Oid type)
{
	bool		young = false;

	while (!young && get_typtype(type) == TYPTYPE_DOMAIN)
	{
		Relation	catalog = table_open(ConstraintRelationId, AccessShareLock);
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	tuple;

		ScanKeyInit(&key, Anum_pg_constraint_contypid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(type));
		scan = systable_beginscan(catalog, ConstraintTypidIndexId, true, NULL, 1, &key);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
			young |= !((Form_pg_constraint) GETSTRUCT(tuple))->convalidated;
		systable_endscan(scan);
		table_close(catalog, AccessShareLock);

		tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
		if (!HeapTupleIsValid(tuple))
			break;
		type = ((Form_pg_type) GETSTRUCT(tuple))->typbasetype;
		ReleaseSysCache(tuple);
	}
	return young;
}

/*
 * Whether the stream was told to leave out a table (column: NULL) or a column.
 */
static bool
is_told_to_leave_out(List *left_out, const char *schema, const char *table, const char *column)
{
	ListCell   *cell;

	foreach(cell, left_out)
	{
		List	   *names = lfirst(cell);

		if (list_length(names) == (column ? 3 : 2) && strcmp(linitial(names), schema) == 0 &&
			strcmp(lsecond(names), table) == 0 && (column == NULL || strcmp(lthird(names), column) == 0))
			return true;
	}
	return false;
}

/*
 * Take columns out that the stream was told to leave out: NULL stands in their place.  A table in which NULL may have
 * no place there is left out as a whole; a key is such a column.
 */
static void
leave_out(List *left_out, ScribeRelation *relation, Relation rel, const char *schema)
{
	const char *table = RelationGetRelationName(rel);

	relation->left_out = is_told_to_leave_out(left_out, schema, table, NULL);
	for (int i = 0; i < relation->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);
		ScribeColumn *column = &relation->columns[i];

		if (att->attisdropped || !is_told_to_leave_out(left_out, schema, table, NameStr(att->attname)))
			continue;
		relation->left_out |= att->attnotnull || column->domain;
		column->lost = "it is left out, as the stream was told to; take a new base";
		column->stored = false;
		relation->has_lost = true;
	}
}

/*
 * What the column's domain, and those that it is over, say of NULL.  Before 17 a session that has seen the inner one's
 * NOT NULL goes on believing in it, of the outer one, when it is dropped.
 */
static void
look_at_domains(ScribeRelation *relation, ScribeColumn *column)
{
	Oid			type = column->type;
	bool		bars_null = false;

	for (;;)
	{
		HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
		Form_pg_type form;
		Oid			base = InvalidOid;

		if (!HeapTupleIsValid(tuple))
			break;
		form = (Form_pg_type) GETSTRUCT(tuple);
		if (form->typtype == TYPTYPE_DOMAIN)
		{
			bars_null |= form->typnotnull || (PG_VERSION_NUM < 170000 && type != column->type);
			base = form->typbasetype;
		}
		ReleaseSysCache(tuple);
		relation->types = lappend_int(relation->types, (int) GetSysCacheHashValue1(TYPEOID, ObjectIdGetDatum(type)));
		if (!OidIsValid(base) || base < FirstNormalObjectId)
			break;
		type = base;
	}
	if (!bars_null)
		return;
	column->barred_null = psprintf("(SELECT NULL::%s WHERE false)", type_name(column->type));
	relation->bars_null = true;
}

static void
build_column(ScribeRelation *relation, ScribeColumn *column, Form_pg_attribute att)
{
	StringInfoData text;
	Oid			output;
	bool		varlena;

	if (att->attisdropped)
		return;

	initStringInfo(&text);
	append_identifier(&text, NameStr(att->attname));
	column->name = text.data;
	column->type = att->atttypid;
	column->len = att->attlen;
	column->byval = att->attbyval;
	column->live = att->attgenerated == '\0' && !is_absent_type(att->atttypid);
	column->domain = getBaseType(att->atttypid) != att->atttypid;
	column->lost = is_absent_type(att->atttypid) ? "a copy does not have its type" :
		is_unreadable(att->atttypid) ? "its type reads no values" : NULL;
	find_names(column);
	relation->has_lost |= column->lost != NULL;
	relation->has_privileges |= column->names == ACLITEMOID;
	column->stored = att->attgenerated != SCRIBE_GENERATED_VIRTUAL && !column->lost;
	column->always = att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS;
	column->class = class_of_type(att->atttypid);
	column->cast = psprintf("::%s", type_name(getBaseType(att->atttypid)));
	column->clean = has_clean_image(att->atttypid);
	column->base = "";
	column->collate = "";
	if (column->domain && is_young_domain(att->atttypid))
		column->young = psprintf("::%s", type_name(att->atttypid));

	getTypeOutputInfo(att->atttypid, &output, &varlena);
	fmgr_info_cxt(output, &column->output, relation->cxt);

	if (att->atttypid >= FirstNormalObjectId)
		look_at_domains(relation, column);
}

#if PG_VERSION_NUM < 170000
/*
 * Before 17 a partition does not have the identity of its parent's column; where it is restored, it may.
 */
static void
inherit_identity(ScribeRelation *relation, Relation rel)
{
	List	   *ancestors = rel->rd_rel->relispartition ? get_partition_ancestors(relation->relid) : NIL;
	ListCell   *cell;

	relation->relatives = list_concat_unique_oid(relation->relatives, ancestors);
	foreach(cell, ancestors)
	{
		for (int i = 0; i < relation->natts; i++)
		{
			Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);
			HeapTuple	tuple;

			if (att->attisdropped)
				continue;
			tuple = SearchSysCacheAttName(lfirst_oid(cell), NameStr(att->attname));
			if (!HeapTupleIsValid(tuple))
				continue;
			relation->columns[i].always |=
				((Form_pg_attribute) GETSTRUCT(tuple))->attidentity == ATTRIBUTE_IDENTITY_ALWAYS;
			ReleaseSysCache(tuple);
		}
	}
}
#endif

/*
 * INSERT and COPY up to the place where rows begin.
 */
static void
build_heads(ScribeRelation *relation)
{
	StringInfoData columns;
	bool		always = false;

	initStringInfo(&columns);
	for (int i = 0; i < relation->nlive; i++)
	{
		ScribeColumn *column = &relation->columns[relation->live[i]];

		appendStringInfo(&columns, "%s%s", i > 0 ? ", " : "", column->name);
		always |= column->always;
	}

	if (relation->nlive == 0)
	{
		relation->insert_head = psprintf("INSERT INTO %s DEFAULT VALUES;", relation->name);
		return;
	}
	relation->insert_head = psprintf("INSERT INTO %s (%s) %sVALUES ", relation->name, columns.data,
									 always ? "OVERRIDING SYSTEM VALUE " : "");
	relation->copy_head = psprintf("COPY %s (%s) FROM stdin;", relation->name, columns.data);
}

static char *
name_of_relation(Relation rel)
{
	const char *schema = schema_name(RelationGetNamespace(rel));
	StringInfoData name;

	if (schema == NULL)
		elog(ERROR, "cache lookup failed for schema %u", RelationGetNamespace(rel));
	initStringInfo(&name);
	append_qualified(&name, schema, RelationGetRelationName(rel));
	return name.data;
}

/*
 * How statements on the relation's rows call it.  A partition whose rows may
 * lie in another one in a copy is called by the ancestor that finds them.
 */
static void
build_name(ScribeRelation *relation, Relation rel)
{
	relation->own_name = name_of_relation(rel);
	relation->name = relation->own_name;
	relation->only = rel->rd_rel->relhassubclass ? "ONLY " : "";
	relation->place = "ctid";
	relation->route = rel->rd_rel->relispartition ? find_route(relation->relid) : InvalidOid;
	if (OidIsValid(relation->route) && rel->rd_rel->relkind == RELKIND_RELATION)
	{
		Relation	route = RelationIdGetRelation(relation->route);

		if (!RelationIsValid(route))
			elog(ERROR, "could not open relation %u, a partition's ancestor", relation->route);
		relation->name = name_of_relation(route);
		relation->only = "";
		relation->place = "tableoid, ctid";
		RelationClose(route);
	}
}

static void
append_switch(StringInfo quiet, StringInfo loud, const char *table,
			  char enabled, const char *what, const char *name)
{
	StringInfoData quoted;

	initStringInfo(&quoted);
	append_identifier(&quoted, name);
	appendStringInfo(quiet, "ALTER TABLE %s DISABLE %s %s;\n", table, what, quoted.data);
	appendStringInfo(loud, "ALTER TABLE %s ENABLE %s %s %s;\n", table,
					 enabled == TRIGGER_FIRES_ALWAYS ? "ALWAYS" : "REPLICA", what, quoted.data);
}

/* Before PostgreSQL 15 a partition's copy of a user's trigger counts as internal, as the triggers of foreign keys do. */
static bool
is_users(Trigger *trigger)
{
	return !trigger->tgisinternal ||
		(trigger->tgisclone && RI_FKey_trigger_type(trigger->tgfoid) == RI_TRIGGER_NONE);
}

#define CHECKS_OF_TABLE \
	"(SELECT count(*) FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype = 'c')"

static void
append_checks_switch(StringInfo out, const char *checks, const char *schema, const char *table)
{
	StringInfoData body;

	initStringInfo(&body);
	/* only a superuser writes to the catalog; for anybody else they are looked at as rows come */
	appendStringInfo(&body, "BEGIN IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER) THEN"
					 " UPDATE pg_catalog.pg_class AS c SET relchecks = %s FROM pg_catalog.pg_namespace AS n"
					 " WHERE n.oid = c.relnamespace AND n.nspname = ", checks);
	append_literal(&body, schema, strlen(schema));
	appendStringInfoString(&body, " AND c.relname = ");
	append_literal(&body, table, strlen(table));
	appendStringInfoString(&body, "; END IF; END");
	appendStringInfoString(out, "DO LANGUAGE plpgsql ");
	append_literal(out, body.data, body.len);
	appendStringInfoString(out, ";\n");
	pfree(body.data);
}

/*
 * CHECKs held when the source took the row; "until > now()" holds no more.
 * Nothing but pg_class.relchecks says that a table has any, and ALTER TABLE has
 * no word for it.
 */
static void
append_checks(StringInfo quiet, StringInfo loud, Relation rel)
{
	TupleConstr *constr = rel->rd_att->constr;
	bool		found = false;
	char	   *schema;

	if (rel->rd_rel->relkind != RELKIND_RELATION)
		return;
	for (int i = 0; constr != NULL && !found && i < constr->num_check; i++)
		found = text_looks_around(constr->check[i].ccbin);
	if (!found)
		return;

	schema = get_namespace_name(RelationGetNamespace(rel));
	append_checks_switch(quiet, "0", schema, RelationGetRelationName(rel));
	append_checks_switch(loud, CHECKS_OF_TABLE, schema, RelationGetRelationName(rel));
}

static void
append_switches(StringInfo quiet, StringInfo loud, Relation rel)
{
	/* a partition's copy of a trigger may be enabled otherwise than the trigger */
	char	   *table = psprintf("%s%s", rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ? "ONLY " : "",
								 name_of_relation(rel));

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];

		if (is_users(trigger) &&
			(trigger->tgenabled == TRIGGER_FIRES_ALWAYS ||
			 trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA))
			append_switch(quiet, loud, table, trigger->tgenabled, "TRIGGER", trigger->tgname);
	}

	append_checks(quiet, loud, rel);
	if (rel->rd_rel->relhasrules)
	{
		Relation	rewrite = table_open(RewriteRelationId, AccessShareLock);
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	tuple;

		ScanKeyInit(&key, Anum_pg_rewrite_ev_class, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(RelationGetRelid(rel)));
		scan = systable_beginscan(rewrite, RewriteRelRulenameIndexId, true, NULL, 1, &key);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			Form_pg_rewrite form = (Form_pg_rewrite) GETSTRUCT(tuple);

			if (form->ev_enabled == TRIGGER_FIRES_ALWAYS ||
				form->ev_enabled == TRIGGER_FIRES_ON_REPLICA)
				append_switch(quiet, loud, table, form->ev_enabled, "RULE",
							  NameStr(form->rulename));
		}
		systable_endscan(scan);
		table_close(rewrite, AccessShareLock);
	}
}

/*
 * Triggers and rules that fire even under session_replication_role = replica
 * did their work on the source already, and so did CHECKs.  In a copy, a row that goes through a
 * route may wake those of any partition.
 */
static void
build_switches(ScribeRelation *relation, Relation rel)
{
	StringInfoData quiet;
	StringInfoData loud;
	ListCell   *cell;

	initStringInfo(&quiet);
	initStringInfo(&loud);
	if (!OidIsValid(relation->route))
		append_switches(&quiet, &loud, rel);
	else
	{
		List	   *family = find_all_inheritors(relation->route, NoLock, NULL);

		relation->relatives = list_concat_unique_oid(relation->relatives, family);
		foreach(cell, family)
		{
			Relation	member = RelationIdGetRelation(lfirst_oid(cell));

			if (!RelationIsValid(member))
				continue;
			append_switches(&quiet, &loud, member);
			RelationClose(member);
		}
	}

	if (quiet.len > 0)
	{
		relation->quiet = quiet.data;
		relation->loud = loud.data;
	}
}

/*
 * Whether pg_dump leaves out the rows: of an extension's table that it did not
 * register with pg_extension_config_dump().  A base has none of them, so no
 * change of them has a place in a copy.
 */
static bool
is_left_out(Oid relid)
{
	Oid			extension = getExtensionOfObject(RelationRelationId, relid);
	Relation	catalog;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		left_out = true;

	if (!OidIsValid(extension))
		return false;
	catalog = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(extension));
	scan = systable_beginscan(catalog, ExtensionOidIndexId, true, NULL, 1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_pg_extension_extconfig, RelationGetDescr(catalog), &isnull);
		Datum	   *items;
		int			count = 0;

		if (!isnull)
			deconstruct_array(DatumGetArrayTypeP(value), OIDOID, sizeof(Oid), true, TYPALIGN_INT, &items, NULL, &count);
		for (int i = 0; i < count; i++)
			left_out &= DatumGetObjectId(items[i]) != relid;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return left_out;
}

/*
 * Rows of the capture's own tables are not data; those of ddl_history are
 * orders, which only a schema that a superuser owns may give.
 */
static RelationUse
use_of_relation(Relation rel, const char *schema)
{
	HeapTuple	tuple;
	bool		trusted;

	if (rel->rd_rel->relkind != RELKIND_RELATION && rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return RELATION_IGNORED;
	if (strcmp(schema, "scribe") != 0)
		return is_left_out(RelationGetRelid(rel)) ? RELATION_IGNORED : RELATION_ROWS;
	if (strcmp(RelationGetRelationName(rel), "ddl_history") != 0)
		return RELATION_IGNORED;

	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(RelationGetNamespace(rel)));
	if (!HeapTupleIsValid(tuple))
		return RELATION_IGNORED;
	trusted = superuser_arg(((Form_pg_namespace) GETSTRUCT(tuple))->nspowner);
	ReleaseSysCache(tuple);
	return trusted ? RELATION_AUDIT : RELATION_IGNORED;
}

/*
 * The transaction that created the table: the catalog's row of a system
 * column is written then and never again.
 */
TransactionId
creator_of_relation(Oid relid)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid),
										Int16GetDatum(SelfItemPointerAttributeNumber));
	TransactionId xid;

	if (!HeapTupleIsValid(tuple))
		return InvalidTransactionId;
	xid = HeapTupleHeaderGetXmin(tuple->t_data);
	ReleaseSysCache(tuple);
	return xid;
}

static void
build(ScribeState *state, ScribeRelation *relation, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	const char *schema = get_namespace_name(RelationGetNamespace(rel));

	if (schema == NULL)
		elog(ERROR, "cache lookup failed for schema %u", RelationGetNamespace(rel));

	relation->use = use_of_relation(rel, schema);
	if (relation->use != RELATION_ROWS)
		return;

	build_name(relation, rel);
	relation->created = creator_of_relation(relation->relid);

	relation->natts = desc->natts;
	relation->columns = palloc0(sizeof(ScribeColumn) * (desc->natts + 1));
	relation->live = palloc(sizeof(int) * (desc->natts + 1));
	relation->keys = palloc(sizeof(int) * (desc->natts + 1));
	relation->values = palloc(sizeof(Datum) * (desc->natts + 1));
	relation->nulls = palloc(sizeof(bool) * (desc->natts + 1));
	relation->old_values = palloc(sizeof(Datum) * (desc->natts + 1));
	relation->old_nulls = palloc(sizeof(bool) * (desc->natts + 1));
	relation->set = palloc(sizeof(bool) * (desc->natts + 1));

	for (int i = 0; i < desc->natts; i++)
	{
		build_column(relation, &relation->columns[i], TupleDescAttr(desc, i));
		if (relation->columns[i].live)
			relation->live[relation->nlive++] = i;
	}
#if PG_VERSION_NUM < 170000
	inherit_identity(relation, rel);
#endif
	build_heads(relation);
	build_switches(relation, rel);
	if (state->left_out != NIL)
		leave_out(state->left_out, relation, rel, schema);
	find_identity(rel, relation);
	find_loose(rel, relation);
	have_relatives |= relation->relatives != NIL;
}

static void
rebuild(ScribeState *state, ScribeRelation *relation, Relation rel)
{
	ScribeRelation fresh = {0};
	MemoryContext old;
	uint64		shape;

	if (relation->cxt)
		MemoryContextDelete(relation->cxt);
	fresh.relid = relation->relid;
	fresh.touched = relation->touched;
	fresh.warned = relation->warned;
	fresh.quieted = relation->quieted;
	fresh.changed_at = relation->changed_at;
	shape = relation->shape;
	fresh.cxt = AllocSetContextCreate(relations_cxt, "scribe relation", ALLOCSET_SMALL_SIZES);
	*relation = fresh;

	/* an invalidation that arrives while we read must count */
	relation->valid = true;
	old = MemoryContextSwitchTo(relation->cxt);
	build(state, relation, rel);
	MemoryContextSwitchTo(old);
	if (relation->insert_head)
		relation->shape = DatumGetUInt64(hash_any_extended((const unsigned char *) relation->insert_head,
														   strlen(relation->insert_head), 1));
	relation->untold = shape != 0 && shape != relation->shape && relation->changed_at == told;
}

static ScribeRelation *
entry_of(Oid relid)
{
	bool		found;
	ScribeRelation *relation = hash_search(relations, &relid, HASH_ENTER, &found);

	if (!found)
		memset((char *) relation + sizeof(Oid), 0, sizeof(ScribeRelation) - sizeof(Oid));
	return relation;
}

/*
 * In which stretch the relation's triggers were switched off; partitions of
 * one route have that in common.
 */
uint64 *
quieted_of(ScribeRelation *relation)
{
	return &(OidIsValid(relation->route) ? entry_of(relation->route) : relation)->quieted;
}

/*
 * Whether a table that was dropped had its rows in other partitions of a copy,
 * too: only of those whose rows were seen is that known.
 */
bool
was_routed(const char *name)
{
	HASH_SEQ_STATUS status;
	ScribeRelation *relation;
	bool		found = false;

	hash_seq_init(&status, relations);
	while ((relation = hash_seq_search(&status)) != NULL)
		found |= OidIsValid(relation->route) && strcmp(relation->own_name, name) == 0 &&
			get_rel_relkind(relation->relid) == '\0' && get_rel_relkind(relation->route) != '\0';
	return found;
}

/*
 * What we know of the relation.  An open run ends when that has changed.
 */
ScribeRelation *
relation_lookup(ScribeState *state, Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	ScribeRelation *relation = latest;

	if (relation == NULL || relation->relid != relid)
		latest = relation = entry_of(relid);
	if (!relation->valid)
	{
		if (state->run.relation == relation || has_lane(relation))
			run_end(state);
		rebuild(state, relation, rel);
	}
	return relation;
}
