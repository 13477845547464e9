/*
 * scribe_roles.c
 *	  Changes of roles, tablespaces and the database as conditional statements.
 *
 * A role or tablespace that the target has already, and that this restore did
 * not make, is somebody else's and stays as it is.  The table scribe.made in
 * the restored database names those that the restore made.
 */
#include "scribe_shared.h"

#include "access/transam.h"

typedef struct Writer
{
	ScribeState *state;
	Facts	   *was;
	Facts	   *now;
	List	   *renamed;		/* OIDs whose facts are all written again */
	List	   *granted;		/* grantees whose privileges on the database are written */
	StringInfoData body;
} Writer;

/* Statements */

static void
append_name(StringInfo out, const char *name)
{
	append_literal(out, name, strlen(name));
}

/*
 * A dollar quote that does not end within the text.
 */
static const char *
dollar_quote(const char *text)
{
	const char *quote = "$scribe$";

	for (int i = 1; strstr(text, quote) != NULL; i++)
		quote = psprintf("$scribe%d$", i);
	return quote;
}

/*
 * Write what has gathered in the body as one DO statement.
 */
static void
write_block(Writer *writer, const char *tag, const char *declarations)
{
	ScribeState *state = writer->state;
	StringInfo	out = &state->out;
	const char *quote = dollar_quote(writer->body.data);

	run_end(state);
	output_begin(state);
	appendStringInfo(out, "-- ddl %s\nDO LANGUAGE plpgsql %s\n%sBEGIN\n", tag, quote, declarations);
	if (!state->made_known)
		appendStringInfoString(out, "  IF pg_catalog.to_regclass('scribe.made') IS NULL THEN\n"
							   "    CREATE TABLE scribe.made (kind text, name text, PRIMARY KEY (kind, name));\n"
							   "  END IF;\n");
	state->made_known = true;
	appendBinaryStringInfo(out, writer->body.data, writer->body.len);
	appendStringInfo(out, "END\n%s;\n-- ddl end", quote);
	state->ddl++;
	output_end_line(state);
	resetStringInfo(&writer->body);
}

/* IF the restore made a role THEN */
static void
if_made(Writer *writer, const char *role)
{
	appendStringInfoString(&writer->body, "  IF EXISTS (SELECT FROM scribe.made WHERE kind = 'role' AND name = ");
	append_name(&writer->body, role);
	appendStringInfoString(&writer->body, ") THEN\n    ");
}

/* IF there is such a role THEN */
static void
if_role(Writer *writer, const char *role)
{
	appendStringInfoString(&writer->body, "  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = ");
	append_name(&writer->body, role);
	appendStringInfoString(&writer->body, ") THEN\n    ");
}

static void
end_if(Writer *writer)
{
	appendStringInfoString(&writer->body, "  END IF;\n");
}

/* What the target cannot do is no reason to stop: nothing in the database depends on it. */
static void
try_begin(Writer *writer)
{
	appendStringInfoString(&writer->body, "BEGIN\n      ");
}

static void
try_end(Writer *writer)
{
	appendStringInfoString(&writer->body, "    EXCEPTION WHEN OTHERS THEN RAISE WARNING '%', SQLERRM;\n    END;\n");
}

/* Roles */

static void
write_role_dropped(Writer *writer, const Fact *fact)
{
	StringInfo	body = &writer->body;

	if_made(writer, fact->value);
	try_begin(writer);
	appendStringInfoString(body, "DROP ROLE ");
	append_identifier(body, fact->value);
	appendStringInfoString(body, ";\n");
	try_end(writer);
	appendStringInfoString(body, "    DELETE FROM scribe.made WHERE kind = 'role' AND name = ");
	append_name(body, fact->value);
	appendStringInfoString(body, ";\n");
	end_if(writer);
	write_block(writer, "DROP ROLE", "");
}

static void
append_create(Writer *writer, const char *role, const char *indent)
{
	StringInfo	body = &writer->body;

	appendStringInfo(body, "%sCREATE ROLE ", indent);
	append_identifier(body, role);
	appendStringInfo(body, ";\n%sINSERT INTO scribe.made VALUES ('role', ", indent);
	append_name(body, role);
	appendStringInfoString(body, ") ON CONFLICT DO NOTHING;\n");
}

