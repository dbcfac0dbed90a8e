//! Who waits for our locks. A queued `ALTER TABLE` blocks every reader behind it, so a backup gives way
//! rather than hold an application up.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_postgres::{Row, Statement};

use super::catalog::{self, Sent};
use super::failure::{Peer, first_words};
use crate::sources::postgres::{Error, Server, Session, quote};

/// The leader says that it is alive so often.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// How long a small question may take before its session counts as lost.
const ANSWER: Duration = Duration::from_secs(30);

/// Sessions that wait for a lock that a session of this capture holds, or waits for before them.
const WAITING: &str = "
SELECT w.pid, a.usename::text, a.application_name, a.query, n.nspname::text, c.relname::text
FROM (SELECT l.pid, max(l.relation) AS relation FROM pg_locks l WHERE NOT l.granted GROUP BY l.pid) w
LEFT JOIN pg_stat_activity a ON a.pid = w.pid
LEFT JOIN pg_class c ON c.oid = w.relation
LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE pg_blocking_pids(w.pid) && ARRAY(SELECT pid FROM pg_stat_activity WHERE right(application_name, length($1)) = $1)
  AND NOT w.pid = ANY (ARRAY(SELECT pid FROM pg_stat_activity WHERE right(application_name, length($1)) = $1))
ORDER BY w.pid";

/// Whom a session waits for.
const BLOCKING: &str = "
SELECT a.pid, a.usename::text, a.application_name, a.query, n.nspname::text, c.relname::text
FROM unnest(pg_blocking_pids($1)) AS b(pid)
JOIN pg_stat_activity a ON a.pid = b.pid
LEFT JOIN pg_locks l ON l.pid = $1 AND NOT l.granted
LEFT JOIN pg_class c ON c.oid = l.relation
LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY a.pid LIMIT 1";

/// Ends the sessions of this capture on the server itself: one that waits for a lock does not hear that
/// its client is gone.
const END: &str = "
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE right(application_name, length($1)) = $1 AND pid <> pg_backend_pid()";

/// Why a session is closed of which nobody has said more.
pub(super) const ENDED: &str = "the server or the network has ended it";

/// What the watchdog has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody waits for long, and all sessions are alive.
    Fine,
    /// Somebody waited too long: all sessions of the capture were ended.
    GaveWay(Peer),
    /// The leader's session is gone.
    LeaderLost(String),
    /// The watchdog's own session is gone: nobody would see who waits.
    WatchLost(String),
}

/// Watches from its own session until it is dropped.
#[derive(Debug)]
pub(super) struct Watchdog {
    verdict: watch::Receiver<Verdict>,
    blocker: Arc<Mutex<Option<Peer>>>,
    tasks: JoinSet<()>,
    sender: watch::Sender<Verdict>,
    session: Arc<Session>,
    /// Its other end is dropped when the watcher has done all that it does.
    alive: watch::Receiver<()>,
}

struct Watcher {
    session: Arc<Session>,
    blocking: Statement,
    waiting: Statement,
    leader: Arc<Session>,
    token: String,
    patience: Duration,
    verdict: watch::Sender<Verdict>,
    blocker: Arc<Mutex<Option<Peer>>>,
    _alive: watch::Sender<()>,
}

