/*-------------------------------------------------------------------------
 *
 * scribe_facts.c
 *	  What the event triggers ask about the statement that is running.
 *
 * They read it through the setting scribe.facts, whose show hook answers in
 * JSON; a setting, not a function in C, because a dump of the capture schema
 * has to load on servers that do not have this library.
 *
 * Contents
 *		facts about the parse tree
 *		the setting scribe.facts
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "parser/parse_type.h"
#include "tcop/tcopprot.h"
#include "utils/catcache.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "scribe_capture.h"
#include "scribe_record.h"

static char *facts_dummy = NULL;

/* ----------------------------------------------------------------
 *		facts about the parse tree
 * ----------------------------------------------------------------
 */

/* Whether every function of that name is immutable, in whatever schema. */
static bool
always_immutable(const char *name)
{
	CatCList   *procs = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	bool		immutable = procs->n_members > 0;

	for (int i = 0; i < procs->n_members; i++)
		if (((Form_pg_proc) GETSTRUCT(&procs->members[i]->tuple))->provolatile != PROVOLATILE_IMMUTABLE)
			immutable = false;
	ReleaseSysCacheList(procs);
	return immutable;
}

/* Whether an operator of that name may be volatile.  Stable ones depend on settings, which are replayed. */
static bool
maybe_volatile_operator(const char *name)
{
	CatCList   *operators = SearchSysCacheList1(OPERNAMENSP, CStringGetDatum(name));
	bool		is_volatile = false;

	for (int i = 0; i < operators->n_members; i++)
	{
		Oid			function = ((Form_pg_operator) GETSTRUCT(&operators->members[i]->tuple))->oprcode;

		if (OidIsValid(function) && func_volatile(function) == PROVOLATILE_VOLATILE)
			is_volatile = true;
	}
	ReleaseSysCacheList(operators);
	return is_volatile;
}

static bool
is_time_word(const char *string)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday"};

	for (int i = 0; i < (int) lengthof(words); i++)
		for (const char *p = string; *p; p++)
			if (pg_strncasecmp(p, words[i], strlen(words[i])) == 0)
				return true;
	return false;
}

/* raw_expression_tree_walker: true when evaluating the expression elsewhere might give another value. */
static bool
mutable_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SQLValueFunction) || IsA(node, SubLink))
		return true;
	if (IsA(node, FuncCall) && !always_immutable(strVal(llast(((FuncCall *) node)->funcname))))
		return true;
	if (IsA(node, A_Expr) && ((A_Expr *) node)->name != NIL &&
		maybe_volatile_operator(strVal(llast(((A_Expr *) node)->name))))
		return true;
	if (IsA(node, A_Const))
	{
#if PG_VERSION_NUM >= 150000
		A_Const    *constant = (A_Const *) node;

		return !constant->isnull && IsA(&constant->val, String) && is_time_word(strVal(&constant->val));
#else
		Value	   *value = &((A_Const *) node)->val;

		return IsA(value, String) && is_time_word(strVal(value));
#endif
	}
	return raw_expression_tree_walker(node, mutable_walker, context);
}

/* The table or index that ALTER ... ATTACH PARTITION has attached, or InvalidOid. */
static Oid
attached_partition(Node *tree)
{
	ListCell   *cell;

	if (tree != NULL && IsA(tree, AlterTableStmt))
		foreach(cell, ((AlterTableStmt *) tree)->cmds)
		{
			AlterTableCmd *cmd = lfirst_node(AlterTableCmd, cell);

			if (cmd->subtype == AT_AttachPartition)
				return RangeVarGetRelid(((PartitionCmd *) cmd->def)->name, NoLock, true);
		}
	return InvalidOid;
}

static bool
is_mutable_bound(PartitionBoundSpec *bound)
{
	return bound != NULL && (mutable_walker((Node *) bound->listdatums, NULL) ||
							 mutable_walker((Node *) bound->lowerdatums, NULL) ||
							 mutable_walker((Node *) bound->upperdatums, NULL));
}

/* Whether the statement gives a partition a bound that might be another elsewhere. */
static bool
bound_is_mutable(Node *tree)
{
	ListCell   *cell;

	if (tree != NULL && (IsA(tree, CreateStmt) || IsA(tree, CreateForeignTableStmt)))
		return is_mutable_bound(((CreateStmt *) tree)->partbound);
	if (tree != NULL && IsA(tree, CreateSchemaStmt))
		foreach(cell, ((CreateSchemaStmt *) tree)->schemaElts)
			if (bound_is_mutable(lfirst(cell)))
				return true;
	if (tree != NULL && IsA(tree, AlterTableStmt))
		foreach(cell, ((AlterTableStmt *) tree)->cmds)
		{
			AlterTableCmd *cmd = lfirst_node(AlterTableCmd, cell);

			if (cmd->subtype == AT_AttachPartition)
				return is_mutable_bound(((PartitionCmd *) cmd->def)->bound);
		}
	return false;
}

