//! Stands between `pg_dump` and the server, and takes the rows.
//!
//! `pg_dump` connects to a socket of this process, and its session with the server is passed through: its own
//! authentication, its own statements. TLS ends here. Of the server's answers the rows of tables are taken out and go
//! into the backup at once. Through `pg_dump` they would be written into a pipe in pieces of 4 KiB and be taken out of
//! its archive again, which takes a fifth of all the work of a backup.
//!
//! `pg_dump` keeps the end of its table of contents in a buffer until more follows. So it gets the first rows as well,
//! until the table of contents has come; what it was given is compared with what its archive holds of them.
//!
//! Here the rows are only taken from the socket, which holds little: a server that has to wait for room in it loses more
//! time than anything else of a backup takes. Counting them is the work of another thread (`counted`).

use std::os::{
    linux::net::SocketAddrExt as _,
    unix::net::{SocketAddr, UnixListener as StdListener},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{UnixListener, UnixStream},
    process::Command,
    sync::{mpsc, oneshot, watch},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    counted::{self, Counted, Piece},
    cutting::Item,
    replies::{BadReply, End, Replies, Reply},
};
use crate::sources::postgres::{
    Error, Server,
    rows::{CutRow, RowTotals},
};

/// The port in the socket's name: libpq wants one.
const PORT: u16 = 5432;
/// Bytes that are read from the server at once.
const ANSWERS: usize = 256 << 10;
/// Bytes that are read from `pg_dump` at once.
const QUESTIONS: usize = 16 << 10;
/// Bytes of rows that may wait for the table of contents, and that may come again after the row in which they were
/// reached: `pg_dump` writes a row, of whatever length, before it takes the next one. The table of contents comes after
/// a few kilobytes, unless something keeps the archive back that `pg_dump` writes.
const HELD: usize = 16 << 20;
/// The most bytes of a client's greeting.
const GREETING: usize = 10_000;

/// Why the rows that came cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// The server's words are not understood.
    #[error(transparent)]
    Reply(#[from] BadReply),
    /// A table ends within a row.
    #[error(transparent)]
    Row(#[from] CutRow),
    /// The server has counted otherwise.
    #[error("the server sent {sent} rows of a table, and {come} have come")]
    Count {
        /// What the server says.
        sent: u64,
        /// What has come.
        come: u64,
    },
    /// The archive does not come.
    #[error(
        "the rows of tables come, and of pg_dump's archive not even the table of contents: something keeps it back"
    )]
    NoArchive,
    /// Nobody takes the rows any more.
    #[error("nobody takes them any more")]
    Abandoned,
    /// The server cannot be reached.
    #[error(transparent)]
    Server(#[from] Error),
}

impl Lost {
    /// Whether it says what is wrong with the rows, and not only that there was an end.
    pub(super) fn is_about_rows(&self) -> bool {
        matches!(self, Self::Reply(_) | Self::Row(_) | Self::Count { .. } | Self::NoArchive)
    }
}

/// A relay that runs on a thread of its own. Dropped, it ends all its connections.
#[derive(Debug)]
pub(super) struct Relay {
    host: String,
    /// What comes of the rows. Nothing comes before the table of contents is known.
    pub(super) items: mpsc::Receiver<Item>,
    ended: oneshot::Receiver<Result<Vec<RowTotals>, Lost>>,
    counted: Counted,
    alone: CancellationToken,
    _stop: DropGuard,
}

