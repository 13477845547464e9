/*
 * scribe_published.c
 *	  Publications that stand in the way of emptying a table.
 *
 * A server refuses to delete rows of a table that it could not publish: without
 * a replica identity, or if that lacks what a publication's row filter or list
 * of columns needs, or has generated columns that are not published.  The
 * command that rewrites the table is not refused; the DELETE before it, which
 * only a copy runs, would be.
 */
#include "scribe_decoder.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_publication.h"
#include "catalog/pg_publication_rel.h"
#include "utils/catcache.h"
#include "utils/syscache.h"

/*
 * Whether some publication takes rows or columns of a table only.
 */
static bool
is_published_in_part(Oid relid)
{
	bool		result = false;
#if PG_VERSION_NUM >= 150000
	CatCList   *list = SearchSysCacheList1(PUBLICATIONRELMAP, ObjectIdGetDatum(relid));

	for (int i = 0; i < list->n_members && !result; i++)
	{
		HeapTuple	tuple = &list->members[i]->tuple;

		result = !heap_attisnull(tuple, Anum_pg_publication_rel_prqual, NULL) ||
			!heap_attisnull(tuple, Anum_pg_publication_rel_prattrs, NULL);
	}
	ReleaseSysCacheList(list);
#endif
	return result;
}

/*
 * Whether a DELETE may be refused; rather too often than not often enough.
 */
static bool
may_be_refused(Relation rel, ScribeRelation *relation)
{
	TupleConstr *constr = rel->rd_att->constr;
	ListCell   *cell;

	if (!relation->full && relation->nkeys == 0)
		return true;
#if PG_VERSION_NUM >= 180000
	if (constr != NULL && (constr->has_generated_stored || constr->has_generated_virtual))
		return true;
#else
	(void) constr;
#endif
	if (is_published_in_part(relation->relid))
		return true;
	if (rel->rd_rel->relispartition)
		foreach(cell, get_partition_ancestors(relation->relid))
			if (is_published_in_part(lfirst_oid(cell)))
				return true;
	return false;
}

static void
append_publish(StringInfo body, Form_pg_publication form, bool deletes)
{
	StringInfoData what;

	initStringInfo(&what);
	if (form->pubinsert)
		appendStringInfoString(&what, ", insert");
	if (form->pubupdate)
		appendStringInfoString(&what, ", update");
	if (deletes)
		appendStringInfoString(&what, ", delete");
	if (form->pubtruncate)
		appendStringInfoString(&what, ", truncate");
	appendStringInfoString(body, " ALTER PUBLICATION ");
	append_identifier(body, NameStr(form->pubname));
	appendStringInfo(body, " SET (publish = '%s');", what.len > 0 ? what.data + 2 : "");
	pfree(what.data);
}

static void
append_block(StringInfo out, const char *body)
{
	char	   *whole = psprintf("BEGIN%s END", body);

	appendStringInfoString(out, "DO LANGUAGE plpgsql ");
	append_literal(out, whole, strlen(whole));
	appendStringInfoString(out, ";\n");
	pfree(whole);
}

/*
 * Lines that let a table be emptied, and those that bring back what they
 * change.  Says false if there is no need for any.
 */
bool
append_unpublished(StringInfo quiet, StringInfo loud, Relation rel, ScribeRelation *relation)
{
	Relation	publications;
	SysScanDesc scan;
	HeapTuple	tuple;
	StringInfoData less;
	StringInfoData again;

	if (!may_be_refused(rel, relation))
		return false;

	initStringInfo(&less);
	initStringInfo(&again);
	publications = table_open(PublicationRelationId, AccessShareLock);
	scan = systable_beginscan(publications, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_publication form = (Form_pg_publication) GETSTRUCT(tuple);

		if (!form->pubdelete)
			continue;
		append_publish(&less, form, false);
		append_publish(&again, form, true);
	}
	systable_endscan(scan);
	table_close(publications, AccessShareLock);

	if (less.len > 0)
	{
		append_block(quiet, less.data);
		append_block(loud, again.data);
	}
	return less.len > 0;
}
