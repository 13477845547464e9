-- extension: age
-- preload: age
-- decoder: scribe_decoder
CREATE EXTENSION age;
LOAD 'age';
SET search_path = ag_catalog, public;
SELECT create_graph('old');
SELECT * FROM cypher('old', $$ CREATE (:Person {name: 'Ann'})-[:KNOWS]->(:Person {name: 'Bob'}) $$) AS (a agtype);
RESET search_path;
-- after init
LOAD 'age';
SET search_path = ag_catalog, public;
SELECT create_graph('young');
SELECT * FROM cypher('young', $$ CREATE (:City {name: 'Ulm', size: 3}) $$) AS (a agtype);
SELECT * FROM cypher('old', $$ CREATE (:Animal {name: 'Cat'}) $$) AS (a agtype);
SELECT * FROM cypher('old', $$ MATCH (p:Person {name: 'Ann'}) SET p.age = 33 RETURN p $$) AS (a agtype);
SELECT create_vlabel('young', 'Made');
SELECT create_graph('brief');
SELECT drop_graph('brief', true);
SELECT drop_label('young', 'Made');
