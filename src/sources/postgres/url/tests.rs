use proptest::prelude::*;

use super::*;

fn read(text: &str) -> ConnectionUrl {
    ConnectionUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> InvalidUrl {
    ConnectionUrl::parse(text).expect_err(text)
}

#[test]
fn the_forms_of_three_worlds_say_the_same() {
    let forms = [
        "postgresql://app:s3cret@db.example.com:6543/orders",
        "postgres://app:s3cret@db.example.com:6543/orders?schema=public&connection_limit=5",
        "postgresql+psycopg2://app:s3cret@db.example.com:6543/orders",
        "postgresql+asyncpg://app:s3cret@db.example.com:6543/orders?prepared_statement_cache_size=0",
        "host=db.example.com port=6543 user=app password=s3cret dbname=orders",
        "postgresql:///orders?host=db.example.com&port=6543&user=app&password=s3cret",
    ];
    for form in forms {
        let mut url = read(form);
        url.schema = None;
        assert_eq!(url, read(forms[0]), "{form}");
    }
    assert_eq!(read(forms[1]).schema.as_deref(), Some("public"));
}

#[test]
fn special_characters_come_through() {
    let url = read("postgresql://us%40er:p%3A%2F%3Fw%25@[::1]/o%20ne");
    assert_eq!((url.user.as_str(), url.database.as_str(), url.port), ("us@er", "o ne", 5432));
    assert_eq!(url.password.unwrap().expose(), "p:/?w%");
    assert_eq!(url.host, Host::Tcp("::1".to_owned()));
    assert_eq!(read("postgresql://u:a@b@h/d").password.unwrap().expose(), "a@b");
    let url = read(r"user='a b' password='it\'s \\' host=h dbname = d");
    assert_eq!((url.user.as_str(), url.password.unwrap().expose()), ("a b", r"it's \"));
}

#[test]
fn sockets_are_folders() {
    for form in
        ["postgresql://u@%2Fvar%2Frun%2Fpg/d", "postgresql://u@/d?host=/var/run/pg", "host=/var/run/pg user=u dbname=d"]
    {
        let url = read(form);
        assert_eq!(url.host, Host::Unix("/var/run/pg".into()), "{form}");
        assert_eq!(url.encryption(), SslMode::Disable);
        assert_eq!(url.server(), "/var/run/pg/.s.PGSQL.5432");
    }
}

#[test]
fn a_server_elsewhere_is_verified_unless_the_address_says_otherwise() {
    for (form, mode) in [
        ("postgresql://u@db.example.com/d", SslMode::VerifyFull),
        ("postgresql://u@127.0.0.1/d", SslMode::Prefer),
        ("postgresql://u@localhost/d", SslMode::Prefer),
        ("postgresql://u@db.example.com/d?sslmode=require", SslMode::Require),
        ("postgresql://u@db.example.com/d?sslmode=require&sslaccept=strict", SslMode::VerifyFull),
        ("postgresql://u@db.example.com/d?ssl=verify-ca", SslMode::VerifyCa),
        ("postgresql://u@127.0.0.1/d?sslmode=disable", SslMode::Disable),
    ] {
        assert_eq!(read(form).encryption(), mode, "{form}");
    }
}

#[test]
fn a_certificate_is_the_clients_only_with_a_key() {
    let url = read("postgresql://u@h/d?sslcert=/c.pem&sslkey=/k.pem&sslrootcert=/ca.pem");
    assert_eq!(url.client_cert, Some(("/c.pem".into(), "/k.pem".into())));
    assert_eq!(url.root_cert, Some("/ca.pem".into()));
    assert_eq!(read("postgresql://u@h/d?sslcert=/ca.pem").root_cert, Some("/ca.pem".into()));
}

#[test]
fn what_is_no_address_is_refused_and_never_shown() {
    let cases = [
        ("", InvalidUrl::Form),
        ("hunter2", InvalidUrl::Form),
        ("mysql://u:hunter2@h/d", InvalidUrl::Scheme("mysql")),
        ("postgresql://u:hunter2@/d", InvalidUrl::Missing("host")),
        ("postgresql://h/d", InvalidUrl::Missing("user")),
        ("postgresql://u:hunter2@h", InvalidUrl::Missing("database")),
        ("postgresql://u:hunter2@a,b/d", InvalidUrl::SeveralHosts),
        ("postgresql://u:hunter2@h:0/d", InvalidUrl::Port),
        ("postgresql://u:hunter2@h:99999/d", InvalidUrl::Port),
        ("postgresql://u:hunter2%2@h/d", InvalidUrl::Encoding("password")),
        ("postgresql://u:hunter2@h/d?pgbouncer=true", InvalidUrl::Pooler),
        ("postgresql://u:hunter2@h/d?options=-csearch_path=x", InvalidUrl::Option("options")),
        ("host=h user=u dbname='d", InvalidUrl::Form),
        ("postgresql://u:abc?hunter2=x@h/d", InvalidUrl::UnknownOption),
        ("host=h user=u dbname=d password=abc hunter2=x", InvalidUrl::UnknownOption),
        ("hunter2://x", InvalidUrl::Form),
    ];
    for (text, expected) in cases {
        let error = refused(text);
        assert_eq!(error, expected, "{text}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    assert!(matches!(refused("postgresql://u@h/d?sslmode=maybe"), InvalidUrl::Value { option: "sslmode", .. }));
    assert!(!format!("{:?}", read("postgresql://u:hunter2@h/d")).contains("hunter2"));
}

proptest! {
    #[test]
    fn any_user_password_and_database_come_through(user in "[^\0\r\n]{1,12}", password in "[^\0\r\n]{1,12}", database in "[^\0\r\n/]{1,12}") {
        let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let url = read(&format!("postgresql://{}:{}@h/{}", encode(&user), encode(&password), encode(&database)));
        prop_assert_eq!((url.user, url.database), (user, database));
        let read = url.password.unwrap();
        prop_assert_eq!(read.expose(), password);
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,80}", pairs in "([a-z]{1,8}=('.{0,6}'|.{0,6}) ?){0,5}") {
        let _ = ConnectionUrl::parse(&text);
        let _ = ConnectionUrl::parse(&pairs);
    }
}
