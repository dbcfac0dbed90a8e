//! Holds the layers of `docs/architecture.md`: arrows point down, each SDK has one home, one TLS
//! stack, files of a readable length. It reads the sources as text, so it needs no build of them.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What each module at the top of `src/` may import. `main.rs` and `lib.rs` see everything.
const LAYERS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("policy", &["types"]),
    ("report", &["types"]),
    ("telemetry", &["types"]),
    ("repository", &["types"]),
    ("sources", &["types"]),
    ("operations", &["sources", "repository", "policy", "report", "types"]),
    ("cli", &["operations", "sources", "repository", "policy", "report", "telemetry", "types"]),
];

/// The one home of each library that would otherwise spread.
const HOMES: &[(&str, &[&str])] = &[
    ("age", &["repository/crypt/sealed"]),
    ("aws_config", &["repository/backend/s3"]),
    ("aws_sdk_s3", &["repository/backend/s3"]),
    ("aws_smithy_http_client", &["repository/backend/s3"]),
    ("aws_smithy_runtime_api", &["repository/backend/s3"]),
    ("aws_smithy_types", &["repository/backend/s3"]),
    ("azure_core", &["repository/backend/azure"]),
    ("azure_identity", &["repository/backend/azure"]),
    ("azure_storage_blob", &["repository/backend/azure"]),
    ("blake3", &["types/digest"]),
    ("clap", &["cli", "main.rs"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("croner", &["policy/schedule"]),
    ("encoding_rs", &["sources/postgres/archive"]),
    ("fastcdc", &["repository/chunker"]),
    ("fearless_simd", &["types/digest"]),
    ("indicatif", &["telemetry"]),
    ("json_patch", &["sources/kubernetes/restore/recipe"]),
    ("k8s_openapi", &["sources/kubernetes"]),
    ("kube", &["sources/kubernetes"]),
    ("md5", &["types/digest"]),
    ("mongodb_driver", &["sources/mongodb"]),
    ("reqwest", &["repository/backend/azure"]),
    ("serde_saphyr", &["policy"]),
    ("sha2", &["types/digest"]),
    ("ssh_key", &["repository/crypt/signature"]),
    ("tokio_postgres", &["sources/postgres"]),
    ("tokio_postgres_rustls", &["sources/postgres"]),
    ("tracing_subscriber", &["telemetry"]),
    ("zstd", &["repository/codec"]),
];

/// Crates that would bring a second TLS stack, or C code that the image does not have.
const BANNED: &[&str] = &["ring", "openssl", "openssl-sys", "native-tls"];

const MOST_LINES: usize = 400;

#[test]
fn imports_point_down_and_each_sdk_stays_in_its_home() {
    let mut findings = Vec::new();
    let mut files = 0;
    for path in sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        let inside = path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap().to_path_buf();
        findings.extend(findings_in(&inside.to_string_lossy(), &fs::read_to_string(&path).unwrap()));
        files += 1;
    }
    assert!(files > 20, "only {files} files were read: is this the source folder?");
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

/// Who may delete objects of a repository: the stores themselves, and prune.
const DELETERS: &[&str] = &["repository/backend/", "repository/prune/"];

#[test]
fn only_prune_deletes_objects_of_a_repository() {
    let mut findings = Vec::new();
    for path in sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        let inside =
            path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap().to_string_lossy().into_owned();
        findings.extend(deletions_in(&inside, &fs::read_to_string(&path).unwrap()));
    }
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    let sample = "fn f() { self.backend.delete(&key) }\n";
    assert_eq!(deletions_in("repository/x.rs", sample), ["src/repository/x.rs:1: only prune deletes"]);
    assert_eq!(deletions_in("repository/prune/x.rs", sample), [""; 0]);
}

/// Calls of a store's `delete` where none may be. Objects of a cluster are deleted elsewhere, and are no business of this.
fn deletions_in(path: &str, text: &str) -> Vec<String> {
    let is_test = path.ends_with("tests.rs") || path.contains("/tests/");
    let of_a_store = path.starts_with("repository/") || path.starts_with("operations/") || path.starts_with("cli/");
    if is_test || !of_a_store || DELETERS.iter().any(|home| path.starts_with(home)) {
        return Vec::new();
    }
    let production = without_comments(text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text));
    let calls =
        [".delete(", ".remove_leftovers("].map(|call| production.match_indices(call).collect::<Vec<_>>()).concat();
    let line = |at: usize| production[..at].matches('\n').count() + 1;
    calls.into_iter().map(|(at, _)| format!("src/{path}:{}: only prune deletes", line(at))).collect()
}

#[test]
fn there_is_one_tls_stack_in_the_dependency_tree() {
    // Cargo.lock also names what optional features would bring, so the tree is asked and not the lock.
    let output = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--target", "all", "--edges", "normal,build", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8_lossy(&output.stdout);
    let packages: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    let understood = packages.contains("aws-lc-rs") && packages.contains("rustls");
    assert!(understood, "cargo tree was not understood: {}", String::from_utf8_lossy(&output.stderr));
    let found: Vec<_> = BANNED.iter().filter(|name| packages.contains(**name)).collect();
    assert!(found.is_empty(), "banned crates in the tree: {found:?}; see docs/adr/0004-one-tls-stack.md");
}

