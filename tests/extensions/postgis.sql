-- extension: postgis postgis_topology postgis_raster
CREATE EXTENSION postgis;
CREATE TABLE keyed (id int PRIMARY KEY, g geometry(Point, 4326), b box2d, y geography);
INSERT INTO keyed VALUES (1, ST_SetSRID(ST_MakePoint(1, 2), 4326), 'BOX(1 2,3 4)', 'POINT(1 2)'), (2, NULL, NULL, NULL);
CREATE TABLE keyless (g geometry);
INSERT INTO keyless VALUES ('POLYGON((0 0,1 0,1 1,0 0))'), ('POINT EMPTY'), (NULL);
CREATE INDEX ON keyed USING gist (g);
INSERT INTO spatial_ref_sys (srid, auth_name, auth_srid, srtext, proj4text) VALUES (990001, 'mine', 1, 'x', '+proj=longlat');
-- after init
INSERT INTO spatial_ref_sys (srid, auth_name, auth_srid, srtext, proj4text) VALUES (990002, 'mine', 2, 'x', '+proj=longlat');
UPDATE spatial_ref_sys SET srtext = 'y' WHERE srid = 990001;
UPDATE keyed SET g = ST_SetSRID(ST_MakePoint(3.5, 4), 4326) WHERE id = 2;
DELETE FROM keyless WHERE ST_IsEmpty(g);
UPDATE keyless SET g = 'LINESTRING(0 0 1,1 1 2)' WHERE g IS NULL;
CREATE EXTENSION postgis_raster;
CREATE EXTENSION postgis_topology;
SELECT topology.CreateTopology('town', 4326);
SELECT topology.AddNode('town', ST_SetSRID(ST_MakePoint(1, 2), 4326));
CREATE TABLE rasters (id serial PRIMARY KEY, r raster);
INSERT INTO rasters (r) VALUES (ST_AddBand(ST_MakeEmptyRaster(3, 3, 0, 0, 1), '8BUI'::text, 7, 0));
UPDATE rasters SET r = ST_SetValue(r, 1, 1, 9);
SELECT topology.DropTopology('town');
ALTER TABLE keyed ADD COLUMN area float8 GENERATED ALWAYS AS (ST_X(g)) STORED;