static void
write_role_created(Writer *writer, const Fact *fact)
{
	StringInfo	body = &writer->body;
	const char *attributes = fact_name(writer->now, FACT_ATTRIBUTES, fact->a);

	appendStringInfoString(body, "  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = ");
	append_name(body, fact->value);
	appendStringInfoString(body, ") THEN\n");
	append_create(writer, fact->value, "    ");
	if (attributes != NULL)
	{
		appendStringInfoString(body, "    ALTER ROLE ");
		append_identifier(body, fact->value);
		appendStringInfo(body, " WITH %s;\n", attributes);
	}
	end_if(writer);
	write_block(writer, "CREATE ROLE", "");
}

/*
 * Where the target has a role of the new name, or the old one is not ours to
 * rename, what the old role is and has in this database becomes the new
 * one's.  A rename on the source keeps owners and the order of privileges, so
 * this puts one OID in the place of the other, as no GRANT could.
 */
static const char *const transfer =
"  FOR place IN SELECT c.oid::pg_catalog.regclass AS relation, a.attname AS name, a.atttypid::pg_catalog.regtype::text AS type\n"
"    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid\n"
"    WHERE c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND c.relkind = 'r' AND NOT c.relisshared\n"
"      AND (a.atttypid = 'pg_catalog.aclitem[]'::pg_catalog.regtype OR a.attname = 'polroles'\n"
"        OR a.atttypid = 'pg_catalog.oid'::pg_catalog.regtype AND (a.attname ~ 'owner$' OR a.attname IN ('umuser', 'defaclrole')))\n"
"  LOOP\n"
"    EXECUTE pg_catalog.format(CASE place.type WHEN 'oid' THEN 'UPDATE %1$s SET %2$I = $2 WHERE %2$I = $1'\n"
"      WHEN 'oid[]' THEN 'UPDATE %1$s SET %2$I = pg_catalog.array_replace(%2$I, $1, $2) WHERE $1 = ANY (%2$I)'\n"
"      ELSE 'UPDATE %1$s SET %2$I = ARRAY(SELECT CASE WHEN $1 IN (e.grantor, e.grantee) THEN'\n"
"        ' (CASE e.grantee WHEN 0 THEN '''' WHEN $1 THEN $4 ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(e.grantee)) END'\n"
"        ' || pg_catalog.substring(i.item::text, ''^(?:\"(?:[^\"]|\"\")*\"|[^=\"]*)(=[a-zA-Z*]*/)'')'\n"
"        ' || CASE e.grantor WHEN $1 THEN $4 ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(e.grantor)) END)'\n"
"        '::pg_catalog.aclitem ELSE i.item END FROM pg_catalog.unnest(%2$I) WITH ORDINALITY AS i (item, place),'\n"
"        ' LATERAL (SELECT DISTINCT x.grantor, x.grantee FROM pg_catalog.aclexplode(ARRAY[i.item]) AS x) AS e ORDER BY i.place)'\n"
"        ' WHERE EXISTS (SELECT FROM pg_catalog.aclexplode(%2$I) AS x WHERE $1 IN (x.grantor, x.grantee))' END,\n"
"      place.relation, place.name) USING was, now, old, pg_catalog.quote_ident(new);\n"
"  END LOOP;\n"
"  UPDATE pg_catalog.pg_shdepend SET refobjid = now WHERE refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass\n"
"    AND refobjid = was AND dbid = here;\n"
"  DELETE FROM pg_catalog.pg_shdepend AS s USING pg_catalog.pg_shdepend AS t WHERE s.dbid = here AND s.refobjid = now\n"
"    AND t.dbid = here AND (t.classid, t.objid, t.objsubid, t.refclassid, t.refobjid, t.deptype)\n"
"      = (s.classid, s.objid, s.objsubid, s.refclassid, s.refobjid, s.deptype) AND t.ctid < s.ctid;\n"
"  IF EXISTS (SELECT FROM pg_catalog.pg_database WHERE oid = here AND datdba = was) THEN\n"
"    EXECUTE pg_catalog.format('ALTER DATABASE %I OWNER TO %I', pg_catalog.current_database(), new);\n"
"  END IF;\n";