#[test]
fn every_path_that_the_architecture_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let named: BTreeSet<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| {
            ["src/", "docs/", "tests/", "testbed/", "benches/", "policies/"].iter().any(|p| word.starts_with(p))
        })
        .collect();
    assert!(named.len() > 10, "docs/architecture.md names only {} paths", named.len());
    let absent: Vec<_> = named.iter().filter(|path| !root.join(path).exists()).collect();
    assert!(absent.is_empty(), "docs/architecture.md names what is not there: {absent:?}");
}

#[test]
fn a_bad_sample_is_reported() {
    let upward = "//! Doc.\nuse crate::operations::backup;\n";
    assert_eq!(findings_in("sources/x.rs", upward), ["src/sources/x.rs:2: `sources` must not import `operations`"]);
    let grouped = "//! Doc.\nuse crate::{types::Name, repository::Key};\n";
    assert_eq!(findings_in("sources/x.rs", grouped), ["src/sources/x.rs:2: `sources` must not import `repository`"]);
    let over_lines = "//! Doc.\nuse crate::{\n    types::{Name, State},\n    repository::Key,\n};\n";
    assert_eq!(findings_in("sources/x.rs", over_lines), ["src/sources/x.rs:2: `sources` must not import `repository`"]);
    let climbing = "//! Doc.\nfn f() { super::super::super::policy::load() }\n";
    assert_eq!(
        findings_in("sources/kubernetes/x.rs", climbing),
        ["src/sources/kubernetes/x.rs:2: `sources` must not import `policy`"]
    );
    let astray = "//! Doc.\nlet c = kube::Client::try_default();\n";
    assert_eq!(
        findings_in("operations/x.rs", astray),
        ["src/operations/x.rs:2: `kube` has its home in sources/kubernetes"]
    );
    let long = format!("//! Doc.\n{}", "fn f() {}\n".repeat(MOST_LINES));
    assert_eq!(findings_in("types/x.rs", &long), ["src/types/x.rs: 401 lines without tests; split it (at most 400)"]);
    assert_eq!(findings_in("types/x.rs", "fn f() {}\n"), ["src/types/x.rs: no `//!` line that says what it is for"]);
    let fine = "//! Doc.\nuse crate::types::Name; // kube:: in a comment, crate::cli too\nfn kube_like() {}\n";
    assert!(findings_in("sources/x.rs", fine).is_empty());
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Everything wrong with one file; `path` is relative to `src/`.
fn findings_in(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let is_test = path.ends_with("tests.rs") || path.contains("/tests/");
    if !text.starts_with("//!") && !is_test {
        findings.push(format!("src/{path}: no `//!` line that says what it is for"));
    }
    let production = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let lines = production.lines().count();
    if lines > MOST_LINES && !is_test {
        findings.push(format!("src/{path}: {lines} lines without tests; split it (at most {MOST_LINES})"));
    }
    let top = path.split(['/', '.']).next().unwrap_or_default();
    let allowed = LAYERS.iter().find(|(name, _)| *name == top).map(|(_, allowed)| *allowed);
    let code = without_comments(text);
    let place = |at: usize| format!("src/{path}:{}", code[..at].matches('\n').count() + 1);
    for (at, module) in imported(path, &code) {
        let known = LAYERS.iter().any(|(name, _)| *name == module);
        if known && module != top && allowed.is_some_and(|allowed| !allowed.contains(&module.as_str())) {
            findings.push(format!("{}: `{top}` must not import `{module}`", place(at)));
        }
    }
    for (sdk, homes) in HOMES {
        if homes.iter().any(|home| path.starts_with(home)) {
            continue;
        }
        for at in uses_of(&code, sdk) {
            findings.push(format!("{}: `{sdk}` has its home in {}", place(at), homes.join(", ")));
        }
    }
    findings
}

/// The text with what follows `//` on each line left out; the lines stay where they are.
fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The top-level modules that the code names, by `crate::…`, by a group, or by climbing with
/// `super`, each with its place in the text.
fn imported(path: &str, code: &str) -> Vec<(usize, String)> {
    let first_word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    // `super` leaves the module of this file; that many times, and the root of the crate is reached.
    let depth = path.matches('/').count() + usize::from(!path.ends_with("mod.rs"));
    let climb = "super::".repeat(depth.max(1));
    let mut modules = Vec::new();
    for root in ["crate::", &climb] {
        for (at, _) in code.match_indices(root) {
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(group) => modules.extend(top_of_group(group).iter().map(|item| (at, first_word(item.trim())))),
                None => modules.push((at, first_word(rest))),
            }
        }
    }
    modules
}

/// The items of `a::{b, c}, d::e}` that stand at the top.
fn top_of_group(group: &str) -> Vec<String> {
    let (mut depth, mut items, mut item) = (0, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(std::mem::take(&mut item)),
            _ => item.push(c),
        }
    }
    items.push(item);
    items
}

/// Where the code names the crate `name` as the beginning of a path or of a `use`.
fn uses_of(code: &str, name: &str) -> Vec<usize> {
    let begins = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    let path = format!("{name}::");
    let mut found: Vec<usize> = code.match_indices(&path).map(|(at, _)| at).filter(|at| begins(*at)).collect();
    found.extend(code.match_indices(&format!("use {name};")).map(|(at, _)| at));
    found
}
