/*
 * scribe_shared.c
 *	  What changes in the catalogs that all databases share: roles, their
 *	  memberships and settings, tablespaces, and the row of this database.
 *
 * Nothing of this is in the stream of one database's rows, and the change may
 * have been committed in another database.  But its invalidations are seen
 * here, in their place, and the historic snapshot shows the catalogs as of
 * that place.  So what is known of them is read again whenever a message says
 * that it may have changed, and the differences are written.
 *
 * A stream that starts again knows nothing.  What was so at its start is what
 * is now, less what transactions committed since have done: their ids are
 * noted as their invalidations pass, and the rows they deleted are still there,
 * since the slot holds them back.
 */
#include "scribe_shared.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlogreader.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_db_role_setting.h"
#include "catalog/pg_shdescription.h"
#include "catalog/pg_tablespace.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "replication/snapbuild.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

/*
 * A role's new name is in the WAL before anybody sees it: its COMMIT waits for
 * the disk, and for a synchronous standby.  What runs meanwhile names it as
 * before, and follows it in the WAL.
 */
#define RENAMES_KEPT 64
#define RENAME_UNSEEN_MS (5 * 60 * 1000)	/* a COMMIT that waits longer holds up whoever renames roles, too */

struct Shared
{
	ScribeState *state;
	Facts	   *facts;			/* NULL until the first transaction */
	bool		outside;		/* something changed outside this transaction, which may see it only later on */
	bool		with_passwords;

	int			nrenamed;
	struct
	{
		Oid			role;
		NameData	was;
		TimestampTz at;			/* when the transaction that noticed it was committed */
	}			renamed[RENAMES_KEPT];	/* the latest takes the place of the oldest */

	/* changes without an invalidation: settings and comments */
	TransactionId xmax;			/* of the snapshot when they were last looked at */
	uint32		xcnt;
	uint64		print;

	/* for the first reading */
	TransactionId horizon;		/* older rows were there at the start */
	int			nxids;
	int			room;
	TransactionId *xids;		/* committed since */
};

/* callbacks cannot be taken back, so they look here; NULL outside decoding */
static struct Shared *current = NULL;

/* Transactions that changed something before the first reading */

static bool
is_noted(struct Shared *shared, TransactionId xid)
{
	for (int i = shared->nxids - 1; i >= 0; i--)
		if (TransactionIdEquals(shared->xids[i], xid))
			return true;
	return false;
}

static void
note_xid(struct Shared *shared, TransactionId xid)
{
	if (!TransactionIdIsValid(xid) || is_noted(shared, xid))
		return;
	if (shared->nxids == shared->room)
	{
		shared->room *= 2;
		shared->xids = repalloc(shared->xids, shared->room * sizeof(TransactionId));
	}
	shared->xids[shared->nxids++] = xid;
}

/*
 * Whose invalidations these are: the record being decoded tells.
 */
static void
note_transaction(struct Shared *shared)
{
	LogicalDecodingContext *ctx = shared->state->ctx;
	XLogReaderState *reader = ctx->reader;
	uint8		info;

	if (!reader_has_record(reader) || SnapBuildXactNeedsSkip(ctx->snapshot_builder, reader->ReadRecPtr))
		return;
	note_xid(shared, XLogRecGetXid(reader));
	info = XLogRecGetInfo(reader) & XLOG_XACT_OPMASK;
	if (XLogRecGetRmid(reader) == RM_XACT_ID && (info == XLOG_XACT_COMMIT || info == XLOG_XACT_COMMIT_PREPARED))
	{
		xl_xact_parsed_commit parsed;

		ParseCommitRecord(XLogRecGetInfo(reader), (xl_xact_commit *) XLogRecGetData(reader), &parsed);
		if (info == XLOG_XACT_COMMIT_PREPARED)
			note_xid(shared, parsed.twophase_xid);
		for (int i = 0; i < parsed.nsubxacts; i++)
			note_xid(shared, parsed.subxacts[i]);
	}
}

static void
shared_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	if (current == NULL)
		return;
	current->state->shared_dirty = true;
	if (current->state->txn == NULL)
		current->outside = true;
	if (current->facts == NULL)
		note_transaction(current);
}

