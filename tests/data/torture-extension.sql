-- An extension with tables that CREATE EXTENSION fills, and to which users add: a dump holds the added rows only, and
-- they go into tables that have rows already. For psql, as a superuser, into an empty database.
-- It needs the extension "unit", which PostgreSQL 15 of the test bed has; spatial_ref_sys of PostGIS is the well-known case.
\set ON_ERROR_STOP on
CREATE SCHEMA measures;
CREATE EXTENSION unit SCHEMA measures;
INSERT INTO measures.unit_prefixes (prefix, factor, definition) VALUES ('few', 3, E'our\town');
INSERT INTO measures.unit_units (name, unit, definition) VALUES ('own_cubit', '0.5 m', E'our\nown'), ('own_ell', '1.1 m', NULL);
INSERT INTO measures.unit_units (name, unit, definition, dump) VALUES ('not_dumped', '1 m', 'one that the extension would bring', false);
CREATE TABLE measures.lengths (id int PRIMARY KEY, length measures.unit);
SET search_path = measures, public;
INSERT INTO measures.lengths VALUES (1, '3 own_cubit'), (2, '5 km'), (3, NULL);
