/*
 * scribe_create.c
 *	  CREATE TABLE from the catalog, for a table that its own statement cannot
 *	  make again: CREATE TABLE AS would fill it, and its rows are decoded
 *	  before the statement's audit row.  Likewise what C code makes, of which
 *	  no statement tells.
 */
#include "scribe_decoder.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/tablespace.h"
#include "miscadmin.h"
#include "nodes/nodes.h"
#include "nodes/pg_list.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

/*
 * Did the transaction that is decoded, or a subtransaction of it, write this?
 */
bool
of_this_transaction(ScribeState *state, TransactionId xid)
{
	dlist_iter	iter;

	/* nearly always true: no look at the subtransactions needed */
	if (!TransactionIdIsNormal(xid) || TransactionIdPrecedes(xid, state->txn->xid))
		return false;
	if (xid == state->txn->xid)
		return true;
	dlist_foreach(iter, &state->txn->subtxns)
	{
		if (dlist_container(ReorderBufferTXN, node, iter.cur)->xid == xid)
			return true;
	}
	return false;
}

/*
 * Was the table created by this transaction, and not by DDL written so far?
 */
bool
created_here(ScribeState *state, ScribeRelation *relation)
{
	return !list_member_oid(state->announced, relation->relid) && of_this_transaction(state, relation->created);
}

void
announce_oid(ScribeState *state, Oid oid)
{
	MemoryContext old = MemoryContextSwitchTo(state->txn_cxt);

	state->announced = lappend_oid(state->announced, oid);
	MemoryContextSwitchTo(old);
}

static bool
may_create(Oid schema, Oid role)
{
	return namespace_aclcheck(schema, role, ACL_CREATE) == ACLCHECK_OK;
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
	append_qualified(buf, schema_name(form->collnamespace), NameStr(form->collname));
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

/*
 * DEFAULT, GENERATED or IDENTITY of a column.
 */
static void
append_default(StringInfo buf, Relation rel, Form_pg_attribute att)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;
	List	   *context = NIL;

	if (att->attidentity)
		appendStringInfo(buf, " GENERATED %s AS IDENTITY",
						 att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS ? "ALWAYS" : "BY DEFAULT");
	for (int i = 0; constr != NULL && i < constr->num_defval; i++)
	{
		char	   *text;

		if (constr->defval[i].adnum != att->attnum)
			continue;
		if (att->attgenerated)
			context = deparse_context_for(RelationGetRelationName(rel), RelationGetRelid(rel));
		text = deparse_expression(stringToNode(constr->defval[i].adbin), context, false, false);
		if (att->attgenerated)
			appendStringInfo(buf, " GENERATED ALWAYS AS (%s) %s", text,
							 att->attgenerated == SCRIBE_GENERATED_VIRTUAL ? "VIRTUAL" : "STORED");
		else
			appendStringInfo(buf, " DEFAULT %s", text);
	}
}

/*
 * The columns that are the table's own; those it inherits come with INHERITS.
 */
static void
append_columns(StringInfo buf, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	bool		first = true;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || (!att->attislocal && !rel->rd_rel->relispartition) || is_absent_type(att->atttypid))
			continue;
		if (!first)
			appendStringInfoString(buf, ", ");
		first = false;
		append_identifier(buf, NameStr(att->attname));
		appendStringInfoChar(buf, ' ');
		append_type(buf, att->atttypid, att->atttypmod);
		if (OidIsValid(att->attcollation) && att->attcollation != get_typcollation(att->atttypid))
			append_collation(buf, att->attcollation);
		append_default(buf, rel, att);
		if (att->attnotnull)
			appendStringInfoString(buf, " NOT NULL");
	}
}

/*
 * " INHERITS (...)" of a table that is no partition.
 */
