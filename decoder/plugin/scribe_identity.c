/*
 * scribe_identity.c
 *	  How a row of a relation is found again: the key of its replica identity,
 *	  or the image of the whole row helped by the columns that lead an index.
 */
#include "scribe_decoder.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_index.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "utils/lsyscache.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

static bool
holds_floats(Oid type)
{
	switch (type)
	{
		case FLOAT4OID:
		case FLOAT8OID:
		case POINTOID:
		case LSEGOID:
		case PATHOID:
		case BOXOID:
		case POLYGONOID:
		case LINEOID:
		case CIRCLEOID:
			return true;
		default:
			return false;
	}
}

/*
 * Whether values that have the same text have the same bytes, too.
 *
 * A composite value keeps the attributes that its type had when it was
 * written, a NaN has many bit patterns, and what an extension's type puts
 * between its fields nobody knows.
 */
bool
has_clean_image(Oid type)
{
	Oid			element;

	type = getBaseType(type);
	element = get_element_type(type);
	if (OidIsValid(element))
		return has_clean_image(element);

	switch (get_typtype(type))
	{
		case TYPTYPE_ENUM:
			return true;
		case TYPTYPE_RANGE:
			return has_clean_image(get_range_subtype(type));
#if PG_VERSION_NUM >= 140000
		case TYPTYPE_MULTIRANGE:
			return has_clean_image(get_multirange_range(type));
#endif
		case TYPTYPE_BASE:
			return type < FirstNormalObjectId && !holds_floats(type);
		default:
			return false;
	}
}

static void
append_row(StringInfo buf, ScribeRelation *relation, bool *compared, bool clean)
{
	const char *separator = "ROW(";

	for (int i = 0; i < relation->natts; i++)
	{
		ScribeColumn *column = &relation->columns[i];

		if (!compared[i] || column->clean != clean)
			continue;
		/* a domain's constraint may be younger than the value: compare as its base type */
		appendStringInfo(buf, "%s%s%s", separator, column->name, column->domain ? column->cast : "");
		separator = ", ";
	}
	appendStringInfoChar(buf, ')');
}

static void
append_row_of_values(StringInfo buf, ScribeRelation *relation, bool *compared, bool clean, Datum *values, bool *nulls)
{
	const char *separator = "ROW(";

	for (int i = 0; i < relation->natts; i++)
	{
		ScribeColumn *column = &relation->columns[i];

		if (!compared[i] || column->clean != clean)
			continue;
		appendStringInfoString(buf, separator);
		append_value_or_null(buf, column, values[i], nulls[i]);
		appendStringInfoString(buf, column->cast);
		separator = ", ";
	}
	appendStringInfoChar(buf, ')');
}

/*
 * A condition that holds if the row has these values: compared by their bytes
 * if equal text has equal bytes, else by their text, which is what a copy has
 * in common with its source.  The values' own text is made once a statement.
 */
void
append_same(StringInfo buf, ScribeRelation *relation, bool *compared, Datum *values, bool *nulls)
{
	bool		by_bytes = false;
	bool		by_text = false;

	for (int i = 0; i < relation->natts; i++)
	{
		by_bytes |= compared[i] && relation->columns[i].clean;
		by_text |= compared[i] && !relation->columns[i].clean;
	}
	if (by_bytes)
	{
		append_row(buf, relation, compared, true);
		appendStringInfoString(buf, "::record *= ");
		append_row_of_values(buf, relation, compared, true, values, nulls);
	}
	if (by_bytes && by_text)
		appendStringInfoString(buf, " AND ");
	if (by_text)
	{
		append_row(buf, relation, compared, false);
		appendStringInfoString(buf, "::text COLLATE \"C\" = (SELECT ");
		append_row_of_values(buf, relation, compared, false, values, nulls);
		appendStringInfoString(buf, "::text)");
	}
}

/*
 * Fill in how the column is compared by the index column that holds it.
 * Returns false where the index has no equality operator.
 */