/* Facts */

static Facts *
make_facts(MemoryContext parent)
{
	MemoryContext cxt = AllocSetContextCreate(parent, "scribe shared facts", ALLOCSET_SMALL_SIZES);
	Facts	   *facts = MemoryContextAllocZero(cxt, sizeof(Facts));

	facts->cxt = cxt;
	facts->room = 64;
	facts->items = MemoryContextAlloc(cxt, facts->room * sizeof(Fact));
	return facts;
}

/* Whoever wrote a name or text in a database of another encoding may have written what is no text here. */
static bool
is_text(const char *text)
{
	return pg_verifymbstr(text, strlen(text), true);
}

static void
add_fact(Facts *facts, FactKind kind, Oid a, Oid b, Oid c, const char *key, const char *value)
{
	Fact	   *fact;

	if (facts->n == facts->room)
	{
		facts->room *= 2;
		facts->items = repalloc(facts->items, facts->room * sizeof(Fact));
	}
	fact = &facts->items[facts->n++];
	fact->kind = kind;
	fact->a = a;
	fact->b = b;
	fact->c = c;
	fact->key = MemoryContextStrdup(facts->cxt, key);
	fact->value = value ? MemoryContextStrdup(facts->cxt, value) : NULL;
}

int
compare_fact_keys(const Fact *x, const Fact *y)
{
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->a != y->a)
		return x->a < y->a ? -1 : 1;
	if (x->b != y->b)
		return x->b < y->b ? -1 : 1;
	if (x->c != y->c)
		return x->c < y->c ? -1 : 1;
	return strcmp(x->key, y->key);
}

/* What is not known how comes first, and stays when duplicates go. */
static int
compare_facts(const void *x, const void *y)
{
	const Fact *a = x;
	const Fact *b = y;
	int			order = compare_fact_keys(a, b);

	return order != 0 ? order : (a->value != NULL) - (b->value != NULL);
}

static void
sort_facts(Facts *facts)
{
	int			n = 0;

	qsort(facts->items, facts->n, sizeof(Fact), compare_facts);
	for (int i = 0; i < facts->n; i++)
		if (n == 0 || compare_fact_keys(&facts->items[n - 1], &facts->items[i]) != 0)
			facts->items[n++] = facts->items[i];
	facts->n = n;
}

/*
 * The name of a role or tablespace, or what else is known of one; or NULL.
 */
