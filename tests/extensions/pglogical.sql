-- extension: pglogical pgl_ddl_deploy
-- preload: pglogical
-- decoder: scribe_decoder
-- condition: nodes, replication sets and subscriptions are not in a copy, as they are not in a dump
-- unlike: pglogical\.
CREATE EXTENSION pglogical;
CREATE TABLE keyed (id int PRIMARY KEY, v text);
SELECT pglogical.create_node('provider', 'host=/nowhere dbname=shop');
SELECT pglogical.replication_set_add_table('default', 'keyed');
-- after init
SELECT pglogical.create_replication_set('more');
SELECT pglogical.replication_set_add_table('more', 'keyed');
SELECT pglogical.alter_replication_set('more', replicate_delete := false);
SELECT pglogical.replication_set_remove_table('default', 'keyed');
INSERT INTO keyed VALUES (1, 'x');
CREATE EXTENSION pgl_ddl_deploy;
INSERT INTO pgl_ddl_deploy.set_configs (set_name, include_schema_regex) VALUES ('default', '.*');
SELECT pgl_ddl_deploy.deploy('default');
CREATE TABLE deployed (id serial PRIMARY KEY, v text DEFAULT 'd');
INSERT INTO deployed DEFAULT VALUES;
ALTER TABLE deployed ADD COLUMN w text DEFAULT 'w';
DROP TABLE deployed;
SELECT pgl_ddl_deploy.undeploy('default');
SELECT pglogical.drop_node('provider');
UPDATE keyed SET v = 'y';
