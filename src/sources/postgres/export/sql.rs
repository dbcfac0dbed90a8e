//! SQL that `psql` takes: the texts that `pg_restore` made when the backup was taken, and between them the rows.
//!
//! What `pg_restore` made stands between `\restrict` and `\unrestrict`, so that psql takes no command of its own from
//! it. The rows stand outside: they are data up to the line `\.`, and no such line is among them.

use futures::TryStreamExt as _;

use super::{
    Block, Data, Export, ExportContext, ExportError, Out,
    archive::{RowGuard, STEP},
};
use crate::{
    sources::postgres::{archive::Field, connect::TEXT_SETTINGS, contents, quote},
    types::for_terminal,
};

/// Bytes of a large object in one statement.
const OBJECT_STEP: usize = 16 << 10;

impl Export {
    pub(super) async fn write_sql(&self, context: ExportContext<'_>, out: &mut Out<'_>) -> Result<(), ExportError> {
        out.buffer.extend_from_slice(self.preamble().as_bytes());
        self.write_text(context, contents::PRE_DATA, out).await?;
        if self.toc.large_object_metadata().next().is_some() {
            self.write_text(context, contents::LARGE_OBJECTS, out).await?;
        }
        // What decides how values are read from text, whatever the database's own settings are.
        for (name, value) in TEXT_SETTINGS.iter().chain(&[("DateStyle", "ISO"), ("IntervalStyle", "postgres")]) {
            out.buffer.extend_from_slice(format!("SET {name} = {};\n", quote::literal(value)).as_bytes());
        }
        for block in &self.blocks {
            match &block.data {
                Data::Table => self.write_rows(context, block, out).await?,
                Data::LargeObjects(oids) => write_objects(context, block, oids, out).await?,
            }
        }
        self.write_text(context, contents::SEQUENCES, out).await?;
        self.write_text(context, contents::POST_DATA, out).await
    }

    fn preamble(&self) -> String {
        let Self { database, .. } = self;
        let (name, encoding) = (for_terminal(&database.name), for_terminal(&database.encoding));
        let (server, time) = (for_terminal(&database.server.version), database.snapshot.time);
        format!(
            "-- Database {name} of PostgreSQL {server} as it was at {time}, exported by drctl.\n\
             -- Into an empty database of encoding {encoding}, made from template0:\n\
             --   psql -X -v ON_ERROR_STOP=1 -d DATABASE -f FILE\n\n"
        )
    }

    /// One of the texts that the backup holds as SQL.
    async fn write_text(&self, context: ExportContext<'_>, name: &str, out: &mut Out<'_>) -> Result<(), ExportError> {
        let stream = contents::stream(context.contents, &self.source, name)?;
        for part in 0..stream.parts.len() {
            let mut pieces = context.contents.read_part(stream, part).await?;
            while let Some(piece) = pieces.try_next().await? {
                for text in piece.chunks(STEP) {
                    out.buffer.extend_from_slice(text);
                    out.pass_on().await?;
                }
            }
        }
        out.buffer.push(b'\n');
        Ok(())
    }

    async fn write_rows(
        &self,
        context: ExportContext<'_>,
        block: &Block,
        out: &mut Out<'_>,
    ) -> Result<(), ExportError> {
        let copy = self.toc.entry(block.dump_id).and_then(|entry| entry.bytes(Field::Copy)).unwrap_or_default();
        out.buffer.push(b'\n');
        out.buffer.extend_from_slice(copy.trim_ascii());
        out.buffer.push(b'\n');
        let mut guard = RowGuard::default();
        for part in 0..block.stream.parts.len() {
            let mut pieces = context.contents.read_part(&block.stream, part).await?;
            while let Some(piece) = pieces.try_next().await? {
                for rows in piece.chunks(STEP) {
                    guard.check(rows, block)?;
                    out.buffer.extend_from_slice(rows);
                    out.pass_on().await?;
                }
                context.monitor.advance(piece.len() as u64);
            }
        }
        guard.finish(block)?;
        out.buffer.extend_from_slice(b"\\.\n\n");
        Ok(())
    }
}

/// Large objects that are there already get their contents, each in a transaction of its own: the locks of many do
/// not fit into one.
async fn write_objects(
    context: ExportContext<'_>,
    block: &Block,
    oids: &[u32],
    out: &mut Out<'_>,
) -> Result<(), ExportError> {
    for (part, oid) in oids.iter().enumerate() {
        // 131072 opens for writing; the only open one of a transaction has the descriptor 0.
        let open = format!("\nBEGIN;\nSELECT pg_catalog.lo_open('{oid}', 131072);\n");
        out.buffer.extend_from_slice(open.as_bytes());
        let mut pieces = context.contents.read_part(&block.stream, part).await?;
        while let Some(piece) = pieces.try_next().await? {
            for bytes in piece.chunks(OBJECT_STEP) {
                // Not as a literal of bytes: what a backslash means is a setting, and the database may have its own.
                out.buffer.extend_from_slice(b"SELECT pg_catalog.lowrite(0, pg_catalog.decode('");
                push_hex(bytes, &mut out.buffer);
                out.buffer.extend_from_slice(b"', 'hex'));\n");
                out.pass_on().await?;
            }
            context.monitor.advance(piece.len() as u64);
        }
        out.buffer.extend_from_slice(b"SELECT pg_catalog.lo_close(0);\nCOMMIT;\n");
        out.pass_on().await?;
    }
    Ok(())
}

fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    out.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
}