impl Relay {
    /// Begins to listen. `toc` becomes true when the table of contents has come through the pipe.
    pub(super) fn start(server: &Server, toc: watch::Receiver<bool>) -> Result<Self, Error> {
        let name = format!("drctl-{:016x}", rand::random::<u64>());
        let local = |doing: &str| {
            let doing = doing.to_owned();
            move |source| Error::Local { doing, source }
        };
        let listener = listen(&name).map_err(local("listen for pg_dump"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(local("prepare a thread"))?;
        let (told, ended) = oneshot::channel();
        let (stop, alone) = (CancellationToken::new(), CancellationToken::new());
        let (pieces, items, counted) = counted::start(toc.clone(), stop.clone()).map_err(local("start a thread"))?;
        let (server, stopped, left) = (server.clone(), stop.clone(), alone.clone());
        let work = move || {
            runtime.block_on(async {
                let out = Out { replies: Replies::default(), toc, waiting: 0, limit: None, pieces, given: Vec::new() };
                tokio::select! {
                    biased;
                    () = stopped.cancelled() => {}
                    given = serve(listener, &server, out, &left) => {
                        let _told = told.send(given);
                    }
                }
            });
        };
        std::thread::Builder::new().name("drctl-rows".to_owned()).spawn(work).map_err(local("start a thread"))?;
        Ok(Self { host: format!("@{name}"), items, ended, counted, alone, _stop: stop.drop_guard() })
    }

    /// Has `command`, a client program, connect here and not to the server itself.
    pub(super) fn lead(&self, command: &mut Command) {
        command.env("PGHOST", &self.host).env("PGPORT", PORT.to_string()).env("PGSSLMODE", "disable");
        for name in ["PGHOSTADDR", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"] {
            command.env_remove(name);
        }
    }

    /// `pg_dump` has ended: if it has not connected yet, nobody will.
    pub(super) fn is_alone(&self) {
        self.alone.cancel();
    }

    /// What was given to `pg_dump` of each table, in order, once all items were taken.
    pub(super) async fn given(self) -> Result<Vec<RowTotals>, Lost> {
        let given = self.ended.await.unwrap_or(Err(Lost::Abandoned));
        if given.as_ref().is_err_and(Lost::is_about_rows) {
            return given;
        }
        // Who counts has the reason for which nobody took the rest.
        self.counted.await.unwrap_or(Err(Lost::Abandoned)).and(given)
    }
}

/// A socket that is in no folder: there is nothing to clean up, and nothing to write to.
fn listen(name: &str) -> std::io::Result<StdListener> {
    let address = SocketAddr::from_abstract_name(format!("{name}/.s.PGSQL.{PORT}"))?;
    let listener = StdListener::bind_addr(&address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The first who connects is the dump; who comes later wants to cancel its statement.
async fn serve(
    listener: StdListener,
    server: &Server,
    out: Out,
    alone: &CancellationToken,
) -> Result<Vec<RowTotals>, Lost> {
    let failed = |source| Error::Local { doing: "listen for pg_dump".to_owned(), source };
    let listener = UnixListener::from_std(listener).map_err(failed)?;
    let client = tokio::select! {
        client = accept(&listener) => client.map_err(failed)?,
        () = alone.cancelled() => return Ok(Vec::new()),
    };
    let others = async {
        while let Ok(client) = accept(&listener).await {
            tokio::spawn(pass(server.clone(), client));
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        given = relay(server, client, out) => given,
        () = others => Err(Lost::Abandoned),
    }
}

/// Who connects, and is a process of the same user.
async fn accept(listener: &UnixListener) -> std::io::Result<UnixStream> {
    loop {
        let (client, _) = listener.accept().await?;
        if client.peer_cred()?.uid() == rustix::process::geteuid().as_raw() {
            return Ok(client);
        }
        tracing::warn!("another user has connected to the socket for pg_dump, and was turned away");
    }
}

async fn pass(server: Server, mut client: UnixStream) {
    if let Ok(mut wire) = server.wire().await {
        let _passed = copy_bidirectional(&mut client, &mut wire).await;
    }
}

/// Passes a session through until one side ends it, and takes the rows.
async fn relay(server: &Server, mut client: UnixStream, mut out: Out) -> Result<Vec<RowTotals>, Lost> {
    let wire = match server.wire().await {
        Ok(wire) => wire,
        Err(error) => {
            refuse(&mut client, &error).await;
            return Err(error.into());
        }
    };
    let (mut answers, mut questions) = tokio::io::split(wire);
    let (mut asked, mut told) = client.into_split();
    let (mut answer, mut question, mut on) = (vec![0; ANSWERS], vec![0; QUESTIONS], Vec::new());
    loop {
        tokio::select! {
            read = asked.read(&mut question) => {
                let Ok(read @ 1..) = read else { break };
                let written = questions.write_all(question.get(..read).unwrap_or_default()).await;
                if written.is_err() || questions.flush().await.is_err() {
                    break;
                }
            }
            read = answers.read(&mut answer) => {
                // Why it has ended, `pg_dump` says: it is told no more.
                let Ok(read @ 1..) = read else { break };
                out.take(answer.get(..read).unwrap_or_default(), &mut on).await?;
                if told.write_all(&on).await.is_err() {
                    break;
                }
                on.clear();
            }
        }
    }
    Ok(out.given)
}

/// Tells `pg_dump` why there is no server, in the words of a server.
async fn refuse(client: &mut UnixStream, error: &Error) {
    let Ok(length @ 4..) = client.read_u32().await else { return };
    let left = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(4).min(GREETING);
    let mut greeting = vec![0; left];
    let _greeted = client.read_exact(&mut greeting).await;
    let fields = format!("SFATAL\0VFATAL\0C08006\0M{}\0\0", error.to_string().replace('\0', " "));
    let length = u32::try_from(fields.len() + 4).unwrap_or(u32::MAX);
    let message = [&b"E"[..], &length.to_be_bytes(), fields.as_bytes()].concat();
    let _told = client.write_all(&message).await;
}

/// The rows on their way out.
struct Out {
    replies: Replies,
    /// Whether the table of contents has come.
    toc: watch::Receiver<bool>,
    /// The bytes of rows so far, until it has come: who counts keeps them, no more than the pipe and the sockets hold,
    /// since `pg_dump` gets these rows too.
    waiting: usize,
    /// The most that they may be; known when the row has ended in which [`HELD`] was reached.
    limit: Option<usize>,
    pieces: mpsc::Sender<Piece>,
    given: Vec<RowTotals>,
}

impl Out {
    async fn take(&mut self, mut input: &[u8], pass: &mut Vec<u8>) -> Result<(), Lost> {
        loop {
            let give = !*self.toc.borrow();
            let Some(reply) = self.replies.next(&mut input, pass, give)? else { return Ok(()) };
            if give {
                self.wait()?;
            }
            let piece = match reply {
                Reply::Begin => Piece::Begin,
                Reply::Rows => Piece::Rows(self.replies.rows.split().freeze()),
                Reply::End(End { sent, given }) => {
                    self.given.push(given);
                    Piece::End { rows: self.replies.rows.split().freeze(), sent }
                }
            };
            self.pieces.send(piece).await.map_err(|_| Lost::Abandoned)?;
        }
    }

    /// Counts the bytes that have come before the table of contents.
    fn wait(&mut self) -> Result<(), Lost> {
        let rows = &self.replies.rows;
        self.waiting += rows.len();
        if self.limit.is_none() && self.waiting > HELD && rows.contains(&b'\n') {
            self.limit = Some(self.waiting + HELD);
        }
        if self.limit.is_some_and(|limit| self.waiting > limit) { Err(Lost::NoArchive) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        os::unix::net::UnixStream as StdStream,
        time::Duration,
    };

    use super::*;
    use crate::sources::postgres::ConnectionUrl;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    /// The answers to a COPY: its rows, and how many the server says that there were.
    fn table(rows: &[&str], says: usize) -> Vec<u8> {
        let rows = rows.iter().flat_map(|row| message(b'd', row.as_bytes()));
        let end = [message(b'c', b""), message(b'C', format!("COPY {says}\0").as_bytes()), message(b'Z', b"T")];
        [message(b'H', &[0, 0, 1, 0, 0]), rows.collect(), end.concat()].concat()
    }

    /// A server that says `answers` to whatever is asked first, and then ends.
    fn server_that_says(answers: Vec<u8>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            client.read_exact(&mut [0; 8]).unwrap();
            client.write_all(&answers).unwrap();
        });
        let url = format!("postgresql://u@127.0.0.1:{port}/d?sslmode=disable");
        Server::new(ConnectionUrl::parse(&url).unwrap(), None).unwrap()
    }

    fn connect(relay: &Relay) -> StdStream {
        let name = format!("{}/.s.PGSQL.{PORT}", relay.host.trim_start_matches('@'));
        StdStream::connect_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap()
    }

    /// What a client is told that asks, until the end.
    async fn told(relay: &Relay) -> Vec<u8> {
        let mut client = connect(relay);
        let reading = move || {
            client.write_all(&8_u32.to_be_bytes()).unwrap();
            client.write_all(b"ask.").unwrap();
            let mut told = Vec::new();
            client.read_to_end(&mut told).unwrap();
            told
        };
        tokio::task::spawn_blocking(reading).await.unwrap()
    }

    async fn items(relay: &mut Relay) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(item) = relay.items.recv().await {
            told.push(match item {
                Item::Data(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                Item::PartEnd(summary) => format!("{} rows", summary.count),
                other => format!("{other:?}"),
            });
        }
        told
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rows_wait_for_the_table_of_contents_and_are_given_to_the_client_until_then() {
        let all = [table(&["a\n", "b\n"], 2), table(&[], 0)].concat();
        let (known, toc) = watch::channel(false);
        let mut relay = Relay::start(&server_that_says(all.clone()), toc).unwrap();
        assert_eq!(told(&relay).await, all, "the client gets the rows as well");
        let waits = tokio::time::timeout(Duration::from_millis(50), relay.items.recv()).await;
        assert!(waits.is_err(), "nothing may come before the streams have names: {waits:?}");
        known.send_replace(true);
        let two = ["Table", "Part(\"0\")", "a\nb\n", "2 rows", "End"];
        assert_eq!(items(&mut relay).await, [&two[..], &["Table", "Part(\"0\")", "0 rows", "End"]].concat());
        let given: Vec<u64> = relay.given().await.unwrap().iter().map(|rows| rows.rows).collect();
        assert_eq!(given, [2, 0]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn once_it_is_known_the_client_sees_tables_without_rows() {
        let (_known, toc) = watch::channel(true);
        let mut relay = Relay::start(&server_that_says(table(&["a\n", "b\n"], 2)), toc).unwrap();
        assert_eq!(told(&relay).await, table(&[], 2));
        assert_eq!(items(&mut relay).await[2], "a\nb\n");
        assert_eq!(relay.given().await.unwrap()[0].rows, 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_counts_otherwise_is_not_believed() {
        for (says, come) in [(3, 2), (1, 2)] {
            let (_known, toc) = watch::channel(true);
            let mut relay = Relay::start(&server_that_says(table(&["a\n", "b\n"], says)), toc).unwrap();
            told(&relay).await;
            assert!(!items(&mut relay).await.contains(&"End".to_owned()), "the table has no end");
            let lost = relay.given().await.unwrap_err();
            assert!(lost.is_about_rows());
            assert_eq!(lost.to_string(), format!("the server sent {says} rows of a table, and {come} have come"));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rows_that_come_without_an_archive_are_not_kept_for_ever() {
        for (mib, rows, held) in [(1, 15, true), (1, 40, false), (50, 1, true)] {
            let row = format!("{}\n", "x".repeat(mib << 20));
            let (_unknown, toc) = watch::channel(false);
            let server = server_that_says(table(&vec![row.as_str(); rows], rows));
            let relay = Relay::start(&server, toc).unwrap();
            told(&relay).await;
            let patience = if held { Duration::from_millis(300) } else { Duration::from_secs(60) };
            let lost = tokio::time::timeout(patience, relay.given()).await;
            assert_eq!(lost.is_err(), held, "{rows} rows: {lost:?}");
            assert!(held || matches!(lost, Ok(Err(Lost::NoArchive))), "{lost:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_is_not_there_is_an_error_in_the_words_of_a_server() {
        let url = ConnectionUrl::parse("postgresql://u@127.0.0.1:1/d?sslmode=disable").unwrap();
        let (_known, toc) = watch::channel(true);
        let relay = Relay::start(&Server::new(url, None).unwrap(), toc).unwrap();
        let told = String::from_utf8_lossy(&told(&relay).await).into_owned();
        assert!(told.starts_with('E') && told.contains("SFATAL") && told.contains("127.0.0.1:1"), "{told:?}");
        let lost = relay.given().await.unwrap_err();
        assert!(!lost.is_about_rows() && matches!(lost, Lost::Server(_)), "{lost}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_relay_to_which_nobody_connects_ends_when_it_is_told_so() {
        let (_known, toc) = watch::channel(true);
        let mut relay = Relay::start(&server_that_says(Vec::new()), toc).unwrap();
        relay.is_alone();
        assert!(items(&mut relay).await.is_empty());
        assert_eq!(relay.given().await.unwrap(), []);
    }
}
