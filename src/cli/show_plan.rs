//! `drctl show --plan`: a saved plan, before somebody agrees to it. No cluster and no repository is asked.

use std::path::Path;

use serde_json::Value;

use super::{
    context::Context,
    exit::{Exit, Failure},
    output::OutputArgs,
    restore_asked,
    streamed::Streamed,
};
use crate::{
    operations::{PlanFile, PlanTotals},
    policy::{ModifierFile, RuleEntry},
    report::{self, ShownPlan, ShownPlanHead, ShownTotals, words},
    sources::kubernetes::{
        matches,
        restore::{Action, SavedObject},
    },
    types::for_terminal,
};

/// Longer values are shortened.
const LONGEST_VALUE: usize = 200;

pub(super) async fn run(path: &Path, output: OutputArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    let mut file = PlanFile::open(path).await?;
    // All of it is proven before any of it is shown.
    let totals = file.totals(&context.run).await?;
    let head = head(&file, &totals);
    let mut out = Streamed::begin::<ShownPlan<SavedObject<'static>>>(output.output, &head, "objects")?;
    let _ = out.text(&text(&head));
    let mut each = |object: &SavedObject<'_>| out.item(object, line);
    let read = file.each(&mut each, &context.run).await;
    if read.is_ok() {
        let shown = path.display().to_string();
        let _ = out.text(&format!("\nIt is executed by `drctl restore --plan {}`.\n", for_terminal(&shown)));
    }
    out.end(serde_json::json!({}))?;
    read?;
    Ok(Exit::Done)
}

fn head(file: &PlanFile, totals: &PlanTotals) -> ShownPlanHead {
    let (head, options) = (&file.head, &file.head.options);
    let of = |action| totals.actions.get(&action).copied().unwrap_or_default();
    let [accepted, rejected, not_testable] = totals.answers;
    let (uid, name, version) = (head.target.uid.clone(), head.target.name.clone(), head.target.version.clone());
    ShownPlanHead {
        blake3: totals.blake3.to_string(),
        made: head.made,
        drctl: head.drctl.clone(),
        backup: head.backup.to_string(),
        manifest_sha256: head.manifest_sha256.to_string(),
        target: report::Cluster { uid, name, version },
        sources: options.sources.iter().map(ToString::to_string).collect(),
        on_conflict: options.on_conflict.to_string(),
        platform: options.platform.clone(),
        adopt_volumes: options.adopt_volumes,
        asked: restore_asked::document(file.asked()),
        modifiers: file.asked().modifiers.as_ref().map(modifiers).unwrap_or_default(),
        databases_left_out: head.databases_left_out.iter().map(ToString::to_string).collect(),
        totals: ShownTotals {
            create: of(Action::Create),
            merge: of(Action::Merge),
            update: of(Action::Update),
            replace: of(Action::Replace),
            same: of(Action::Same),
            conflict: of(Action::Conflict),
            skip: of(Action::Skip),
            cannot: of(Action::Cannot),
            accepted,
            rejected,
            not_testable,
        },
    }
}

/// What is in a file of modifiers, a line each.
fn modifiers(file: &ModifierFile) -> Vec<String> {
    let replaced = |what: &'static str| {
        move |it: &crate::policy::Replacement| format!("{}: {what} `{}` becomes `{}`", it.at, it.old, it.new)
    };
    let classes = file.storage_classes.iter().map(replaced("storage class"));
    let images = file.images.iter().map(replaced("image"));
    classes.chain(images).chain(file.rules.iter().map(rule)).collect()
}

fn rule(rule: &RuleEntry) -> String {
    let mut about = rule.kind.clone();
    let selector = rule.selector.as_ref().map(ToString::to_string);
    for (word, value) in [("namespace", &rule.namespace), ("name", &rule.name), ("selector", &selector)] {
        about.push_str(&value.as_ref().map_or_else(String::new, |value| format!(", {word} {value}")));
    }
    let hidden = matches(&rule.kind, "secrets");
    let steps: Vec<String> = rule.patch.iter().map(|step| operation(&step.operation, hidden)).collect();
    format!("{}: {about}: {}", rule.at, steps.join("; "))
}