const char *
fact_name(Facts *facts, FactKind kind, Oid oid)
{
	Fact		wanted = {kind, oid, InvalidOid, InvalidOid, "", ""};
	int			low = 0;
	int			high = facts->n;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (compare_fact_keys(&facts->items[middle], &wanted) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < facts->n && compare_fact_keys(&facts->items[low], &wanted) == 0 ? facts->items[low].value : NULL;
}

/* Reading the catalogs */

typedef void (*RowReader) (struct Shared *shared, Facts *facts, HeapTuple tuple, TupleDesc desc, bool known);

static Datum
column(HeapTuple tuple, TupleDesc desc, int number, bool *isnull)
{
	return heap_getattr(tuple, number, desc, isnull);
}

static void
append_attributes(struct Shared *shared, StringInfo out, HeapTuple tuple, TupleDesc desc)
{
	Form_pg_authid role = (Form_pg_authid) GETSTRUCT(tuple);
	Datum		value;
	bool		isnull;

	appendStringInfo(out, "%sSUPERUSER %sINHERIT %sCREATEROLE %sCREATEDB %sLOGIN %sREPLICATION %sBYPASSRLS",
					 role->rolsuper ? "" : "NO", role->rolinherit ? "" : "NO", role->rolcreaterole ? "" : "NO",
					 role->rolcreatedb ? "" : "NO", role->rolcanlogin ? "" : "NO",
					 role->rolreplication ? "" : "NO", role->rolbypassrls ? "" : "NO");
	appendStringInfo(out, " CONNECTION LIMIT %d", role->rolconnlimit);

	value = column(tuple, desc, Anum_pg_authid_rolpassword, &isnull);
	if (shared->with_passwords && isnull)
		appendStringInfoString(out, " PASSWORD NULL");
	else if (shared->with_passwords)
	{
		char	   *password = TextDatumGetCString(value);

		appendStringInfoString(out, " PASSWORD ");
		append_literal(out, password, strlen(password));
	}

	value = column(tuple, desc, Anum_pg_authid_rolvaliduntil, &isnull);
	if (!isnull)
		appendStringInfo(out, " VALID UNTIL '%s'", DatumGetCString(DirectFunctionCall1(timestamptz_out, value)));
}

static void
read_role(struct Shared *shared, Facts *facts, HeapTuple tuple, TupleDesc desc, bool known)
{
	Form_pg_authid role = (Form_pg_authid) GETSTRUCT(tuple);
	StringInfoData text;

	if (!is_text(NameStr(role->rolname)))
		return;
	add_fact(facts, FACT_ROLE, role->oid, 0, 0, "", NameStr(role->rolname));
	if (role->oid < FirstNormalObjectId)
		return;
	initStringInfo(&text);
	append_attributes(shared, &text, tuple, desc);
	add_fact(facts, FACT_ATTRIBUTES, role->oid, 0, 0, "", text.data);
}

static void
read_member(struct Shared *shared, Facts *facts, HeapTuple tuple, TupleDesc desc, bool known)
{
	Form_pg_auth_members row = (Form_pg_auth_members) GETSTRUCT(tuple);

	if (row->member >= FirstNormalObjectId)
		add_fact(facts, FACT_MEMBER, row->roleid, row->member, MEMBER_GRANTOR(row), "", MEMBER_OPTIONS(row));
}

static const char *
comment_of(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		value = column(tuple, desc, Anum_pg_shdescription_description, &isnull);
	char	   *comment = TextDatumGetCString(value);
	StringInfoData literal;

	initStringInfo(&literal);
	append_literal(&literal, comment, strlen(comment));
	return literal.data;
}

static void
read_comment(struct Shared *shared, Facts *facts, HeapTuple tuple, TupleDesc desc, bool known)
{
	Form_pg_shdescription row = (Form_pg_shdescription) GETSTRUCT(tuple);
	const char *text = known ? comment_of(tuple, desc) : NULL;

	if (text != NULL && !is_text(text))
		return;
	if (row->objoid >= FirstNormalObjectId && row->classoid == AuthIdRelationId)
		add_fact(facts, FACT_ROLE_COMMENT, row->objoid, 0, 0, "", text);
	else if (row->objoid >= FirstNormalObjectId && row->classoid == TableSpaceRelationId)
		add_fact(facts, FACT_SPACE_COMMENT, row->objoid, 0, 0, "", text);
	else if (row->objoid == MyDatabaseId && row->classoid == DatabaseRelationId)
		add_fact(facts, FACT_COMMENT, 0, 0, 0, "", text);
}

/*
 * A setting's value as SET takes it: a list of names is one literal for each.
 */
static const char *
setting_literals(const char *name, char *value)
{
	StringInfoData out;
	List	   *names = NIL;
	ListCell   *cell;

	initStringInfo(&out);
	if ((GetConfigOptionFlags(name, true) & GUC_LIST_QUOTE) == 0 || !SplitGUCList(pstrdup(value), ',', &names))
		append_literal(&out, value, strlen(value));
	else if (names == NIL)
		appendStringInfoString(&out, "''");
	foreach(cell, names)
	{
		const char *item = lfirst(cell);

		if (out.len > 0)
			appendStringInfoString(&out, ", ");
		append_literal(&out, item, strlen(item));
	}
	return out.data;
}

static void
read_settings(struct Shared *shared, Facts *facts, HeapTuple tuple, TupleDesc desc, bool known)
{
	Form_pg_db_role_setting row = (Form_pg_db_role_setting) GETSTRUCT(tuple);
	FactKind	kind = OidIsValid(row->setdatabase) ? FACT_SETTING : FACT_ROLE_SETTING;
	bool		isnull;
	Datum		value = column(tuple, desc, Anum_pg_db_role_setting_setconfig, &isnull);
	Datum	   *items;
	int			count;

	if (isnull || (OidIsValid(row->setdatabase) && row->setdatabase != MyDatabaseId) ||
		(!OidIsValid(row->setdatabase) && row->setrole < FirstNormalObjectId))
		return;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &items, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		char	   *entry = TextDatumGetCString(items[i]);
		char	   *equals = strchr(entry, '=');

		if (equals == NULL || !is_text(entry))
			continue;
		*equals = '\0';
		if (strcmp(entry, "scribe.made") == 0)	/* a mark of a restore that is under way on this server */
			continue;
		add_fact(facts, kind, row->setrole, 0, 0, entry, known ? setting_literals(entry, equals + 1) : NULL);
	}
}