static void
write_role_renamed(Writer *writer, const char *old, const char *new)
{
	StringInfo	body = &writer->body;
	StringInfoData declarations;

	initStringInfo(&declarations);
	appendStringInfoString(&declarations, "DECLARE\n  old constant text := ");
	append_name(&declarations, old);
	appendStringInfoString(&declarations, ";\n  new constant text := ");
	append_name(&declarations, new);
	appendStringInfoString(&declarations,
						   ";\n  was pg_catalog.oid := (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = old);\n"
						   "  now pg_catalog.oid := (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = new);\n"
						   "  here constant pg_catalog.oid := (SELECT oid FROM pg_catalog.pg_database"
						   " WHERE datname = pg_catalog.current_database());\n"
						   "  ours boolean;\n  place record;\n");

	appendStringInfoString(body, "  ours := EXISTS (SELECT FROM scribe.made WHERE kind = 'role' AND name = old);\n"
						   "  IF ours AND now IS NULL THEN\n    ALTER ROLE ");
	append_identifier(body, old);
	appendStringInfoString(body, " RENAME TO ");
	append_identifier(body, new);
	appendStringInfoString(body, ";\n    UPDATE scribe.made SET name = new WHERE kind = 'role' AND name = old;\n"
						   "    RETURN;\n  END IF;\n  IF now IS NULL THEN\n");
	append_create(writer, new, "    ");
	appendStringInfoString(body, "    now := (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = new);\n  END IF;\n"
						   "  IF was IS NULL THEN\n    RETURN;\n  END IF;\n");
	appendStringInfoString(body, transfer);
	appendStringInfoString(body, "  IF ours THEN\n    ");
	try_begin(writer);
	appendStringInfoString(body, "DROP ROLE ");
	append_identifier(body, old);
	appendStringInfoString(body, ";\n");
	try_end(writer);
	appendStringInfoString(body, "    DELETE FROM scribe.made WHERE kind = 'role' AND name = old;\n  END IF;\n");
	write_block(writer, "ALTER ROLE", declarations.data);
}

static void
write_attributes(Writer *writer, const Fact *fact)
{
	const char *role = fact_name(writer->now, FACT_ROLE, fact->a);

	if_made(writer, role);
	appendStringInfoString(&writer->body, "ALTER ROLE ");
	append_identifier(&writer->body, role);
	appendStringInfo(&writer->body, " WITH %s;\n", fact->value);
	end_if(writer);
	write_block(writer, "ALTER ROLE", "");
}

static void
write_role_comment(Writer *writer, const Fact *fact, const char *value)
{
	const char *role = fact_name(writer->now, FACT_ROLE, fact->a);

	if (role == NULL)
		return;
	if_made(writer, role);
	appendStringInfoString(&writer->body, "COMMENT ON ROLE ");
	append_identifier(&writer->body, role);
	appendStringInfo(&writer->body, " IS %s;\n", value);
	end_if(writer);
	write_block(writer, "ALTER ROLE", "");
}

/* SET name TO value, or RESET name */
static const char *
setting_clause(const Fact *fact, const char *value)
{
	StringInfoData clause;

	initStringInfo(&clause);
	appendStringInfoString(&clause, value ? "SET " : "RESET ");
	append_setting_name(&clause, fact->key);
	if (value)
		appendStringInfo(&clause, " TO %s", value);
	return clause.data;
}

static void
write_role_setting(Writer *writer, const Fact *fact, const char *value)
{
	const char *role = fact_name(writer->now, FACT_ROLE, fact->a);

	if (role == NULL)
		return;
	if_made(writer, role);
	try_begin(writer);
	appendStringInfoString(&writer->body, "ALTER ROLE ");
	append_identifier(&writer->body, role);
	appendStringInfo(&writer->body, " %s;\n", setting_clause(fact, value));
	try_end(writer);
	end_if(writer);
	write_block(writer, "ALTER ROLE", "");
}

static void
append_grant(Writer *writer, StringInfo out, const Fact *fact, bool options, bool grantor)
{
	appendStringInfoString(out, "GRANT ");
	append_identifier(out, fact_name(writer->now, FACT_ROLE, fact->a));
	appendStringInfoString(out, " TO ");
	append_identifier(out, fact_name(writer->now, FACT_ROLE, fact->b));
	if (strcmp(fact->value, "ADMIN OPTION") == 0 || (!options && strstr(fact->value, "ADMIN TRUE") != NULL))
		appendStringInfoString(out, " WITH ADMIN OPTION");
	else if (options)
	{
		appendStringInfo(out, " WITH %s", fact->value);
		if (grantor)
		{
			appendStringInfoString(out, " GRANTED BY ");
			append_identifier(out, fact_name(writer->now, FACT_ROLE, fact->c));
		}
	}
}

static void
append_executed_grant(Writer *writer, const Fact *fact, bool grantor)
{
	StringInfoData grant;

	initStringInfo(&grant);
	append_grant(writer, &grant, fact, true, grantor);
	appendStringInfoString(&writer->body, "EXECUTE ");
	append_literal(&writer->body, grant.data, grant.len);
	appendStringInfoString(&writer->body, ";\n");
}

