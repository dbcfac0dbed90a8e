//! Sessions that have nothing to do for a long time stay open: what lies between drctl and the server (a
//! port-forward, a load balancer) ends connections that are silent.

use std::{ops::ControlFlow, time::Duration};

use super::super::{Error, Session};

/// How often a silent session says a word.
const EVERY: Duration = Duration::from_secs(30);

/// Keeps a session alive; ends only when it is lost. What else is asked of it meanwhile goes before.
pub(super) async fn until_lost(session: &Session) -> Error {
    every(EVERY, async || match session.run("keep the session", "SELECT 1").await {
        Err(error) if session.is_closed() => ControlFlow::Break(error),
        _ => ControlFlow::Continue(()),
    })
    .await
}

/// Keeps a session alive for as long as this is polled. Its loss is found by whoever uses it next.
pub(super) async fn keep(session: &Session) {
    let _lost = until_lost(session).await;
    std::future::pending().await
}

async fn every<T>(period: Duration, word: impl AsyncFn() -> ControlFlow<T>) -> T {
    loop {
        tokio::time::sleep(period).await;
        if let ControlFlow::Break(lost) = word().await {
            return lost;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_word_is_said_again_and_again_until_the_session_is_lost() {
        let words = Cell::new(0);
        let lost = every(Duration::from_millis(1), async || {
            words.set(words.get() + 1);
            if words.get() == 4 { ControlFlow::Break("lost") } else { ControlFlow::Continue(()) }
        });
        assert_eq!((lost.await, words.get()), ("lost", 4));
    }
}