/*
 * Privileges on a database or tablespace, by grantee; who granted them is not
 * kept, as nobody but the owner's and superusers' grants make it into a dump.
 */
static void
read_acl(Facts *facts, FactKind kind, Oid object, Datum stored, bool isnull, Oid owner)
{
	ObjectType	type = kind == FACT_GRANT ? OBJECT_DATABASE : OBJECT_TABLESPACE;
	Acl		   *acl = isnull ? acldefault(type, owner) : DatumGetAclPCopy(stored);
	AclItem    *items = ACL_DAT(acl);

	for (int i = 0; i < ACL_NUM(acl); i++)
	{
		AclMode		any = ACL_NO_RIGHTS;
		AclMode		grantable = ACL_NO_RIGHTS;
		bool		first = true;

		for (int k = 0; k < ACL_NUM(acl); k++)
		{
			if (items[k].ai_grantee != items[i].ai_grantee)
				continue;
			first = first && k >= i;
			any |= ACLITEM_GET_PRIVS(items[k]);
			grantable |= ACLITEM_GET_GOPTIONS(items[k]);
		}
		if (!first)
			continue;
		for (int option = 0; option < 2; option++)
		{
			AclMode		privileges = option ? grantable : any & ~grantable;
			char	   *words = psprintf("%s%s%s", privileges & ACL_CREATE ? ", CREATE" : "",
										 privileges & ACL_CONNECT ? ", CONNECT" : "",
										 privileges & ACL_CREATE_TEMP ? ", TEMPORARY" : "");

			if (words[0] != '\0')
				add_fact(facts, kind, object, items[i].ai_grantee, option, "", words + 2);
		}
	}
}

static void
read_database(struct Shared *shared, Facts *facts, HeapTuple tuple, TupleDesc desc, bool known)
{
	Form_pg_database row = (Form_pg_database) GETSTRUCT(tuple);
	bool		isnull;
	Datum		acl;

	if (row->oid != MyDatabaseId)
		return;
	add_fact(facts, FACT_OWNER, 0, row->datdba, 0, "", "");
	add_fact(facts, FACT_LIMIT, 0, 0, 0, "", psprintf("%d", row->datconnlimit));
	acl = column(tuple, desc, Anum_pg_database_datacl, &isnull);
	read_acl(facts, FACT_GRANT, InvalidOid, acl, isnull, row->datdba);
}

static void
read_space(struct Shared *shared, Facts *facts, HeapTuple tuple, TupleDesc desc, bool known)
{
	Form_pg_tablespace row = (Form_pg_tablespace) GETSTRUCT(tuple);
	bool		isnull;
	Datum		value;

	if (!is_text(NameStr(row->spcname)))
		return;
	add_fact(facts, FACT_SPACE, row->oid, 0, 0, "", NameStr(row->spcname));
	if (row->oid < FirstNormalObjectId)
		return;
	add_fact(facts, FACT_SPACE_OWNER, row->oid, row->spcowner, 0, "", "");
	value = column(tuple, desc, Anum_pg_tablespace_spcacl, &isnull);
	read_acl(facts, FACT_SPACE_GRANT, row->oid, value, isnull, row->spcowner);
	value = column(tuple, desc, Anum_pg_tablespace_spcoptions, &isnull);
	if (!isnull)
	{
		StringInfoData options;
		ListCell   *cell;

		initStringInfo(&options);
		foreach(cell, untransformRelOptions(value))
		{
			DefElem    *option = lfirst(cell);

			appendStringInfo(&options, "%s%s = %s", options.len ? ", " : "", option->defname, strVal(option->arg));
		}
		add_fact(facts, FACT_SPACE_OPTIONS, row->oid, 0, 0, "", options.data);
	}
}

