/*
 * scribe_create.c
 *	  CREATE TABLE from the catalog, for a table that its own statement cannot
 *	  make anew: CREATE TABLE AS would fill it, and its rows are decoded
 *	  before the statement's audit row.
 */
#include "scribe_decoder.h"

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/transam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/tablespace.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/*
 * Was the table created by this transaction, and not by DDL written so far?
 */
bool
created_here(ScribeState *state, ScribeRelation *relation)
{
	dlist_iter	iter;

	/* nearly always true: no look at the subtransactions needed */
	if (!TransactionIdIsNormal(relation->created) ||
		TransactionIdPrecedes(relation->created, state->txn->xid))
		return false;
	if (list_member_oid(state->announced, relation->relid))
		return false;
	if (relation->created == state->txn->xid)
		return true;
	dlist_foreach(iter, &state->txn->subtxns)
	{
		if (dlist_container(ReorderBufferTXN, node, iter.cur)->xid == relation->created)
			return true;
	}
	return false;
}

static void
append_collation(StringInfo buf, Oid collation)
{
	HeapTuple	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	Form_pg_collation form;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", collation);
	form = (Form_pg_collation) GETSTRUCT(tuple);
	appendStringInfoString(buf, " COLLATE ");
	append_qualified(buf, get_namespace_name(form->collnamespace), NameStr(form->collname));
	ReleaseSysCache(tuple);
}

static void
append_type(StringInfo buf, Oid type, int32 typmod)
{
	char	   *name = format_type_extended(type, typmod,
											FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);

	/* a name that does not fit on a line has no typmod of its own */
	appendStringInfoString(buf, has_control(name) ? type_name(type) : name);
}

static void
append_columns(StringInfo buf, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	bool		first = true;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (!first)
			appendStringInfoString(buf, ", ");
		first = false;
		append_identifier(buf, NameStr(att->attname));
		appendStringInfoChar(buf, ' ');
		append_type(buf, att->atttypid, att->atttypmod);
		if (OidIsValid(att->attcollation) && att->attcollation != get_typcollation(att->atttypid))
			append_collation(buf, att->attcollation);
	}
}

/*
 * "name='value'" of each storage option, with a prefix for TOAST's.
 */
static void
append_options(StringInfo buf, Oid relid, const char *prefix)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Datum		options;
	bool		isnull;
	Datum	   *items;
	int			nitems;

	if (!HeapTupleIsValid(tuple))
		return;
	options = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_reloptions, &isnull);
	if (!isnull)
	{
		deconstruct_array(DatumGetArrayTypeP(options), TEXTOID, -1, false, TYPALIGN_INT,
						  &items, NULL, &nitems);
		for (int i = 0; i < nitems; i++)
		{
			char	   *name = TextDatumGetCString(items[i]);
			char	   *value = strchr(name, '=');

			if (value == NULL)
				continue;
			*value++ = '\0';
			appendStringInfoString(buf, buf->len > 0 ? ", " : "");
			appendStringInfoString(buf, prefix);
			append_identifier(buf, name);
			appendStringInfoChar(buf, '=');
			append_literal(buf, value, strlen(value));
		}
	}
	ReleaseSysCache(tuple);
}

/*
 * The block that makes the table, once in a transaction.
 */
void
write_create(ScribeState *state, Relation rel)
{
	Form_pg_class form = rel->rd_rel;
	StringInfo	out = &state->out;
	StringInfoData options;
	MemoryContext old;

	if (list_member_oid(state->announced, RelationGetRelid(rel)))
		return;
	old = MemoryContextSwitchTo(state->txn_cxt);
	state->announced = lappend_oid(state->announced, RelationGetRelid(rel));
	MemoryContextSwitchTo(old);

	run_end(state);
	output_begin(state);
	restore_triggers(state);

	appendStringInfoString(out, "-- ddl CREATE TABLE\nSET LOCAL ROLE ");
	append_identifier(out, GetUserNameFromId(form->relowner, false));
	appendStringInfo(out, ";\nCREATE %sTABLE ",
					 form->relpersistence == RELPERSISTENCE_UNLOGGED ? "UNLOGGED " : "");
	append_qualified(out, get_namespace_name(form->relnamespace), NameStr(form->relname));
	appendStringInfoString(out, " (");
	append_columns(out, rel);
	appendStringInfoChar(out, ')');

	if (OidIsValid(form->relam) && form->relam != HEAP_TABLE_AM_OID)
	{
		appendStringInfoString(out, " USING ");
		append_identifier(out, get_am_name(form->relam));
	}
	initStringInfo(&options);
	append_options(&options, RelationGetRelid(rel), "");
	if (OidIsValid(form->reltoastrelid))
		append_options(&options, form->reltoastrelid, "toast.");
	if (options.len > 0)
		appendStringInfo(out, " WITH (%s)", options.data);
	if (OidIsValid(form->reltablespace))
	{
		appendStringInfoString(out, " TABLESPACE ");
		append_identifier(out, get_tablespace_name(form->reltablespace));
	}
	appendStringInfoString(out, "\n;\nRESET ROLE;\n-- ddl end");
	state->ddl++;
	output_end_line(state);
}
