/*
 * scribe_lanes.c
 *	  Runs of several tables side by side.
 *
 * Rows often alternate between tables: a table and its audit table, orders
 * and their items, the partitions of a load.  Then each table gets a lane, a
 * run with a buffer of its own, so that its rows still become one statement.
 * Within a table the order is kept; between tables it is given up, which
 * nothing can see where no constraint of either looks beyond its own row.
 * Lanes end at everything that is not a row, and at COMMIT.
 */
#include "scribe_decoder.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/partition.h"
#include "catalog/pg_index.h"
#include "catalog/pg_partitioned_table.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#define LANE_MAX_BYTES (128 * 1024)

static bool
looks_around(Oid function, void *context)
{
	return function >= FirstNormalObjectId || func_volatile(function) != PROVOLATILE_IMMUTABLE;
}

static bool
expression_looks_around(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, CoerceToDomain) || IsA(node, SQLValueFunction) || check_functions_in_node(node, looks_around, NULL))
		return true;
	return expression_tree_walker(node, expression_looks_around, context);
}

/* Whether an expression may give something else for the same row: by other rows, the time, or a replaced function. */
bool
text_looks_around(const char *expression)
{
	return expression != NULL && expression_looks_around(stringToNode(expression), NULL);
}

static bool
attribute_looks_around(int cacheid, HeapTuple tuple, AttrNumber attribute)
{
	bool		isnull;
	Datum		value = SysCacheGetAttr(cacheid, tuple, attribute, &isnull);

	return !isnull && text_looks_around(TextDatumGetCString(value));
}

/*
 * Types whose values are read without a function that a user can write in
 * SQL, as the constraints of a domain may hold one.
 */
static bool
is_simple(Oid type)
{
	Oid			element;

	if (type < FirstNormalObjectId)
		return true;
	switch (get_typtype(type))
	{
		case TYPTYPE_ENUM:
			return true;
		case TYPTYPE_BASE:
			element = get_element_type(type);
			return !OidIsValid(element) || is_simple(element);
		default:
			return false;
	}
}

static bool
constraints_look_around(TupleDesc desc)
{
	TupleConstr *constr = desc->constr;

	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped && !is_simple(TupleDescAttr(desc, i)->atttypid))
			return true;
	if (constr == NULL)
		return false;
	for (int i = 0; i < constr->num_check; i++)
		if (text_looks_around(constr->check[i].ccbin))
			return true;
	for (int i = 0; i < constr->num_defval; i++)
		if (TupleDescAttr(desc, constr->defval[i].adnum - 1)->attgenerated != '\0' &&
			text_looks_around(constr->defval[i].adbin))
			return true;
	return false;
}

static bool
index_looks_around(Oid index)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return true;
	result = ((Form_pg_index) GETSTRUCT(tuple))->indisexclusion ||
		attribute_looks_around(INDEXRELID, tuple, Anum_pg_index_indexprs) ||
		attribute_looks_around(INDEXRELID, tuple, Anum_pg_index_indpred);
	ReleaseSysCache(tuple);
	return result;
}

static bool
partitioning_looks_around(Oid parent)
{
	HeapTuple	tuple = SearchSysCache1(PARTRELID, ObjectIdGetDatum(parent));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return true;
	result = attribute_looks_around(PARTRELID, tuple, Anum_pg_partitioned_table_partexprs);
	ReleaseSysCache(tuple);
	return result;
}

/*
 * Whether the table's rows may be written before or after those of others.
 */
void
find_loose(Relation rel, ScribeRelation *relation)
{
	List	   *indexes = RelationGetIndexList(rel);
	List	   *parents = rel->rd_rel->relispartition ? get_partition_ancestors(relation->relid) : NIL;
	ListCell   *cell;

	relation->loose = !constraints_look_around(RelationGetDescr(rel));
	foreach(cell, indexes)
		relation->loose = relation->loose && !index_looks_around(lfirst_oid(cell));
	foreach(cell, parents)
		relation->loose = relation->loose && !partitioning_looks_around(lfirst_oid(cell));
	list_free(indexes);
	list_free(parents);
}

static ScribeRun *
make_lane(ScribeState *state)
{
	MemoryContext old = MemoryContextSwitchTo(state->ctx->context);
	ScribeRun  *lane = palloc(sizeof(ScribeRun));

	run_init(lane, makeStringInfo());
	MemoryContextSwitchTo(old);
	return lane;
}

static void
end_lane(ScribeState *state, ScribeRun *lane)
{
	run_close(state, lane);
	if (lane->out->len > 0)
		output_append(state, lane->out);
}

bool
has_lane(ScribeRelation *relation)
{
	return relation->lane != NULL && relation->lane->relation == relation;
}

/*
 * The run that takes the next row of the relation.  It is the output's own
 * until a second table comes between.
 */
ScribeRun *
lane_of(ScribeState *state, ScribeRelation *relation)
{
	ScribeRun  *run = &state->run;

	if (state->nlanes == 0)
	{
		if (run->kind == RUN_NONE || run->relation == relation ||
			!relation->loose || !run->relation->loose)
		{
			if (run->relation != relation)
				run_close(state, run);
			return run;
		}
		run_end(state);
	}
	if (has_lane(relation))
	{
		if (relation->lane->out->len > LANE_MAX_BYTES)
			end_lane(state, relation->lane);
		return relation->lane;
	}
	if (!relation->loose || state->nlanes == MAX_LANES)
		run_end(state);
	if (!relation->loose)
		return run;

	if (state->lanes[state->nlanes] == NULL)
		state->lanes[state->nlanes] = make_lane(state);
	relation->lane = state->lanes[state->nlanes++];
	relation->lane->relation = relation;
	return relation->lane;
}

/*
 * Write what stands in the lanes, in the order in which they were taken.
 */
void
lanes_end(ScribeState *state)
{
	for (int i = 0; i < state->nlanes; i++)
	{
		end_lane(state, state->lanes[i]);
		state->lanes[i]->relation = NULL;
	}
	state->nlanes = 0;
}