/* traced: the transactions that change it are noted, as they send invalidations */
static const struct
{
	Oid			relation;
	RowReader	read;
	bool		traced;
}			catalogs[] = {
	{AuthIdRelationId, read_role, true},
	{AuthMemRelationId, read_member, true},
	{TableSpaceRelationId, read_space, true},
	{DatabaseRelationId, read_database, true},
	{DbRoleSettingRelationId, read_settings, false},
	{SharedDescriptionRelationId, read_comment, false}
};

static bool
is_young(struct Shared *shared, TransactionId xid, bool traced)
{
	if (!TransactionIdIsNormal(xid))
		return false;
	return traced ? is_noted(shared, xid) : TransactionIdFollowsOrEquals(xid, shared->horizon);
}

/*
 * Has a row that was there at the start been deleted since?  Of a catalog that
 * is not traced it is only known that this may be so.
 */
static bool
went_since(struct Shared *shared, HeapTupleHeader header, bool traced)
{
	TransactionId xmax;

	if ((header->t_infomask & HEAP_XMAX_INVALID) || HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask))
		return false;
	xmax = HeapTupleHeaderGetUpdateXid(header);
	if (!is_young(shared, xmax, traced) || !TransactionIdDidCommit(xmax))
		return false;
	return !traced || !is_young(shared, HeapTupleHeaderGetXmin(header), traced);
}

/*
 * A catalog as the historic snapshot shows it; first: as it was at the start.
 */
static void
read_catalog(struct Shared *shared, Facts *facts, int number, bool first)
{
	bool		traced = catalogs[number].traced;
	Relation	rel = table_open(catalogs[number].relation, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		if (!first || !is_young(shared, HeapTupleHeaderGetXmin(tuple->t_data), traced))
			catalogs[number].read(shared, facts, tuple, RelationGetDescr(rel), true);
	systable_endscan(scan);

	if (first)
	{
		scan = systable_beginscan(rel, InvalidOid, false, SnapshotAny, 0, NULL);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
			if (went_since(shared, tuple->t_data, traced))
				catalogs[number].read(shared, facts, tuple, RelationGetDescr(rel), traced);
		systable_endscan(scan);
	}
	table_close(rel, AccessShareLock);
}

static Facts *
read_facts(struct Shared *shared, bool first)
{
	Facts	   *facts = make_facts(shared->state->ctx->context);

	for (int i = 0; i < (int) lengthof(catalogs); i++)
		read_catalog(shared, facts, i, first);
	sort_facts(facts);
	return facts;
}

/*
 * A number that changes with any row of the catalogs that send no
 * invalidations; they are small.
 */
static uint64
fingerprint(void)
{
	uint64		print = 0;

	for (int i = 0; i < (int) lengthof(catalogs); i++)
	{
		Relation	rel;
		SysScanDesc scan;
		HeapTuple	tuple;

		if (catalogs[i].traced)
			continue;
		rel = table_open(catalogs[i].relation, AccessShareLock);
		scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			uint64		row = ((uint64) HeapTupleHeaderGetRawXmin(tuple->t_data) << 32) ^
				((uint64) ItemPointerGetBlockNumber(&tuple->t_self) << 8) ^
				ItemPointerGetOffsetNumber(&tuple->t_self) ^ ((uint64) i << 56);

			row *= UINT64CONST(0x9E3779B97F4A7C15);
			print += row ^ (row >> 29);
		}
		systable_endscan(scan);
		table_close(rel, AccessShareLock);
	}
	return print;
}

/*
 * May settings or comments have changed?  The snapshot moves with every commit
 * that changed any catalog, and with nothing else.
 */
static bool
print_changed(struct Shared *shared)
{
	Snapshot	snapshot = GetTransactionSnapshot();
	uint64		print;

	if (shared->facts != NULL && snapshot->xmax == shared->xmax && snapshot->xcnt == shared->xcnt &&
		!rbtxn_has_catalog_changes(shared->state->txn))
		return false;
	shared->xmax = snapshot->xmax;
	shared->xcnt = snapshot->xcnt;
	print = fingerprint();
	if (print == shared->print)
		return false;
	shared->print = print;
	return true;
}

