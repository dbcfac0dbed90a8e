-- A database with every kind of object that a dump may meet, under names and with rows that break careless tools.
--
-- For psql, as a superuser, into an empty database with UTF8: psql -X -v ON_ERROR_STOP=1 -f torture.sql
-- It needs PostgreSQL 15 with its contributed extensions; what only newer servers have is made there.
--
-- Roles belong to the whole server, so their names can be given: -v writer=... -v auditor=...

\set ON_ERROR_STOP on
\if :{?writer} \else \set writer 'torture writer' \endif
\if :{?auditor} \else \set auditor 'torture "auditor"' \endif
SELECT current_setting('server_version_num')::int >= 180000 AS is_18 \gset
\encoding UTF8
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';

SELECT format('CREATE ROLE %I LOGIN', name) FROM unnest(ARRAY[:'writer', :'auditor']) name
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

-- === the database itself ===

SELECT format('ALTER DATABASE %I SET search_path = public, app, "Odd ""Schema"""', current_database()) \gexec
SELECT format('ALTER DATABASE %I SET work_mem = ''5MB''', current_database()) \gexec
SELECT format('ALTER DATABASE %I SET "app.setting" = %L', current_database(), E'it''s a \\ value') \gexec
SELECT format('ALTER ROLE %I IN DATABASE %I SET statement_timeout = ''1h''', :'writer', current_database()) \gexec
SELECT format('COMMENT ON DATABASE %I IS %L', current_database(), E'the torture database\nsecond line: ''quoted'' \\ "x"') \gexec
SELECT format('GRANT CREATE ON DATABASE %I TO %I WITH GRANT OPTION', current_database(), :'writer') \gexec
SELECT format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()) \gexec

CREATE SCHEMA app;
CREATE SCHEMA "Odd ""Schema""" AUTHORIZATION :"writer";
CREATE SCHEMA "line
break";
CREATE SCHEMA "пространство.имён";
CREATE SCHEMA "empty schema";
COMMENT ON SCHEMA app IS 'it''s the application''s';
GRANT USAGE ON SCHEMA app TO :"writer";
GRANT USAGE ON SCHEMA app, "line
break" TO :"auditor";
GRANT ALL ON SCHEMA "Odd ""Schema""" TO :"auditor" WITH GRANT OPTION;

ALTER DEFAULT PRIVILEGES FOR ROLE :"writer" IN SCHEMA app GRANT SELECT ON TABLES TO :"auditor";
ALTER DEFAULT PRIVILEGES FOR ROLE :"writer" REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE :"writer" IN SCHEMA "Odd ""Schema""" GRANT USAGE ON SEQUENCES TO :"auditor" WITH GRANT OPTION;

CREATE EXTENSION hstore SCHEMA app;
CREATE EXTENSION citext;
CREATE EXTENSION btree_gist;
CREATE EXTENSION pg_trgm;
CREATE EXTENSION ltree;
CREATE EXTENSION cube;
CREATE EXTENSION file_fdw;
CREATE EXTENSION postgres_fdw;
COMMENT ON EXTENSION citext IS 'with a comment of our own';

-- === types ===

CREATE TYPE app.mood AS ENUM ('sad', 'it''s ok', 'happy', '', E'tab\there', 'quote "x"', 'comma, (paren)', 'ünï');
ALTER TYPE app.mood ADD VALUE 'ecstatic' BEFORE 'happy';
ALTER TYPE app.mood RENAME VALUE 'sad' TO 'very sad';
ALTER TYPE app.mood OWNER TO :"writer";
COMMENT ON TYPE app.mood IS 'how it feels';
GRANT USAGE ON TYPE app.mood TO :"auditor" WITH GRANT OPTION;

CREATE DOMAIN app.positive AS int DEFAULT 1 NOT NULL CONSTRAINT "must be > 0" CHECK (VALUE > 0);
CREATE DOMAIN app.tiny AS app.positive CHECK (VALUE < 100);
CREATE DOMAIN app.unchecked AS text;
ALTER DOMAIN app.unchecked ADD CONSTRAINT later CHECK (VALUE <> 'never') NOT VALID;
COMMENT ON CONSTRAINT "must be > 0" ON DOMAIN app.positive IS 'a constraint''s comment';

CREATE TYPE app.point3 AS (x float8, y float8, "the z" numeric(10, 2));
ALTER TYPE app.point3 ADD ATTRIBUTE gone text, ADD ATTRIBUTE label text COLLATE "C";
ALTER TYPE app.point3 DROP ATTRIBUTE gone;
COMMENT ON COLUMN app.point3."the z" IS 'an attribute''s comment';
CREATE TYPE app.nested AS (at app.point3, moods app.mood[], tiny app.tiny);
CREATE TYPE app.float_range AS RANGE (subtype = float8, subtype_diff = float8mi, multirange_type_name = app.float_ranges);
CREATE TYPE app.only_a_shell;

CREATE TYPE app.own_int;
CREATE FUNCTION app.own_int_in(cstring) RETURNS app.own_int LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'int4in';
CREATE FUNCTION app.own_int_out(app.own_int) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'int4out';
CREATE TYPE app.own_int (INPUT = app.own_int_in, OUTPUT = app.own_int_out, LIKE = int4, CATEGORY = 'N', DEFAULT = '7');

CREATE COLLATION app.german (provider = icu, locale = 'de-u-co-phonebk');
CREATE COLLATION app.no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE COLLATION app."copy of C" FROM "C";
COMMENT ON COLLATION app.german IS 'phone book';

-- === functions and what is made of them ===

CREATE FUNCTION app."add; DROP TABLE x; --"(a int, b int DEFAULT 2, VARIADIC rest int[] DEFAULT '{}') RETURNS int
  LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 3 AS $$ SELECT a + b + coalesce((SELECT sum(r)::int FROM unnest(rest) r), 0) $$;