impl Watchdog {
    /// Watches over the sessions whose application names end with `token`. Who waits for them as long as
    /// `patience`, for that one they give way.
    pub(super) async fn start(
        server: &Server,
        leader: &Arc<Session>,
        token: &str,
        patience: Duration,
    ) -> Result<Self, Error> {
        let session = Arc::new(catalog::connect(server, &format!("watch {token}")).await?);
        let prepare = async |sql: &str| {
            session.client().prepare(sql).await.map_err(|error| session.failed("prepare to look for locks", &error))
        };
        let (blocking, waiting) = (prepare(BLOCKING).await?, prepare(WAITING).await?);
        let (sender, verdict) = watch::channel(Verdict::Fine);
        let (working, alive) = watch::channel(());
        let blocker = Arc::new(Mutex::new(None));
        let watcher = Watcher {
            session: Arc::clone(&session),
            blocking,
            waiting,
            leader: Arc::clone(leader),
            token: token.to_owned(),
            patience,
            verdict: sender.clone(),
            blocker: Arc::clone(&blocker),
            _alive: working,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(watcher.run());
        Ok(Self { verdict, blocker, tasks, sender, session, alive })
    }

    /// From now on the leader says so often that it is alive. Not before: a session that waits for a lock
    /// cannot answer.
    pub(super) fn begin_heartbeat(&mut self, leader: &Arc<Session>) {
        let (leader, verdict) = (Arc::clone(leader), self.sender.clone());
        self.tasks.spawn(async move {
            loop {
                tokio::time::sleep(HEARTBEAT).await;
                if let Err(reason) = ask(leader.run("say that it is alive", "SELECT 1")).await {
                    settle(&verdict, Verdict::LeaderLost(reason));
                    return;
                }
            }
        });
    }

    /// What was found so far.
    pub(super) fn verdict(&self) -> Verdict {
        self.verdict.borrow().clone()
    }

    /// Waits until there is something to be found.
    pub(super) async fn ended(&self) -> Verdict {
        let mut verdict = self.verdict.clone();
        match verdict.wait_for(|verdict| *verdict != Verdict::Fine).await {
            Ok(verdict) => verdict.clone(),
            Err(_) => Verdict::WatchLost("its task has ended".to_owned()),
        }
    }

    /// Whether its session is gone, also where it has not looked since.
    pub(super) fn is_blind(&self) -> bool {
        self.session.is_closed()
    }

    /// Waits until it has done all that follows from its verdict: dropped before, it would leave sessions on the
    /// server, and with them the locks that it gives way with. It takes no longer than one answer.
    pub(super) async fn is_through(&self) {
        let mut alive = self.alive.clone();
        while alive.changed().await.is_ok() {}
    }

    /// Whom the leader waited for last.
    pub(super) fn blocker(&self) -> Peer {
        self.blocker.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }
}

impl Watcher {
    async fn run(self) {
        // Often enough that patience is met within a tenth of it.
        let pause = (self.patience / 20).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let mut waiting: HashMap<i32, Instant> = HashMap::new();
        loop {
            tokio::time::sleep(pause).await;
            if self.leader.is_closed() {
                settle(&self.verdict, Verdict::LeaderLost(ENDED.to_owned()));
                return;
            }
            let peers = match ask(self.look()).await {
                Ok(peers) => peers,
                Err(reason) => {
                    settle(&self.verdict, Verdict::WatchLost(reason));
                    return;
                }
            };
            let now = Instant::now();
            waiting.retain(|pid, _| peers.iter().any(|peer| peer.pid == *pid));
            let longest = peers.into_iter().find(|peer| {
                let since = *waiting.entry(peer.pid).or_insert(now);
                now.duration_since(since) >= self.patience
            });
            if let Some(peer) = longest {
                tracing::warn!(waiter = %peer, "the backup gives way");
                settle(&self.verdict, Verdict::GaveWay(peer));
                if let Err(reason) = ask(self.session.row("end its sessions", END, &[&self.token])).await {
                    tracing::warn!(%reason, "the capture's sessions could not be ended on the server");
                }
                return;
            }
        }
    }

    /// Who waits for us; and whom the leader waits for, for the message if it waits too long.
    async fn look(&self) -> Result<Vec<Peer>, Error> {
        let client = self.session.client();
        let failed = |error: tokio_postgres::Error| self.session.failed("look for locks", &error);
        let blocking = client.query(&self.blocking, &[&self.leader.pid]).await.map_err(failed)?;
        if let Some(row) = blocking.first() {
            *self.blocker.lock().unwrap_or_else(PoisonError::into_inner) = Some(peer(row));
        }
        let rows = client.query(&self.waiting, &[&self.token]).await.map_err(failed)?;
        Ok(rows.iter().map(peer).collect())
    }
}

fn peer(row: &Row) -> Peer {
    let text = |column: usize| row.try_get::<_, Option<Sent>>(column).ok().flatten().unwrap_or_default().text;
    let statement = text(3);
    let (schema, table) = (text(4), text(5));
    Peer {
        pid: row.try_get::<_, Option<i32>>(0).ok().flatten().unwrap_or_default(),
        role: text(1),
        application: text(2),
        statement: first_words(if statement == "<insufficient privilege>" { "" } else { &statement }),
        table: if table.is_empty() { table } else { quote::shown(&schema, &table) },
    }
}

/// The first verdict stands.
fn settle(verdict: &watch::Sender<Verdict>, found: Verdict) {
    verdict.send_if_modified(|now| {
        let first = *now == Verdict::Fine;
        if first {
            *now = found;
        }
        first
    });
}

async fn ask<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    match timeout(ANSWER, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER.as_secs())),
    }
}
