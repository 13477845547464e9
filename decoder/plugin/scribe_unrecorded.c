/*
 * scribe_unrecorded.c
 *	  Schema changes of which no row of scribe.ddl_history tells.
 *
 * A superuser can keep the event triggers from firing (event_triggers = off, a
 * trigger that is disabled for a moment) and can write to the catalogs.  What a
 * copy lacks then must not go unnoticed.  A transaction with no row of ours
 * that has nevertheless changed what a dump shows of a table, a view, a function
 * or an enum is told by a warning, which rotation flags.
 *
 * What a transaction did to a catalog is seen in the rows themselves: those it
 * deleted are there still, since the slot keeps what it has not read.  Both are
 * compared, for much of what writes these rows changes nothing: TRUNCATE,
 * VACUUM FULL and CLUSTER exchange files, REINDEX CONCURRENTLY exchanges
 * indexes.  Owners are rotation's to find (REASSIGN OWNED), and so is whatever
 * is made or dropped as a whole (see scribe_unseen.c).
 */
#include "scribe_decoder.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/catalog.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* how far an object may be from something temporary that it uses */
#define DEEPEST_USE 5

/* a catalog, and how its rows of one relation are found */
typedef struct Shelf
{
	Oid			catalog;
	Oid			index;
	AttrNumber	key;
} Shelf;

static const Shelf shelves[] = {
	{RelationRelationId, ClassOidIndexId, Anum_pg_class_oid},
	{AttributeRelationId, AttributeRelidNumIndexId, Anum_pg_attribute_attrelid},
	{AttrDefaultRelationId, AttrDefaultIndexId, Anum_pg_attrdef_adrelid},
	{ConstraintRelationId, ConstraintRelidTypidNameIndexId, Anum_pg_constraint_conrelid},
	{InheritsRelationId, InheritsRelidSeqnoIndexId, Anum_pg_inherits_inhrelid},
	{RewriteRelationId, RewriteRelRulenameIndexId, Anum_pg_rewrite_ev_class},
	{TriggerRelationId, TriggerRelidNameIndexId, Anum_pg_trigger_tgrelid},
	{PolicyRelationId, PolicyPolrelidPolnameIndexId, Anum_pg_policy_polrelid},
};

/* callbacks cannot be taken back */
static bool functions_touched = false;
static bool labels_touched = false;

static void
function_touched(Datum arg, int cacheid, uint32 hashvalue)
{
	functions_touched = true;
}

static void
label_touched(Datum arg, int cacheid, uint32 hashvalue)
{
	labels_touched = true;
}

void
unrecorded_init(void)
{
	static bool registered = false;

	if (registered)
		return;
	CacheRegisterSyscacheCallback(PROCOID, function_touched, (Datum) 0);
	CacheRegisterSyscacheCallback(ENUMOID, label_touched, (Datum) 0);
	registered = true;
}

void
unrecorded_begin(ScribeState *state)
{
	state->looked_at = NIL;
	functions_touched = labels_touched = false;
}

/*
 * Relations whose rows of a catalog something has changed, this transaction or another one beside it.
 */
void
unrecorded_note(ScribeState *state, List *oids)
{
	MemoryContext old = MemoryContextSwitchTo(state->txn_cxt);

	if (!state->audited)
		state->looked_at = list_concat_unique_oid(state->looked_at, oids);
	MemoryContextSwitchTo(old);
}

static bool
deleted_here(ScribeState *state, HeapTuple tuple)
{
	HeapTupleHeader header = tuple->t_data;

	return (header->t_infomask & HEAP_XMAX_INVALID) == 0 && !HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) &&
		of_this_transaction(state, HeapTupleHeaderGetUpdateXid(header));
}

/*
 * Whether a dump shows what this column of a catalog says.
 */
static bool
is_shown(Oid catalog, AttrNumber column)
{
	switch (catalog)
	{
		case RelationRelationId:
			return column == Anum_pg_class_relname || column == Anum_pg_class_relnamespace ||
				column == Anum_pg_class_reloftype || column == Anum_pg_class_relam ||
				column == Anum_pg_class_relpersistence || column == Anum_pg_class_relchecks ||
				column == Anum_pg_class_relrowsecurity || column == Anum_pg_class_relforcerowsecurity ||
				column == Anum_pg_class_relreplident || column == Anum_pg_class_relacl ||
				column == Anum_pg_class_reloptions;
		case AttributeRelationId:	/* a rewrite stores what was missing */
			return column != Anum_pg_attribute_atthasmissing && column != Anum_pg_attribute_attmissingval;
		case AttrDefaultRelationId:
			return column != Anum_pg_attrdef_oid;
		case ConstraintRelationId:
			return column != Anum_pg_constraint_conindid;
		case InheritsRelationId:	/* DETACH CONCURRENTLY begins with this */
			return column == Anum_pg_inherits_inhparent;
		case RewriteRelationId:
			return column != Anum_pg_rewrite_oid;
		case TriggerRelationId:
			return column != Anum_pg_trigger_tgconstrindid;
		case ProcedureRelationId:
			return column != Anum_pg_proc_proowner;
		default:
			return true;
	}
}