/*
 * What an older server gives, which knows no options: there a member may always
 * act as the group.  Who may not on the source, nor give himself the right to,
 * gets nothing.
 */
static void
append_plain_grant(Writer *writer, const Fact *fact)
{
	StringInfo	body = &writer->body;

	if (strstr(fact->value, "SET FALSE") == NULL || strstr(fact->value, "ADMIN TRUE") != NULL)
	{
		append_grant(writer, body, fact, false, false);
		return;
	}
	appendStringInfoString(body, "RAISE WARNING 'left out, since this server would give more than the source: %', ");
	append_name(body, psprintf("membership of %s in %s %s", fact_name(writer->now, FACT_ROLE, fact->b),
							   fact_name(writer->now, FACT_ROLE, fact->a), fact->value));
}

/*
 * A membership is the member's.  The grantor need not have the right on the
 * target, where another role may be the server's first superuser: then that
 * one gives it, with the same options, since without them it could be more.
 *
 * Where roles are already as they are on the source now, what was granted once
 * may be the other way round, and no server has both: that one stays as it is.
 */
static void
write_member(Writer *writer, const Fact *fact)
{
	StringInfo	body = &writer->body;

	if (fact_name(writer->now, FACT_ROLE, fact->a) == NULL || fact_name(writer->now, FACT_ROLE, fact->b) == NULL)
		return;
	if_made(writer, fact_name(writer->now, FACT_ROLE, fact->b));
	appendStringInfoString(body, "BEGIN\n      ");
	if (OidIsValid(fact->c) && fact_name(writer->now, FACT_ROLE, fact->c) != NULL)
	{
		appendStringInfoString(body, "BEGIN\n        ");
		append_executed_grant(writer, fact, true);
		appendStringInfoString(body, "      EXCEPTION WHEN OTHERS THEN\n        BEGIN\n          ");
		append_executed_grant(writer, fact, false);
		appendStringInfoString(body, "        EXCEPTION WHEN syntax_error THEN\n          ");
		append_plain_grant(writer, fact);
		appendStringInfoString(body, ";\n        END;\n      END;\n");
	}
	else
	{
		append_grant(writer, body, fact, false, false);
		appendStringInfoString(body, ";\n");
	}
	appendStringInfoString(body, "    EXCEPTION WHEN invalid_grant_operation THEN RAISE WARNING '%', SQLERRM;\n    END;\n");
	end_if(writer);
	write_block(writer, "GRANT ROLE", "");
}

/* Whether anybody else has given the same membership. */
static bool
is_member_still(Writer *writer, const Fact *fact)
{
	for (int i = 0; i < writer->now->n; i++)
	{
		Fact	   *other = &writer->now->items[i];

		if (other->kind == FACT_MEMBER && other->a == fact->a && other->b == fact->b)
			return true;
	}
	return false;
}

/* Where write_member() had another give it, that one takes it away. */
static void
write_member_gone(Writer *writer, const Fact *fact)
{
	const char *group = fact_name(writer->now, FACT_ROLE, fact->a);
	const char *member = fact_name(writer->now, FACT_ROLE, fact->b);
	const char *grantor = fact_name(writer->now, FACT_ROLE, fact->c);
	StringInfo	body = &writer->body;
	StringInfoData revoke;

	if (group == NULL || member == NULL)
		return;
	if_made(writer, member);
	try_begin(writer);
	initStringInfo(&revoke);
	appendStringInfoString(&revoke, "REVOKE ");
	append_identifier(&revoke, group);
	appendStringInfoString(&revoke, " FROM ");
	append_identifier(&revoke, member);
	if (grantor != NULL)
	{
		appendStringInfoString(&revoke, " GRANTED BY ");
		append_identifier(&revoke, grantor);
	}
	appendStringInfo(body, "%s;\n", revoke.data);
	try_end(writer);
	if (grantor != NULL && !is_member_still(writer, fact))
	{
		appendStringInfoString(body, "    ");
		try_begin(writer);
		appendStringInfoString(body, "IF EXISTS (SELECT FROM pg_catalog.pg_auth_members"
							   " WHERE roleid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = ");
		append_literal(body, group, strlen(group));
		appendStringInfoString(body, ") AND member = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = ");
		append_literal(body, member, strlen(member));
		appendStringInfoString(body, ")) THEN\n        REVOKE ");
		append_identifier(body, group);
		appendStringInfoString(body, " FROM ");
		append_identifier(body, member);
		appendStringInfoString(body, ";\n      END IF;\n");
		try_end(writer);
	}
	end_if(writer);
	write_block(writer, "REVOKE ROLE", "");
}

