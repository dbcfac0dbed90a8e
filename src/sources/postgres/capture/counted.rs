//! Counts and hashes the rows that the relay takes, on a thread of its own.

use std::io;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    cutting::{Item, Rows, WAITING},
    relay::Lost,
};

/// Pieces that may wait to be counted: some 4 MiB.
const PIECES: usize = 8;

/// What the relay takes, in the order in which it comes.
#[derive(Debug)]
pub(super) enum Piece {
    /// The rows of the next table begin.
    Begin,
    /// The next rows; a piece may end within one.
    Rows(Bytes),
    /// The last rows of the table.
    End {
        /// The rows.
        rows: Bytes,
        /// How many the server says that there were in the table.
        sent: u64,
    },
}

/// Whether all pieces were counted, once all items were taken.
pub(super) type Counted = oneshot::Receiver<Result<(), Lost>>;

/// Starts the thread. No item comes before `toc` is true; all have come when the pieces have ended.
pub(super) fn start(
    toc: watch::Receiver<bool>,
    stop: CancellationToken,
) -> io::Result<(mpsc::Sender<Piece>, mpsc::Receiver<Item>, Counted)> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (pieces, taken) = mpsc::channel(PIECES);
    let (sender, items) = mpsc::channel(WAITING);
    let (told, counted) = oneshot::channel();
    let counting = Counting { rows: Rows::default(), toc, held: Vec::new(), sender };
    let work = move || {
        let counted = runtime.block_on(stop.run_until_cancelled(counting.count(taken)));
        // Nobody waits for it when the capture has ended before.
        let _told = told.send(counted.unwrap_or(Err(Lost::Abandoned)));
    };
    std::thread::Builder::new().name("drctl-count".to_owned()).spawn(work)?;
    Ok((pieces, items, counted))
}

struct Counting {
    rows: Rows,
    /// Whether the table of contents has come.
    toc: watch::Receiver<bool>,
    /// What waits for it.
    held: Vec<Item>,
    sender: mpsc::Sender<Item>,
}

impl Counting {
    async fn count(mut self, mut pieces: mpsc::Receiver<Piece>) -> Result<(), Lost> {
        while let Some(piece) = pieces.recv().await {
            match piece {
                Piece::Begin => self.rows.begin(&mut self.held),
                Piece::Rows(rows) => self.rows.push(rows, &mut self.held)?,
                Piece::End { rows, sent } => {
                    self.rows.push(rows, &mut self.held)?;
                    self.rows.end(&mut self.held)?;
                    if sent != self.rows.count {
                        return Err(Lost::Count { sent, come: self.rows.count });
                    }
                }
            }
            if *self.toc.borrow() {
                self.send().await?;
            }
        }
        // Tables that are all very small may have waited until now.
        if self.toc.wait_for(|known| *known).await.is_ok() {
            self.send().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Lost> {
        for item in self.held.drain(..) {
            self.sender.send(item).await.map_err(|_| Lost::Abandoned)?;
        }
        Ok(())
    }
}
