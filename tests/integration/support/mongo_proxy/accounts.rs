//! Users and roles, which FerretDB has otherwise or not at all: the proxy keeps them itself, and answers about them itself.
//! **Nobody can log in as one of them**, and what proves a password is only a number that another password does not have.

use std::collections::BTreeMap;

use super::{
    bson::{ARRAY, DOCUMENT, Elements},
    wire::Message,
};

/// The collection of `admin` that a server takes users from.
const TEMPORARY: &str = "tempusers";

/// By `user` or `role`, database and name.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    told: BTreeMap<(&'static str, String, String), Elements>,
    /// What lies in `admin.tempusers`.
    temporary: Vec<Vec<u8>>,
}

impl Accounts {
    /// The answer to a command that is about users or roles.
    pub(super) fn answer(&mut self, request: &Message) -> Option<Elements> {
        let kind = |user: &str| if request.command() == user { "user" } else { "role" };
        match request.command() {
            "createUser" | "createRole" => Some(self.create(request, kind("createUser"))),
            "dropUser" | "dropRole" => {
                self.told.remove(&key(request, kind("dropUser")));
                Some(ok())
            }
            "usersInfo" | "rolesInfo" => Some(self.list(request, kind("usersInfo"))),
            "_mergeAuthzCollections" => {
                self.merge(request.body.text("db").unwrap_or_default());
                Some(ok())
            }
            "insert" | "drop" if request.database() == "admin" && request.collection() == Some(TEMPORARY) => {
                // The documents lie in the server, too.
                self.note(request);
                None
            }
            _ => None,
        }
    }

    fn create(&mut self, request: &Message, kind: &'static str) -> Elements {
        let key = key(request, kind);
        if self.told.contains_key(&key) {
            return failure(if kind == "user" { 51003 } else { 51002 }, "it already exists");
        }
        let (_, database, name) = &key;
        let mut told = Elements::default();
        told.set_text("_id", &format!("{database}.{name}")).set_text(kind, name).set_text("db", database);
        if let Some(password) = request.body.text("pwd") {
            let proof = password.bytes().fold(7, |sum: i32, byte| sum.wrapping_mul(31).wrapping_add(i32::from(byte)));
            let (mut scram, mut credentials) = (Elements::default(), Elements::default());
            scram.set_int("storedKey", proof);
            credentials.set_inner(DOCUMENT, "SCRAM-SHA-256", &scram);
            told.set_inner(DOCUMENT, "credentials", &credentials);
        }
        for list in ["roles", "privileges"] {
            if let Some(given) = request.body.inner(list) {
                told.set_inner(ARRAY, list, &given);
            }
        }
        self.told.insert(key, told);
        ok()
    }

    fn list(&self, request: &Message, kind: &'static str) -> Elements {
        let exactly = request.body.inner(request.command());
        let only = exactly.as_ref().and_then(|which| which.text(kind));
        let shows = request.body.get("showCredentials").is_some_and(|it| it.is_true());
        let mut list = Elements::default();
        for ((of, database, name), told) in &self.told {
            if *of == kind && database == request.database() && only.is_none_or(|only| only == name) {
                let mut told = told.clone();
                if !shows {
                    told.remove("credentials");
                }
                let number = list.0.len().to_string();
                list.set_inner(DOCUMENT, &number, &told);
            }
        }
        let mut body = ok();
        body.set_inner(ARRAY, &format!("{kind}s"), &list);
        body
    }

    fn note(&mut self, request: &Message) {
        if request.command() == "drop" {
            self.temporary.clear();
            return;
        }
        let in_body = request.body.inner("documents").unwrap_or_default();
        self.temporary.extend(in_body.0.into_iter().map(|each| each.value));
        self.temporary.extend(request.sequences.iter().flat_map(|each| each.documents.clone()));
    }

    /// Takes over the users of a database that are not there.
    fn merge(&mut self, database: &str) {
        for document in &self.temporary {
            let told = Elements::of(document);
            if let (Some(name), Some(of)) = (told.text("user"), told.text("db"))
                && of == database
            {
                let key = ("user", of.to_owned(), name.to_owned());
                self.told.entry(key).or_insert(told);
            }
        }
    }
}

fn key(request: &Message, kind: &'static str) -> (&'static str, String, String) {
    let name = request.body.text(request.command()).unwrap_or_default();
    (kind, request.database().to_owned(), name.to_owned())
}

fn ok() -> Elements {
    let mut body = Elements::default();
    body.set_double("ok", 1.0);
    body
}

fn failure(code: i32, text: &str) -> Elements {
    let mut body = Elements::default();
    body.set_double("ok", 0.0).set_text("errmsg", text).set_int("code", code);
    body
}
