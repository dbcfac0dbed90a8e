//! A database, or a role, whose settings change how values look: what is captured does not change.

use super::*;

const ROWS: &str = "
CREATE TABLE t (b bytea, at timestamptz, d date, i interval, m money, f float8, x float4, a int[], s text, xm xml);
INSERT INTO t VALUES
  ('\\xdeadbeef00', '2026-11-20 02:00:00.123456+01', '2026-01-02', '1 year 2 mons 3 days 04:05:06.789', 1234.5,
   0.1::float8 + 0.2, 1.17549435e-38, ARRAY[1, NULL, 3], E'tab\\t back\\\\slash \\n é', '<a>1</a>'),
  (NULL, 'infinity', '-infinity', '-1 day', -0.01, 'NaN', '-Infinity', '{}', '', NULL);
";

const HOSTILE: &[&str] = &[
    "bytea_output = 'escape'",
    "TimeZone = 'Asia/Kolkata'",
    "DateStyle = 'SQL, DMY'",
    "IntervalStyle = 'sql_standard'",
    "extra_float_digits = -15",
    "lc_monetary = 'C.UTF-8'",
    "search_path = 'nowhere'",
    "client_encoding = 'LATIN1'",
    "standard_conforming_strings = off",
    "array_nulls = off",
    "xmlbinary = 'hex'",
    "statement_timeout = '300ms'",
    "lock_timeout = '1ms'",
    "idle_in_transaction_session_timeout = '100ms'",
    "idle_session_timeout = '100ms'",
    "default_transaction_read_only = on",
    "default_transaction_isolation = 'serializable'",
    "default_transaction_deferrable = on",
    "synchronize_seqscans = on",
    "row_security = on",
    "client_min_messages = 'log'",
    "log_min_duration_statement = 0",
    "quote_all_identifiers = on",
];

#[tokio::test(flavor = "multi_thread")]
async fn hostile_settings_change_no_digest() {
    let server = require!(postgres::v15);
    let database = server.create_database("settings");
    database.sql(ROWS);
    let (plain, report) = capture(&database.url(Role::Reader), Selection::default()).await;
    assert_eq!(missing(&report), []);
    for setting in HOSTILE {
        // Settings that libpq takes are not for the role that runs this.
        server.sql(&format!("ALTER DATABASE {} SET {setting}", database.quoted()));
    }
    let (hostile, report) = capture(&database.url(Role::Reader), Selection::default()).await;
    assert_eq!(missing(&report), []);
    assert_eq!(tables(&hostile), tables(&plain));
    assert_eq!(whole(&hostile, "public.t"), whole(&plain, "public.t"));
    let text = String::from_utf8(whole(&plain, "public.t")).unwrap();
    for value in ["\\\\xdeadbeef00", "2026-11-20 01:00:00.123456+00", "$1,234.50", "0.30000000000000004", "{1,NULL,3}"]
    {
        assert!(text.contains(value), "{value}: {text}");
    }
}