fn operation(operation: &Value, hidden: bool) -> String {
    let text = |field: &str| operation.get(field).and_then(Value::as_str).unwrap_or_default();
    let from = if text("from").is_empty() { String::new() } else { format!(" from {}", text("from")) };
    let value = operation.get("value").map_or_else(String::new, |value| match hidden {
        true => " (hidden)".to_owned(),
        false => format!(" {}", shortened(&value.to_string())),
    });
    format!("{} {}{from}{value}", text("op"), text("path"))
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= LONGEST_VALUE {
        return text.to_owned();
    }
    text.chars().take(LONGEST_VALUE).chain("…".chars()).collect()
}

/// All but the objects, for people.
fn text(head: &ShownPlanHead) -> String {
    let safe = |text: &str| for_terminal(text).to_string();
    let mut text = format!("Plan of {} by drctl {}, blake3 {}\n", head.made, safe(&head.drctl), head.blake3);
    text.push_str(&format!(
        "Backup {}, sources {}, into cluster `{}` ({}, uid {})\n",
        head.backup,
        head.sources.join(", "),
        safe(&head.target.name),
        safe(&head.target.version),
        safe(&head.target.uid)
    ));
    text.push_str(&format!("Live objects that differ: {}\n", head.on_conflict));
    text.push_str(&restore_asked::line(head.asked.as_ref()));
    if head.adopt_volumes {
        text.push_str("Volumes of the backup are taken over by their claims\n");
    }
    if !head.platform.is_empty() {
        text.push_str(&format!("First, because it was asked for: {}\n", safe(&head.platform.join(", "))));
    }
    head.modifiers.iter().for_each(|line| text.push_str(&format!("  {}\n", safe(line))));
    text.push_str(&restore_asked::left_out(&head.backup, &head.databases_left_out));
    let totals = &head.totals;
    let counts = [
        (totals.create, "create"),
        (totals.merge, "merge"),
        (totals.update, "update"),
        (totals.replace, "replace"),
        (totals.same, "same"),
        (totals.conflict, "conflict"),
        (totals.skip, "skip"),
        (totals.cannot, "cannot"),
    ];
    let all: u64 = counts.iter().map(|(count, _)| count).sum();
    text.push_str(&format!("{}: {}\n", words::count(all, "object"), listed(&counts)));
    let answers =
        [(totals.accepted, "accepted"), (totals.rejected, "rejected"), (totals.not_testable, "not testable yet")];
    if answers.iter().any(|(count, _)| *count > 0) {
        text.push_str(&format!("The server's own dry run: {}\n", listed(&answers)));
    }
    text.push('\n');
    text
}

fn listed(counts: &[(u64, &str)]) -> String {
    let some: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    if some.is_empty() { "none".to_owned() } else { some.join(", ") }
}

/// An object's line; what is left as it is has none (`-o json` has it).
fn line(object: &SavedObject<'_>) -> String {
    if matches!(object.action, Action::Same | Action::Skip) {
        return String::new();
    }
    let words = [&object.reason, &object.server_reason].into_iter().filter(|words| !words.is_empty());
    let words: Vec<String> = words.map(|words| for_terminal(words).to_string()).collect();
    let why = if words.is_empty() { String::new() } else { format!(": {}", words.join("; ")) };
    format!("{:<8}  {object}{why}\n", object.action)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_modifiers_change_is_told_and_no_value_of_a_secret() {
        let text = "apiVersion: drctl/v1\nkind: Modifiers\nstorageClasses: {a: b}\nimages: {c/: d/}\nrules:\n\
            - {kind: deployments.apps, name: 'w*', selector: app=web, patch: [{op: replace, path: /spec/replicas, value: 1}]}\n\
            - {kind: 'sec*', namespace: shop, patch: [{op: test, path: /type, value: x}, {op: copy, from: /data/a, path: /data/b}]}\n";
        let file = crate::policy::parse_modifiers(Path::new("m.yaml"), text).unwrap();
        assert_eq!(
            modifiers(&file),
            [
                "m.yaml:3:18: storage class `a` becomes `b`",
                "m.yaml:4:10: image `c/` becomes `d/`",
                "m.yaml:6:3: deployments.apps, name w*, selector app=web: replace /spec/replicas 1",
                "m.yaml:7:3: sec*, namespace shop: test /type (hidden); copy /data/b from /data/a",
            ]
        );
        assert_eq!(shortened(&"x".repeat(LONGEST_VALUE + 1)).chars().count(), LONGEST_VALUE + 1);
    }
}