/*
 * The column that holds the owner or the privileges, which another owner changes, too; 0 if there is none.
 */
static AttrNumber
owner_of(Oid catalog)
{
	return catalog == RelationRelationId ? Anum_pg_class_relowner : catalog == ProcedureRelationId ? Anum_pg_proc_proowner : 0;
}

static AttrNumber
privileges_of(Oid catalog)
{
	return catalog == RelationRelationId ? Anum_pg_class_relacl : catalog == ProcedureRelationId ? Anum_pg_proc_proacl : 0;
}

static bool
same_column(Relation rel, AttrNumber column, HeapTuple a, HeapTuple b)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), column - 1);
	bool		a_null;
	bool		b_null;
	Datum		a_value = heap_getattr(a, column, RelationGetDescr(rel), &a_null);
	Datum		b_value = heap_getattr(b, column, RelationGetDescr(rel), &b_null);

	return a_null == b_null && (a_null || datumIsEqual(a_value, b_value, att->attbyval, att->attlen));
}

static bool
shows_the_same(Relation rel, HeapTuple a, HeapTuple b)
{
	Oid			catalog = RelationGetRelid(rel);
	bool		given = owner_of(catalog) != 0 && !same_column(rel, owner_of(catalog), a, b);

	for (AttrNumber column = 1; column <= RelationGetDescr(rel)->natts; column++)
		if (is_shown(catalog, column) && !(given && column == privileges_of(catalog)) && !same_column(rel, column, a, b))
			return false;
	return true;
}

/*
 * Of a row of a catalog, whether a copy would have it.
 */
static bool
is_the_users(Oid catalog, HeapTuple tuple)
{
	Oid			schema;

	switch (catalog)
	{
		case ProcedureRelationId:
			schema = ((Form_pg_proc) GETSTRUCT(tuple))->pronamespace;
			return ((Form_pg_proc) GETSTRUCT(tuple))->oid >= FirstNormalObjectId && !isAnyTempNamespace(schema) &&
				schema != get_namespace_oid("scribe", true);
		case EnumRelationId:
			{
				HeapTuple	type = SearchSysCache1(TYPEOID, ObjectIdGetDatum(((Form_pg_enum) GETSTRUCT(tuple))->enumtypid));

				if (!HeapTupleIsValid(type))
					return false;
				schema = ((Form_pg_type) GETSTRUCT(type))->typnamespace;
				ReleaseSysCache(type);
				return !isAnyTempNamespace(schema);
			}
		case TriggerRelationId: /* those of foreign keys come with them */
			return !((Form_pg_trigger) GETSTRUCT(tuple))->tgisinternal;
		default:
			return true;
	}
}

/*
 * The row of a catalog that tells of a change by this transaction, among those of one relation or all (index: InvalidOid);
 * NULL if what it has deleted and written there shows the same.
 */
static HeapTuple
changed_row(ScribeState *state, Oid catalog, Oid index, AttrNumber key_column, Oid key_value)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *before = NIL;
	List	   *after = NIL;
	ListCell   *cell;

	if (OidIsValid(index))
		ScanKeyInit(&key, key_column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(key_value));
	scan = systable_beginscan(rel, index, OidIsValid(index), SnapshotAny, OidIsValid(index) ? 1 : 0, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		written = of_this_transaction(state, HeapTupleHeaderGetXmin(tuple->t_data));

		if (written == deleted_here(state, tuple) || !is_the_users(catalog, tuple))
			continue;
		if (written)
			after = lappend(after, heap_copytuple(tuple));
		else
			before = lappend(before, heap_copytuple(tuple));
	}
	systable_endscan(scan);

	tuple = NULL;
	foreach(cell, after)
	{
		ListCell   *other;
		bool		found = false;

		foreach(other, before)
			if (shows_the_same(rel, lfirst(other), lfirst(cell)))
			{
				before = foreach_delete_current(before, other);
				found = true;
				break;
			}
		if (!found)
			tuple = lfirst(cell);
	}
	if (tuple == NULL && before != NIL)
		tuple = linitial(before);
	table_close(rel, AccessShareLock);
	return tuple;
}

