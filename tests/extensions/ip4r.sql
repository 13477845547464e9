-- extension: ip4r
CREATE EXTENSION ip4r;
CREATE TABLE keyed (r ip4r PRIMARY KEY, a ipaddress, n iprange);
CREATE TABLE keyless (r ip4r, s ip6, t ip6r);
INSERT INTO keyed VALUES ('10.0.0.0/8', '1.2.3.4', '::1-::5'), ('1.2.3.4-1.2.3.9', '::1', '-');
INSERT INTO keyless VALUES ('10.0.0.0/8', '::ffff', 'fe80::/10'), (NULL, NULL, NULL);
CREATE INDEX ON keyed USING gist (r);
-- after init
UPDATE keyed SET a = '5.6.7.8' WHERE r = '10.0.0.0/8';
DELETE FROM keyed WHERE a = '::1';
UPDATE keyless SET r = '9.9.9.9' WHERE r IS NULL;
DELETE FROM keyless WHERE s = '::ffff';