static List *
parents_of(Oid relid)
{
	Relation	catalog = table_open(InheritsRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *parents = NIL;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		parents = lappend_oid(parents, ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent);
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return parents;
}

static void
append_relation(StringInfo buf, Oid relid)
{
	append_qualified(buf, schema_name(get_rel_namespace(relid)), get_rel_name(relid));
}

static void
append_inherits(StringInfo buf, Relation rel)
{
	ListCell   *cell;
	const char *separator = " INHERITS (";

	if (rel->rd_rel->relispartition)
		return;
	foreach(cell, parents_of(RelationGetRelid(rel)))
	{
		appendStringInfoString(buf, separator);
		append_relation(buf, lfirst_oid(cell));
		separator = ", ";
	}
	if (separator[0] == ',')
		appendStringInfoChar(buf, ')');
}

/*
 * The expression that a catalog's column holds, NULL where it holds none.
 */
static char *
expression_of(HeapTuple tuple, int cache, int column)
{
	bool		isnull;
	Datum		value = SysCacheGetAttr(cache, tuple, column, &isnull);

	return isnull ? NULL : deparse_expression(stringToNode(TextDatumGetCString(value)), NIL, false, false);
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

static char *
partition_key_of(Oid relid)
{
	return TextDatumGetCString(OidFunctionCall1(F_PG_GET_PARTKEYDEF, ObjectIdGetDatum(relid)));
}

static char *
create_statement(Relation rel)
{
	Form_pg_class form = rel->rd_rel;
	StringInfoData out;
	StringInfoData options;

	initStringInfo(&out);
	appendStringInfo(&out, "CREATE %sTABLE ",
					 form->relpersistence == RELPERSISTENCE_UNLOGGED ? "UNLOGGED " : "");
	append_qualified(&out, schema_name(form->relnamespace), NameStr(form->relname));
	appendStringInfoString(&out, " (");
	append_columns(&out, rel);
	appendStringInfoChar(&out, ')');
	append_inherits(&out, rel);
	if (form->relkind == RELKIND_PARTITIONED_TABLE)
		appendStringInfo(&out, " PARTITION BY %s", partition_key_of(RelationGetRelid(rel)));

	if (OidIsValid(form->relam) && form->relam != HEAP_TABLE_AM_OID)
	{
		appendStringInfoString(&out, " USING ");
		append_identifier(&out, get_am_name(form->relam));
	}
	initStringInfo(&options);
	append_options(&options, RelationGetRelid(rel), "");
	if (OidIsValid(form->reltoastrelid))
		append_options(&options, form->reltoastrelid, "toast.");
	if (options.len > 0)
		appendStringInfo(&out, " WITH (%s)", options.data);
	if (OidIsValid(form->reltablespace))
	{
		appendStringInfoString(&out, " TABLESPACE ");
		append_identifier(&out, get_tablespace_name(form->reltablespace));
	}
	return out.data;
}

/*
 * Constraints of the table's own, first those that foreign keys refer to;
 * what was written in this transaction already is left out.
 */
static void
write_constraints(ScribeState *state, Oid relid, bool foreign)
{
	Relation	catalog = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *found = NIL;
	ListCell   *cell;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);

		if (form->conislocal && strchr(foreign ? "f" : "cpux", form->contype) != NULL &&
			!list_member_oid(state->announced, form->oid))
			found = lappend_oid(found, form->oid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);

	foreach(cell, found)
	{
		announce_oid(state, lfirst_oid(cell));
		write_own(state, "ALTER TABLE", NULL, pg_get_constraintdef_command(lfirst_oid(cell)));
	}
}

static void
write_indexes(ScribeState *state, Relation rel)
{
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(rel))
	{
		Oid			index = lfirst_oid(cell);

		if (list_member_oid(state->announced, index) || OidIsValid(get_index_constraint(index)))
			continue;
		announce_oid(state, index);
		write_own(state, "CREATE INDEX", NULL, pg_get_indexdef_string(index));
	}
}

static void
write_attached(ScribeState *state, Relation rel)
{
	HeapTuple	tuple;
	StringInfoData out;
	char	   *bound;
	List	   *parents = parents_of(RelationGetRelid(rel));

	if (!rel->rd_rel->relispartition || parents == NIL)
		return;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(RelationGetRelid(rel)));
	if (!HeapTupleIsValid(tuple))
		return;
	bound = expression_of(tuple, RELOID, Anum_pg_class_relpartbound);
	ReleaseSysCache(tuple);
	initStringInfo(&out);
	appendStringInfoString(&out, "ALTER TABLE ONLY ");
	append_relation(&out, linitial_oid(parents));
	appendStringInfoString(&out, " ATTACH PARTITION ");
	append_relation(&out, RelationGetRelid(rel));
	appendStringInfo(&out, " %s", bound ? bound : "DEFAULT");
	write_own(state, "ALTER TABLE", NULL, out.data);
}

static void
write_triggers(ScribeState *state, Relation rel)
{
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];

		if (trigger->tgisinternal || list_member_oid(state->announced, trigger->tgoid))
			continue;
		announce_oid(state, trigger->tgoid);
		write_own(state, "CREATE TRIGGER", NULL,
				  TextDatumGetCString(OidFunctionCall1(F_PG_GET_TRIGGERDEF_OID, ObjectIdGetDatum(trigger->tgoid))));
	}
}

/*
 * Defaults of columns that the table inherits, which may differ from its
 * parent's.
 */
static void
write_inherited_defaults(ScribeState *state, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; desc->constr != NULL && i < desc->constr->num_defval; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, desc->constr->defval[i].adnum - 1);
		StringInfoData out;

		if (att->attislocal || att->attgenerated || rel->rd_rel->relispartition)
			continue;
		initStringInfo(&out);
		appendStringInfoString(&out, "ALTER TABLE ONLY ");
		append_relation(&out, RelationGetRelid(rel));
		appendStringInfoString(&out, " ALTER COLUMN ");
		append_identifier(&out, NameStr(att->attname));
		appendStringInfo(&out, " SET DEFAULT %s",
						 deparse_expression(stringToNode(desc->constr->defval[i].adbin), NIL, false, false));
		write_own(state, "ALTER TABLE", NULL, out.data);
	}
}