/* Whether no copy has it: a temporary relation, or one of capture's own. */
static bool
is_foreign(Oid relation)
{
	Oid			schema = OidIsValid(relation) ? get_rel_namespace(relation) : InvalidOid;

	return OidIsValid(schema) && (isAnyTempNamespace(schema) || schema == capture_schema());
}

/* Whether CREATE TABLE has a table to be like that no copy has. */
static bool
is_like_temporary(Statement *statement)
{
	ListCell   *cell;
	List	   *parsed;

	if (statement->tree == NULL || !IsA(statement->tree, CreateStmt) || !statement->exact)
		return false;
	/* the tree that ran has the columns in the place of the clause */
	parsed = pg_parse_query(statement->text);
	if (list_length(parsed) != 1 || !IsA(linitial_node(RawStmt, parsed)->stmt, CreateStmt))
		return false;
	foreach(cell, ((CreateStmt *) linitial_node(RawStmt, parsed)->stmt)->tableElts)
		if (IsA(lfirst(cell), TableLikeClause))
		{
			Oid			relation = RangeVarGetRelid(((TableLikeClause *) lfirst(cell))->relation, NoLock, true);

			if (is_foreign(relation))
				return true;
		}
	return false;
}

/* The part of ALTER TABLE that is DETACH PARTITION ... CONCURRENTLY or FINALIZE, or NULL. */
PartitionCmd *
detaching(Node *tree)
{
#if PG_VERSION_NUM >= 140000
	ListCell   *cell;

	if (tree != NULL && IsA(tree, AlterTableStmt))
		foreach(cell, ((AlterTableStmt *) tree)->cmds)
		{
			AlterTableCmd *cmd = lfirst_node(AlterTableCmd, cell);

			if (cmd->subtype == AT_DetachPartitionFinalize ||
				(cmd->subtype == AT_DetachPartition && ((PartitionCmd *) cmd->def)->concurrent))
				return (PartitionCmd *) cmd->def;
		}
#endif
	return NULL;
}

static Oid
detached_partition(Node *tree)
{
	PartitionCmd *cmd = detaching(tree);

	return cmd == NULL ? InvalidOid : RangeVarGetRelid(cmd->name, NoLock, true);
}

static bool
is_temporary_type(List *names)
{
	Oid			type = LookupTypeNameOid(NULL, makeTypeNameFromNameList(names), true);
	HeapTuple	tuple = OidIsValid(type) ? SearchSysCache1(TYPEOID, ObjectIdGetDatum(type)) : NULL;
	bool		found;

	if (!HeapTupleIsValid(tuple))
		return false;
	found = isAnyTempNamespace(((Form_pg_type) GETSTRUCT(tuple))->typnamespace);
	ReleaseSysCache(tuple);
	return found;
}

/* Whether what a GRANT names is something that no copy has. */
static bool
is_granted_here_only(ObjectType type, Node *object)
{
	Oid			function;

	switch (type)
	{
		case OBJECT_TABLE:
		case OBJECT_SEQUENCE:
			return is_foreign(RangeVarGetRelid(castNode(RangeVar, object), NoLock, true));
		case OBJECT_FUNCTION:
		case OBJECT_PROCEDURE:
		case OBJECT_ROUTINE:
			function = LookupFuncWithArgs(type, castNode(ObjectWithArgs, object), true);
			return OidIsValid(function) && isAnyTempNamespace(get_func_namespace(function));
		case OBJECT_TYPE:
		case OBJECT_DOMAIN:
			return is_temporary_type((List *) object);
		case OBJECT_SCHEMA:
			return isAnyTempNamespace(get_namespace_oid(strVal(object), true));
		default:
			return false;
	}
}

/* Whether GRANT or REVOKE names only what no copy has (the event trigger does not tell). */
static bool
grants_on_temporary(Node *tree)
{
	ListCell   *cell;
	GrantStmt  *grant = (GrantStmt *) tree;

	if (tree == NULL || !IsA(tree, GrantStmt) || grant->targtype != ACL_TARGET_OBJECT || grant->objects == NIL)
		return false;
	foreach(cell, grant->objects)
		if (!is_granted_here_only(grant->objtype, lfirst(cell)))
			return false;
	return true;
}

