//! Holds the layers.

#[test]
fn x() {}
