/*-------------------------------------------------------------------------
 *
 * scribe_settings.c
 *	  The settings of a session under which a statement runs.
 *
 * All are recorded that a session, its role or its database has changed and
 * that are not known to be harmless: extensions and applications have settings
 * of their own, which functions in defaults and expressions read.  Those that a
 * segment's header sets are recorded if they are not as it sets them, whatever
 * set them.  scribe.session_settings() of sql/capture.sql does the same, and a
 * test compares the two.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"

#include "compat.h"
#include "scribe_capture.h"

/* As segments have them.  The first is what the texts of capture itself do without: see scribe.write_row(). */
static const struct
{
	const char *name;
	const char *values;			/* alternatives that mean the same, between bars */
}			pinned[] = {
	{"standard_conforming_strings", "on"},
	{"DateStyle", "ISO, MDY"},
	{"IntervalStyle", "postgres"},
	{"TimeZone", "UTC|Etc/UTC|Etc/UCT|UCT|Zulu|Universal"},
	{"array_nulls", "on"},
	{"backslash_quote", "safe_encoding"},
	{"bytea_output", "hex"},
	{"default_table_access_method", "heap"},
	{"default_tablespace", ""},
	{"extra_float_digits", "1|2|3"},
	{"lc_monetary", "C"},
	{"quote_all_identifiers", "off"},
	{"timezone_abbreviations", "Default"},
	{"transform_null_equals", "off"},
	{"xmlbinary", "base64"},
	{"xmloption", "content"}
};

/* Planning, resources, timeouts, logging, the client's business, and what segments decide.  * stands for the rest of a name. */
static const char *const harmless[] = {
	"application_name", "auto_explain.*", "backend_flush_after", "backtrace_functions", "check_function_bodies",
	"client_*", "commit_*", "compute_query_id", "constraint_exclusion", "cpu_*", "createrole_self_grant",
	"cursor_tuple_fraction", "deadlock_timeout", "debug_*", "default_statistics_target", "default_toast_compression",
	"default_transaction_*", "dynamic_library_path", "effective_*", "enable_*", "escape_string_warning",
	"event_triggers", "exit_on_error", "force_parallel_mode", "from_collapse_limit", "geqo*", "gin_*",
	"hash_mem_multiplier", "idle_*", "ignore_*", "io_*", "jit*", "join_collapse_limit", "lc_messages", "lc_numeric",
	"lc_time", "lo_compat_privileges", "local_preload_libraries", "lock_timeout", "log_*", "logical_decoding_work_mem",
	"maintenance_*", "max_parallel_*", "max_stack_depth", "min_parallel_*", "output_plugin_libraries", "parallel_*",
	"password_encryption", "pg_hint_plan.*", "pg_stat_statements.*", "pgaudit.*", "plan_cache_mode", "random_page_cost",
	"recursive_worktable_factor", "restrict_nonsystem_relation_kind", "role", "row_security", "scribe.*", "search_path",
	"seed", "seq_page_cost", "session_*", "set_user.*", "statement_timeout", "stats_*", "synchronize_seqscans",
	"synchronous_commit", "tcp_*", "temp_*", "trace_*", "track_*", "transaction_*", "update_process_title", "vacuum_*",
	"wal_*", "work_mem", "zero_damaged_pages"
};

static bool
is_one_of(const char *value, const char *values)
{
	size_t		length = strlen(value);

	for (const char *p = values; p != NULL; p = strchr(p, '|'))
	{
		if (*p == '|')
			p++;
		if (strncmp(p, value, length) == 0 && (p[length] == '\0' || p[length] == '|'))
			return true;
	}
	return false;
}

static bool
is_harmless(const char *name)
{
	for (int i = 0; i < (int) lengthof(harmless); i++)
	{
		size_t		length = strlen(harmless[i]);

		if (harmless[i][length - 1] == '*' ? pg_strncasecmp(name, harmless[i], length - 1) == 0 :
			pg_strcasecmp(name, harmless[i]) == 0)
			return true;
	}
	return false;
}

static bool
is_pinned(const char *name)
{
	for (int i = 0; i < (int) lengthof(pinned); i++)
		if (strcmp(name, pinned[i].name) == 0)
			return true;
	return false;
}

/* Whether the session, its role or its database has given it a value, or anybody to one that no extension defines. */
static bool
is_changed(struct config_generic *setting)
{
	if (setting->flags & GUC_CUSTOM_PLACEHOLDER)
		return setting->source > PGC_S_DEFAULT;
	return setting->source > PGC_S_ARGV && setting->source != PGC_S_OVERRIDE &&
		(setting->context == PGC_USERSET || setting->context == PGC_SUSET) && !(setting->flags & GUC_SUPERUSER_ONLY);
}

static void
add_setting(ArrayBuildState **state, const char *name, const char *value)
{
	*state = accumArrayResult(*state, CStringGetTextDatum(name), false, TEXTOID, CurrentMemoryContext);
	*state = accumArrayResult(*state, CStringGetTextDatum(value), false, TEXTOID, CurrentMemoryContext);
}

#if PG_VERSION_NUM >= 160000
static int
by_name(const void *a, const void *b)
{
	return pg_strcasecmp((*(struct config_generic *const *) a)->name, (*(struct config_generic *const *) b)->name);
}

/*
 * The settings that are not at their default, and perhaps some that are.  The server lists them for its parallel workers, as
 * RestoreGUCState() reads them; its list of all would be made and sorted again for each statement, and cost more than
 * everything else that is done here.
 */
static struct config_generic **
set_settings(int *count)
{
	Size		size = EstimateGUCStateSpace();
	char	   *state = palloc(size);
	struct config_generic **found = palloc(sizeof(struct config_generic *) * (size / 16 + 1));
	char	   *p = state + sizeof(Size);
	Size		used;

	SerializeGUCState(size, state);
	memcpy(&used, state, sizeof(Size));
	*count = 0;
	for (char *end = p + used; p < end;)
	{
		struct config_generic *setting = find_option(p, false, true, DEBUG5);
		bool		in_file;

		if (setting != NULL)
			found[(*count)++] = setting;
		p += strlen(p) + 1;		/* the name */
		p += strlen(p) + 1;		/* the value */
		in_file = *p != '\0';
		p += strlen(p) + 1;		/* the file */
		p += (in_file ? sizeof(int) : 0) + sizeof(GucSource) + sizeof(GucContext) + sizeof(Oid);
	}
	qsort(found, *count, sizeof(*found), by_name);
	return found;
}
#else
static struct config_generic **
set_settings(int *count)
{
	*count = GetNumConfigOptions();
	return get_guc_variables();
}
#endif

/* Names and values as text[]. */
Datum
session_settings(void)
{
	ArrayBuildState *state = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	int			count;
	struct config_generic **settings = set_settings(&count);

	for (int i = 0; i < (int) lengthof(pinned); i++)
	{
		const char *value = GetConfigOptionByName(pinned[i].name, NULL, true);

		if (value != NULL && !is_one_of(value, pinned[i].values))
			add_setting(&state, pinned[i].name, value);
	}
	for (int i = 0; i < count; i++)
		if (is_changed(settings[i]) && !is_pinned(settings[i]->name) && !is_harmless(settings[i]->name))
			add_setting(&state, settings[i]->name, GetConfigOptionByName(settings[i]->name, NULL, true));
	return makeArrayResult(state, CurrentMemoryContext);
}

/* The same as a value of a setting. */
char *
settings_text(Datum settings)
{
	return OidOutputFunctionCall(F_ARRAY_OUT, settings);
}