/*
 * Tablespaces are made outside of a transaction, so that replay can do it only
 * before the first statement of a frame or after the last: let them be as they
 * were until then.
 */
static bool
spaces_differ(Facts *was, Facts *now)
{
	int			i = 0;
	int			k = 0;

	for (;; i++, k++)
	{
		while (i < was->n && was->items[i].kind < FACT_SPACE)
			i++;
		while (k < now->n && now->items[k].kind < FACT_SPACE)
			k++;
		if (i == was->n || k == now->n || was->items[i].kind > FACT_SPACE_GRANT || now->items[k].kind > FACT_SPACE_GRANT)
			return (i < was->n && was->items[i].kind <= FACT_SPACE_GRANT) ||
				(k < now->n && now->items[k].kind <= FACT_SPACE_GRANT);
		if (compare_fact_keys(&was->items[i], &now->items[k]) != 0 || was->items[i].value == NULL ||
			strcmp(was->items[i].value, now->items[k].value) != 0)
			return true;
	}
}

static void
keep_spaces(struct Shared *shared, Facts *now)
{
	Facts	   *was = shared->facts;
	int			n = 0;

	for (int i = 0; i < now->n; i++)
		if (now->items[i].kind < FACT_SPACE || now->items[i].kind > FACT_SPACE_GRANT)
			now->items[n++] = now->items[i];
	now->n = n;
	for (int i = 0; i < was->n; i++)
	{
		Fact	   *fact = &was->items[i];

		if (fact->kind >= FACT_SPACE && fact->kind <= FACT_SPACE_GRANT)
			add_fact(now, fact->kind, fact->a, fact->b, fact->c, fact->key, fact->value);
	}
	sort_facts(now);
	shared->outside = true;
}

static void
note_renames(struct Shared *shared, Facts *was, Facts *now)
{
	for (int i = 0; i < was->n && was->items[i].kind == FACT_ROLE; i++)
	{
		const char *name = fact_name(now, FACT_ROLE, was->items[i].a);
		int			place = shared->nrenamed % RENAMES_KEPT;

		if (name == NULL || was->items[i].value == NULL || strcmp(name, was->items[i].value) == 0)
			continue;
		shared->renamed[place].role = was->items[i].a;
		shared->renamed[place].at = txn_commit_time(shared->state->txn);
		namestrcpy(&shared->renamed[place].was, was->items[i].value);
		shared->nrenamed++;
	}
}

static bool
has_role_named(Facts *facts, const char *name)
{
	for (int i = 0; i < facts->n && facts->items[i].kind == FACT_ROLE; i++)
		if (facts->items[i].value != NULL && strcmp(facts->items[i].value, name) == 0)
			return true;
	return false;
}

/*
 * Read what is known again, and write what is different.
 */
