/*
 * scribe_rows.c
 *	  Row changes: what is to be written of them, and the forms that are
 *	  always single statements.
 */
#include "scribe_decoder.h"

#include "access/htup_details.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "utils/datum.h"
#include "utils/relcache.h"

#define ROUTE_ELSEWHERE "its rows may lie in other partitions of a copy; take a new base"

/*
 * Once in a transaction for each relation.
 */
static void
warn_lost(ScribeState *state, ScribeRelation *relation, const char *what, const char *why)
{
	if (relation->warned == state->serial)
		return;
	relation->warned = state->serial;
	output_warning(state, "%s of %s could not be carried: %s", what, relation->name, why);
}

/*
 * What an error that comes up is about: see describe_change().
 */
static void
note_row(ScribeState *state, ScribeRelation *relation, Datum *values, bool *nulls)
{
	state->at = relation;
	state->at_values = values;
	state->at_nulls = nulls;
}

static const char *
why_lost(ScribeRelation *relation)
{
	return OidIsValid(relation->route) ? "no replica identity that is a key of the whole table" : "no replica identity";
}

/*
 * Switch off what would act a second time, until the next DDL or COMMIT.
 */
void
quiet_relation(ScribeState *state, ScribeRelation *relation)
{
	MemoryContext old;

	uint64	   *quieted;

	if (relation->quiet == NULL || *(quieted = quieted_of(relation)) == state->stretch)
		return;
	*quieted = state->stretch;

	run_end(state);
	output_begin(state);
	appendStringInfoString(&state->out, "-- pg_scribe: at rest, since they acted on the source\n");
	appendStringInfoString(&state->out, relation->quiet);

	old = MemoryContextSwitchTo(state->txn_cxt);
	if (state->loud == NULL)
		state->loud = makeStringInfo();
	appendStringInfoString(state->loud, relation->loud);
	MemoryContextSwitchTo(old);
}

/*
 * Publications keep nobody from emptying the table in a copy.
 */
static void
quiet_publications(ScribeState *state, Relation rel, ScribeRelation *relation)
{
	StringInfoData quiet;
	StringInfoData loud;
	MemoryContext old;

	initStringInfo(&quiet);
	initStringInfo(&loud);
	if (!append_unpublished(&quiet, &loud, rel, relation))
		return;
	run_end(state);
	output_begin(state);
	appendStringInfoString(&state->out, "-- pg_scribe: no DELETE is published, since one might be refused\n");
	appendStringInfoString(&state->out, quiet.data);

	old = MemoryContextSwitchTo(state->txn_cxt);
	if (state->loud == NULL)
		state->loud = makeStringInfo();
	appendStringInfoString(state->loud, loud.data);
	MemoryContextSwitchTo(old);
}

void
restore_triggers(ScribeState *state)
{
	if (state->loud == NULL)
		return;
	run_end(state);
	appendStringInfoString(&state->out, "-- pg_scribe: as they were\n");
	appendStringInfoString(&state->out, state->loud->data);
	state->loud = NULL;
	state->stretch++;
}

static bool
is_of_extension(ScribeRelation *relation)
{
	return OidIsValid(getExtensionOfObject(RelationRelationId, relation->relid));
}

/*
 * Look at a relation before its rows are written.  Says false where they are
 * not: rows that an extension's script writes into extensions' tables come
 * back with CREATE EXTENSION.  Into other tables, a user's event trigger writes
 * while the script runs.
 */
bool
relation_is_written(ScribeState *state, Relation rel, ScribeRelation *relation)
{
	if (relation->use != RELATION_ROWS || (state->script > 0 && is_of_extension(relation)))
		return false;

	if (relation->left_out)
		warn_lost(state, relation, "rows", "they are left out, as the stream was told to; take a new base");
	else if (relation->untold && relation->warned != state->serial)
	{
		relation->warned = state->serial;
		relation->untold = false;
		output_warning(state, "rows of %s came before the statement that changed it: an event trigger wrote them,"
					   " and a restore may stop there; take a new base", relation->name);
	}
	if (relation->touched != state->serial)
	{
		relation->touched = state->serial;
		if (created_here(state, relation) && !is_of_extension(relation))
			write_create(state, rel);
	}
	return !relation->left_out;
}

