/*
 * scribe_absent.c
 *	  What means nothing in a copy: the temporary objects of a session, those of
 *	  capture, and TOAST tables, which are numbered.  A column of such a type is
 *	  not there in a copy, and a value of regclass or its like that names such an
 *	  object stands as its number, as the value of one that was dropped does.
 *	  Likewise the privileges of roles that are gone, which no text can name.
 */
#include "scribe_decoder.h"

#include "access/htup_details.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_ts_config.h"
#include "catalog/pg_ts_dict.h"
#include "catalog/pg_type.h"
#include "access/transam.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

static bool
is_absent_schema(Oid schema)
{
	return isAnyTempNamespace(schema) || schema == get_namespace_oid("scribe", true);
}

bool
is_absent_type(Oid type)
{
	HeapTuple	tuple;
	bool		absent = false;

	if (type < FirstNormalObjectId)
		return false;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	if (HeapTupleIsValid(tuple))
	{
		absent = is_absent_schema(((Form_pg_type) GETSTRUCT(tuple))->typnamespace);
		ReleaseSysCache(tuple);
	}
	return absent;
}

/*
 * The schema of what a value names; InvalidOid where it names nothing that a
 * schema holds.
 */
static Oid
schema_of(Oid type, Oid object)
{
	HeapTuple	tuple;
	int			cache;
	Oid			schema = InvalidOid;

	switch (type)
	{
		case REGNAMESPACEOID:
			return object;
		case REGCLASSOID:
			return get_rel_namespace(object);
		case REGPROCOID:
		case REGPROCEDUREOID:
			return get_func_namespace(object);
		case REGTYPEOID:
			cache = TYPEOID;
			break;
		case REGOPEROID:
		case REGOPERATOROID:
			cache = OPEROID;
			break;
		case REGCONFIGOID:
			cache = TSCONFIGOID;
			break;
		case REGDICTIONARYOID:
			cache = TSDICTOID;
			break;
		case REGCOLLATIONOID:
			cache = COLLOID;
			break;
		default:
			return InvalidOid;
	}
	tuple = SearchSysCache1(cache, ObjectIdGetDatum(object));
	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	switch (cache)
	{
		case TYPEOID:
			schema = ((Form_pg_type) GETSTRUCT(tuple))->typnamespace;
			break;
		case OPEROID:
			schema = ((Form_pg_operator) GETSTRUCT(tuple))->oprnamespace;
			break;
		case TSCONFIGOID:
			schema = ((Form_pg_ts_config) GETSTRUCT(tuple))->cfgnamespace;
			break;
		case TSDICTOID:
			schema = ((Form_pg_ts_dict) GETSTRUCT(tuple))->dictnamespace;
			break;
		default:
			schema = ((Form_pg_collation) GETSTRUCT(tuple))->collnamespace;
			break;
	}
	ReleaseSysCache(tuple);
	return schema;
}

/*
 * Has another transaction, which is replayed before this one, dropped what a value
 * names?  Nothing reads the name back then.
 */
static bool
went(Oid type, Oid object)
{
	switch (type)
	{
		case REGNAMESPACEOID:
			return is_gone_at_end(NamespaceRelationId, NamespaceOidIndexId, object);
		case REGCLASSOID:
			return is_gone_at_end(RelationRelationId, ClassOidIndexId, object);
		case REGPROCOID:
		case REGPROCEDUREOID:
			return is_gone_at_end(ProcedureRelationId, ProcedureOidIndexId, object);
		case REGTYPEOID:
			return is_gone_at_end(TypeRelationId, TypeOidIndexId, object);
		case REGOPEROID:
		case REGOPERATOROID:
			return is_gone_at_end(OperatorRelationId, OperatorOidIndexId, object);
		case REGCONFIGOID:
			return is_gone_at_end(TSConfigRelationId, TSConfigOidIndexId, object);
		case REGDICTIONARYOID:
			return is_gone_at_end(TSDictionaryRelationId, TSDictionaryOidIndexId, object);
		case REGCOLLATIONOID:
			return is_gone_at_end(CollationRelationId, CollationOidIndexId, object);
		default:
			return false;
	}
}

