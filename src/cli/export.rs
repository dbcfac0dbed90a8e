//! `drctl export`.

use std::{io::IsTerminal as _, path::PathBuf};

use clap::{Args, ValueEnum};

use super::{
    context::{Context, Opened},
    exit::{Exit, Failure, unsigned},
    export_mongodb,
    export_objects::{self, ObjectExportArgs},
    new_file::{NewFile, exists},
};
use crate::{
    operations::{self, BackupRef, Export},
    report::words,
    repository::StoredManifest,
    sources::postgres::export::{Exported, Format},
    types::{Name, State, for_terminal},
};

/// Write a source of a backup as stock tools read it.
#[derive(Debug, Args)]
#[command(
    after_help = "Objects of a cluster are written for kubectl, each as a restore would create it: without what the server or another
controller sets, and without what is made again. To standard output as one stream of YAML, with -o into a new folder:
one file an object, in the order of a restore (kubectl reads files by their names). With --as-stored each is what the
server sent, byte for byte. Secrets are among them: only the owner may read what is written.
The archive is what pg_dump wrote when the backup was taken, byte for byte; any pg_restore of that version
or a newer one reads it. SQL is for psql, into an empty database. A MongoDB database is written into a new folder, for
mongorestore. Every chunk is proven before its bytes are
written. FILE must not be there yet, and is there only if all of it was written and proven; what goes to
standard output counts only if the exit code is 0.
BACKUP is an id, the beginning of one, `latest`, `latest:SCHEDULE`, or a time like `@2026-11-20T12:00Z`.

Examples:
  drctl export latest:daily services -f policies/orders.yaml -o services
  kubectl apply --server-side -R -f services/01-custom-resource-definitions   # if there is one
  kubectl apply --server-side -R -f services
  drctl export latest:daily services --namespace order-service --kind configmap | kubectl diff -f -
  drctl export latest:daily services --as-stored --kind secret | jq .metadata.name
  drctl export latest financial -f policies/clync-app.yaml -o financial.dump
  drctl export latest:daily crm-db -f policies/crm.yaml -o crm-dump && mongorestore --stopOnError crm-dump
  drctl export latest:nightly financial --format sql -o financial.sql
  drctl export 20261120T02 financial --repository s3://orders-dr/prod | pg_restore --list"
)]
pub struct ExportArgs {
    /// The backup: an id, the beginning of one, latest, latest:SCHEDULE, or @TIME
    backup: BackupRef,
    /// The source, by its name in the policy
    pub(super) source: Name,
    /// Use a backup that no pinned signer has signed
    #[arg(long)]
    allow_unsigned: bool,
    /// In which form a database is written (default: archive)
    #[arg(long, value_enum)]
    format: Option<ExportFormat>,
    /// Where to: a new file, or of objects a new folder; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(super) output: PathBuf,
    #[command(flatten)]
    pub(super) objects: ObjectExportArgs,
}

/// In which form a database is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum ExportFormat {
    /// pg_dump's custom format, for pg_restore
    #[default]
    Archive,
    /// SQL, for psql
    Sql,
}

pub(super) async fn run(args: &ExportArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    let to_stdout = args.output.as_os_str() == "-";
    // Before the backup is looked for: a name that is taken is known at once.
    if !to_stdout && tokio::fs::symlink_metadata(&args.output).await.is_ok() {
        return Err(exists(&args.output));
    }
    let opened = context.open().await?;
    let stored = opened.find(&args.backup, &context.say).await?.stored;
    stored.refuse_unsigned(args.allow_unsigned).map_err(unsigned)?;
    let kind = operations::kind_of_source(&stored, &args.source)?;
    if kind != "kubernetes" {
        args.objects.refuse_for_a_database(&args.source)?;
    }
    if kind == "postgres" {
        return database(args, &opened, &stored, context).await;
    }
    if args.format.is_some() {
        return Err(Failure::usage(format!(
            "--format is for PostgreSQL databases, and source `{}` is none",
            args.source
        )));
    }
    if kind == "mongodb" {
        return export_mongodb::run(args, &opened, &stored, context).await;
    }
    export_objects::run(args, &opened, &stored, context).await
}

async fn database(
    args: &ExportArgs,
    opened: &Opened,
    stored: &StoredManifest,
    context: &Context<'_>,
) -> Result<Exit, Failure> {
    let to_stdout = args.output.as_os_str() == "-";
    let format = match args.format.unwrap_or_default() {
        ExportFormat::Archive => Format::Archive,
        ExportFormat::Sql => Format::Sql,
    };
    if to_stdout && format == Format::Archive && std::io::stdout().is_terminal() {
        return Err(Failure::usage("an archive is not for a terminal").next("name a file with -o, or pipe it"));
    }
    let mut file = if to_stdout { None } else { Some(NewFile::begin(&args.output).await?) };
    let export = operations::export(&opened.repository, stored, &args.source).await?;
    if export.state != State::Complete {
        let missing = super::show::of_manifest(&stored.manifest).problems();
        context.say.lines(&format!("warning: backup {} is {}:\n{missing}", export.backup, export.state));
    }
    let exported = match &mut file {
        Some(file) => export.write(format, file.writer(), &context.run).await,
        None => export.write(format, &mut tokio::io::stdout(), &context.run).await,
    };
    context.telemetry.finish();
    let exported = exported.map_err(|error| {
        let failure = Failure::from(error);
        if to_stdout {
            failure.next("what was written to standard output is not whole: throw it away")
        } else {
            failure
        }
    })?;
    if let Some(file) = file {
        file.keep().await?;
    }
    context.say.lines(&summary(&export, &exported, args));
    Ok(Exit::Done)
}

fn summary(export: &Export, exported: &Exported, args: &ExportArgs) -> String {
    let Exported { bytes, tables, rows, large_objects, .. } = exported;
    let database = for_terminal(export.database());
    let mut text = format!(
        "exported database {database} of backup {}: {}, {}, {}, {}\n",
        export.backup,
        words::count(*tables, "table"),
        words::count(*rows, "row"),
        words::count(*large_objects, "large object"),
        words::count(*bytes, "byte"),
    );
    if args.format.unwrap_or_default() == ExportFormat::Archive && !exported.exact {
        text.push_str(
            "note: its frames are not those of pg_dump, which this drctl does not know; it is valid all the same\n",
        );
    }
    text
}
