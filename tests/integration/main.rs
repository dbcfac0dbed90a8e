//! Integration tests against the servers of the test bed.

#[test]
fn x() {}