/* Tablespaces */

static void
append_block_begin(Writer *writer, const char *tag)
{
	ScribeState *state = writer->state;

	run_end(state);
	output_begin(state);
	appendStringInfo(&state->out, "-- ddl %s\nDO LANGUAGE plpgsql $scribe$\nBEGIN\n"
					 "  IF pg_catalog.to_regclass('scribe.made') IS NULL THEN\n"
					 "    CREATE TABLE scribe.made (kind text, name text, PRIMARY KEY (kind, name));\n"
					 "  END IF;\nEND\n$scribe$;\n", tag);
	state->made_known = true;
}

static void
append_block_end(Writer *writer)
{
	appendStringInfoString(&writer->state->out, "BEGIN;\n-- ddl end");
	writer->state->ddl++;
	output_end_line(writer->state);
}

/* A command that no transaction allows, as the literal that \gexec runs */
static void
append_command(StringInfo out, const char *command, const char *space, const char *rest)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, command);
	append_identifier(&text, space);
	appendStringInfoString(&text, rest);
	append_literal(out, text.data, text.len);
}

/*
 * Where the target lacks it, it is made in the server's own directory: the
 * source's directories are the source's.  old: its former name, under which
 * the restore may have made it.
 */
static void
write_space_created(Writer *writer, const char *space, const char *old)
{
	StringInfo	out = &writer->state->out;
	StringInfoData missing;

	initStringInfo(&missing);
	appendStringInfoString(&missing, "NOT EXISTS (SELECT FROM pg_catalog.pg_tablespace WHERE spcname = ");
	append_name(&missing, space);
	appendStringInfoString(&missing, ")");
	if (old != NULL)
	{
		appendStringInfoString(&missing, " AND NOT EXISTS (SELECT FROM scribe.made WHERE kind = 'tablespace' AND name = ");
		append_name(&missing, old);
		appendStringInfoString(&missing, ")");
	}
	append_block_begin(writer, "CREATE TABLESPACE");
	appendStringInfoString(out, "INSERT INTO scribe.made SELECT 'tablespace', ");
	append_name(out, space);
	appendStringInfo(out, " WHERE %s ON CONFLICT DO NOTHING;\nCOMMIT;\n"
					 "SELECT pg_catalog.set_config('allow_in_place_tablespaces', 'on', false);\nSELECT ", missing.data);
	append_command(out, "CREATE TABLESPACE ", space, " LOCATION ''");
	appendStringInfo(out, " WHERE %s \\gexec\n", missing.data);
	append_block_end(writer);
}

static void
write_space_dropped(Writer *writer, const char *space)
{
	StringInfo	out = &writer->state->out;

	append_block_begin(writer, "DROP TABLESPACE");
	appendStringInfoString(out, "COMMIT;\nCHECKPOINT;\nSELECT ");
	append_command(out, "DROP TABLESPACE ", space, "");
	appendStringInfoString(out, " FROM pg_catalog.pg_tablespace AS t JOIN scribe.made AS m ON m.kind = 'tablespace' AND m.name = t.spcname"
						   " WHERE t.spcname = ");
	append_name(out, space);
	appendStringInfoString(out, " AND NOT EXISTS (SELECT FROM pg_catalog.pg_tablespace_databases(t.oid)) \\gexec\n"
						   "DELETE FROM scribe.made WHERE kind = 'tablespace' AND name = ");
	append_name(out, space);
	appendStringInfoString(out, ";\n");
	append_block_end(writer);
}

static void
append_move(StringInfo body, const char *kind, const char *old, const char *new)
{
	appendStringInfo(body, "    ALTER %s ALL IN TABLESPACE ", kind);
	append_identifier(body, old);
	appendStringInfoString(body, " SET TABLESPACE ");
	append_identifier(body, new);
	appendStringInfoString(body, ";\n");
}

static void
append_space_exists(StringInfo body, const char *space)
{
	appendStringInfoString(body, "EXISTS (SELECT FROM pg_catalog.pg_tablespace WHERE spcname = ");
	append_name(body, space);
	appendStringInfoString(body, ")");
}