CREATE FUNCTION app.twice(int) RETURNS int LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT $1 * 2; END;
CREATE FUNCTION app.twice(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN $1 || $1;
CREATE FUNCTION app.dollars() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = app, pg_temp SET work_mem = '1MB' AS $body$
BEGIN
  /* $$ and $_$ and ' and \ in a body, and a line that looks like the end of data:
\.
  */
  RETURN $$it's \n$$ || $_$ $x$ $_$;
EXCEPTION WHEN OTHERS THEN RETURN NULL;
END $body$;
CREATE FUNCTION app.rows_of(OUT id int, INOUT word text DEFAULT 'it''s', OUT mood app.mood) RETURNS SETOF record
  LANGUAGE sql ROWS 5 AS $$ SELECT 1, word, 'happy'::app.mood $$;
CREATE FUNCTION app.table_of(app.positive) RETURNS TABLE (a app.tiny, "b c" text) LANGUAGE sql LEAKPROOF AS $$ SELECT 1, 'x' $$;
CREATE PROCEDURE app.note(INOUT counter int, VARIADIC words text[]) LANGUAGE plpgsql AS $$ BEGIN counter := counter + 1; END $$;
ALTER FUNCTION app.twice(text) OWNER TO :"writer";
REVOKE EXECUTE ON FUNCTION app.dollars() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.dollars() TO :"writer" WITH GRANT OPTION;
GRANT EXECUTE ON PROCEDURE app.note(int, text[]) TO :"auditor";
SET ROLE :"writer";
GRANT EXECUTE ON FUNCTION app.dollars() TO :"auditor"; -- granted by the one who had the option
RESET ROLE;
COMMENT ON FUNCTION app.twice(int) IS E'twice\n''as'' much';
COMMENT ON PROCEDURE app.note(int, text[]) IS 'a procedure';

CREATE FUNCTION app.sum_step(numeric, numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT $1 + coalesce($2, 0) $$;
CREATE AGGREGATE app.total(numeric) (SFUNC = app.sum_step, STYPE = numeric, INITCOND = '0', COMBINEFUNC = app.sum_step, PARALLEL = SAFE,
  MSFUNC = app.sum_step, MINVFUNC = app.sum_step, MSTYPE = numeric, MINITCOND = '0');
CREATE AGGREGATE app.middle(float8 ORDER BY anyelement) (SFUNC = ordered_set_transition, STYPE = internal, FINALFUNC = percentile_disc_final, FINALFUNC_EXTRA);
COMMENT ON AGGREGATE app.total(numeric) IS 'adds up';

CREATE FUNCTION app.mood_rank(app.mood) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT array_position(enum_range(NULL::app.mood), $1) $$;
CREATE CAST (app.mood AS int) WITH FUNCTION app.mood_rank(app.mood) AS ASSIGNMENT;
CREATE CAST (app.own_int AS int4) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (app.point3 AS json) WITH INOUT;
COMMENT ON CAST (app.mood AS int) IS 'its place';

CREATE FUNCTION app.near(float8, float8) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT abs($1 - $2) < 0.5 $$;
CREATE OPERATOR app.=~= (LEFTARG = float8, RIGHTARG = float8, FUNCTION = app.near, COMMUTATOR = OPERATOR(app.=~=), RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR app.!! (RIGHTARG = int4, FUNCTION = app.twice);
COMMENT ON OPERATOR app.=~= (float8, float8) IS 'about';
CREATE FUNCTION app.length_order(text, text) RETURNS int LANGUAGE sql IMMUTABLE STRICT AS
  $$ SELECT CASE WHEN length($1) <> length($2) THEN sign(length($1) - length($2))::int ELSE bttextcmp($1, $2) END $$;
CREATE FUNCTION app.shorter(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT app.length_order($1, $2) < 0 $$;
CREATE FUNCTION app.not_longer(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT app.length_order($1, $2) <= 0 $$;
CREATE FUNCTION app.not_shorter(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT app.length_order($1, $2) >= 0 $$;
CREATE FUNCTION app.longer(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT app.length_order($1, $2) > 0 $$;
CREATE OPERATOR app.<# (LEFTARG = text, RIGHTARG = text, FUNCTION = app.shorter);
CREATE OPERATOR app.<=# (LEFTARG = text, RIGHTARG = text, FUNCTION = app.not_longer);
CREATE OPERATOR app.>=# (LEFTARG = text, RIGHTARG = text, FUNCTION = app.not_shorter);
CREATE OPERATOR app.># (LEFTARG = text, RIGHTARG = text, FUNCTION = app.longer);
CREATE OPERATOR FAMILY app.by_length USING btree;
CREATE OPERATOR CLASS app.by_length_class FOR TYPE text USING btree FAMILY app.by_length AS
  OPERATOR 1 app.<#, OPERATOR 2 app.<=#, OPERATOR 3 =, OPERATOR 4 app.>=#, OPERATOR 5 app.>#, FUNCTION 1 app.length_order(text, text);
COMMENT ON OPERATOR CLASS app.by_length_class USING btree IS 'shorter first';

CREATE CONVERSION app.own_conversion FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE TEXT SEARCH DICTIONARY app.simple_words (TEMPLATE = pg_catalog.simple, STOPWORDS = 'english');
CREATE TEXT SEARCH CONFIGURATION app.words (COPY = pg_catalog.german);
ALTER TEXT SEARCH CONFIGURATION app.words ALTER MAPPING FOR asciiword, word WITH app.simple_words, german_stem;
COMMENT ON TEXT SEARCH CONFIGURATION app.words IS 'simple, then german';
CREATE ACCESS METHOD another_heap TYPE TABLE HANDLER heap_tableam_handler;
COMMENT ON ACCESS METHOD another_heap IS 'the heap by another name';

-- === sequences ===

CREATE SEQUENCE app.never_called START 42;
CREATE SEQUENCE app.down INCREMENT -5 MINVALUE -1000 MAXVALUE -1 START -10 CYCLE CACHE 20;
SELECT nextval('app.down'), nextval('app.down');
CREATE SEQUENCE app."odd ""seq"" %s" AS smallint MAXVALUE 300;
SELECT setval('app."odd ""seq"" %s"', 299, true);
CREATE SEQUENCE app.at_its_end MAXVALUE 3;
SELECT setval('app.at_its_end', 3);
CREATE SEQUENCE app.called_not AS bigint;
SELECT setval('app.called_not', 9000000000000000000, false);
CREATE UNLOGGED SEQUENCE app.unlogged_numbers;
SELECT nextval('app.unlogged_numbers');
ALTER SEQUENCE app.never_called OWNER TO :"writer";
GRANT USAGE ON SEQUENCE app.down TO :"auditor";
COMMENT ON SEQUENCE app.down IS 'it goes down';

-- === names ===

CREATE TABLE "Odd ""Schema"""."t ""quoted"" %s %I 100%" ("col ""q"" %" int, "Ünïcödé ✓ 表" text, "select" int, " " int, "new
line" text);
INSERT INTO "Odd ""Schema"""."t ""quoted"" %s %I 100%" VALUES (1, 'one', 2, 3, E'a\nb'), (NULL, NULL, NULL, NULL, NULL);
CREATE TABLE "line
break"."table with
a line break" (id int PRIMARY KEY, "CR
LF" text);
INSERT INTO "line
break"."table with
a line break" VALUES (1, E'x\r\ny');
CREATE TABLE "пространство.имён"."таблица.с.точкой" ("имя" text, "a.b" int);
INSERT INTO "пространство.имён"."таблица.с.точкой" VALUES ('значение', 1);
CREATE TABLE app."; DROP TABLE app.everything; --" (a int);
INSERT INTO app."; DROP TABLE app.everything; --" VALUES (1);
CREATE TABLE app."/* no comment */ $$ \ back'slash" ("\." int, "\" text, "'" text);
INSERT INTO app."/* no comment */ $$ \ back'slash" VALUES (1, E'\\', '''');
CREATE TABLE app."a_name_of_sixty_three_bytes_which_is_as_long_as_a_name_can_be_x" ("another_name_of_sixty_three_bytes_which_is_as_long_as_can_be_xx" int DEFAULT 1);
INSERT INTO app."a_name_of_sixty_three_bytes_which_is_as_long_as_a_name_can_be_x" DEFAULT VALUES;
CREATE TABLE app."UPPER" (a int);
CREATE TABLE app.upper (a int);
INSERT INTO app."UPPER" VALUES (1);
INSERT INTO app.upper VALUES (2);
CREATE TABLE app."table" ("user" int, "order" int, "group" int);
INSERT INTO app."table" VALUES (1, 2, 3);
CREATE TABLE app."😀" ("👨‍👩‍👧" text);
INSERT INTO app."😀" VALUES ('👍🏽');
CREATE TABLE app." leading and trailing " (" " int);
CREATE TABLE app."tab	in name" ("a	b" int);
CREATE TABLE app."../../etc/passwd" ("/" int);
INSERT INTO app."../../etc/passwd" VALUES (1);
CREATE TABLE public.same_name (a int);
CREATE TABLE app.same_name (a text);
INSERT INTO public.same_name VALUES (1);
INSERT INTO app.same_name VALUES ('one');

-- === rows ===

CREATE TABLE app.texts (id int PRIMARY KEY, t text, u text);
INSERT INTO app.texts VALUES
  (1, NULL, ''), (2, '', NULL), (3, 'NULL', E'\\N'), (4, E'\\.', E'\n\\.\n'), (5, E'a\tb\\tc', E'a\nb\\nc'),
  (6, E'\r', E'\r\n'), (7, E'\\', E'\\\\'), (8, E'\b\f\v', E'\x01\x1f\x7f'), (9, ' lead', 'trail '), (10, '''"$$', E'\\N\\N'),
  (11, 'ünïcödé', 'Z͑ͫ̓ͪ̂'), (12, '👨‍👩‍👧‍👦', U&'\FEFF bom'), (13, E'\\.\r', E'\\.x'), (14, E'\t', E'\t\t'), (15, '--', '/*'), (16, E'\u2028', E'\u0085');
INSERT INTO app.texts SELECT 100 + n, chr(n), repeat(chr(n), 3) FROM generate_series(1, 300) n;
CREATE TABLE app.one_column (t text);
INSERT INTO app.one_column VALUES (NULL), (''), (E'\\.'), ('.'), (E'\\N'), (E'\n'), (E'\\'), ('\\.');
CREATE TABLE app.large_row (id int PRIMARY KEY, body text, same bytea);
ALTER TABLE app.large_row ALTER body SET STORAGE EXTERNAL, ALTER same SET STORAGE EXTENDED;
INSERT INTO app.large_row SELECT 1, string_agg(md5(n::text), ''), '\x' FROM generate_series(1, 655360) n; -- 20 MiB
INSERT INTO app.large_row VALUES (2, 'small', decode(repeat('00ff', 100000), 'hex'));
CREATE TABLE app.no_columns ();
INSERT INTO app.no_columns SELECT FROM generate_series(1, 3);
CREATE TABLE app.dropped (gone1 int, kept1 text, gone2 text, kept2 int, gone3 app.mood);
INSERT INTO app.dropped VALUES (1, 'one', 'x', 11, 'happy'), (2, 'two', 'y', 22, '');
ALTER TABLE app.dropped DROP gone1, DROP gone2, DROP gone3;
ALTER TABLE app.dropped ADD added int DEFAULT 5 NOT NULL, ADD "later added" timestamptz DEFAULT '2020-02-29 12:00+00';
INSERT INTO app.dropped VALUES ('three', 33, 6, 'infinity');
CREATE TABLE app.all_dropped (a int);
INSERT INTO app.all_dropped VALUES (1), (2);
ALTER TABLE app.all_dropped DROP a;
SELECT format('CREATE TABLE app.wide (%s)', string_agg(format('c%s int DEFAULT %s', n, n), ', ')) FROM generate_series(1, 1200) n \gexec
INSERT INTO app.wide DEFAULT VALUES;
CREATE TABLE app.empty (id int PRIMARY KEY, t text);

CREATE TABLE app.everything (
  id bigint GENERATED ALWAYS AS IDENTITY (START 10 INCREMENT 10) PRIMARY KEY,
  c_bool boolean, c_smallint smallint, c_real real, c_double float8, c_numeric numeric, c_exact numeric(20, 4), c_money money,
  c_char char(5), c_varchar varchar(10), c_one "char", c_name name, c_citext citext, c_bytea bytea,
  c_date date, c_time time, c_timetz timetz(3), c_timestamp timestamp, c_timestamptz timestamptz, c_interval interval,
  c_uuid uuid, c_json json, c_jsonb jsonb, c_xml xml, c_bit bit(5), c_varbit bit varying, c_inet inet, c_cidr cidr, c_mac macaddr, c_mac8 macaddr8,
  c_point point, c_line line, c_lseg lseg, c_box box, c_path path, c_polygon polygon, c_circle circle,
  c_tsvector tsvector, c_tsquery tsquery, c_lsn pg_lsn, c_snapshot pg_snapshot, c_jsonpath jsonpath, c_oid oid, c_regtype regtype, c_xid8 xid8,
  c_hstore app.hstore, c_ltree ltree, c_cube cube, c_own app.own_int,
  c_mood app.mood, c_positive app.unchecked, c_point3 app.point3, c_nested app.nested,
  c_ints int[], c_texts text[], c_moods app.mood[], c_points app.point3[], c_matrix int[][],
  c_range int4range, c_tsrange tstzrange, c_floats app.float_range, c_multi int4multirange, c_own_multi app.float_ranges
);
INSERT INTO app.everything (c_bool) VALUES (NULL);
INSERT INTO app.everything VALUES (DEFAULT,
  true, -32768, 'NaN', '-0', 'NaN', -1234567890123456.7891, '-12.34',
  'ab', 'é', '\', 'a name', 'MiXeD', '\x00010203deadbeef5c2e0a',
  '4713-01-01 BC', '24:00:00', '23:59:59.999-15:59', '0044-03-15 12:00 BC', '1900-01-01 00:00:00+00', '-1 year 2 mons -3 days 04:05:06.789',
  '00000000-0000-0000-0000-000000000000', E'{"b": 1,\t"a":  [1, 2],\n"b": "\\u00e9\\\\"}', '{"b": 1.00, "a": null, "c": "\"\\"}', '<a b="&lt;">text</a><!-- -->',
  B'10101', B'', '::ffff:1.2.3.4/128', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05',
  '(1.5,-2)', '{1,-1,0}', '[(0,0),(1,1)]', '(2,2),(0,0)', '[(0,0),(1,1),(2,0)]', '((0,0),(1,1),(2,0))', '<(1,2),3>',
  'a:1A ''it''''s'':2 c', 'a & !(b | ''c d'')', '16/B374D848', '10:20:10,14,15', '$."a"[*] ? (@ > 1)', 4294967295, 'app.mood', '18446744073709551615',
  'a=>1, b=>NULL, "q \"x\""=>"\\y"', 'top.middle.leaf', '(1,2),(3,4)', '99',
  E'tab\there', '', '(NaN,-Infinity,1.50,"a,""b"" \\")', '("(1,2,3,x)","{happy,"""",NULL}",5)',
  '{NULL,1,NULL}', '{"NULL",NULL,"",",","{}","\"","\\","a b"}', '{"",NULL,"quote \"x\""}', ARRAY[NULL, ROW(1, 2, 3, NULL)::app.point3], '[2:3][-1:0]={{1,2},{3,4}}',
  'empty', '[2020-01-01,infinity)', '(,1.5]', '{[1,3),[5,8)}', '{}');
INSERT INTO app.everything (c_real, c_double, c_numeric, c_timestamp, c_timestamptz, c_date, c_interval, c_money, c_texts, c_bytea, c_json, c_matrix) VALUES
  ('infinity', '-infinity', 'infinity', 'infinity', '-infinity', 'infinity', '178000000 years', '$92,233,720,368,547,758.07', '{}', '', 'null', '{}'),
  (1e-45, 5e-324, '-infinity', '294276-12-31 23:59:59.999999', '4714-11-24 00:00:00+00 BC', '5874897-12-31', '-178000000 years', '-$92,233,720,368,547,758.08', '{{a},{NULL}}', '\x0a', '""', NULL),
  (0.1, 0.1 + 0.2::float8, 1e-1000, NULL, NULL, NULL, '1 mon -1 day +00:00:00.000001', NULL, NULL, '\x5c2e0a', '  {"a":1}  ', NULL),
  (3.4028235e38, 1.7976931348623157e308, repeat('9', 1000)::numeric, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO app.everything (id, c_bool) OVERRIDING SYSTEM VALUE VALUES (-5, false);
COMMENT ON TABLE app.everything IS 'a column for each type';
COMMENT ON COLUMN app.everything.c_json IS E'kept as it was written,\twith ''spaces''';

CREATE TABLE app.generated (a int, doubled int GENERATED ALWAYS AS (app.twice(a)) STORED, b text, upper_b text GENERATED ALWAYS AS (upper(b)) STORED);
INSERT INTO app.generated (a, b) VALUES (1, 'x'), (NULL, NULL);
CREATE TABLE app.numbered (
  a serial, b bigserial, c smallserial, d int GENERATED BY DEFAULT AS IDENTITY (INCREMENT -1 MINVALUE -100 MAXVALUE 0 START 0),
  e int DEFAULT nextval('app.never_called') + 1, "odd ""serial""" serial);
ALTER TABLE app.numbered ALTER e DROP DEFAULT;
INSERT INTO app.numbered (e) VALUES (1), (2), (3);
CREATE TABLE app.never_numbered (id serial PRIMARY KEY, other int GENERATED ALWAYS AS IDENTITY);
CREATE SEQUENCE app.adopted OWNED BY app.never_numbered.id;
CREATE UNLOGGED TABLE app.unlogged (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, t text);
INSERT INTO app.unlogged (t) VALUES ('volatile'), (NULL);
CREATE TABLE app.other_method (a int) USING another_heap;
INSERT INTO app.other_method VALUES (1);
CREATE TABLE app.typed OF app.point3 (PRIMARY KEY (label), "the z" DEFAULT 1);
INSERT INTO app.typed VALUES (1, 2, 3, 'label');
CREATE TABLE app.settings (a int, b text COLLATE app.german, c text COLLATE app.no_case) WITH (fillfactor = 70, autovacuum_enabled = false, toast.autovacuum_enabled = false);
ALTER TABLE app.settings ALTER a SET STATISTICS 500, ALTER a SET (n_distinct = -0.5), ALTER b SET COMPRESSION lz4, ALTER b SET STORAGE MAIN;
INSERT INTO app.settings VALUES (1, 'Äpfel', 'ABC'), (2, 'Apfel', 'abc');
CREATE TABLE app.of_domains (p app.positive DEFAULT 3, t app.tiny, u app.unchecked, s citext UNIQUE);
INSERT INTO app.of_domains VALUES (DEFAULT, 99, 'x', 'Abc');
CREATE TABLE app.points_to (r regclass, f regprocedure, ro regrole);
INSERT INTO app.points_to VALUES ('app.texts', 'app.twice(integer)', NULL);

-- === partitions and inheritance ===

CREATE TABLE app.by_range (id int NOT NULL, at timestamptz NOT NULL, t text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE app.by_range_2020 PARTITION OF app.by_range FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2021-01-01 00:00+00');
CREATE TABLE "Odd ""Schema"""."by range; 2021" PARTITION OF app.by_range FOR VALUES FROM ('2021-01-01 00:00+00') TO ('2022-01-01 00:00+00') PARTITION BY RANGE (id);
CREATE TABLE app.by_range_2021_low PARTITION OF "Odd ""Schema"""."by range; 2021" FOR VALUES FROM (MINVALUE) TO (30);
CREATE TABLE app.by_range_2021_rest PARTITION OF "Odd ""Schema"""."by range; 2021" DEFAULT;
CREATE TABLE app.by_range_rest PARTITION OF app.by_range DEFAULT;
CREATE TABLE app.by_range_later (t text, gone int, at timestamptz NOT NULL, id int NOT NULL); -- other order, a dropped column
ALTER TABLE app.by_range_later DROP gone;
ALTER TABLE app.by_range ATTACH PARTITION app.by_range_later FOR VALUES FROM ('2023-01-01 00:00+00') TO (MAXVALUE);
CREATE TABLE app.detached (LIKE app.by_range INCLUDING ALL);
INSERT INTO app.by_range SELECT n, '2019-06-01 00:00+00'::timestamptz + n * '30 days'::interval, (ARRAY['a', 'b', NULL])[1 + n % 3] FROM generate_series(1, 80) n;
INSERT INTO app.detached VALUES (1, now(), 'x');
CREATE INDEX ON app.by_range (t) WHERE t IS NOT NULL;
ALTER TABLE app.by_range_2020 ADD CONSTRAINT only_here CHECK (id > 0);

CREATE TABLE app.by_list (k text, v int) PARTITION BY LIST (lower(k));
CREATE TABLE app.by_list_ab PARTITION OF app.by_list (v DEFAULT 7) FOR VALUES IN ('a', 'it''s "b"');
CREATE TABLE app.by_list_null PARTITION OF app.by_list FOR VALUES IN (NULL);
INSERT INTO app.by_list VALUES ('A', 1), ('It''s "B"', 2), (NULL, 3);
CREATE TABLE app.by_hash (id int PRIMARY KEY, t text) PARTITION BY HASH (id);
SELECT format('CREATE TABLE app.by_hash_%s PARTITION OF app.by_hash FOR VALUES WITH (MODULUS 4, REMAINDER %s)', n, n) FROM generate_series(0, 3) n \gexec
INSERT INTO app.by_hash SELECT n, md5(n::text) FROM generate_series(1, 500) n;
-- The hash of an enum is that of its OID, which another server does not keep: such rows have to go in by the root.
CREATE TABLE app.by_enum_hash (m app.mood, v int) PARTITION BY HASH (m);
SELECT format('CREATE TABLE app.by_enum_hash_%s PARTITION OF app.by_enum_hash FOR VALUES WITH (MODULUS 3, REMAINDER %s)', n, n) FROM generate_series(0, 2) n \gexec
INSERT INTO app.by_enum_hash SELECT m, n FROM unnest(enum_range(NULL::app.mood)) m, generate_series(1, 20) n;
INSERT INTO app.by_enum_hash VALUES (NULL, 0);
CREATE TABLE app.no_partitions (a int) PARTITION BY RANGE (a);
CREATE TABLE app.orphan (a int, b int GENERATED ALWAYS AS (a * 2) STORED) PARTITION BY RANGE (a);
CREATE TABLE app.orphan_1 PARTITION OF app.orphan FOR VALUES FROM (MINVALUE) TO (100);
INSERT INTO app.orphan VALUES (1);

CREATE TABLE app.parent (id serial PRIMARY KEY, t text DEFAULT 'parent' CHECK (t <> ''), CONSTRAINT not_inherited CHECK (id < 1000) NO INHERIT);
CREATE TABLE app.second_parent (extra int NOT NULL);
CREATE TABLE app.child (more text) INHERITS (app.parent, app.second_parent);
ALTER TABLE app.child ALTER t SET DEFAULT 'child';
CREATE TABLE app.grandchild () INHERITS (app.child);
CREATE TABLE app.adopted_child (id int NOT NULL, t text, more text, CONSTRAINT parent_t_check CHECK (t <> ''));
ALTER TABLE app.adopted_child INHERIT app.parent;
INSERT INTO app.parent (t) VALUES ('p1'), ('p2');
INSERT INTO app.child (extra, more) VALUES (1, 'c1');
INSERT INTO app.grandchild (id, extra) VALUES (5000, 2);
INSERT INTO app.adopted_child VALUES (7, 'a', 'b');

-- === constraints and indexes ===

CREATE TABLE app.egg (id int PRIMARY KEY, hen int NOT NULL);
CREATE TABLE app.hen (id int PRIMARY KEY, egg int NOT NULL REFERENCES app.egg DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE app.egg ADD CONSTRAINT "laid by" FOREIGN KEY (hen) REFERENCES app.hen ON DELETE CASCADE ON UPDATE RESTRICT DEFERRABLE INITIALLY IMMEDIATE;
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO app.egg VALUES (1, 1), (2, 1);
INSERT INTO app.hen VALUES (1, 2);
COMMIT;
CREATE TABLE app.tree (id int PRIMARY KEY, up int REFERENCES app.tree ON DELETE SET NULL);
INSERT INTO app.tree VALUES (3, NULL), (1, 3), (2, 1);
UPDATE app.tree SET up = 2 WHERE id = 3;
CREATE TABLE app.pair (a int, b int, t text, UNIQUE (a, b), UNIQUE NULLS NOT DISTINCT (t));
CREATE TABLE app.to_pair (a int, b int, CONSTRAINT full_match FOREIGN KEY (a, b) REFERENCES app.pair (a, b) MATCH FULL ON DELETE SET NULL (b));
INSERT INTO app.pair VALUES (1, 2, NULL), (NULL, 1, 'x');
INSERT INTO app.to_pair VALUES (1, 2), (NULL, NULL);
CREATE TABLE app.to_range (id int, at timestamptz, FOREIGN KEY (id, at) REFERENCES app.by_range);
INSERT INTO app.to_range SELECT id, at FROM app.by_range LIMIT 5;
CREATE TABLE app.not_valid (id int, t text);
INSERT INTO app.not_valid VALUES (-1, 'orphan'), (99999, NULL);
ALTER TABLE app.not_valid ADD CONSTRAINT positive CHECK (id > 0) NOT VALID;
ALTER TABLE app.not_valid ADD CONSTRAINT no_such_hen FOREIGN KEY (id) REFERENCES app.hen NOT VALID;
COMMENT ON CONSTRAINT positive ON app.not_valid IS 'for new rows';
CREATE TABLE app.booking (room int, during tstzrange, EXCLUDE USING gist (room WITH =, during WITH &&) WHERE (room > 0) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO app.booking VALUES (1, '[2020-01-01,2020-01-02)'), (1, '[2020-01-02,2020-01-03)'), (-1, NULL), (-1, NULL);
CREATE TABLE app.later_unique (id int, n int, CONSTRAINT swap UNIQUE (n) DEFERRABLE INITIALLY DEFERRED, PRIMARY KEY (id) INCLUDE (n));
INSERT INTO app.later_unique VALUES (1, 1), (2, 2);

CREATE INDEX partial_expression ON app.texts (lower(t) DESC NULLS LAST, (id % 7)) WHERE u IS NOT NULL AND t <> '''';
CREATE INDEX covering ON app.texts (id) INCLUDE (u) WHERE length(u) < 1000;
CREATE INDEX "index ""with"" %" ON app.texts USING hash (t);
CREATE INDEX trigrams ON app.texts USING gin (t gin_trgm_ops) WITH (fastupdate = off);
CREATE INDEX spread ON app.texts USING spgist (t);
CREATE INDEX blocks ON app.texts USING brin (id) WITH (pages_per_range = 4, autosummarize = on);
CREATE INDEX by_length ON app.texts (t app.by_length_class);
CREATE INDEX collated ON app.texts (t COLLATE app.german text_pattern_ops DESC) WITH (fillfactor = 50);
CREATE INDEX json_paths ON app.everything USING gin (c_jsonb jsonb_path_ops);
CREATE INDEX near_points ON app.everything USING gist (c_point, c_box);
CREATE INDEX every_word ON app.everything USING gin (to_tsvector('app.words', coalesce(c_name::text, '')));
CREATE INDEX of_row ON app.everything ((c_point3));
ALTER INDEX app.partial_expression ALTER COLUMN 2 SET STATISTICS 300;
COMMENT ON INDEX app.covering IS 'covers';
CREATE UNIQUE INDEX identity_of ON app.of_domains (p);
ALTER TABLE app.of_domains ALTER p SET NOT NULL;
ALTER TABLE app.of_domains REPLICA IDENTITY USING INDEX identity_of;
ALTER TABLE app.not_valid REPLICA IDENTITY FULL;
ALTER TABLE app.tree REPLICA IDENTITY NOTHING;
ALTER TABLE app.texts CLUSTER ON texts_pkey;

CREATE STATISTICS app.together (ndistinct, dependencies, mcv) ON t, u FROM app.texts;
CREATE STATISTICS app."of ""expressions""" ON lower(t), (id % 3) FROM app.texts;
ALTER STATISTICS app.together SET STATISTICS 250;
COMMENT ON STATISTICS app.together IS 'belong together';

-- === views ===

CREATE VIEW app.simple AS SELECT id, t AS "the text" FROM app.texts WHERE id < 50;
CREATE VIEW app.on_view WITH (security_barrier, security_invoker = true) AS SELECT * FROM app.simple WHERE "the text" IS NOT NULL WITH CASCADED CHECK OPTION;
CREATE RECURSIVE VIEW app.counted (n) AS SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 10;
CREATE VIEW app.by_key AS SELECT id, t, count(*) FROM app.texts GROUP BY id; -- valid only with the primary key, which comes later
CREATE VIEW app.on_by_key AS SELECT * FROM app.by_key;
CREATE VIEW "Odd ""Schema"""."v ""quoted""
view" AS SELECT "col ""q"" %" AS "x y" FROM "Odd ""Schema"""."t ""quoted"" %s %I 100%";
CREATE VIEW app.empty_view AS SELECT;
ALTER VIEW app.simple ALTER COLUMN "the text" SET DEFAULT 'from a view';
ALTER VIEW app.simple OWNER TO :"writer";
GRANT SELECT ON app.simple TO PUBLIC;
GRANT INSERT, UPDATE ("the text"), REFERENCES (id) ON app.simple TO :"auditor" WITH GRANT OPTION;
COMMENT ON VIEW app.on_view IS 'a view on a view';
COMMENT ON COLUMN app.simple."the text" IS 'a view''s column';

CREATE FUNCTION app.from_view() RETURNS SETOF app.simple LANGUAGE sql STABLE BEGIN ATOMIC SELECT * FROM app.simple; END;
CREATE VIEW app.from_function AS SELECT * FROM app.from_view();

CREATE MATERIALIZED VIEW app.full_one AS SELECT id, length(t) AS n FROM app.texts WITH DATA;
CREATE MATERIALIZED VIEW app.chained WITH (fillfactor = 60) AS SELECT max(n) AS n, count(*) FROM app.full_one;
CREATE MATERIALIZED VIEW app.chained_again AS SELECT n + 1 AS n FROM app.chained WITH DATA;
CREATE MATERIALIZED VIEW app.not_filled AS SELECT * FROM app.full_one WITH NO DATA;
CREATE MATERIALIZED VIEW app.on_by_key_too AS SELECT count(*) FROM app.on_by_key;
CREATE UNIQUE INDEX ON app.full_one (id);
CREATE INDEX ON app.not_filled (n);
ALTER MATERIALIZED VIEW app.chained OWNER TO :"writer";
GRANT SELECT ON app.texts, app.full_one TO :"writer";
GRANT SELECT ON app.full_one TO :"auditor";
COMMENT ON MATERIALIZED VIEW app.full_one IS 'materialized';

-- === triggers and rules; each would change or refuse rows that are loaded after it ===

CREATE FUNCTION app.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no rows here'; END $$;
CREATE FUNCTION app.spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.t := 'spoiled'; RETURN NEW; END $$;
CREATE TRIGGER refuses BEFORE INSERT ON app.egg FOR EACH ROW EXECUTE FUNCTION app.refuse();
CREATE TRIGGER "spoils ""it"" %" BEFORE INSERT OR UPDATE OF t ON app.texts FOR EACH ROW WHEN (NEW.id <> 0) EXECUTE FUNCTION app.spoil('arg ''1''', E'\n', '');
CREATE TRIGGER on_partitions BEFORE INSERT ON app.by_range FOR EACH ROW EXECUTE FUNCTION app.spoil();
ALTER TABLE app.by_range_2020 DISABLE TRIGGER on_partitions;
CREATE TRIGGER statement AFTER INSERT ON app.hen REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION app.refuse();
CREATE CONSTRAINT TRIGGER at_the_end AFTER INSERT OR UPDATE ON app.tree DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.refuse();
CREATE TRIGGER instead INSTEAD OF INSERT ON app.by_key FOR EACH ROW EXECUTE FUNCTION app.refuse();
CREATE TRIGGER disabled BEFORE INSERT ON app.pair FOR EACH ROW EXECUTE FUNCTION app.refuse();
CREATE TRIGGER always BEFORE INSERT ON app.pair FOR EACH ROW EXECUTE FUNCTION app.refuse();
CREATE TRIGGER on_replica BEFORE TRUNCATE ON app.pair EXECUTE FUNCTION app.refuse();
ALTER TABLE app.pair DISABLE TRIGGER disabled, ENABLE ALWAYS TRIGGER always, ENABLE REPLICA TRIGGER on_replica;
COMMENT ON TRIGGER always ON app.pair IS 'always';
CREATE RULE also AS ON INSERT TO app.one_column DO ALSO DELETE FROM app.one_column WHERE t = 'also';
CREATE RULE nothing AS ON INSERT TO app.to_pair WHERE NEW.a > 5 DO INSTEAD NOTHING;
CREATE RULE off AS ON UPDATE TO app.to_pair DO INSTEAD NOTHING;
ALTER TABLE app.to_pair DISABLE RULE off;
COMMENT ON RULE also ON app.one_column IS 'also';
CREATE FUNCTION app.on_command() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE DEBUG 'a command: %', tg_tag; END $$;
CREATE EVENT TRIGGER "on ""command""" ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'DROP TABLE') EXECUTE FUNCTION app.on_command();
CREATE EVENT TRIGGER disabled_one ON sql_drop EXECUTE FUNCTION app.on_command();
ALTER EVENT TRIGGER disabled_one DISABLE;
COMMENT ON EVENT TRIGGER disabled_one IS 'rests';

-- === rights ===

CREATE TABLE app.secured (id int PRIMARY KEY, who text DEFAULT current_user, t text);
INSERT INTO app.secured VALUES (1, 'nobody', 'hidden'), (2, 'everybody', 'seen');
ALTER TABLE app.secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY "own ""rows""" ON app.secured AS PERMISSIVE FOR SELECT TO PUBLIC USING (who = current_user OR who = 'everybody');
CREATE POLICY no_lies ON app.secured AS RESTRICTIVE FOR INSERT TO :"writer", :"auditor" WITH CHECK (who = current_user);
ALTER TABLE app.secured OWNER TO :"writer";
COMMENT ON POLICY no_lies ON app.secured IS 'who is who';
GRANT SELECT (id, who), UPDATE (t) ON app.secured TO :"auditor" WITH GRANT OPTION;
GRANT ALL ON app.everything TO :"writer" WITH GRANT OPTION;
SET ROLE :"writer";
GRANT SELECT, TRIGGER ON app.everything TO :"auditor";
GRANT INSERT (c_bool) ON app.everything TO PUBLIC;
RESET ROLE;
REVOKE ALL ON app.empty FROM CURRENT_USER; -- the owner has no rights on its own table
REVOKE USAGE ON TYPE app.positive FROM PUBLIC;
REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;
GRANT USAGE ON LANGUAGE plpgsql TO :"writer", :"auditor";
ALTER TABLE app.one_column OWNER TO :"auditor";

-- === elsewhere ===

CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE app.from_file (line text OPTIONS (force_null 'true')) SERVER files OPTIONS (filename '/dev/null', format 'csv', quote '"', null E'it''s\\');
CREATE FOREIGN DATA WRAPPER another HANDLER postgres_fdw_handler NO VALIDATOR OPTIONS (own 'it''s \ 7');
CREATE SERVER "far ""away""" TYPE 'x' VERSION '1.0' FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1', dbname 'nowhere');
CREATE USER MAPPING FOR :"writer" SERVER "far ""away""" OPTIONS (user 'x', password 'a foreign password');
CREATE USER MAPPING FOR PUBLIC SERVER "far ""away""" OPTIONS (user 'y');
CREATE FOREIGN TABLE app.far_table (id int OPTIONS (column_name 'ID') NOT NULL, CHECK (id > 0)) SERVER "far ""away""" OPTIONS (table_name 'x');
CREATE FOREIGN TABLE app.by_list_far PARTITION OF app.by_list FOR VALUES IN ('far') SERVER "far ""away""" OPTIONS (table_name 'far');
GRANT USAGE ON FOREIGN SERVER "far ""away""" TO :"writer";
GRANT USAGE ON FOREIGN DATA WRAPPER another TO :"auditor" WITH GRANT OPTION;
COMMENT ON FOREIGN TABLE app.far_table IS 'far away';
COMMENT ON SERVER files IS 'files';

CREATE PUBLICATION everything FOR ALL TABLES WITH (publish = 'insert, truncate', publish_via_partition_root = true);
CREATE PUBLICATION "some ""of"" it" FOR TABLE app.texts (id, t) WHERE (id > 5 AND t <> 'it''s'), ONLY app.parent;
CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA "line
break", public;
CREATE PUBLICATION nothing;
COMMENT ON PUBLICATION nothing IS 'nothing at all';

-- === large objects ===

SELECT lo_from_bytea(4000000001, '\x'), lo_from_bytea(4000000002, convert_to(E'text\n\\.\n', 'UTF8')),
  lo_from_bytea(4000000003, decode(repeat('00ff0a5c', 786432), 'hex')); -- 3 MiB
SELECT lo_create(77);
SELECT lo_put(77, 5000000, '\x01'); -- sparse
ALTER LARGE OBJECT 4000000002 OWNER TO :"writer";
GRANT SELECT ON LARGE OBJECT 4000000002 TO :"auditor" WITH GRANT OPTION;
GRANT UPDATE ON LARGE OBJECT 4000000003 TO PUBLIC;
COMMENT ON LARGE OBJECT 4000000003 IS E'it''s\nlarge';
CREATE TABLE app.with_large (id int, body oid);
INSERT INTO app.with_large VALUES (1, 4000000003);

-- === what only newer servers have ===

\if :is_18
CREATE TABLE app.only_18 (
  a int CONSTRAINT a_is_there NOT NULL NO INHERIT, b int, twice int GENERATED ALWAYS AS (b * 2) VIRTUAL,
  CONSTRAINT not_enforced CHECK (b > 0) NOT ENFORCED, hen int REFERENCES app.hen NOT ENFORCED);
INSERT INTO app.only_18 (a, b, hen) VALUES (1, -1, 12345), (2, NULL, NULL);
ALTER TABLE app.only_18 ADD CONSTRAINT b_later NOT NULL b NOT VALID;
CREATE TABLE app.over_time (id int, during tstzrange, PRIMARY KEY (id, during WITHOUT OVERLAPS));
INSERT INTO app.over_time VALUES (1, '[2020-01-01,2021-01-01)'), (1, '[2021-01-01,)');
CREATE TABLE app.in_time (id int, during tstzrange, FOREIGN KEY (id, PERIOD during) REFERENCES app.over_time (id, PERIOD during));
INSERT INTO app.in_time VALUES (1, '[2020-06-01,2021-06-01)');
CREATE TABLE app.numbered_parts (id int GENERATED ALWAYS AS IDENTITY, k int) PARTITION BY RANGE (k);
CREATE TABLE app.numbered_parts_1 PARTITION OF app.numbered_parts FOR VALUES FROM (0) TO (10);
INSERT INTO app.numbered_parts (k) VALUES (1), (2);
CREATE COLLATION app.built_in (provider = builtin, locale = 'PG_UNICODE_FAST');
GRANT MAINTAIN ON app.texts TO :"auditor";
\endif
