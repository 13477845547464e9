/*
 * compat.h
 *	  The differences between PostgreSQL versions, all of them.
 */
#ifndef SCRIBE_COMPAT_H
#define SCRIBE_COMPAT_H

#include "postgres.h"

#include "nodes/parsenodes.h"
#include "replication/logical.h"
#include "replication/output_plugin.h"
#include "replication/reorderbuffer.h"

/* 17 took the wrapper struct round decoded tuples away */
#if PG_VERSION_NUM >= 170000
#define change_new_tuple(change) ((change)->data.tp.newtuple)
#define change_old_tuple(change) ((change)->data.tp.oldtuple)
#else
#define change_new_tuple(change) \
	((change)->data.tp.newtuple ? &(change)->data.tp.newtuple->tuple : NULL)
#define change_old_tuple(change) \
	((change)->data.tp.oldtuple ? &(change)->data.tp.oldtuple->tuple : NULL)
#endif

#if PG_VERSION_NUM >= 190000
#define txn_commit_time(txn) ((txn)->commit_time)
#elif PG_VERSION_NUM >= 150000
#define txn_commit_time(txn) ((txn)->xact_time.commit_time)
#else
#define txn_commit_time(txn) ((txn)->commit_time)
#endif

#if PG_VERSION_NUM >= 150000
#define update_progress(ctx, skipped) OutputPluginUpdateProgress(ctx, skipped)
#else
#define update_progress(ctx, skipped) OutputPluginUpdateProgress(ctx)
#endif

/* 13 does not say how many digits it wrote */
#if PG_VERSION_NUM >= 140000
#define int64_text(value, text) pg_lltoa(value, text)
#else
#define int64_text(value, text) (pg_lltoa(value, text), (int) strlen(text))
#endif

/* from 16 on core itself keeps the client informed during long transactions */
#if PG_VERSION_NUM >= 150000 && PG_VERSION_NUM < 160000
#define SCRIBE_KEEPS_ALIVE
#endif

/*
 * 18 tells the plugin about the abort of a subtransaction whose changes it dropped before anything was sent, as if they
 * had been streamed, and fails for good if the plugin has no callback for that.
 */
#if PG_VERSION_NUM >= 180000
#define SCRIBE_ABORTS_UNSTREAMED
#endif

/* a deferrable one does not count */
#if PG_VERSION_NUM >= 180000
#define primary_key_index(rel) RelationGetPrimaryKeyIndex(rel, false)
#else
#define primary_key_index(rel) RelationGetPrimaryKeyIndex(rel)
#endif

/* what is committed where decoding stands; needs snapbuild.h */
#if PG_VERSION_NUM >= 160000
#define present_snapshot(builder, xid) SnapBuildGetOrBuildSnapshot(builder)
#else
#define present_snapshot(builder, xid) SnapBuildGetOrBuildSnapshot(builder, xid)
#endif

/* the record that is being decoded */
#if PG_VERSION_NUM >= 150000
#define reader_has_record(reader) ((reader)->record != NULL)
#else
#define reader_has_record(reader) ((reader)->decoded_record != NULL)
#endif

/* 16 gave a membership options, and let each grantor grant it */
#if PG_VERSION_NUM >= 160000
#define MEMBER_GRANTOR(row) ((row)->grantor)
#define MEMBER_OPTIONS(row) \
	psprintf("ADMIN %s, INHERIT %s, SET %s", (row)->admin_option ? "TRUE" : "FALSE", \
			 (row)->inherit_option ? "TRUE" : "FALSE", (row)->set_option ? "TRUE" : "FALSE")
#else
#define MEMBER_GRANTOR(row) InvalidOid
#define MEMBER_OPTIONS(row) ((row)->admin_option ? "ADMIN OPTION" : "")
#endif

/* an argument of index_insert() */
#if PG_VERSION_NUM >= 140000
#define INDEX_UNCHANGED false,
#else
#define INDEX_UNCHANGED
#endif

/* a transactional message; needs message.h */
#if PG_VERSION_NUM >= 170000
#define log_message(prefix, text, size) LogLogicalMessage(prefix, text, size, true, false)
#else
#define log_message(prefix, text, size) LogLogicalMessage(prefix, text, size, true)
#endif

/* 19 takes options for a scan */
#if PG_VERSION_NUM >= 190000
#define beginscan_table(rel, snapshot) table_beginscan(rel, snapshot, 0, NULL, 0)
#else
#define beginscan_table(rel, snapshot) table_beginscan(rel, snapshot, 0, NULL)
#endif

/* CLUSTER is one of the ways to write REPACK from 19 on */
#if PG_VERSION_NUM >= 190000
typedef RepackStmt ClusterStatement;
#define T_ClusterStatement T_RepackStmt
#define clustered_relation(statement) ((statement)->relation ? (statement)->relation->relation : NULL)
#else
typedef ClusterStmt ClusterStatement;
#define T_ClusterStatement T_ClusterStmt
#define clustered_relation(statement) ((statement)->relation)
#endif

/* 19 knows no other strings */
#if PG_VERSION_NUM >= 190000
#define strings_are_standard() true
#else
#define strings_are_standard() (standard_conforming_strings)
#endif

/* pg_attribute.attgenerated: virtual came with 18 */
#define SCRIBE_GENERATED_VIRTUAL 'v'

/* the parser's trees of a string, and whether a CreateTableAsStmt makes a table */
#if PG_VERSION_NUM >= 140000
#define parse_string(string) raw_parser(string, RAW_PARSE_DEFAULT)
#define makes_table(creation) ((creation)->objtype == OBJECT_TABLE)
#else
#define parse_string(string) raw_parser(string)
#define makes_table(creation) ((creation)->relkind == OBJECT_TABLE)
#endif

/* a role's privilege on a schema; needs pg_namespace.h and acl.h */
#if PG_VERSION_NUM >= 160000
#define namespace_aclcheck(schema, role, mode) object_aclcheck(NamespaceRelationId, schema, role, mode)
#else
#define namespace_aclcheck(schema, role, mode) pg_namespace_aclcheck(schema, role, mode)
#endif

/* newer versions declare one or both themselves */
#if PG_VERSION_NUM < 160000
extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *cb);
#endif
extern PGDLLEXPORT void _PG_init(void);

#if PG_VERSION_NUM < 140000
#define F_PG_GET_TRIGGERDEF_OID F_PG_GET_TRIGGERDEF
#define PG_NODE_TREEOID PGNODETREEOID
#define PG_NDISTINCTOID PGNDISTINCTOID
#define PG_DEPENDENCIESOID PGDEPENDENCIESOID
#define PG_MCV_LISTOID PGMCVLISTOID
#endif

/* The number of the file that a table's rows are in. */
#if PG_VERSION_NUM >= 160000
#define HeapNumber(rel) ((rel)->rd_locator.relNumber)
#else
#define HeapNumber(rel) ((rel)->rd_node.relNode)
#endif

#endif							/* SCRIBE_COMPAT_H */
