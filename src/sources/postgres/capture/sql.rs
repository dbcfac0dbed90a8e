//! SQL for recovery by hand, from the archive's own table of contents by `pg_restore`.

use std::process::Stdio;

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Child,
};

use crate::{
    sources::postgres::{
        Error,
        archive::{Entry, Field, Toc},
        contents::{LARGE_OBJECTS, POST_DATA, PRE_DATA, SEQUENCES, WHOLE},
        tools::{MemoryFile, Tool},
    },
    types::{Blake3Digest, MediaType, PartSummary},
};

use super::{CaptureError, child::Tools, writer::Writer};

/// Bytes of what `pg_restore` says that are kept.
const SAID: usize = 4 << 10;

/// Writes `pre-data.sql`, `post-data.sql` and `sequences.sql`, and `large-objects.sql` where the archive makes
/// large objects apart from all else.
pub(super) async fn write(tools: &Tools, toc: &Toc, writer: &mut Writer<'_>) -> Result<(), CaptureError> {
    let archive = MemoryFile::new("drctl-toc", toc.bytes())?;
    let sequences = list(toc.sequence_sets())?;
    let objects = list(toc.large_object_metadata())?;
    let (tool, fence) = (&tools.pg_restore, tools.has_fence.then(|| fence(toc)));
    // All at once, so that one starts while another writes.
    let mut running = Vec::new();
    for name in [PRE_DATA, LARGE_OBJECTS, SEQUENCES, POST_DATA] {
        let mut command = tool.command();
        match name {
            PRE_DATA => command.arg("--section=pre-data"),
            POST_DATA => command.arg("--section=post-data"),
            LARGE_OBJECTS if toc.large_object_metadata().next().is_none() => continue,
            LARGE_OBJECTS => command.arg("--use-list").arg(objects.path()),
            _ => command.arg("--use-list").arg(sequences.path()),
        };
        command.args(&fence).arg("--file=-").arg(archive.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        running.push((name, command.spawn().map_err(|error| tool.not_started(error))?));
    }
    for (name, child) in running {
        one(tool, child, name, writer).await?;
    }
    Ok(())
}

/// A list of entries as `pg_restore` reads it.
fn list<'a>(entries: impl Iterator<Item = Entry<'a>>) -> Result<MemoryFile, Error> {
    let lines: String = entries.map(|entry| format!("{};\n", entry.dump_id())).collect();
    MemoryFile::new("drctl-list", lines.as_bytes())
}

async fn one(tool: &Tool, mut child: Child, name: &str, writer: &mut Writer<'_>) -> Result<(), CaptureError> {
    let doing = format!("write {name}");
    let unreadable = |source| Error::Local { doing: "read what pg_restore writes".to_owned(), source };
    let stderr = tokio::spawn(said(child.stderr.take()));
    let mut stream = writer.open(name, MediaType::Text).await?;
    stream.begin_part(WHOLE).await?;
    if let Some(mut stdout) = child.stdout.take() {
        let mut piece = vec![0; 64 << 10];
        loop {
            let read = stdout.read(&mut piece).await.map_err(unreadable)?;
            match piece.get(..read) {
                Some(bytes) if read > 0 => stream.write(Bytes::copy_from_slice(bytes)).await?,
                _ => break,
            }
        }
    }
    let status = child.wait().await.map_err(unreadable)?;
    if !status.success() {
        return Err(tool.failed(&doing, status, &stderr.await.unwrap_or_default()).into());
    }
    stream.end_part(PartSummary::default()).await?;
    Ok(stream.finish().await?)
}

async fn said(stderr: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let (mut said, mut piece) = (Vec::new(), vec![0; SAID]);
    let Some(mut stderr) = stderr else { return said };
    while let Ok(read @ 1..) = stderr.read(&mut piece).await {
        let room = SAID.saturating_sub(said.len());
        said.extend_from_slice(piece.get(..read.min(room)).unwrap_or_default());
    }
    said
}

/// Current versions of `pg_restore` put the SQL between `\restrict KEY` and `\unrestrict KEY`, so that psql
/// takes no commands of its own from it. The key must not be in the SQL, and who wrote the SQL must not
/// know it: a digest of all definitions is neither, and unlike a random key it is the same in the next
/// backup of an unchanged database.
fn fence(toc: &Toc) -> String {
    let mut definitions = Vec::new();
    for entry in toc.entries().filter(|entry| !entry.is_sequence_set()) {
        for field in [Field::Tag, Field::Owner, Field::Definition] {
            definitions.extend_from_slice(entry.bytes(field).unwrap_or_default());
            definitions.push(0);
        }
    }
    format!("--restrict-key={}", Blake3Digest::of(&definitions))
}