static bool
is_unchanged_toast(ScribeColumn *column, Datum value, bool isnull)
{
	return !isnull && column->len == -1 && VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value));
}

/*
 * NULL for the values that nothing can read back.
 */
static void
forget_lost(ScribeState *state, ScribeRelation *relation, Datum *values, bool *nulls)
{
	for (int i = 0; (relation->has_lost || relation->has_privileges) && i < relation->natts; i++)
	{
		ScribeColumn *column = &relation->columns[i];

		if (nulls[i])
			continue;
		if (column->lost)
		{
			nulls[i] = true;
			warn_lost(state, relation, column->name, column->lost);
		}
		else if (!is_unchanged_toast(column, values[i], false) && loses_privileges(column, values[i]))
		{
			nulls[i] = !column->names_array;
			warn_lost(state, relation, column->name, "it has privileges of a role that is gone");
		}
	}
}

static bool
is_same(ScribeRelation *relation, int att)
{
	ScribeColumn *column = &relation->columns[att];

	if (relation->nulls[att] || relation->old_nulls[att])
		return relation->nulls[att] && relation->old_nulls[att];
	return datum_image_eq(relation->values[att], relation->old_values[att],
						  column->byval, column->len);
}

/*
 * WHERE for exactly one row with the image of the old one.
 */
static void
append_image_where(StringInfo buf, ScribeRelation *relation)
{
	bool	   *compared = palloc(relation->natts * sizeof(bool));
	bool		any = false;

	if (OidIsValid(relation->route))
		appendStringInfo(buf, " WHERE (%s) = (SELECT %s FROM %s", relation->place, relation->place, relation->name);
	else
		appendStringInfo(buf, " WHERE ctid = (SELECT ctid FROM ONLY %s", relation->name);
	for (int i = 0; i < relation->natts; i++)
		any |= compared[i] = relation->columns[i].stored;
	if (any)
	{
		appendStringInfoString(buf, " WHERE ");
		append_same(buf, relation, compared, relation->old_values, relation->old_nulls);
	}
	for (int i = 0; i < relation->natts; i++)
	{
		ScribeColumn *column = &relation->columns[i];

		if (!column->lead || column->lost || relation->old_nulls[i])
			continue;
		appendStringInfo(buf, " AND %s = ", column->name);
		append_value(buf, column, relation->old_values[i]);
		if (column->equals_cast)
			appendStringInfoString(buf, column->cast);
	}
	appendStringInfoString(buf, " LIMIT 1)");
}

/*
 * WHERE for the old row, or false where nothing is known of it.  old_values
 * must hold the old key or, under REPLICA IDENTITY FULL, the old row.
 */
static void
append_where(StringInfo buf, ScribeRelation *relation)
{
	if (relation->full)
		append_image_where(buf, relation);
	else
		append_key_where(buf, relation, relation->old_values, NULL, 0);
}

/*
 * An identity column that is GENERATED ALWAYS cannot be SET, so the row is
 * taken out and put back.
 */
static void
write_replacement(ScribeState *state, ScribeRelation *relation)
{
	StringInfoData single;
	StringInfo	out = &single;

	initStringInfo(out);
	appendStringInfo(out, "WITH d AS (DELETE FROM %s%s", relation->only, relation->name);
	append_where(out, relation);
	appendStringInfo(out, " RETURNING *) INSERT INTO %s (", relation->name);
	for (int i = 0; i < relation->nlive; i++)
		appendStringInfo(out, "%s%s", i > 0 ? ", " : "",
						 relation->columns[relation->live[i]].name);
	appendStringInfoString(out, ") OVERRIDING SYSTEM VALUE SELECT ");
	for (int i = 0; i < relation->nlive; i++)
	{
		int			att = relation->live[i];
		ScribeColumn *column = &relation->columns[att];

		if (i > 0)
			appendStringInfoString(out, ", ");
		if (is_unchanged_toast(column, relation->values[att], relation->nulls[att]))
			appendStringInfo(out, "d.%s", column->name);
		else
		{
			append_new_value(out, column, relation->values[att], relation->nulls[att]);
			if (!relation->nulls[att] || !column->barred_null)
				appendStringInfoString(out, column->cast);
		}
	}
	appendStringInfoString(out, " FROM d;");
	run_single(state, relation, out);
	state->updated++;
}