static bool
find_equality(ScribeColumn *column, Relation rel, int att, Relation index, int position)
{
	Oid			input = index->rd_opcintype[position];
	Oid			operator = get_opfamily_member(index->rd_opfamily[position], input, input,
											   BTEqualStrategyNumber);
	Oid			collation = index->rd_indcollation[position];
	HeapTuple	tuple;
	Form_pg_operator form;
	StringInfoData text;

	if (!OidIsValid(operator))
		return false;
	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_operator) GETSTRUCT(tuple);

	if (form->oprnamespace == PG_CATALOG_NAMESPACE && strcmp(NameStr(form->oprname), "=") == 0)
		column->equals = " = ";
	else
	{
		initStringInfo(&text);
		appendStringInfoString(&text, " OPERATOR(");
		append_identifier(&text, schema_name(form->oprnamespace));
		appendStringInfo(&text, ".%s) ", NameStr(form->oprname));
		column->equals = text.data;
	}
	ReleaseSysCache(tuple);

	/* no operator of anyenum takes a domain */
	column->base = column->domain && input == ANYENUMOID ? column->cast : "";

	/* the bare literal must become exactly what the operator compares */
	column->equals_cast = !(column->type == input ||
							(column->type == VARCHAROID && input == TEXTOID)) ||
		column->equals[1] != '=';

	column->collate = "";
	if (OidIsValid(collation) && collation != TupleDescAttr(RelationGetDescr(rel), att)->attcollation)
	{
		tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
		if (!HeapTupleIsValid(tuple))
			return false;
		initStringInfo(&text);
		appendStringInfoString(&text, " COLLATE ");
		append_qualified(&text,
						 schema_name(((Form_pg_collation) GETSTRUCT(tuple))->collnamespace),
						 NameStr(((Form_pg_collation) GETSTRUCT(tuple))->collname));
		column->collate = text.data;
		ReleaseSysCache(tuple);
	}
	return true;
}

static bool
has_predicate(Relation index)
{
	return !heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
}

static void
find_key(Relation rel, ScribeRelation *relation, Relation index)
{
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		int			att = index->rd_index->indkey.values[i] - 1;

		if (att < 0 || !find_equality(&relation->columns[att], rel, att, index, i))
		{
			relation->nkeys = 0;
			return;
		}
		relation->columns[att].key = true;
		relation->keys[relation->nkeys++] = att;
	}
}

/*
 * A column that leads an index helps the planner to find the row's image.
 */
static void
find_lead(Relation rel, ScribeRelation *relation, Relation index)
{
	int			att = index->rd_index->indkey.values[0] - 1;
	ScribeColumn *column;

	if (index->rd_rel->relam != BTREE_AM_OID || !index->rd_index->indisvalid ||
		has_predicate(index) || att < 0)
		return;
	column = &relation->columns[att];
	if (column->lead || column->type >= FirstNormalObjectId)
		return;
	column->lead = find_equality(column, rel, att, index, 0) &&
		column->equals[1] == '=' && column->collate[0] == '\0';
}

/*
 * In which order a statement changes its rows must not matter, so no other
 * unique or exclusion constraint may watch the rows of a set-based UPDATE.
 */
static void
find_sets(ScribeRelation *relation, bool other_unique)
{
	relation->set_delete = relation->nkeys > 0;
	for (int i = 0; i < relation->nkeys; i++)
		if (relation->columns[relation->keys[i]].collate[0] != '\0')
			relation->set_delete = false;
	relation->set_update = relation->set_delete && !other_unique;
	for (int i = 0; i < relation->natts; i++)
		if (relation->columns[i].young)
			relation->set_update = false;

	relation->image_delete = false;
	for (int i = 0; relation->full && !relation->has_lost && i < relation->natts; i++)
		relation->image_delete |= relation->columns[i].stored;
	relation->image_update = relation->image_delete && !other_unique;
}

void
find_identity(Relation rel, ScribeRelation *relation)
{
	Oid			replica = RelationGetReplicaIndex(rel);
	bool		other_unique = false;
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;

	relation->full = rel->rd_rel->relreplident == REPLICA_IDENTITY_FULL;

	foreach(cell, indexes)
	{
		/* without a lock, as core does it under a historic snapshot */
		Relation	index = RelationIdGetRelation(lfirst_oid(cell));

		if (!RelationIsValid(index))
			continue;
		if (relation->full)
		{
			find_lead(rel, relation, index);
			other_unique |= index->rd_index->indisunique || index->rd_index->indisexclusion;
		}
		else if (lfirst_oid(cell) == replica && is_key_of_route(relation, replica))
			find_key(rel, relation, index);
		else if (index->rd_index->indisunique || index->rd_index->indisexclusion)
			other_unique = true;
		RelationClose(index);
	}
	list_free(indexes);

	find_sets(relation, other_unique);
}