/*
 * Whether DETACH PARTITION CONCURRENTLY has begun with it, and records all of it at its end.
 */
static bool
is_being_detached(Oid relid)
{
	Relation	rel = table_open(InheritsRelationId, AccessShareLock);
	bool		pending = false;
#if PG_VERSION_NUM >= 140000
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		pending |= ((Form_pg_inherits) GETSTRUCT(tuple))->inhdetachpending;
	systable_endscan(scan);
#endif
	table_close(rel, AccessShareLock);
	return pending;
}

/*
 * Whether a relation was there before this transaction.  Views and types have no system columns, which would tell.
 */
static bool
was_there(ScribeState *state, Oid relid)
{
	TransactionId creator = creator_of_relation(relid);
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		there = false;

	if (TransactionIdIsValid(creator))
		return !of_this_transaction(state, creator);
	rel = table_open(RelationRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, ClassOidIndexId, true, SnapshotAny, 1, &key);
	while (!there && HeapTupleIsValid(tuple = systable_getnext(scan)))
		there = !of_this_transaction(state, HeapTupleHeaderGetXmin(tuple->t_data)) && was_written(state, tuple->t_data);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return there;
}

/*
 * Whether something a copy has too was there before this transaction, and is not an extension's.
 */
static bool
is_kept(ScribeState *state, Form_pg_class form)
{
	char	   *schema = get_namespace_name(form->relnamespace);

	return form->oid >= FirstNormalObjectId && form->relpersistence != RELPERSISTENCE_TEMP &&
		!OidIsValid(form->relrewrite) && schema != NULL && !IsToastNamespace(form->relnamespace) &&
		strcmp(schema, "scribe") != 0 &&
		(form->relkind == RELKIND_RELATION || form->relkind == RELKIND_PARTITIONED_TABLE || form->relkind == RELKIND_VIEW ||
		 form->relkind == RELKIND_MATVIEW || form->relkind == RELKIND_FOREIGN_TABLE ||
		 form->relkind == RELKIND_COMPOSITE_TYPE) &&
		was_there(state, form->oid) &&
		!OidIsValid(getExtensionOfObject(RelationRelationId, form->oid));
}

static bool
relation_changed(ScribeState *state, Oid relid)
{
	for (int i = 0; i < (int) lengthof(shelves); i++)
		if (changed_row(state, shelves[i].catalog, shelves[i].index, shelves[i].key, relid) != NULL)
			return !is_being_detached(relid);
	return false;
}

/*
 * Whether the transaction takes temporary objects away, as the end of a session does: what uses them goes with them, and no
 * copy has it.
 */
static bool
takes_temporary(ScribeState *state)
{
	static const struct
	{
		Oid			catalog;
		AttrNumber	schema;
	}			places[] = {
		{RelationRelationId, Anum_pg_class_relnamespace},
		{TypeRelationId, Anum_pg_type_typnamespace},
		{ProcedureRelationId, Anum_pg_proc_pronamespace},
	};
	bool		found = false;

	for (int i = 0; i < (int) lengthof(places) && !found; i++)
	{
		Relation	rel = table_open(places[i].catalog, AccessShareLock);
		SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, SnapshotAny, 0, NULL);
		HeapTuple	tuple;

		while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			bool		isnull;

			found = deleted_here(state, tuple) &&
				isAnyTempNamespace(DatumGetObjectId(heap_getattr(tuple, places[i].schema, RelationGetDescr(rel), &isnull)));
		}
		systable_endscan(scan);
		table_close(rel, AccessShareLock);
	}
	return found;
}

/*
 * Whether an object is a session's temporary one, or capture's.
 */
static bool
is_absent_object(Oid class, Oid oid)
{
	Oid			schema = InvalidOid;

	if (class == RelationRelationId)
		schema = get_rel_namespace(oid);
	else if (class == ProcedureRelationId)
		schema = get_func_namespace(oid);
	else if (class == TypeRelationId)
	{
		HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(oid));

		if (HeapTupleIsValid(tuple))
		{
			schema = ((Form_pg_type) GETSTRUCT(tuple))->typnamespace;
			ReleaseSysCache(tuple);
		}
	}
	return OidIsValid(schema) &&
		(isAnyTempNamespace(schema) || IsToastNamespace(schema) || schema == get_namespace_oid("scribe", true));
}

