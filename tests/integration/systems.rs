//! The systems that drctl is to serve first, built from their owners' documents, each with its own policy of
//! `policies/`: backed up, destroyed and restored, unattended.

mod clync_app;
mod crm;
mod expense_tracker;

use std::fs;

use crate::support::workshop::Workshop;

/// Puts a policy of the project into a workshop: its repository and names replaced by the test's own.
fn adopt(workshop: &Workshop, policy: &str, changes: &[(&str, &str)]) {
    let file = format!("{}/policies/{policy}", env!("CARGO_MANIFEST_DIR"));
    let mut text = fs::read_to_string(file).unwrap();
    let repository = text.find("\nrepository:\n").unwrap();
    let end = text.find("\nsources:\n").unwrap();
    text.replace_range(repository + 1..end, &format!("{}\n", workshop.local_repository()));
    for (old, new) in changes {
        assert!(text.contains(old), "{policy} has no `{old}`");
        text = text.replace(old, new);
    }
    fs::write(workshop.policy(), text).unwrap();
    workshop.done(&["policy", "check"]);
    workshop.done(&["repository", "init"]);
}
