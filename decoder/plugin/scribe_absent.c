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
 * Where objects that values name are; in each of these catalogs the OID is
 * first, then the name, then the schema.
 */
static bool
catalog_of(Oid type, Oid *catalog, Oid *index)
{
	switch (type)
	{
		case REGNAMESPACEOID:
			*catalog = NamespaceRelationId;
			*index = NamespaceOidIndexId;
			return true;
		case REGCLASSOID:
			*catalog = RelationRelationId;
			*index = ClassOidIndexId;
			return true;
		case REGPROCOID:
		case REGPROCEDUREOID:
			*catalog = ProcedureRelationId;
			*index = ProcedureOidIndexId;
			return true;
		case REGTYPEOID:
			*catalog = TypeRelationId;
			*index = TypeOidIndexId;
			return true;
		case REGOPEROID:
		case REGOPERATOROID:
			*catalog = OperatorRelationId;
			*index = OperatorOidIndexId;
			return true;
		case REGCONFIGOID:
			*catalog = TSConfigRelationId;
			*index = TSConfigOidIndexId;
			return true;
		case REGDICTIONARYOID:
			*catalog = TSDictionaryRelationId;
			*index = TSDictionaryOidIndexId;
			return true;
		case REGCOLLATIONOID:
			*catalog = CollationRelationId;
			*index = CollationOidIndexId;
			return true;
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
	/* the schema of capture itself is in a copy too */
	if (type == REGNAMESPACEOID)
		return isAnyTempNamespace(schema);
	return is_absent_schema(schema) || schema == PG_TOAST_NAMESPACE;
}

/*
 * A type's name when the transaction ends; differs: set if it is another one.
 */
static char *
type_at_end(Oid type, bool *differs)
{
	Oid			element = get_element_type(type);
	char	   *schema;
	char	   *name;

	if (OidIsValid(element))
		return psprintf("%s[]", type_at_end(element, differs));
	if (type < FirstNormalObjectId || !names_at_end(TypeRelationId, TypeOidIndexId, type, &schema, &name, differs))
		return OidIsValid(type) ? format_type_be(type) : pstrdup("NONE");
	return quote_qualified_identifier(schema, name);
}

/*
 * What a value that names an object is called in a copy, unless it is as the type
 * writes it: its number where a copy does not have it, or the name that another
 * transaction, which is replayed before this one, has given to it, its schema or
 * the types of its arguments.
 */
static char *
object_text(Oid type, Oid object)
{
	Oid			catalog;
	Oid			index;
	Oid			types[2];
	Oid		   *arguments = types;
	int			count;
	char	   *schema;
	char	   *name;
	bool		differs = false;
	StringInfoData text;

	if (object < FirstNormalObjectId || !OidIsValid(schema_of(type, object)) || !catalog_of(type, &catalog, &index))
		return NULL;
	if (is_absent(type, object) || !names_at_end(catalog, index, object, &schema, &name, &differs))
		return psprintf("%u", object);
	initStringInfo(&text);
	if (type == REGNAMESPACEOID)
		appendStringInfoString(&text, quote_identifier(name));
	else if (type == REGTYPEOID)
		appendStringInfoString(&text, type_at_end(object, &differs));
	else if (type == REGOPEROID || type == REGOPERATOROID)
		appendStringInfo(&text, "%s.%s", quote_identifier(schema), name);
	else
		appendStringInfoString(&text, quote_qualified_identifier(schema, name));
	if (type == REGPROCEDUREOID || type == REGOPERATOROID)
	{
		if (type == REGPROCEDUREOID)
			(void) get_func_signature(object, &arguments, &count);
		else
		{
			op_input_types(object, &types[0], &types[1]);
			count = 2;
		}
		for (int i = 0; i < count; i++)
			appendStringInfo(&text, "%c%s", i > 0 ? ',' : '(', type_at_end(arguments[i], &differs));
		appendStringInfoString(&text, count > 0 ? ")" : "()");
	}
	return differs ? text.data : NULL;
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

/*
 * An array with numbers in the place of the names that mean nothing, names as
 * they are by then, and without the privileges of roles that are gone; NULL where
 * all of it is as the type writes it.
 */
static char *
array_text(Oid element, Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	Datum	   *items;
	bool	   *nulls;
	int			count;
	int			kept = 0;
	bool		other = false;
	char	   *text;
	Oid			output;
	bool		varlena;
	int16		len;
	bool		byval;
	char		align;

	get_typlenbyvalalign(element, &len, &byval, &align);
	deconstruct_array(array, element, len, byval, align, &items, &nulls, &count);
	for (int i = 0; i < count && !other; i++)
		other = !nulls[i] && (element == ACLITEMOID ? is_orphan(items[i]) : object_text(element, DatumGetObjectId(items[i])) != NULL);
	if (!other)
		return NULL;
	getTypeOutputInfo(element, &output, &varlena);
	for (int i = 0; i < count; i++)
	{
		if (!nulls[i] && element == ACLITEMOID && is_orphan(items[i]))
			continue;
		nulls[kept] = nulls[i];
		text = nulls[i] || element == ACLITEMOID ? NULL : object_text(element, DatumGetObjectId(items[i]));
		if (text == NULL && !nulls[i])
			text = OidOutputFunctionCall(output, items[i]);
		items[kept++] = text != NULL ? CStringGetTextDatum(text) : (Datum) 0;
	}
	if (kept < count)			/* lists of privileges have one dimension */
		array = construct_md_array(items, nulls, 1, &kept, ARR_LBOUND(array), TEXTOID, -1, false, TYPALIGN_INT);
	else
		array = construct_md_array(items, nulls, ARR_NDIM(array), ARR_DIMS(array), ARR_LBOUND(array),
								   TEXTOID, -1, false, TYPALIGN_INT);
	return OidOutputFunctionCall(F_ARRAY_OUT, PointerGetDatum(array));
}

/*
 * A value as text: as its type writes it, but for what means nothing in a copy, or
 * something else.
 */
char *
value_text(ScribeColumn *column, Datum value)
{
	char	   *text = NULL;

	if (OidIsValid(column->names) && column->names_array)
		text = array_text(column->names, value);
	else if (OidIsValid(column->names) && column->names != ACLITEMOID)
		text = object_text(column->names, DatumGetObjectId(value));
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