static void
write_row(ScribeState *state, ScribeRelation *relation, HeapTuple oldtuple, HeapTuple newtuple)
{
	bool		pieces = pieces_begin(state, relation, oldtuple, newtuple);

	run_insert(state, relation);
	if (pieces)
		pieces_end(state);
	state->inserted++;
}

void
write_insert(ScribeState *state, Relation rel, ScribeRelation *relation, HeapTuple newtuple)
{
	if (newtuple == NULL)
		return;
	heap_deform_tuple(newtuple, RelationGetDescr(rel), relation->values, relation->nulls);
	note_row(state, relation, relation->values, relation->nulls);
	forget_lost(state, relation, relation->values, relation->nulls);
	quiet_relation(state, relation);
	output_begin(state);
	write_row(state, relation, NULL, newtuple);
}

/*
 * A row of the heap that a command rewrites a table into, as the source
 * computed it.  Capture has announced the tables whose rows are wanted; what
 * fills a materialized view comes here, too.
 */
void
write_rewritten(ScribeState *state, Relation heap, HeapTuple newtuple)
{
	Oid			relid = heap->rd_rel->relrewrite;
	Relation	rel;
	ScribeRelation *relation;

	if (newtuple == NULL || !list_member_oid(state->rewriting, relid))
		return;
	rel = RelationIdGetRelation(relid);
	if (!RelationIsValid(rel))
		elog(ERROR, "could not open relation %u, which is being rewritten", relid);
	relation = relation_lookup(state, rel);
	if (relation_is_written(state, rel, relation))
	{
		if (state->rewritten != relid)
		{
			state->rewritten = relid;
			run_end(state);
			output_begin(state);
			appendStringInfo(&state->out, "-- pg_scribe: rows of %s as the source made them", relation->name);
			output_end_line(state);
		}
		/* the new heap's columns are those of the table */
		write_insert(state, rel, relation, newtuple);
	}
	RelationClose(rel);
}

/*
 * Before a row that a statement inserts: it is none of those that are sent
 * again, which nobody inserted.
 */
void
end_rewritten(ScribeState *state, ScribeRelation *relation)
{
	if (state->rewritten != relation->relid)
		return;
	state->rewritten = InvalidOid;
	run_end(state);
	output_begin(state);
	appendStringInfo(&state->out, "-- pg_scribe: rows of %s as statements inserted them", relation->name);
	output_end_line(state);
}

/*
 * Empty tables whose rewritten rows are about to come, so that the command
 * finds nothing to compute.
 */
void
empty_relations(ScribeState *state, List *relids)
{
	ListCell   *cell;
	MemoryContext old;
	List	   *emptied = NIL;
	List	   *heaps = NIL;

	foreach(cell, relids)
	{
		Relation	rel = RelationIdGetRelation(lfirst_oid(cell));
		ScribeRelation *relation;

		if (!RelationIsValid(rel))
			continue;
		relation = relation_lookup(state, rel);
		if (!is_whole_route(relation, relids))
			warn_lost(state, relation, "values of a rewritten partition", ROUTE_ELSEWHERE);
		else if (relation_is_written(state, rel, relation))
		{
			quiet_relation(state, relation);
			quiet_publications(state, rel, relation);
			output_begin(state);
			appendStringInfo(&state->out, "-- pg_scribe: %s is emptied, so that nothing is computed here\n"
							 "DELETE FROM ONLY %s; -- * rows", relation->own_name, relation->own_name);
			output_end_line(state);
			emptied = lappend_oid(emptied, RelationGetRelid(rel));
			heaps = lappend_oid(heaps, HeapNumber(rel));
		}
		RelationClose(rel);
	}
	old = MemoryContextSwitchTo(state->txn_cxt);
	state->rewriting = list_concat_unique_oid(state->rewriting, emptied);
	state->old_heaps = list_concat_unique_oid(state->old_heaps, heaps);
	MemoryContextSwitchTo(old);
	state->rewritten = InvalidOid;
}

