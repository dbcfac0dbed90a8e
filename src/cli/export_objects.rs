//! `drctl export` of Kubernetes objects.

use std::{
    io,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use bytes::Bytes;
use clap::Args;
use tokio::io::AsyncWriteExt as _;

use super::{
    context::{Context, Opened},
    exit::{Exit, Failure},
    export::ExportArgs,
    new_folder::NewFolder,
};
use crate::{
    operations,
    repository::StoredManifest,
    sources::kubernetes::{
        export::{ExportOptions, ExportedObjects, Form, ObjectSink, Place},
        objects::{KindWord, ObjectFilter},
        restore::Tier,
    },
    types::{Name, State, for_terminal},
};

/// Which objects are exported.
#[derive(Debug, Args)]
pub(super) struct ObjectExportArgs {
    /// Only objects in this namespace, by name or pattern; repeat it for more
    #[arg(long = "namespace", value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// Only objects of this kind: deployments.apps, deployment, or a pattern; repeat it for more
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// Every object as the server sent it, byte for byte
    #[arg(long)]
    as_stored: bool,
}

impl ObjectExportArgs {
    /// These are about objects.
    pub(super) fn refuse_for_a_database(&self, source: &Name) -> Result<(), Failure> {
        match self.as_stored || !self.namespaces.is_empty() || !self.kinds.is_empty() {
            true => Err(Failure::usage(format!(
                "--namespace, --kind and --as-stored are for objects, and source `{source}` is a database"
            ))),
            false => Ok(()),
        }
    }
}

/// Which objects `--namespace` and `--kind` mean.
pub(super) fn filter(namespaces: &[String], kinds: &[String]) -> ObjectFilter {
    ObjectFilter {
        sources: Vec::new(),
        namespaces: namespaces.to_vec(),
        kinds: kinds.iter().map(|kind| KindWord::new(kind)).collect(),
    }
}

/// One stream of documents on standard output.
struct Stream(tokio::io::Stdout);

#[async_trait]
impl ObjectSink for Stream {
    async fn put(&mut self, place: &Place, bytes: Bytes) -> io::Result<()> {
        if place.form == Form::Yaml {
            self.0.write_all(b"---\n").await?;
        }
        self.0.write_all(&bytes).await
    }
}

/// A file an object.
struct Folder(NewFolder);

#[async_trait]
impl ObjectSink for Folder {
    async fn put(&mut self, place: &Place, bytes: Bytes) -> io::Result<()> {
        self.0.put(&place.path(), &bytes).await
    }
}

pub(super) async fn run(
    args: &ExportArgs,
    opened: &Opened,
    stored: &StoredManifest,
    context: &Context<'_>,
) -> Result<Exit, Failure> {
    let objects = &args.objects;
    let options = ExportOptions { filter: filter(&objects.namespaces, &objects.kinds), as_stored: objects.as_stored };
    let export = operations::export_objects(&opened.repository, stored, &args.source, options).await?;
    if export.state != State::Complete {
        let missing = super::show::of_manifest(&stored.manifest).problems();
        context.say.lines(&format!("warning: backup {} is {}:\n{missing}", export.backup, export.state));
    }
    let to_stdout = args.output.as_os_str() == "-";
    let done = if to_stdout {
        let mut out = Stream(tokio::io::stdout());
        let done = export.write(&mut out, &context.run).await;
        let flushed = out.0.flush().await;
        context.telemetry.finish();
        let whole = "what was written to standard output is not whole: throw it away";
        let done = done.map_err(|error| Failure::from(error).next(whole))?;
        flushed.map_err(|error| Failure::new(Exit::Failed, format!("cannot write to standard output: {error}")))?;
        done
    } else {
        let mut folder = Folder(NewFolder::begin(&args.output, 0o700).await?);
        let done = export.write(&mut folder, &context.run).await;
        context.telemetry.finish();
        let done = done?;
        folder.0.keep().await?;
        done
    };
    let exit = if done.unreadable_count > 0 { Exit::Partial } else { Exit::Done };
    context.say.lines(&summary(&done, &export.backup.to_string()));
    if !to_stdout && !objects.as_stored && done.written > 0 {
        context.say.next(&next(&done, &args.output));
    }
    Ok(exit)
}

fn summary(done: &ExportedObjects, backup: &str) -> String {
    let mut text = format!("exported {} objects of backup {backup}, {} bytes\n", done.written, done.bytes);
    if done.changed > 0 {
        text.push_str(&format!(
            "  {} without what a restore would not send either (docs/kinds.md names it)\n",
            done.changed
        ));
    }
    if done.owned > 0 {
        text.push_str(&format!(
            "  {} without their owners, whose uids a cluster gives anew; `drctl restore` links them again\n",
            done.owned
        ));
    }
    for (why, count) in &done.left_out {
        text.push_str(&format!("  {count} left out: {why}\n"));
    }
    for object in &done.unreadable {
        text.push_str(&format!("  not exported: {object}\n"));
    }
    if done.unreadable_count > 0 {
        text.push_str(&format!(
            "  {} objects could not be exported; --as-stored writes them as they are\n",
            done.unreadable_count
        ));
    }
    text
}

/// How the folder is applied: custom resources need their definitions first, and all else its namespace.
fn next(done: &ExportedObjects, folder: &Path) -> String {
    let shown = |path: PathBuf| for_terminal(&path.display().to_string()).into_owned();
    let all = format!("`kubectl apply --server-side -R -f {}`", shown(folder.to_owned()));
    if !done.tiers.contains_key(&Tier::Definitions) {
        return all;
    }
    let definitions = shown(folder.join("01-custom-resource-definitions"));
    format!("`kubectl apply --server-side -R -f {definitions}`, and when these are established {all}")
}
