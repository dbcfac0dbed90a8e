//! What was found of locks and of rights that a backup does not need, in words.

use crate::{
    policy,
    repository::{
        Proof,
        backend::{LockAnswer, LockProof},
    },
    sources::{Finding, Severity},
    types::for_terminal,
};

/// The findings of `proof` beyond that the store takes objects and does not overwrite them.
pub(super) fn findings(asked: &policy::Repository, proof: &Proof) -> Vec<Finding> {
    let key = for_terminal(&proof.key);
    let mut found = Vec::new();
    if proof.bucket_lock.is_some_and(|lock| lock.by_default) {
        found.push(Finding {
            next: Some("take the default retention out of the bucket's object lock, and leave object lock on".to_owned()),
            ..note("the bucket locks by default whatever is put: sessions and tombstones too, which prune cannot tidy away")
        });
    }
    let period = asked.s3.as_ref().and_then(|s3| s3.object_lock.map(|lock| lock.period));
    if let Some(period) = period {
        found.push(good(format!("what a backup needs is locked for at least {period} after it")));
    }
    if let Some(lock) = asked.azure.as_ref().and_then(|azure| azure.immutability) {
        found.push(note(&format!(
            "what a backup needs is locked for at least {} after it, if the container can: that is not tried here",
            lock.period
        )));
    }
    match proof.reads_keys {
        Some(true) => found.push(Finding {
            next: Some(LESS.to_owned()),
            ..note("this identity may read `keys/`, which no backup needs: they are encrypted, and still better kept apart")
        }),
        Some(false) => found.push(good("this identity may not read `keys/`".to_owned())),
        None => {}
    }
    if proof.gives_names_again == Some(false) {
        found.push(Finding {
            next: Some(
                "docs/stores.md says what that means; use a bucket without versions, or a server that gives such a name again"
                    .to_owned(),
            ),
            ..note(
                "the store keeps versions and takes a deletion marker for an object, which AWS does not: nothing can be put under a \
                 name of which something was deleted, so what was deleted from a copy cannot be copied there again",
            )
        });
    }
    let Some(powers) = &proof.powers else { return found };
    match powers.deletes {
        Some(true) => found.push(Finding {
            next: Some(LESS.to_owned()),
            ..note("this identity may delete objects, which no backup needs: who has its credentials can delete every backup")
        }),
        Some(false) => found.push(good(format!("this identity may not delete objects (tried on `{key}`)"))),
        None => {}
    }
    match powers.overwrites {
        Some(true) => found.push(Finding {
            next: Some(
                "let the bucket require If-None-Match of every put, or lock what is put: docs/permissions.md"
                    .to_owned(),
            ),
            ..note("this identity may overwrite objects: drctl never does, but who has its credentials can")
        }),
        Some(false) => found.push(good(format!("this identity may not overwrite objects (tried on `{key}`)"))),
        None => {}
    }
    found.extend(powers.lock.map(|proof| locked(&key, &proof)));
    found
}

const LESS: &str = "give this identity the rights of one that backs up, and no more: docs/permissions.md";

fn locked(key: &str, proof: &LockProof) -> Finding {
    let lock = format!("`{key}` is locked until {} ({})", proof.lock.until, proof.lock.mode.as_str());
    match proof.answer {
        LockAnswer::Locked => good(format!("{lock}: the store refused to delete it, because of the lock")),
        LockAnswer::NoRight => {
            good(format!("{lock}; it could not be deleted, and this identity may not delete versions in any case"))
        }
        LockAnswer::Deleted => Finding {
            severity: Severity::Prevents,
            next: Some("use a store that enforces object lock, or credentials that cannot go round it".to_owned()),
            ..note(&format!(
                "{lock}, and the store deleted it all the same: its locks protect nothing from this identity"
            ))
        },
    }
}

fn note(what: &str) -> Finding {
    Finding { subject: "repository".to_owned(), severity: Severity::Note, what: what.to_owned(), next: None }
}

fn good(what: String) -> Finding {
    Finding { subject: "repository".to_owned(), severity: Severity::Good, what, next: None }
}
