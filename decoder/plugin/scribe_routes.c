/*
 * scribe_routes.c
 *	  Partitions whose rows may lie in other partitions in a copy.
 *
 * The hash of an enum's value is that of its label's OID, which another
 * database gives again; so is that of a regclass.  Rows of such partitions are
 * written, and found again, through the topmost ancestor that hashes so: its
 * route.  What is done to one partition as a whole (TRUNCATE, DETACH) has no
 * equal in a copy, and is flagged.
 */
#include "scribe_decoder.h"

#include "access/htup_details.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_partitioned_table.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

static bool hashes_oids(Oid type);

static bool
attribute_hashes_oids(Oid type)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(type, -1);
	bool		result = false;

	for (int i = 0; i < desc->natts && !result; i++)
		result = !TupleDescAttr(desc, i)->attisdropped && hashes_oids(TupleDescAttr(desc, i)->atttypid);
	ReleaseTupleDesc(desc);
	return result;
}

/*
 * Whether the hash of a value depends on OIDs that its text does not show.
 */
static bool
hashes_oids(Oid type)
{
	Oid			element;

	type = getBaseType(type);
	element = get_element_type(type);
	if (OidIsValid(element))
		return hashes_oids(element);

	switch (get_typtype(type))
	{
		case TYPTYPE_ENUM:
			return true;
		case TYPTYPE_RANGE:
			return hashes_oids(get_range_subtype(type));
#if PG_VERSION_NUM >= 140000
		case TYPTYPE_MULTIRANGE:
			return hashes_oids(get_multirange_range(type));
#endif
		case TYPTYPE_COMPOSITE:
			return attribute_hashes_oids(type);
		case TYPTYPE_BASE:
			return type < FirstNormalObjectId && strncmp(type_name(type), "pg_catalog.reg", 14) == 0;
		default:
			return false;
	}
}

static bool
expressions_hash_oids(HeapTuple tuple)
{
	bool		isnull;
	Datum		value = SysCacheGetAttr(PARTRELID, tuple, Anum_pg_partitioned_table_partexprs, &isnull);
	ListCell   *cell;

	if (isnull)
		return false;
	foreach(cell, (List *) stringToNode(TextDatumGetCString(value)))
		if (hashes_oids(exprType(lfirst(cell))))
			return true;
	return false;
}

/*
 * Whether the table's rows are spread over its partitions by such hashes.
 */
static bool
spreads_by_oids(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(PARTRELID, ObjectIdGetDatum(relid));
	Form_pg_partitioned_table form;
	bool		result = false;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_partitioned_table) GETSTRUCT(tuple);
	if (form->partstrat == PARTITION_STRATEGY_HASH)
	{
		for (int i = 0; i < form->partnatts && !result; i++)
			result = form->partattrs.values[i] != 0 &&
				hashes_oids(get_atttype(relid, form->partattrs.values[i]));
		result = result || expressions_hash_oids(tuple);
	}
	ReleaseSysCache(tuple);
	return result;
}

/*
 * The topmost ancestor of a partition that spreads its rows so, or InvalidOid.
 */
Oid
find_route(Oid relid)
{
	List	   *ancestors = get_partition_ancestors(relid);
	Oid			route = InvalidOid;
	ListCell   *cell;

	foreach(cell, ancestors)
		if (spreads_by_oids(lfirst_oid(cell)))
			route = lfirst_oid(cell);
	list_free(ancestors);
	return route;
}

/*
 * Whether an index of the relation, a key of its own rows, is one of all rows
 * of its route: only then is it a partition of an index there.
 */
bool
is_key_of_route(ScribeRelation *relation, Oid index)
{
	List	   *ancestors;
	ListCell   *cell;
	bool		found = false;

	if (!OidIsValid(relation->route))
		return true;
	ancestors = get_rel_relispartition(index) ? get_partition_ancestors(index) : NIL;
	foreach(cell, ancestors)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));

		if (!HeapTupleIsValid(tuple))
			continue;
		found |= ((Form_pg_index) GETSTRUCT(tuple))->indrelid == relation->route;
		ReleaseSysCache(tuple);
	}
	list_free(ancestors);
	return found;
}

/*
 * Whether relids has every partition of the relation's route, if it has one.
 */
bool
is_whole_route(ScribeRelation *relation, List *relids)
{
	List	   *family;
	ListCell   *cell;
	bool		whole = true;

	if (!OidIsValid(relation->route))
		return true;
	family = find_all_inheritors(relation->route, NoLock, NULL);
	foreach(cell, family)
		if (get_rel_relkind(lfirst_oid(cell)) == RELKIND_RELATION)
			whole = whole && list_member_oid(relids, lfirst_oid(cell));
	list_free(family);
	return whole;
}

/*
 * Whether a word of SQL stands in the text, maybe within something else.
 */
static bool
has_word(const char *text, const char *word)
{
	for (; *text; text++)
		if (pg_strncasecmp(text, word, strlen(word)) == 0)
			return true;
	return false;
}

static bool
has_detached(const char *tag, const char *statement)
{
	return strcmp(tag, "ALTER TABLE") == 0 && statement != NULL &&
		(has_word(statement, "ATTACH") || has_word(statement, "DETACH"));
}

/*
 * A partition that is detached or dropped takes along the rows that a copy
 * has in it, and one that is attached must have rows that belong there.
 */
void
warn_regrouped(ScribeState *state, const char *tag, const char *identity, const char *statement, List *relids)
{
	ListCell   *cell;

	if (strcmp(tag, "DROP TABLE") == 0 && identity != NULL && was_routed(identity))
		output_warning(state, "DROP TABLE of partition %s drops other rows in a copy, because they are spread by hashes"
					   " of OIDs; take a new base", identity);
	if (!has_detached(tag, statement))
		return;
	foreach(cell, relids)
	{
		Oid			relid = lfirst_oid(cell);

		if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE ||
			(!spreads_by_oids(relid) && !OidIsValid(find_route(relid))))
			continue;
		output_warning(state, "a partition with rows that is attached to %s or detached from it has other rows in a"
					   " copy, because they are spread by hashes of OIDs; take a new base", get_rel_name(relid));
		return;
	}
}