/* what a view uses, its rule uses */
static bool
is_view(Oid class, Oid oid)
{
	return class == RelationRelationId && (get_rel_relkind(oid) == RELKIND_VIEW || get_rel_relkind(oid) == RELKIND_MATVIEW);
}

/*
 * Whether an object, or what it is made of, means nothing in a copy: capture leaves it out, and records no command on it.
 * parts: look at its constraints, defaults and the like, too.  What it used before it was dropped counts as well.
 */
static bool
uses_absent(Oid class, Oid oid, bool parts, int depth)
{
	Relation	rel;
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = is_absent_object(class, oid);

	if (found || depth == 0 || oid < FirstNormalObjectId)
		return found;
	rel = table_open(DependRelationId, AccessShareLock);
	for (int round = 0; round < (parts ? 2 : 1) && !found; round++)
	{
		ScanKeyInit(&key[0], round == 0 ? Anum_pg_depend_classid : Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(class));
		ScanKeyInit(&key[1], round == 0 ? Anum_pg_depend_objid : Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(oid));
		scan = systable_beginscan(rel, round == 0 ? DependDependerIndexId : DependReferenceIndexId, true, SnapshotAny, 2, key);
		while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);

			if (round == 0)
				found = uses_absent(depend->refclassid, depend->refobjid, is_view(depend->refclassid, depend->refobjid), depth - 1);
			else if (depend->deptype == DEPENDENCY_AUTO || depend->deptype == DEPENDENCY_INTERNAL)
				found = uses_absent(depend->classid, depend->objid, false, depth - 1);
		}
		systable_endscan(scan);
	}
	table_close(rel, AccessShareLock);
	return found;
}

static void
warn(ScribeState *state, const char *kind, const char *schema, const char *name)
{
	output_warning(state, "%s %s was changed by no statement that was recorded; take a new base", kind,
				   quote_qualified_identifier(schema, name));
}

/*
 * The transaction ends, and all that was recorded of it has come: of one with recorded commands nothing else is known.
 */
void
unrecorded_commit(ScribeState *state)
{
	ListCell   *cell;
	HeapTuple	tuple;
	HeapTuple	type;
	List	   *changed = NIL;
	HeapTuple	function = NULL;
	HeapTuple	label = NULL;

	/* of a type that stays, no command takes a label away */
	if (labels_touched)
		label = changed_row(state, EnumRelationId, InvalidOid, 0, InvalidOid);
	if (label != NULL && state->audited && !deleted_here(state, label))
		label = NULL;
	foreach(cell, state->audited ? NIL : state->looked_at)
	{
		tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(lfirst_oid(cell)));
		if (!HeapTupleIsValid(tuple))
			continue;
		if (is_kept(state, (Form_pg_class) GETSTRUCT(tuple)) && relation_changed(state, lfirst_oid(cell)))
			changed = lappend_oid(changed, lfirst_oid(cell));
		ReleaseSysCache(tuple);
	}
	if (functions_touched && !state->audited)
		function = changed_row(state, ProcedureRelationId, InvalidOid, 0, InvalidOid);
	if ((changed == NIL && function == NULL && label == NULL) || state->lost)
		return;
	/* where nothing records, nothing is missed */
	if (!OidIsValid(get_event_trigger_oid("!scribe_4_end", true)) || takes_temporary(state))
		return;
	foreach(cell, changed)
		if (!uses_absent(RelationRelationId, lfirst_oid(cell), true, DEEPEST_USE))
			warn(state, "table", get_namespace_name(get_rel_namespace(lfirst_oid(cell))), get_rel_name(lfirst_oid(cell)));
	if (function != NULL && !uses_absent(ProcedureRelationId, ((Form_pg_proc) GETSTRUCT(function))->oid, false, DEEPEST_USE))
		warn(state, "function", get_namespace_name(((Form_pg_proc) GETSTRUCT(function))->pronamespace),
			 NameStr(((Form_pg_proc) GETSTRUCT(function))->proname));
	if (label == NULL)
		return;
	type = SearchSysCache1(TYPEOID, ObjectIdGetDatum(((Form_pg_enum) GETSTRUCT(label))->enumtypid));
	warn(state, "type", get_namespace_name(((Form_pg_type) GETSTRUCT(type))->typnamespace),
		 NameStr(((Form_pg_type) GETSTRUCT(type))->typname));
	ReleaseSysCache(type);
}
