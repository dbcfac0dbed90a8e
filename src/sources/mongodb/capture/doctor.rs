//! What stands between a database and a complete backup, said before one is tried.

use mongodb_driver::bson::{Bson, Document, doc};

use super::{
    Consistency, MongodbSource, listing,
    selection::{Choice, Emptiness},
};
use crate::{
    sources::{
        Finding, Severity,
        mongodb::{
            Error, Session,
            accounts::{self, AccountKind},
            contents::AccountCounts,
            left,
        },
    },
    types::{ByteSize, counted, for_terminal},
};

/// How long servers keep a moment, if they do not say otherwise, in seconds.
const USUAL_WINDOW: u64 = 300;
/// What is read in a second at the least: a slow disk, a small container.
const SLOW: u64 = 20 << 20;

impl MongodbSource {
    /// Looks at the database as a backup would: what was found, and what ended the look before its end, as it would a backup.
    pub async fn examine(&self) -> (Vec<Finding>, Result<(), Error>) {
        let mut findings = Vec::new();
        let ended = self.examine_into(&mut findings).await;
        (findings, ended)
    }

    fn add(&self, findings: &mut Vec<Finding>, severity: Severity, what: impl Into<String>, next: &str) {
        findings.push(Finding {
            subject: format!("source {}", self.name),
            severity,
            what: what.into(),
            next: (!next.is_empty()).then(|| next.to_owned()),
        });
    }

    async fn examine_into(&self, findings: &mut Vec<Finding>) -> Result<(), Error> {
        if self.server.is_plain() {
            let what = format!(
                "the connection to {} is not encrypted: who is between can read the database",
                self.server.shown()
            );
            self.add(
                findings,
                Severity::Note,
                what,
                "write `tls=true` into the address, or name the server's authority by `tls: {caFile: ...}`",
            );
        }
        let session = self.session().await?;
        let facts = &session.facts;
        let set = match &facts.replica_set {
            Some(set) => format!("replica set {}", for_terminal(set)),
            None => "standalone".to_owned(),
        };
        let database = for_terminal(self.server.database());
        let reached = format!("database `{database}` on {}: {}, {set}", self.server.shown(), facts.shown());
        self.add(findings, Severity::Good, reached, "");
        if let Some(product) = &facts.product {
            let what = format!(
                "{} is not MongoDB's own server; docs/mongodb.md says what was tested with it",
                for_terminal(product)
            );
            self.add(findings, Severity::Note, what, "");
        }
        let listed = listing::list(&session).await?;
        match self.selection.emptiness(&listed) {
            None => {}
            Some(Emptiness::NoCollections) => {
                let what = format!("database `{database}` has no collections");
                self.add(findings, Severity::Partial, what, "correct its name");
            }
            Some(Emptiness::NoneTaken) => {
                let what = format!("the policy takes none of the collections of database `{database}`");
                self.add(findings, Severity::Partial, what, "correct `include` and `exclude`");
            }
        }
        let names: Vec<&str> = listed.iter().map(|definition| definition.name.as_str()).collect();
        for pattern in self.selection.absent(&names) {
            let what = format!("`include` {}: no collection fits it", for_terminal(pattern));
            self.add(findings, Severity::Partial, what, "correct the policy");
        }
        for pattern in self.selection.useless(&names) {
            let what = format!("`exclude` {}: no collection fits it", for_terminal(pattern));
            self.add(findings, Severity::Note, what, "correct the policy");
        }
        for definition in listed.iter().filter(|it| self.selection.choose(it) == Choice::NotAskedFor) {
            let what = format!("collection {} is a time series", for_terminal(&definition.name));
            self.add(
                findings,
                Severity::Partial,
                what,
                "write `timeSeries: true` into the policy, or leave it out by `exclude`",
            );
        }
        let not_taken = names.iter().copied().filter(|name| !self.selection.include.iter().any(|item| item == name));
        for traces in left::traces(self.server.database(), not_taken, None) {
            self.add(findings, Severity::Note, traces.what, &traces.next);
        }
        self.look_for_accounts(&session, findings).await;
        if self.selection.users {
            let accounts = accounts::list(&session).await?;
            let counts = AccountCounts::of(&accounts);
            let (users, roles) = (counted(counts.users, "user"), counted(counts.roles, "role"));
            self.add(findings, Severity::Good, format!("{users} and {roles} can be read"), "");
        }
        match self.consistency {
            Consistency::Snapshot => self.window(&session, findings).await,
            Consistency::None => {
                let what = "`consistency: none`: backups are not point-in-time";
                self.add(
                    findings,
                    Severity::Note,
                    what,
                    "docs/guides/mongodb.md: a replica set of one member has snapshots",
                );
            }
        }
        Ok(())
    }

    /// What restores of users have left. Only who may restore users may look; others are told so if users are their concern.
    async fn look_for_accounts(&self, session: &Session, findings: &mut Vec<Finding>) {
        for kind in [AccountKind::User, AccountKind::Role] {
            match left::of_accounts(session, kind).await {
                Ok(None) => {}
                Ok(Some(traces)) => self.add(findings, Severity::Note, traces.what, &traces.next),
                Err(reason) if self.selection.users && kind == AccountKind::User => {
                    let place = left::TEMPORARY_USERS;
                    let what = format!(
                        "cannot see whether a restore of users has left something in `admin.{place}`: {reason}"
                    );
                    self.add(
                        findings,
                        Severity::Note,
                        what,
                        "`drctl restore --users` looks, too, as a user who may restore",
                    );
                }
                Err(_) => {}
            }
        }
    }

    /// Whether the server keeps a moment for as long as reading will take.
    async fn window(&self, session: &Session, findings: &mut Vec<Finding>) {
        let parameter = doc! {"getParameter": 1, "minSnapshotHistoryWindowInSeconds": 1};
        let window = session.admin("ask for the snapshot window", parameter).await;
        let window = window.ok().and_then(|reply| number(&reply, "minSnapshotHistoryWindowInSeconds"));
        let seconds = window.unwrap_or(USUAL_WINDOW);
        let kept = match window {
            Some(seconds) => format!("a snapshot is kept for {seconds} s"),
            None => {
                format!(
                    "the server does not tell this user how long it keeps a snapshot ({USUAL_WINDOW} s unless it was raised)"
                )
            }
        };
        let size = session.run("ask for the database's size", doc! {"dbStats": 1}).await;
        let Some(bytes) = size.ok().and_then(|reply| number(&reply, "dataSize")) else { return };
        let needed = bytes / SLOW;
        let (size, needs) = (ByteSize(bytes), counted(needed.max(1), "second"));
        let what = format!("{kept}; {size} of documents may take {needs} to read");
        if needed < seconds {
            self.add(findings, Severity::Good, what, "");
        } else {
            let next = "an administrator raises the parameter minSnapshotHistoryWindowInSeconds; drctl never does";
            self.add(findings, Severity::Note, what, next);
        }
    }
}

/// A number of a server's, whatever its type.
pub(super) fn number(reply: &Document, key: &str) -> Option<u64> {
    match reply.get(key)? {
        Bson::Int32(number) => u64::try_from(*number).ok(),
        Bson::Int64(number) => u64::try_from(*number).ok(),
        Bson::Double(number) if *number >= 0.0 => Some(*number as u64),
        _ => None,
    }
}
