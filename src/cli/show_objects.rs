//! `drctl show --objects` and `--object`.

use clap::Args;
use serde_json::Value;

use super::{
    context::{Context, Opened},
    exit::{Exit, Failure},
    export_objects::filter,
    output::{self, OutputArgs, OutputFormat},
    streamed::Streamed,
};
use crate::{
    operations::{self, Located},
    report::{ObjectColumns, ObjectItem, ObjectList, ObjectListHead},
    repository::StoredManifest,
    sources::kubernetes::{
        export::{to_json, to_yaml},
        objects::{KindWord, ObjectName, without_secrets},
    },
};

/// Which objects are shown.
#[derive(Debug, Args)]
pub(super) struct ObjectArgs {
    /// List every Kubernetes object with its size
    #[arg(long, conflicts_with_all = ["streams", "object"])]
    objects: bool,
    /// Show one object as it is stored: its kind, and NAMESPACE/NAME (or NAME, if it has no namespace)
    #[arg(long, num_args = 2, value_names = ["KIND", "NAMESPACE/NAME"], conflicts_with = "streams")]
    object: Option<Vec<String>>,
    /// With --objects: only in this namespace, by name or pattern; repeat it for more
    #[arg(long = "namespace", value_name = "NAMESPACE", requires = "objects")]
    namespaces: Vec<String>,
    /// With --objects: only of this kind: deployments.apps, deployment, or a pattern; repeat it for more
    #[arg(long = "kind", value_name = "KIND", requires = "objects")]
    kinds: Vec<String>,
    /// With --object: show the values of a Secret, too
    #[arg(long, requires = "object")]
    reveal: bool,
}

impl ObjectArgs {
    /// Objects are shown, and not the backup itself.
    pub(super) fn are_asked_for(&self) -> bool {
        self.objects || self.object.is_some()
    }
}

pub(super) async fn run(
    args: &ObjectArgs,
    output: OutputArgs,
    opened: &Opened,
    stored: &StoredManifest,
    context: &Context<'_>,
) -> Result<Exit, Failure> {
    match args.object.as_deref() {
        Some([kind, name]) => one((kind.as_str(), name.as_str()), args.reveal, output, opened, stored).await,
        _ => list(args, output, opened, stored, context).await,
    }
}

async fn list(
    args: &ObjectArgs,
    output: OutputArgs,
    opened: &Opened,
    stored: &StoredManifest,
    context: &Context<'_>,
) -> Result<Exit, Failure> {
    let filter = filter(&args.namespaces, &args.kinds);
    let objects = operations::objects(&opened.repository, stored, filter).await?;
    let columns = ObjectColumns::of(objects.kinds(), objects.namespaces());
    let head = ObjectListHead { backup: stored.manifest.backup.to_string() };
    let mut out = Streamed::begin::<ObjectList>(output.output, head, "objects")?;
    let _ = out.text(&columns.head());
    let read = objects.each(&mut |located| out.item(&item(located), |item| columns.item(item)), &context.run).await;
    if let Err(error) = read {
        // What was found until then is shown; the exit code says that it is not all.
        out.end(serde_json::json!({}))?;
        return Err(error.into());
    }
    out.end(serde_json::json!({}))?;
    Ok(Exit::Done)
}

fn item(Located { source, kind, object }: Located<'_>) -> ObjectItem {
    ObjectItem {
        source: source.to_string(),
        kind: kind.to_owned(),
        object_version: object.api_version().to_owned(),
        namespace: object.namespace().to_owned(),
        name: object.name().to_owned(),
        bytes: u64::try_from(object.bytes().len()).unwrap_or(u64::MAX),
    }
}

async fn one(
    (kind, name): (&str, &str),
    reveal: bool,
    output: OutputArgs,
    opened: &Opened,
    stored: &StoredManifest,
) -> Result<Exit, Failure> {
    let name: ObjectName = name.parse().map_err(|error| Failure::new(Exit::Usage, error))?;
    let objects = operations::objects(&opened.repository, stored, filter(&[], &[])).await?;
    let found = objects.one(&KindWord::new(kind), &name).await?;
    let unreadable = |why: String| {
        Failure::new(Exit::Failed, why).next("`drctl export BACKUP SOURCE --as-stored` writes it as it is")
    };
    let value: Value = found.value().map_err(unreadable)?;
    let value = if reveal { value } else { without_secrets(value) };
    match output.output {
        OutputFormat::Json => output::write(&to_json(&value))?,
        OutputFormat::Table | OutputFormat::Yaml => output::write(&to_yaml(&value))?,
    }
    Ok(Exit::Done)
}
