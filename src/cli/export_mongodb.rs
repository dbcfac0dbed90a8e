//! `drctl export` of MongoDB databases: a folder for `mongorestore`.

use std::{io, path::Path};

use async_trait::async_trait;
use tokio::{
    fs::File,
    io::{AsyncWriteExt as _, BufWriter},
};

use super::{
    context::{Context, Opened},
    exit::{Exit, Failure},
    export::ExportArgs,
    new_folder::NewFolder,
};
use crate::{
    operations,
    report::words,
    repository::StoredManifest,
    sources::mongodb::export::FileSink,
    types::{State, for_terminal, shell_word},
};

/// A new folder, and the file that is being written.
struct Folder {
    folder: NewFolder,
    file: Option<BufWriter<File>>,
}

#[async_trait]
impl FileSink for Folder {
    async fn begin(&mut self, place: &Path) -> io::Result<()> {
        self.file = Some(BufWriter::with_capacity(1 << 20, self.folder.create(place).await?));
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(bytes).await,
            None => Err(io::Error::other("no file is begun")),
        }
    }

    async fn end(&mut self) -> io::Result<()> {
        match self.file.take() {
            Some(mut file) => file.flush().await,
            None => Ok(()),
        }
    }
}

/// The command that makes a database of a folder; only the reader knows which server is meant.
fn restore_command(folder: &Path) -> String {
    // A name that begins so would be an option.
    let place = match folder.display().to_string() {
        place if place.starts_with('-') => format!("./{place}"),
        place => place,
    };
    format!("mongorestore --stopOnError --bypassDocumentValidation --uri 'mongodb://USER@HOST/' {}", shell_word(&place))
}

pub(super) async fn run(
    args: &ExportArgs,
    opened: &Opened,
    stored: &StoredManifest,
    context: &Context<'_>,
) -> Result<Exit, Failure> {
    if args.output.as_os_str() == "-" {
        let message = "a MongoDB database is exported into a folder";
        return Err(Failure::usage(message).next("name a new folder with -o"));
    }
    let export = operations::export_mongodb(&opened.repository, stored, &args.source).await?;
    if export.state != State::Complete {
        let missing = super::show::of_manifest(&stored.manifest).problems();
        context.say.lines(&format!("warning: backup {} is {}:\n{missing}", export.backup, export.state));
    }
    let mut folder = Folder { folder: NewFolder::begin(&args.output, 0o700).await?, file: None };
    let exported = export.write(&mut folder, &context.run).await;
    context.telemetry.finish();
    let exported = exported?;
    folder.folder.keep().await?;
    context.say.lines(&format!(
        "exported database {} of backup {}: {}, {}, {}\n",
        for_terminal(&exported.database),
        export.backup,
        words::count(exported.collections, "collection"),
        words::count(exported.documents, "document"),
        words::count(exported.bytes, "byte"),
    ));
    context.say.next(&restore_command(&args.output));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_for_a_folder_can_be_pasted_into_a_shell() {
        let command = "mongorestore --stopOnError --bypassDocumentValidation --uri 'mongodb://USER@HOST/'";
        for (folder, told) in [("dump", "dump"), ("my dump", "'my dump'"), ("-dump", "./-dump"), ("a/$b", "'a/$b'")] {
            assert_eq!(restore_command(Path::new(folder)), format!("{command} {told}"));
        }
    }
}
