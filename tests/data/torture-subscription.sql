-- A subscription to a server that is not there. For psql, as a superuser, into any database.
\set ON_ERROR_STOP on
SET client_min_messages = error;
CREATE SUBSCRIPTION "to ""nowhere""" CONNECTION 'host=127.0.0.1 port=1 dbname=nowhere user=x password=''a subscriber password''' PUBLICATION a, "b ""c"""
  WITH (connect = false, slot_name = NONE);
COMMENT ON SUBSCRIPTION "to ""nowhere""" IS 'it does nothing';