static void
write_space_renamed(Writer *writer, const char *old, const char *new)
{
	StringInfo	body = &writer->body;

	write_space_created(writer, new, old);
	appendStringInfoString(body, "  IF NOT ");
	append_space_exists(body, new);
	appendStringInfoString(body, " THEN\n    ALTER TABLESPACE ");
	append_identifier(body, old);
	appendStringInfoString(body, " RENAME TO ");
	append_identifier(body, new);
	appendStringInfoString(body, ";\n    UPDATE scribe.made SET name = ");
	append_name(body, new);
	appendStringInfoString(body, " WHERE kind = 'tablespace' AND name = ");
	append_name(body, old);
	appendStringInfoString(body, ";\n  ELSIF ");
	append_space_exists(body, old);
	appendStringInfoString(body, " THEN\n");
	append_move(body, "TABLE", old, new);
	append_move(body, "INDEX", old, new);
	append_move(body, "MATERIALIZED VIEW", old, new);
	end_if(writer);
	write_block(writer, "ALTER TABLESPACE", "");
}

/* IF the restore made a tablespace THEN */
static void
if_space_made(Writer *writer, const char *space)
{
	appendStringInfoString(&writer->body, "  IF EXISTS (SELECT FROM scribe.made WHERE kind = 'tablespace' AND name = ");
	append_name(&writer->body, space);
	appendStringInfoString(&writer->body, ") THEN\n");
}

static void
write_space_changed(Writer *writer, const char *space, const char *before, const char *after, const char *role, const char *rest)
{
	StringInfo	body = &writer->body;

	if_space_made(writer, space);
	appendStringInfoString(body, "    ");
	try_begin(writer);
	appendStringInfo(body, "%s ", before);
	append_identifier(body, space);
	appendStringInfo(body, " %s", after);
	if (role != NULL)
		append_identifier(body, role);
	appendStringInfo(body, "%s;\n", rest);
	try_end(writer);
	end_if(writer);
	write_block(writer, "ALTER TABLESPACE", "");
}

static void
write_space_fact(Writer *writer, const Fact *was, const Fact *now)
{
	const Fact *fact = now ? now : was;
	const char *space = fact_name(writer->now, FACT_SPACE, fact->a);
	const char *role = fact_name(writer->now, FACT_ROLE, fact->b);

	if (space == NULL)
		return;
	if (fact->kind == FACT_SPACE_OWNER && now && role)
		write_space_changed(writer, space, "ALTER TABLESPACE", "OWNER TO ", role, "");
	else if (fact->kind == FACT_SPACE_OPTIONS && now)
		write_space_changed(writer, space, "ALTER TABLESPACE", psprintf("SET (%s)", now->value), NULL, "");
	else if (fact->kind == FACT_SPACE_COMMENT)
		write_space_changed(writer, space, "COMMENT ON TABLESPACE", psprintf("IS %s", now ? now->value : "NULL"), NULL, "");
	else if (fact->kind == FACT_SPACE_GRANT && OidIsValid(fact->b) && role == NULL)
		return;
	else if (fact->kind == FACT_SPACE_GRANT && now)
		write_space_changed(writer, space, psprintf("GRANT %s ON TABLESPACE", now->value), role ? "TO " : "TO PUBLIC", role,
							now->c ? " WITH GRANT OPTION" : "");
	else if (fact->kind == FACT_SPACE_GRANT)
		write_space_changed(writer, space, psprintf("REVOKE %s%s ON TABLESPACE", was->c ? "GRANT OPTION FOR " : "", was->value),
							role ? "FROM " : "FROM PUBLIC", role, " CASCADE");
}

/* The database */

/* EXECUTE format('ALTER DATABASE %I clause', current_database()) with a name or text as second argument */
static void
append_on_database(Writer *writer, const char *before, const char *after, const char *argument)
{
	StringInfo	body = &writer->body;

	appendStringInfo(body, "EXECUTE pg_catalog.format('%s %%I %s', pg_catalog.current_database()", before, after);
	if (argument != NULL)
	{
		appendStringInfoString(body, ", ");
		append_name(body, argument);
	}
	appendStringInfoString(body, ");\n");
}

static void
write_unconditional(Writer *writer, const char *before, const char *after, const char *argument)
{
	appendStringInfoString(&writer->body, "  ");
	append_on_database(writer, before, after, argument);
	write_block(writer, "ALTER DATABASE", "");
}

static void
write_owner(Writer *writer, const Fact *fact)
{
	const char *role = fact_name(writer->now, FACT_ROLE, fact->b);

	if (role == NULL)
		return;
	if_role(writer, role);
	append_on_database(writer, "ALTER DATABASE", "OWNER TO %I", role);
	end_if(writer);
	write_block(writer, "ALTER DATABASE", "");
}

