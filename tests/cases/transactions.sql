-- Subtransactions, savepoints rolled back, prepared transactions, huge (spilled), empty transactions.
CREATE TABLE t (id int PRIMARY KEY, v text);
-- after init
BEGIN; COMMIT;
BEGIN; INSERT INTO t VALUES (1, 'a'); SAVEPOINT a; INSERT INTO t VALUES (2, 'b'); ROLLBACK TO a; INSERT INTO t VALUES (3, 'c'); SAVEPOINT b; UPDATE t SET v = 'x' WHERE id = 1; RELEASE b; COMMIT;
BEGIN; INSERT INTO t VALUES (4, 'p'); PREPARE TRANSACTION 'scribe_case_one';
INSERT INTO t VALUES (5, 'between');
COMMIT PREPARED 'scribe_case_one';
BEGIN; INSERT INTO t VALUES (6, 'r'); PREPARE TRANSACTION 'scribe_case_two';
ROLLBACK PREPARED 'scribe_case_two';
BEGIN; CREATE TABLE prepared_ddl (a int PRIMARY KEY); INSERT INTO prepared_ddl VALUES (1); PREPARE TRANSACTION 'scribe_case_three';
COMMIT PREPARED 'scribe_case_three';
BEGIN; INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1000, 120000) i; UPDATE t SET v = v || 'x' WHERE id % 10 = 0; DELETE FROM t WHERE id % 7 = 0 AND id > 1000; COMMIT;
DO $$ BEGIN FOR i IN 200000..200300 LOOP BEGIN INSERT INTO t VALUES (i, 's'); IF i % 3 = 0 THEN RAISE 'x'; END IF; EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$;
INSERT INTO t VALUES (7, 'conflict') ON CONFLICT (id) DO UPDATE SET v = 'upsert';
INSERT INTO t VALUES (7, 'conflict') ON CONFLICT (id) DO UPDATE SET v = 'upsert';
SELECT current_setting('server_version_num')::int >= 150000 AS merges \gset
\if :merges
MERGE INTO t USING (VALUES (7, 'm'), (8, 'n')) s(id, v) ON t.id = s.id WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v);
\endif