/*
 * A row that was rewritten to itself to make its values known.
 */
static void
write_refill(ScribeState *state, ScribeRelation *relation, HeapTuple oldtuple, HeapTuple newtuple)
{
	bool		old_known = oldtuple != NULL && relation->full;

	if (OidIsValid(relation->route))
	{
		warn_lost(state, relation, "refill", ROUTE_ELSEWHERE);
		return;
	}
	for (int i = 0; i < relation->nlive; i++)
	{
		int			att = relation->live[i];

		if (!is_unchanged_toast(&relation->columns[att], relation->values[att], relation->nulls[att]))
			continue;
		if (!old_known)
		{
			warn_lost(state, relation, "refill", "no replica identity");
			return;
		}
		relation->values[att] = relation->old_values[att];
		relation->nulls[att] = relation->old_nulls[att];
	}

	quiet_relation(state, relation);
	output_begin(state);
	if (!state->refill_begun)
	{
		state->refill_begun = true;
		run_end(state);
		appendStringInfo(&state->out, "DELETE FROM ONLY %s; -- * rows", relation->name);
		output_end_line(state);
	}
	write_row(state, relation, oldtuple, newtuple);
}

/*
 * Without an old key the key did not change and stands in the new row.
 */
static bool
take_key_from_new(ScribeRelation *relation)
{
	for (int i = 0; i < relation->nkeys; i++)
	{
		int			att = relation->keys[i];

		if (relation->nulls[att] ||
			is_unchanged_toast(&relation->columns[att], relation->values[att], false))
			return false;
		relation->old_values[att] = relation->values[att];
		relation->old_nulls[att] = false;
	}
	return true;
}

/*
 * Under REPLICA IDENTITY FULL the old row has the values that did not change.
 */
static void
take_toast_from_old(ScribeRelation *relation)
{
	for (int i = 0; i < relation->natts; i++)
		if (is_unchanged_toast(&relation->columns[i], relation->values[i], relation->nulls[i]))
			relation->values[i] = relation->old_values[i];
}

/*
 * Decide for every column whether it is SET; returns how many are.
 */
static int
choose_set(ScribeRelation *relation, bool old_known, bool *replace)
{
	int			count = 0;

	*replace = false;
	for (int i = 0; i < relation->natts; i++)
	{
		ScribeColumn *column = &relation->columns[i];

		relation->set[i] = false;
		if (!column->live ||
			is_unchanged_toast(column, relation->values[i], relation->nulls[i]))
			continue;
		if (column->key || relation->full)
		{
			if (!old_known || is_same(relation, i))
				continue;
		}
		relation->set[i] = true;
		*replace |= column->always;
		count++;
	}
	return count;
}

