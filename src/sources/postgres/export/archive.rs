//! The archive of `pg_dump`: its table of contents, and its blocks as they were.

use futures::TryStreamExt as _;

use super::{Block, Data, Export, ExportContext, ExportError, Out};
use crate::sources::postgres::{archive::Assembler, contents};

/// Plain bytes that are put into frames at once. A row of one byte becomes six.
pub(super) const STEP: usize = 64 << 10;

impl Export {
    pub(super) async fn write_archive(&self, context: ExportContext<'_>, out: &mut Out<'_>) -> Result<(), ExportError> {
        for piece in self.toc.bytes().chunks(STEP) {
            out.buffer.extend_from_slice(piece);
            out.pass_on().await?;
        }
        let mut assembler = Assembler::new(self.database.archive.framing);
        for block in &self.blocks {
            match &block.data {
                Data::Table => self.archive_rows(context, block, &mut assembler, out).await?,
                Data::LargeObjects(oids) => {
                    archive_objects(context, block, oids, &mut assembler, out).await?;
                }
            }
        }
        Ok(())
    }

    async fn archive_rows(
        &self,
        context: ExportContext<'_>,
        block: &Block,
        assembler: &mut Assembler,
        out: &mut Out<'_>,
    ) -> Result<(), ExportError> {
        assembler.begin_table(block.dump_id, &mut out.buffer);
        let mut guard = RowGuard::default();
        for part in 0..block.stream.parts.len() {
            let mut pieces = context.contents.read_part(&block.stream, part).await?;
            while let Some(piece) = pieces.try_next().await? {
                for rows in piece.chunks(STEP) {
                    guard.check(rows, block)?;
                    assembler.rows(rows, &mut out.buffer);
                    out.pass_on().await?;
                }
                context.monitor.advance(piece.len() as u64);
            }
        }
        guard.finish(block)?;
        assembler.end_table(&mut out.buffer);
        Ok(())
    }
}

async fn archive_objects(
    context: ExportContext<'_>,
    block: &Block,
    oids: &[u32],
    assembler: &mut Assembler,
    out: &mut Out<'_>,
) -> Result<(), ExportError> {
    assembler.begin_large_objects(block.dump_id, &mut out.buffer);
    for (part, oid) in oids.iter().enumerate() {
        assembler.begin_large_object(*oid, &mut out.buffer);
        let mut pieces = context.contents.read_part(&block.stream, part).await?;
        while let Some(piece) = pieces.try_next().await? {
            for bytes in piece.chunks(STEP) {
                assembler.contents(bytes, &mut out.buffer);
                out.pass_on().await?;
            }
            context.monitor.advance(piece.len() as u64);
        }
        assembler.end_large_object(&mut out.buffer);
        out.pass_on().await?;
    }
    assembler.end_large_objects(&mut out.buffer);
    Ok(())
}

/// Sees that rows are only rows. A line `\.` would end them early, and psql would take what follows for SQL.
#[derive(Debug)]
pub(super) struct RowGuard {
    /// The last bytes that came, at most three.
    tail: Vec<u8>,
}

impl Default for RowGuard {
    fn default() -> Self {
        Self { tail: vec![b'\n'] }
    }
}

const TERMINATOR_LINE: &[u8] = b"\n\\.\n";

impl RowGuard {
    pub(super) fn check(&mut self, rows: &[u8], block: &Block) -> Result<(), contents::Error> {
        let seam = TERMINATOR_LINE.len() - 1;
        self.tail.extend_from_slice(rows.get(..seam).unwrap_or(rows));
        let found = |bytes| memchr::memmem::find(bytes, TERMINATOR_LINE).is_some();
        if found(&self.tail) || found(rows) {
            return Err(wrong(block, "a line that ends the rows is among them"));
        }
        if rows.len() > seam {
            self.tail = rows.get(rows.len() - seam..).unwrap_or_default().to_vec();
        } else {
            self.tail.drain(..self.tail.len().saturating_sub(seam));
        }
        Ok(())
    }

    pub(super) fn finish(&self, block: &Block) -> Result<(), contents::Error> {
        if self.tail.last() == Some(&b'\n') { Ok(()) } else { Err(wrong(block, "the last row has no line end")) }
    }
}

fn wrong(block: &Block, what: &str) -> contents::Error {
    contents::Error::Rows { stream: block.stream.name.clone(), what: what.to_owned() }
}
