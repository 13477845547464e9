-- extension: postgis
CREATE EXTENSION postgis;
DELETE FROM spatial_ref_sys WHERE srid = 4326;
UPDATE spatial_ref_sys SET srtext = 'mine' WHERE srid = 3857;
-- after init
DELETE FROM spatial_ref_sys WHERE srid = 2000;
UPDATE spatial_ref_sys SET srtext = 'changed' WHERE srid = 2001;
INSERT INTO spatial_ref_sys (srid, auth_name, auth_srid, srtext, proj4text) VALUES (4326, 'EPSG', 4326, 'again', 'x');
INSERT INTO spatial_ref_sys (srid, auth_name, auth_srid, srtext, proj4text) VALUES (990002, 'mine', 2, 'x', 'y');
