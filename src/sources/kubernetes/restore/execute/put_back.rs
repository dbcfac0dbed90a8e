//! A live object that was deleted to be replaced, and comes back because the backup's could not be created.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::Method;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    course::{Course, FIRST_PAUSE, LONGEST_PAUSE, STOP_GRACE},
    verdict::{self, Verdict},
};
use crate::sources::kubernetes::{
    client,
    restore::{conflicts::put_back, judge::MANAGER, live::full_name},
};

impl Course<'_, '_> {
    /// The object from before, once more; tried as long as any creation. Says what became of it: where it cannot be
    /// created, it is in a file.
    pub(super) async fn bring_back(&mut self, live: &Value, why: &str) -> String {
        let object = put_back(live);
        let outcome = match self.create_again(&object).await {
            Ok(()) => return format!("{why}; the live one from before was put back"),
            Err(outcome) => outcome,
        };
        let kept = match keep(&self.kind.id(), self.namespace, &self.name, &object) {
            Ok(path) => format!("it is in {}: `kubectl create -f` that file", path.display()),
            Err(error) => format!("and it could not be kept in a file: {error}"),
        };
        format!("{why}; AND the live one from before, which was deleted, could not be put back: {outcome}; {kept}")
    }

    async fn create_again(&mut self, object: &Value) -> Result<(), String> {
        let path = format!("{}?fieldManager={MANAGER}", self.kind.list_path(Some(self.namespace)));
        let act = format!("put back {} {}", self.kind.id(), full_name(self.namespace, &self.name));
        let body = Bytes::from(object.to_string());
        let patience = self.worker.options.object_deadline;
        let deadline = Instant::now() + patience;
        let mut stop_at: Option<Instant> = None;
        let (mut pause, mut uncertain) = (FIRST_PAUSE, false);
        loop {
            let (why, asked) = match self.send(Method::POST, "application/json", &act, &path, body.clone()).await {
                Err(why) => {
                    uncertain = true;
                    (why, None)
                }
                Ok(reply) => match verdict::of(&reply) {
                    Verdict::Done => return Ok(()),
                    Verdict::Exists if uncertain => return Ok(()),
                    Verdict::Exists => return Err("there is another one of its name by now".to_owned()),
                    // A quota counts what was deleted a little longer.
                    Verdict::Refused(why) if why.contains("exceeded quota") => (why, None),
                    Verdict::Refused(why) => return Err(why),
                    Verdict::Taken(fields) => (format!("{} is taken", fields.join(", ")), None),
                    Verdict::Later(why) => {
                        uncertain |= verdict::is_uncertain(&reply);
                        (why, reply.retry_after)
                    }
                },
            };
            let now = Instant::now();
            if self.worker.context.cancel.is_cancelled() {
                stop_at.get_or_insert(now + STOP_GRACE);
            }
            if now >= deadline || stop_at.is_some_and(|stop| now >= stop) {
                return Err(why);
            }
            tokio::time::sleep(client::wait(asked, pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Writes the object into a new file that only its owner can read, here or among the temporary files.
fn keep(kind: &str, namespace: &str, name: &str, object: &Value) -> std::io::Result<PathBuf> {
    let safe = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') { c } else { '_' }).collect()
    };
    let folders = [std::env::current_dir().unwrap_or_default(), std::env::temp_dir()];
    let file = format!("drctl-not-put-back_{}_{}_{}", safe(kind), safe(namespace), safe(name));
    let mut last = std::io::Error::other("there is no place for it");
    for folder in &folders {
        match write_new(folder, &file, object) {
            Ok(path) => return Ok(path),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn write_new(folder: &Path, file: &str, object: &Value) -> std::io::Result<PathBuf> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut number = 0_u32;
    loop {
        let suffix = if number == 0 { String::new() } else { format!("_{number}") };
        let path = folder.join(format!("{file}{suffix}.json"));
        match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut opened) => {
                opened.write_all(object.to_string().as_bytes())?;
                opened.sync_all()?;
                return Ok(path);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::*;

    #[test]
    fn what_could_not_be_put_back_is_in_a_file_of_its_own_that_nobody_else_reads() {
        let folder = tempfile::tempdir().unwrap();
        let object = json!({"kind": "Secret", "data": {"a": "b"}});
        let first = write_new(folder.path(), "secrets_n_a", &object).unwrap();
        let second = write_new(folder.path(), "secrets_n_a", &object).unwrap();
        assert_ne!(first, second);
        for path in [first, second] {
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(serde_json::from_slice::<Value>(&std::fs::read(&path).unwrap()).unwrap(), object);
        }
    }
}