static void
write_database_setting(Writer *writer, const Fact *fact, const char *value)
{
	const char *role = OidIsValid(fact->a) ? fact_name(writer->now, FACT_ROLE, fact->a) : NULL;
	const char *clause = setting_clause(fact, value);
	StringInfo	body = &writer->body;

	if (OidIsValid(fact->a) && role == NULL)
		return;
	if (role)
		if_role(writer, role);
	else
		appendStringInfoString(body, "    ");
	try_begin(writer);
	if (role)
	{
		appendStringInfoString(body, "EXECUTE pg_catalog.format('ALTER ROLE %I IN DATABASE %I %s', ");
		append_name(body, role);
		appendStringInfoString(body, ", pg_catalog.current_database(), ");
		append_name(body, clause);
		appendStringInfoString(body, ");\n");
	}
	else
		append_on_database(writer, "ALTER DATABASE", "%s", clause);
	try_end(writer);
	if (role)
		end_if(writer);
	write_block(writer, "ALTER DATABASE", "");
}

/* The privileges one grantee has now: the old ones go first. */
static void
write_database_grants(Writer *writer, Oid grantee, const char *name)
{
	StringInfo	body = &writer->body;

	if (OidIsValid(grantee))
		if_role(writer, name);
	else
		appendStringInfoString(body, "    ");
	append_on_database(writer, "REVOKE ALL ON DATABASE", OidIsValid(grantee) ? "FROM %I CASCADE" : "FROM PUBLIC CASCADE",
					   OidIsValid(grantee) ? name : NULL);
	for (int i = 0; i < writer->now->n; i++)
	{
		const Fact *fact = &writer->now->items[i];

		if (fact->kind != FACT_GRANT || fact->b != grantee)
			continue;
		appendStringInfoString(body, "    ");
		append_on_database(writer, psprintf("GRANT %s ON DATABASE", fact->value),
						   psprintf("TO %s%s", OidIsValid(grantee) ? "%I" : "PUBLIC", fact->c ? " WITH GRANT OPTION" : ""),
						   OidIsValid(grantee) ? name : NULL);
	}
	if (OidIsValid(grantee))
		end_if(writer);
	write_block(writer, "ALTER DATABASE", "");
}

/* What is different */

typedef void (*Difference) (Writer *writer, const Fact *was, const Fact *now);

static bool
is_written_again(Writer *writer, const Fact *fact)
{
	return fact->kind != FACT_ROLE && writer->renamed != NIL &&
		(list_member_oid(writer->renamed, fact->a) || list_member_oid(writer->renamed, fact->b));
}

static bool
same_value(const char *x, const char *y)
{
	return x != NULL && y != NULL && strcmp(x, y) == 0;
}

static void
each_difference(Writer *writer, Difference difference)
{
	int			i = 0;
	int			k = 0;

	while (i < writer->was->n || k < writer->now->n)
	{
		const Fact *was = i < writer->was->n ? &writer->was->items[i] : NULL;
		const Fact *now = k < writer->now->n ? &writer->now->items[k] : NULL;
		int			order = was == NULL ? 1 : now == NULL ? -1 : compare_fact_keys(was, now);

		if (order < 0)
			difference(writer, was, NULL);
		else if (order > 0)
			difference(writer, NULL, now);
		else if (!same_value(was->value, now->value) || is_written_again(writer, now))
			difference(writer, was, now);
		i += order <= 0;
		k += order >= 0;
	}
}

static void
write_removals(Writer *writer, const Fact *was, const Fact *now)
{
	if (was == NULL || now != NULL)
		return;
	switch (was->kind)
	{
		case FACT_MEMBER:
			write_member_gone(writer, was);
			break;
		case FACT_ROLE_SETTING:
			write_role_setting(writer, was, NULL);
			break;
		case FACT_ROLE_COMMENT:
			write_role_comment(writer, was, "NULL");
			break;
		case FACT_SETTING:
			write_database_setting(writer, was, NULL);
			break;
		case FACT_COMMENT:
			write_unconditional(writer, "COMMENT ON DATABASE", "IS NULL", NULL);
			break;
		default:
			break;
	}
}

static void
write_drops(Writer *writer, const Fact *was, const Fact *now)
{
	if (was != NULL && now == NULL && was->kind == FACT_ROLE)
		write_role_dropped(writer, was);
}

static bool
name_was_taken(Writer *writer, const char *name)
{
	for (int i = 0; i < writer->was->n && writer->was->items[i].kind == FACT_ROLE; i++)
		if (same_value(writer->was->items[i].value, name))
			return fact_name(writer->now, FACT_ROLE, writer->was->items[i].a) != NULL;
	return false;
}

