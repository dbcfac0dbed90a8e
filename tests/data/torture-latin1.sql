-- Every letter of LATIN1, in rows and in names. For psql, into an empty database with ENCODING 'LATIN1' LOCALE 'C'.
\set ON_ERROR_STOP on
\encoding UTF8
CREATE TABLE letters (n int PRIMARY KEY, c text, "größe" text);
INSERT INTO letters SELECT n, chr(n), repeat(chr(n), 5) || E'\t\n\\' FROM generate_series(1, 255) n;
CREATE TABLE "Bücher ¿ÿ" ("Übergröße" text DEFAULT 'ÄÖÜß');
INSERT INTO "Bücher ¿ÿ" VALUES (DEFAULT), ('¡!'), (NULL);
CREATE TYPE "wörter" AS ENUM ('ja', 'nö');
CREATE VIEW "ansicht é" AS SELECT c AS "ç" FROM letters WHERE c <> 'é';
COMMENT ON TABLE letters IS 'naïve';