/*
 * What the catalog says and none of the statements above does.  That it has no
 * replica identity is no loss yet: an UPDATE or DELETE that comes before the
 * next rotation gives it one is reported then (warn_lost).
 */
static void
warn_of_rest(ScribeState *state, Relation rel)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(RelationGetRelid(rel)));
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		return;
	(void) SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relacl, &isnull);
	ReleaseSysCache(tuple);
	if (!isnull || rel->rd_rel->relhasrules || rel->rd_rel->relrowsecurity)
		output_warning(state, "table %s was made by no statement: its privileges, rules or policies are left out; take a new base",
					   RelationGetRelationName(rel));
}

/*
 * Make a relation as its owner, whose default privileges it gets; if that role
 * may not, it is given to the owner.
 */
static void
write_made(ScribeState *state, const char *what, Oid relid, Oid owner, const char *statement)
{
	char	   *role = GetUserNameFromId(owner, false);
	StringInfoData owned;

	announce_oid(state, relid);
	if (may_create(get_rel_namespace(relid), owner))
	{
		write_own(state, psprintf("CREATE %s", what), role, statement);
		return;
	}
	write_own(state, psprintf("CREATE %s", what), NULL, statement);
	initStringInfo(&owned);
	appendStringInfo(&owned, "ALTER %s ", what);
	append_relation(&owned, relid);
	appendStringInfoString(&owned, " OWNER TO ");
	append_identifier(&owned, role);
	write_own(state, psprintf("ALTER %s", what), NULL, owned.data);
}

/*
 * The block that makes the table, once in a transaction.
 */
void
write_create(ScribeState *state, Relation rel)
{
	if (list_member_oid(state->announced, RelationGetRelid(rel)))
		return;
	run_end(state);
	output_begin(state);
	restore_triggers(state);
	write_made(state, "TABLE", RelationGetRelid(rel), rel->rd_rel->relowner, create_statement(rel));
}

void
make_schema(ScribeState *state, const char *name, Oid owner)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, "CREATE SCHEMA IF NOT EXISTS ");
	append_identifier(&out, name);
	appendStringInfoString(&out, " AUTHORIZATION ");
	append_identifier(&out, GetUserNameFromId(owner, false));
	write_own(state, "CREATE SCHEMA", NULL, out.data);
}

/*
 * A sequence that is no identity column's; its position comes with rotation.
 */
void
make_sequence(ScribeState *state, Oid relid, Oid owner)
{
	HeapTuple	tuple;
	Form_pg_sequence form;
	StringInfoData out;
	Oid			table;
	int32		column;

	if (sequenceIsOwned(relid, DEPENDENCY_INTERNAL, &table, &column))
		return;
	tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(relid));
	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_sequence) GETSTRUCT(tuple);
	initStringInfo(&out);
	appendStringInfoString(&out, "CREATE SEQUENCE ");
	append_relation(&out, relid);
	appendStringInfo(&out, " AS %s INCREMENT BY " INT64_FORMAT " MINVALUE " INT64_FORMAT " MAXVALUE " INT64_FORMAT
					 " START WITH " INT64_FORMAT " CACHE " INT64_FORMAT "%s",
					 format_type_be(form->seqtypid), form->seqincrement, form->seqmin, form->seqmax, form->seqstart,
					 form->seqcache, form->seqcycle ? " CYCLE" : "");
	ReleaseSysCache(tuple);
	write_made(state, "SEQUENCE", relid, owner, out.data);
}

static void
write_owned_by(ScribeState *state, Oid relid)
{
	StringInfoData out;
	Oid			table;
	int32		column;

	if (!sequenceIsOwned(relid, DEPENDENCY_AUTO, &table, &column))
		return;
	initStringInfo(&out);
	appendStringInfoString(&out, "ALTER SEQUENCE ");
	append_relation(&out, relid);
	appendStringInfoString(&out, " OWNED BY ");
	append_relation(&out, table);
	appendStringInfoChar(&out, '.');
	append_identifier(&out, get_attname(table, column, false));
	write_own(state, "ALTER SEQUENCE", NULL, out.data);
}

/*
 * What C code gave a table or sequence that it made, as of the transaction's
 * end: keys and indexes may come after the rows.
 */
void
finish_made(ScribeState *state, Oid relid)
{
	Relation	rel = RelationIdGetRelation(relid);

	if (!RelationIsValid(rel))
		return;
	if (rel->rd_rel->relkind == RELKIND_SEQUENCE)
		write_owned_by(state, relid);
	else
	{
		write_inherited_defaults(state, rel);
		write_constraints(state, relid, false);
		write_indexes(state, rel);
		write_attached(state, rel);
		write_constraints(state, relid, true);
		write_triggers(state, rel);
		warn_of_rest(state, rel);
	}
	RelationClose(rel);
}