static char *
passing_name(Oid role)
{
	return psprintf("scribe_renaming_%u", role);
}

/* A name that another role is about to give up is not free yet: a detour. */
static void
write_renames_away(Writer *writer, const Fact *was, const Fact *now)
{
	if (was == NULL || now == NULL || was->kind != FACT_ROLE || was->a < FirstNormalObjectId ||
		same_value(was->value, now->value))
		return;
	writer->renamed = lappend_oid(writer->renamed, was->a);
	if (name_was_taken(writer, now->value))
		write_role_renamed(writer, was->value, passing_name(was->a));
}

static void
write_renames(Writer *writer, const Fact *was, const Fact *now)
{
	if (was == NULL || now == NULL || was->kind != FACT_ROLE || same_value(was->value, now->value))
		return;
	if (was->a < FirstNormalObjectId)
		output_warning(writer->state, "role %s, which the cluster was made with, is called %s now", was->value, now->value);
	else
		write_role_renamed(writer, name_was_taken(writer, now->value) ? passing_name(was->a) : was->value, now->value);
}

static void
write_creations(Writer *writer, const Fact *was, const Fact *now)
{
	if (was == NULL && now->kind == FACT_ROLE)
		write_role_created(writer, now);
}

static void
write_additions(Writer *writer, const Fact *was, const Fact *now)
{
	if (now == NULL)
		return;
	switch (now->kind)
	{
		case FACT_ATTRIBUTES:
			if (was != NULL)	/* else they came with the role */
				write_attributes(writer, now);
			break;
		case FACT_ROLE_COMMENT:
			write_role_comment(writer, now, now->value);
			break;
		case FACT_ROLE_SETTING:
			write_role_setting(writer, now, now->value);
			break;
		case FACT_MEMBER:
			write_member(writer, now);
			break;
		case FACT_OWNER:
			write_owner(writer, now);
			break;
		case FACT_LIMIT:
			write_unconditional(writer, "ALTER DATABASE", psprintf("CONNECTION LIMIT %s", now->value), NULL);
			break;
		case FACT_COMMENT:
			write_unconditional(writer, "COMMENT ON DATABASE", "IS %s", now->value);
			break;
		case FACT_SETTING:
			write_database_setting(writer, now, now->value);
			break;
		default:
			break;
	}
}

static void
write_spaces(Writer *writer, const Fact *was, const Fact *now)
{
	if ((was ? was : now)->kind != FACT_SPACE)
		return;
	if (was == NULL)
		write_space_created(writer, now->value, NULL);
	else if (now == NULL)
		write_space_dropped(writer, was->value);
	else
		write_space_renamed(writer, was->value, now->value);
}

static void
write_space_facts(Writer *writer, const Fact *was, const Fact *now)
{
	const Fact *fact = now ? now : was;

	if (fact->kind > FACT_SPACE && fact->kind <= FACT_SPACE_GRANT)
		write_space_fact(writer, was, now);
}

/* Last, since a new owner takes the old one's privileges over. */
static void
write_grants(Writer *writer, const Fact *was, const Fact *now)
{
	const Fact *fact = now ? now : was;
	const char *before;
	const char *name;

	if (fact->kind != FACT_GRANT)
		return;
	before = fact_name(writer->was, FACT_ROLE, fact->b);
	name = fact_name(writer->now, FACT_ROLE, fact->b);
	if ((OidIsValid(fact->b) && name == NULL) || list_member_oid(writer->granted, fact->b))
		return;
	writer->granted = lappend_oid(writer->granted, fact->b);
	if (before != NULL && OidIsValid(fact->b) && strcmp(before, name) != 0)
	{
		if_role(writer, before);
		append_on_database(writer, "REVOKE ALL ON DATABASE", "FROM %I CASCADE", before);
		end_if(writer);
	}
	write_database_grants(writer, fact->b, name);
}

/*
 * Write what is different between two states.
 */
void
write_shared(ScribeState *state, Facts *was, Facts *now)
{
	static const Difference steps[] = {
		write_spaces, write_removals, write_drops, write_renames_away, write_renames, write_creations, write_additions, write_space_facts, write_grants
	};
	Writer		writer = {state, was, now, NIL, NIL};

	initStringInfo(&writer.body);
	for (int i = 0; i < (int) lengthof(steps); i++)
		each_difference(&writer, steps[i]);
}