void
write_update(ScribeState *state, Relation rel, ScribeRelation *relation,
			 HeapTuple oldtuple, HeapTuple newtuple)
{
	StringInfoData single;
	bool		replace;
	bool		barred;
	bool		pieces;

	if (newtuple == NULL)
		return;
	heap_deform_tuple(newtuple, RelationGetDescr(rel), relation->values, relation->nulls);
	note_row(state, relation, relation->values, relation->nulls);
	forget_lost(state, relation, relation->values, relation->nulls);
	if (oldtuple)
	{
		heap_deform_tuple(oldtuple, RelationGetDescr(rel),
						  relation->old_values, relation->old_nulls);
		forget_lost(state, relation, relation->old_values, relation->old_nulls);
	}

	if (state->refill == relation->relid)
	{
		write_refill(state, relation, oldtuple, newtuple);
		return;
	}
	if (relation->full ? oldtuple == NULL :
		relation->nkeys == 0 || (oldtuple == NULL && !take_key_from_new(relation)))
	{
		warn_lost(state, relation, "UPDATE", why_lost(relation));
		return;
	}
	if (choose_set(relation, oldtuple != NULL, &replace) == 0)
		return;

	quiet_relation(state, relation);
	output_begin(state);
	pieces = pieces_begin(state, relation, oldtuple, newtuple);
	barred = has_barred_null(relation, relation->set);
	if (oldtuple == NULL && relation->set_update && !replace && !barred)
	{
		run_update(state, relation);
		state->updated++;
		if (pieces)
			pieces_end(state);
		return;
	}

	if (replace)
	{
		write_replacement(state, relation);
		if (pieces)
			pieces_end(state);
		return;
	}
	initStringInfo(&single);
	appendStringInfo(&single, "UPDATE %s%s SET ", relation->only, relation->name);
	append_set(&single, relation, NULL, 0);
	append_where(&single, relation);
	appendStringInfoChar(&single, ';');
	state->updated++;
	if (relation->image_update && !pieces && !has_barred_null(relation, NULL))
	{
		take_toast_from_old(relation);
		images_update(state, relation, &single);
		return;
	}
	run_single(state, relation, &single);
	if (pieces)
		pieces_end(state);
}

void
write_delete(ScribeState *state, Relation rel, ScribeRelation *relation, HeapTuple oldtuple)
{
	StringInfoData single;
	bool		pieces;

	if (oldtuple == NULL || (!relation->full && relation->nkeys == 0))
	{
		warn_lost(state, relation, "DELETE", why_lost(relation));
		return;
	}
	heap_deform_tuple(oldtuple, RelationGetDescr(rel),
					  relation->old_values, relation->old_nulls);
	note_row(state, relation, relation->old_values, relation->old_nulls);
	forget_lost(state, relation, relation->old_values, relation->old_nulls);
	quiet_relation(state, relation);
	output_begin(state);
	state->deleted++;
	if (relation->set_delete)
	{
		run_delete(state, relation);
		return;
	}
	pieces = pieces_begin(state, relation, oldtuple, NULL);
	initStringInfo(&single);
	appendStringInfo(&single, "DELETE FROM %s%s", relation->only, relation->name);
	append_where(&single, relation);
	appendStringInfoChar(&single, ';');
	if (relation->image_delete && !pieces)
	{
		images_delete(state, relation, &single);
		return;
	}
	run_single(state, relation, &single);
	if (pieces)
		pieces_end(state);
}

static bool
is_listed(Oid relid, int nrelations, Relation relations[])
{
	for (int i = 0; i < nrelations; i++)
		if (RelationGetRelid(relations[i]) == relid)
			return true;
	return false;
}

void
write_truncate(ScribeState *state, int nrelations, Relation relations[],
			   bool restart, bool cascade)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < nrelations; i++)
	{
		ScribeRelation *relation = relation_lookup(state, relations[i]);

		/* a partitioned table has no rows, but foreign keys; its partitions are in the list too */
		if (!relation_is_written(state, relations[i], relation))
			continue;
		if (OidIsValid(relation->route) && !is_listed(relation->route, nrelations, relations))
		{
			warn_lost(state, relation, psprintf("TRUNCATE of %s, a part", relation->own_name), ROUTE_ELSEWHERE);
			continue;
		}
		quiet_relation(state, relation);
		appendStringInfo(&names, "%s %s%s", names.len > 0 ? "," : "",
						 relations[i]->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ? "" : "ONLY ", relation->own_name);
		state->truncated++;
	}
	if (names.len == 0)
		return;

	run_end(state);
	output_begin(state);
	appendStringInfo(&state->out, "TRUNCATE%s%s%s;", names.data,
					 restart ? " RESTART IDENTITY" : "", cascade ? " CASCADE" : "");
	output_end_line(state);
}
