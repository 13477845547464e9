-- pg_scribe: settings, privileges and comment of the database; for whatever database this is run in
SET client_encoding = 'UTF8';
DO LANGUAGE plpgsql $scribe$
BEGIN
  EXECUTE pg_catalog.format('COMMENT ON DATABASE %I IS ''kept for good''', pg_catalog.current_database());
  EXECUTE pg_catalog.format('ALTER DATABASE %I SET "statement_timeout" TO ''1h''', pg_catalog.current_database());
END
$scribe$;