static void
compare_now(struct Shared *shared)
{
	Facts	   *now;

	shared->state->shared_dirty = false;
	if (shared->facts == NULL)
	{
		shared->with_passwords =
			pg_class_aclcheck(AuthIdRelationId, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
		shared->facts = read_facts(shared, true);
		shared->nxids = 0;
	}
	now = read_facts(shared, false);
	if (shared->state->begun && !shared->state->ending && spaces_differ(shared->facts, now))
		keep_spaces(shared, now);
	write_shared(shared->state, shared->facts, now);
	note_renames(shared, shared->facts, now);
	MemoryContextDelete(shared->facts->cxt);
	shared->facts = now;
}

/*
 * A transaction begins, or ends, or is about to run DDL, which may need what
 * somebody else committed meanwhile.
 */
void
shared_look(ScribeState *state)
{
	struct Shared *shared = state->shared;
	bool		changed = print_changed(shared);

	if (changed || state->shared_dirty || shared->outside || shared->facts == NULL)
		compare_now(shared);
}

/*
 * Anywhere else in a transaction, where state->shared_dirty is set.
 */
void
shared_look_again(ScribeState *state)
{
	compare_now(state->shared);
}

/*
 * A statement ran as a role, or names one, that had a name which nobody has any
 * more: let it have that name again while the statement runs.  Whoever knew the
 * new name, be it in the text or as his own, did not need the old one.  Return
 * the facts that hold then, for shared_names_again(), or NULL if no name was
 * given back.  at: when the statement was recorded; now: becomes the role's name.
 */
Facts *
shared_names_back(ScribeState *state, const char *role, const char *text, TimestampTz at, const char **now)
{
	struct Shared *shared = state->shared;
	Facts	   *old = NULL;

	if (strlen(text) > LONGEST_SEARCHED)
		text = "";
	for (int i = Min(shared->nrenamed, RENAMES_KEPT) - 1; i >= 0; i--)
	{
		const char *was = NameStr(shared->renamed[i].was);
		const char *name = fact_name(shared->facts, FACT_ROLE, shared->renamed[i].role);

		if (name == NULL || TimestampDifferenceExceeds(shared->renamed[i].at, at, RENAME_UNSEEN_MS) ||
			has_role_named(old ? old : shared->facts, was) ||
			!(strcmp(role, was) == 0 || text_names(text, was)) ||
			strcmp(role, name) == 0 || text_names(text, name))
			continue;
		if (old == NULL)
		{
			old = make_facts(state->ctx->context);
			for (int k = 0; k < shared->facts->n; k++)
			{
				const Fact *fact = &shared->facts->items[k];

				add_fact(old, fact->kind, fact->a, fact->b, fact->c, fact->key, fact->value);
			}
		}
		if (strcmp(role, was) == 0)
			*now = name;
		for (int k = 0; k < old->n; k++)
			if (old->items[k].kind == FACT_ROLE && old->items[k].a == shared->renamed[i].role)
				old->items[k].value = was;
	}
	if (old != NULL)
		write_shared(state, shared->facts, old);
	return old;
}

void
shared_names_again(ScribeState *state, Facts *old)
{
	write_shared(state, old, state->shared->facts);
	MemoryContextDelete(old->cxt);
}

/*
 * Is the role there where this transaction is replayed?  One that another
 * transaction has dropped, which began later and committed before, is not.
 */
bool
shared_has_role(Oid role)
{
	return current == NULL || current->facts == NULL || fact_name(current->facts, FACT_ROLE, role) != NULL;
}

/*
 * Is a role a superuser here?  oid: becomes the role's, InvalidOid if there is
 * none.
 */
bool
is_superuser(const char *name, Oid *oid)
{
	HeapTuple	tuple = SearchSysCache1(AUTHNAME, CStringGetDatum(name));
	bool		super;

	*oid = InvalidOid;
	if (!HeapTupleIsValid(tuple))
		return false;
	*oid = ((Form_pg_authid) GETSTRUCT(tuple))->oid;
	super = ((Form_pg_authid) GETSTRUCT(tuple))->rolsuper;
	ReleaseSysCache(tuple);
	return super;
}

/*
 * The transaction's end has seen whatever was committed before it.
 */
void
shared_committed(ScribeState *state)
{
	state->shared->outside = false;
}

static void
shared_gone(void *arg)
{
	if (current == arg)
		current = NULL;
}

void
shared_init(ScribeState *state)
{
	static bool registered = false;
	MemoryContextCallback *gone = palloc0(sizeof(MemoryContextCallback));
	static const int caches[] = {AUTHOID, AUTHMEMROLEMEM, TABLESPACEOID, DATABASEOID};
	struct Shared *shared = palloc0(sizeof(struct Shared));

	shared->state = state;
	shared->room = 16;
	shared->xids = palloc(shared->room * sizeof(TransactionId));
	shared->horizon = state->ctx->slot->effective_catalog_xmin;
	state->shared = shared;
	current = shared;
	gone->func = shared_gone;
	gone->arg = shared;
	MemoryContextRegisterResetCallback(state->ctx->context, gone);
	if (!registered)
	{
		for (int i = 0; i < (int) lengthof(caches); i++)
			CacheRegisterSyscacheCallback(caches[i], shared_changed, (Datum) 0);
		registered = true;
	}
}
