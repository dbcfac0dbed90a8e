-- Bytes that are text in no encoding. For psql, into an empty database with ENCODING 'SQL_ASCII' LOCALE 'C'.
-- With -v odd_names=1 also in names.
\set ON_ERROR_STOP on
\encoding SQL_ASCII
CREATE TABLE bytes (n int PRIMARY KEY, c text);
INSERT INTO bytes SELECT n, chr(n) FROM generate_series(1, 255) n;
INSERT INTO bytes VALUES (1000, E'\xff\xfe'), (1001, E'caf\xe9'), (1002, E'\xc3\xa9 is UTF8'), (1003, E'\xc3'), (1004, E'\x80\n\\.\n\x80'), (1005, NULL);
COMMENT ON TABLE bytes IS E'na\xefve';
\if :{?odd_names}
DO $$ BEGIN
  EXECUTE format('CREATE TABLE %I (%I text)', E'caf\xe9', E'\xff');
  EXECUTE format('INSERT INTO %I VALUES (E''\xe9'')', E'caf\xe9');
END $$;
\endif
