-- extension: semver
CREATE EXTENSION semver;
CREATE TABLE keyed (v semver PRIMARY KEY, r semverrange);
CREATE TABLE keyless (v semver);
INSERT INTO keyed VALUES ('1.2.3', '[1.0.0,2.0.0)'), ('1.2.3-beta.1', NULL);
INSERT INTO keyless SELECT v FROM keyed;
-- after init
UPDATE keyed SET v = '2.0.0' WHERE v = '1.2.3';
DELETE FROM keyless WHERE v < '1.2.3';
UPDATE keyless SET v = '1.2.4';