/* ----------------------------------------------------------------
 *		the setting scribe.facts
 * ----------------------------------------------------------------
 */

static void
append_fact(StringInfo out, const char *name, bool value)
{
	appendStringInfo(out, ",\"%s\":%s", name, value ? "true" : "false");
}

static void
append_touched(StringInfo out)
{
	ListCell   *cell;
	const char *separator = "";

	appendStringInfoString(out, ",\"touched\":[");
	foreach(cell, touched_columns())
	{
		TouchedColumn *column = lfirst(cell);

		appendStringInfo(out, "%s[%u,%d,%d]", separator, column->relation, column->number, column->added);
		separator = ",";
	}
	appendStringInfoChar(out, ']');
}

/* Whether the statement switches triggers or rules, so that the catalog has them as they are after it. */
static bool
switches_triggers(Node *tree)
{
	ListCell   *cell;

	if (tree == NULL || !IsA(tree, AlterTableStmt))
		return false;
	foreach(cell, ((AlterTableStmt *) tree)->cmds)
	{
		switch (lfirst_node(AlterTableCmd, cell)->subtype)
		{
			case AT_EnableTrig:
			case AT_EnableAlwaysTrig:
			case AT_EnableReplicaTrig:
			case AT_DisableTrig:
			case AT_EnableTrigAll:
			case AT_DisableTrigAll:
			case AT_EnableTrigUser:
			case AT_DisableTrigUser:
			case AT_EnableRule:
			case AT_EnableAlwaysRule:
			case AT_EnableReplicaRule:
			case AT_DisableRule:
				return true;
			default:
				break;
		}
	}
	return false;
}

/* The show hook of scribe.facts: what is known about the statement whose event trigger is running, as JSON. */
static const char *
show_facts(void)
{
	StringInfoData out;
	Statement  *statement = running_statement() ? running_statement() : first_statement(NULL);
	int			level;
	Oid			user;
	int			security;
	bool		too_long;

	if (!IsTransactionState() || statement == NULL || !OidIsValid(statement->caller))
		return "";

	too_long = is_too_long(statement);

	/* names in the tree mean what they meant to the user: "$user" is one of the path */
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(statement->caller, security | SECURITY_LOCAL_USERID_CHANGE);
	level = NewGUCNestLevel();
	(void) set_config_option("search_path", statement->path, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	initStringInfo(&out);
	appendStringInfoString(&out, "{\"statement\":");
	if (statement->text != NULL && !too_long)
		escape_json(&out, statement->text);
	else
		appendStringInfoString(&out, "null");
	appendStringInfo(&out, ",\"exact\":%s,\"reason\":\"%s\"", statement->exact && !too_long ? "true" : "false",
					 too_long ? "its text or its settings are longer than an archive carries" :
					 statement->exact ? "" : statement->text == NULL ?
					 "the session loaded the library with this statement, and its text could not be proved" :
					 "the text may be more than the statement");
	append_fact(&out, "bound_mutable", bound_is_mutable(statement->tree));
	append_fact(&out, "temporary", grants_on_temporary(statement->tree));
	append_fact(&out, "like_temporary", is_like_temporary(statement));
	append_fact(&out, "in_extension", creating_extension);
	append_fact(&out, "switches_triggers", switches_triggers(statement->tree));
	append_touched(&out);
	appendStringInfo(&out, ",\"dropped\":%s", statement->dropped.note && !statement->drop_left ? statement->dropped.note : "null");
	if (statement->tree != NULL && IsA(statement->tree, AlterTableStmt))
		appendStringInfo(&out, ",\"actions\":%d", list_length(((AlterTableStmt *) statement->tree)->cmds));
	if (statement->tree != NULL && IsA(statement->tree, DropStmt))
		appendStringInfo(&out, ",\"objects\":%d", list_length(((DropStmt *) statement->tree)->objects));
	appendStringInfo(&out, ",\"detached\":%u,\"attached\":%u}",
					 detached_partition(statement->tree), attached_partition(statement->tree));
	AtEOXact_GUC(true, level);
	SetUserIdAndSecContext(user, security);
	return out.data;
}

void
facts_init(void)
{
	DefineCustomStringVariable("scribe.facts",
							   "What pg_scribe knows of the statement whose event trigger is running.",
							   NULL, &facts_dummy, "", PGC_INTERNAL,
							   GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE | GUC_NO_RESET_ALL,
							   NULL, NULL, show_facts);
}