static bool
is_absent(Oid type, Oid object)
{
	Oid			schema = object < FirstNormalObjectId ? InvalidOid : schema_of(type, object);

	if (!OidIsValid(schema))
		return false;
	if (went(type, object))
		return true;
	/* the schema of capture itself is in a copy too */
	if (type == REGNAMESPACEOID)
		return isAnyTempNamespace(schema);
	return is_absent_schema(schema) || schema == PG_TOAST_NAMESPACE;
}

static bool
names_objects(Oid type)
{
	switch (type)
	{
		case REGNAMESPACEOID:
		case REGCLASSOID:
		case REGPROCOID:
		case REGPROCEDUREOID:
		case REGTYPEOID:
		case REGOPEROID:
		case REGOPERATOROID:
		case REGCONFIGOID:
		case REGDICTIONARYOID:
		case REGCOLLATIONOID:
			return true;
		default:
			return false;
	}
}

static bool
is_known_role(Oid role)
{
	return SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)) && shared_has_role(role);
}

/*
 * Does a privilege name a role that is gone?  Nothing reads back its number.
 */
static bool
is_orphan(Datum value)
{
	AclItem    *item = DatumGetAclItemP(value);

	return (item->ai_grantee != ACL_ID_PUBLIC && !is_known_role(item->ai_grantee)) || !is_known_role(item->ai_grantor);
}

static bool
is_absent_value(Oid type, Datum value)
{
	return type == ACLITEMOID ? is_orphan(value) : is_absent(type, DatumGetObjectId(value));
}

/*
 * An array with numbers in the place of the names that mean nothing, and without
 * the privileges of roles that are gone; NULL where all of it means something.
 */
static char *
array_text(Oid element, Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	Datum	   *items;
	bool	   *nulls;
	int			count;
	int			kept = 0;
	bool		absent = false;
	Oid			output;
	bool		varlena;
	int16		len;
	bool		byval;
	char		align;

	get_typlenbyvalalign(element, &len, &byval, &align);
	deconstruct_array(array, element, len, byval, align, &items, &nulls, &count);
	for (int i = 0; i < count && !absent; i++)
		absent = !nulls[i] && is_absent_value(element, items[i]);
	if (!absent)
		return NULL;
	getTypeOutputInfo(element, &output, &varlena);
	for (int i = 0; i < count; i++)
	{
		absent = !nulls[i] && is_absent_value(element, items[i]);
		if (absent && element == ACLITEMOID)
			continue;
		nulls[kept] = nulls[i];
		if (absent)
			items[kept++] = CStringGetTextDatum(psprintf("%u", DatumGetObjectId(items[i])));
		else
			items[kept++] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(OidOutputFunctionCall(output, items[i]));
	}
	if (kept < count)			/* lists of privileges have one dimension */
		array = construct_md_array(items, nulls, 1, &kept, ARR_LBOUND(array), TEXTOID, -1, false, TYPALIGN_INT);
	else
		array = construct_md_array(items, nulls, ARR_NDIM(array), ARR_DIMS(array), ARR_LBOUND(array),
								   TEXTOID, -1, false, TYPALIGN_INT);
	return OidOutputFunctionCall(F_ARRAY_OUT, PointerGetDatum(array));
}

/*
 * A value as text: as its type writes it, but for what means nothing in a copy.
 */
char *
value_text(ScribeColumn *column, Datum value)
{
	char	   *text = NULL;

	if (OidIsValid(column->names) && column->names_array)
		text = array_text(column->names, value);
	else if (OidIsValid(column->names) && column->names != ACLITEMOID && is_absent(column->names, DatumGetObjectId(value)))
		text = psprintf("%u", DatumGetObjectId(value));
	return text != NULL ? text : output_text(column, value);
}

/*
 * Whether something of a value is not in the text above, or all of it.
 */
bool
loses_privileges(ScribeColumn *column, Datum value)
{
	if (column->names != ACLITEMOID)
		return false;
	return column->names_array ? array_text(ACLITEMOID, value) != NULL : is_orphan(value);
}

/*
 * Does the type's text name objects or roles, or that of its elements?
 */
void
find_names(ScribeColumn *column)
{
	Oid			base = getBaseType(column->type);
	Oid			element = get_element_type(base);
	Oid			named = OidIsValid(element) ? element : base;

	column->names_array = OidIsValid(element);
	column->names = named == ACLITEMOID || names_objects(named) ? named : InvalidOid;
}
