//! Encrypted and signed repositories, with stock `age` and `ssh-keygen` as the other side.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use drctl::{
    repository::{
        Repository,
        backend::{Backend, Directory},
        crypt::{Access, HeldIdKey, Identity, Recipient, Signer, SigningKey, opens},
    },
    types::{MediaType, Secret},
};
use serde_json::Value;

use crate::{
    recover::{Stream, files, recover, write_two_backups},
    support::{
        bed::require,
        program::{Ended, drctl},
        workshop::Workshop,
    },
};

/// Streams whose rows are what they are counted as: noise is no table.
fn streams() -> Vec<Stream> {
    let mut streams = crate::recover::streams();
    streams.iter_mut().filter(|stream| stream.media_type == MediaType::Table).for_each(|stream| {
        stream.media_type = MediaType::Blob;
    });
    streams
}

/// A folder with a policy, the identities of two people, and a repository that `drctl repository init` has made.
struct Vault {
    folder: tempfile::TempDir,
    /// What the cluster's Secret holds, by variable.
    secret: BTreeMap<String, String>,
    /// What `init` says that the policy has to say.
    pins: Value,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// Runs `age-keygen`, and gives the public key.
pub(crate) fn keygen(path: &Path) -> String {
    let made = Command::new("age-keygen").arg("-o").arg(path).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let public = fs::read_to_string(path).unwrap();
    public.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned()
}

/// The values of a Secret as the program writes it.
pub(crate) fn values_of(secret: &str) -> BTreeMap<String, String> {
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let mut name = None;
    for line in secret.lines().skip_while(|line| *line != "stringData:").skip(1) {
        match (line.strip_prefix("    "), line.trim().strip_suffix(": |-")) {
            (Some(value), _) => {
                let values: &mut String = values.get_mut::<String>(name.as_ref().unwrap()).unwrap();
                if !values.is_empty() {
                    values.push('\n');
                }
                values.push_str(value);
            }
            (None, Some(variable)) => {
                values.insert(variable.to_owned(), String::new());
                name = Some(variable.to_owned());
            }
            (None, None) => panic!("{line}"),
        }
    }
    values
}

/// Makes the repository of a workshop anew, encrypted and signed; whoever runs `drctl` there may read it, too.
/// `write_policy` writes the policy with these lines in the place of `encryption: none`.
pub(crate) fn encrypt(workshop: &mut Workshop, write_policy: impl Fn(&Workshop, &str)) {
    let (recipient, secret) = (keygen(&workshop.folder().join("one.age")), workshop.folder().join("secret.yaml"));
    write_policy(workshop, &format!("encryption: {{recipients: [{recipient}]}}"));
    fs::remove_dir_all(workshop.repository()).unwrap();
    let made = workshop.json(0, &["repository", "init", "--cluster-secret", secret.to_str().unwrap()]);
    for (name, value) in values_of(&fs::read_to_string(&secret).unwrap()) {
        workshop.set(&name, &value);
    }
    let identity = fs::read_to_string(workshop.folder().join("one.age")).unwrap();
    workshop.set("DRCTL_IDENTITY", identity.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap());
    let pins = &made["policy"];
    let lines = format!(
        "id: {}, signers: {}, encryption: {{epoch: {}, recipients: [{recipient}]}}",
        pins["id"], pins["signers"], pins["epoch"]
    );
    write_policy(workshop, &lines);
}

impl Vault {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut vault = Self { folder, secret: BTreeMap::new(), pins: Value::Null };
        let (one, two) = (keygen(&vault.path("one.age")), keygen(&vault.path("two.age")));
        keygen(&vault.path("stranger.age"));
        vault.write_policy(&format!("  encryption: {{recipients: [{one}, {two}]}}\n"));
        let secret = vault.path("secret.yaml");
        let made = vault.json(&["repository", "init", "--cluster-secret", secret.to_str().unwrap()]);
        assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        vault.secret = values_of(&fs::read_to_string(&secret).unwrap());
        vault.pins = made["policy"].clone();
        assert_eq!(made["epochs"][0], vault.pins["epoch"], "{made}");
        vault.write_policy(&vault.pinned());
        vault
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The lines that pin what `init` has made.
    fn pinned(&self) -> String {
        let recipients = serde_json::to_string(&self.pins["recipients"]).unwrap();
        let (id, epoch) = (text(&self.pins["id"]), text(&self.pins["epoch"]));
        let signers = serde_json::to_string(&self.pins["signers"]).unwrap();
        format!("  id: \"{id}\"\n  signers: {signers}\n  encryption: {{epoch: {epoch}, recipients: {recipients}}}\n")
    }

    fn write_policy(&self, lines: &str) {
        let policy = format!(
            "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: orders}}\nrepository:\n  url: file://{}\n{lines}\
             sources: {{all: {{kubernetes: {{namespaces: [payments]}}}}}}\n\
             schedules: {{daily: {{cron: \"0 2 * * *\", sources: [all], keep: {{last: 1}}}}}}\n",
            self.path("repository").display()
        );
        fs::write(self.path("policy.yaml"), policy).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = drctl(words);
        command.arg("-f").arg(self.path("policy.yaml")).current_dir(self.folder.path());
        command
    }

    fn run(&self, words: &[&str]) -> Ended {
        self.command(words).output().unwrap().into()
    }

    fn ends(&self, code: i32, words: &[&str], said: &str) -> Ended {
        let ended = self.run(words);
        assert!(
            ended.code == code && ended.stderr.contains(said),
            "{words:?} should end with {code} ({said}): {ended:?}"
        );
        ended
    }

    fn json(&self, words: &[&str]) -> Value {
        let ended = self.run(&[words, &["-o", "json"]].concat());
        assert_eq!(ended.code, 0, "{words:?}: {ended:?}");
        assert!(!ended.stdout.contains("SECRET-KEY") && !ended.stdout.contains("PRIVATE KEY"), "{ended:?}");
        serde_json::from_str(&ended.stdout).unwrap()
    }

    /// What a Pod with the Secret and the policy holds.
    fn of_cluster(&self) -> Access {
        let secret = |name: &str| Secret::new(self.secret[name].clone());
        Access {
            epoch: Some(Recipient::parse(&text(&self.pins["epoch"])).unwrap()),
            id_key: Some(HeldIdKey::parse(&secret("DRCTL_ID_KEY")).unwrap()),
            index_identity: Some(Identity::parse(&secret("DRCTL_INDEX_IDENTITY")).unwrap()),
            signing_key: Some(SigningKey::parse(&secret("DRCTL_SIGNING_KEY")).unwrap()),
            signers: vec![Signer::parse(&text(&self.pins["signers"][0])).unwrap()],
            ..Access::default()
        }
    }

    async fn open(&self, access: Access) -> Repository {
        let backend: Arc<dyn Backend> = Arc::new(Directory::make(&self.path("repository")).await.unwrap());
        Repository::open(backend).await.unwrap().with_access(access)
    }
}

/// Whether stock `age` opens a file with the identity in another.
fn age_opens(identity: &Path, file: &Path) -> bool {
    Command::new("age")
        .arg("-d")
        .arg("-i")
        .arg(identity)
        .arg(file)
        .stderr(Stdio::null())
        .output()
        .unwrap()
        .status
        .success()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_repository_is_made_read_and_recovered_by_hand_and_the_cluster_reads_no_contents() {
    require!(program "zstd");
    require!(program "b3sum");
    require!(program "jq");
    require!(program "age");
    let vault = Vault::new();
    let backup = write_two_backups(&vault.open(vault.of_cluster()).await, &streams()).await;
    let repository = vault.path("repository");

    // Exactly what the CronJob's Secret holds opens nothing that holds contents.
    fs::write(vault.path("held.age"), &vault.secret["DRCTL_INDEX_IDENTITY"]).unwrap();
    let held = [Identity::parse(&Secret::new(vault.secret["DRCTL_INDEX_IDENTITY"].clone())).unwrap()];
    let (mut closed, mut lists) = (0, 0);
    for (key, bytes) in files(&repository) {
        let (path, key) = (repository.join(&key), key.to_string_lossy().into_owned());
        if key.starts_with("data/") || key.starts_with("keys/") {
            assert!(!age_opens(&vault.path("held.age"), &path) && !opens(&bytes, &held), "{key}");
            closed += 1;
        } else if key.ends_with(".age") {
            assert!(age_opens(&vault.path("held.age"), &path), "{key}");
            lists += 1;
        }
        if key.starts_with("keys/") {
            assert!(age_opens(&vault.path("one.age"), &path) && age_opens(&vault.path("two.age"), &path));
            assert!(!age_opens(&vault.path("stranger.age"), &path));
        }
    }
    assert!(closed >= 2 && lists >= 4, "{closed} {lists}");
    let mut verify = vault.command(&["verify", &backup, "--level", "content"]);
    let ended: Ended = verify.envs(&vault.secret).output().unwrap().into();
    assert!(ended.code == 5 && ended.stderr.contains("--identity"), "{ended:?}");

    // A recipient, by a file or by the environment; a stranger; nobody.
    for identity in ["one.age", "two.age"] {
        vault.ends(0, &["verify", &backup, "--level", "content", "--identity", identity], "");
    }
    let key = fs::read_to_string(vault.path("one.age")).unwrap();
    let mut verify = vault.command(&["verify", &backup, "--level", "content"]);
    let ended: Ended = verify.env("DRCTL_IDENTITY", &key).output().unwrap().into();
    assert_eq!(ended.code, 0, "{ended:?}");
    vault.ends(5, &["export", &backup, "all", "--identity", "stranger.age"], "opens a key file of the epoch");
    vault.ends(5, &["export", &backup, "all"], "name the identity of a recipient");
    for level in ["presence", "stored"] {
        let ended = vault.ends(0, &["verify", &backup, "--level", level], "");
        assert!(ended.stdout.contains("were not opened") && !ended.stdout.contains("sound"), "{ended:?}");
        let ended = vault.ends(0, &["verify", &backup, "--level", level, "--identity", "one.age"], "");
        assert!(ended.stdout.contains("sound"), "{ended:?}");
    }
    // A key in the place of its file is not shown, nor is one that signs.
    let secret = key.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
    for words in [["--identity", secret], ["--signer", "-----BEGIN OPENSSH PRIVATE KEY----- hunter2"]] {
        let ended = vault.run(&[&["list"][..], &words].concat());
        assert!(ended.code != 0 && ended.stderr.contains("not shown"), "{ended:?}");
        assert!(!ended.stderr.contains(secret) && !ended.stderr.contains("hunter2"), "{ended:?}");
    }

    // A key file that somebody planted, with other keys under the name of the epoch, comes first.
    let epoch = text(&vault.pins["epoch"]);
    let header: Value = {
        let header = fs::read_to_string(repository.join("repository.json")).unwrap();
        serde_json::from_str(header.lines().next().unwrap()).unwrap()
    };
    let other = fs::read_to_string(vault.path("stranger.age")).unwrap();
    let other = other.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
    let line = serde_json::json!({ "drctl": "key", "epoch": epoch, "repository": header["id"], "secretKey": other });
    let line = format!("{line}\n");
    let planted = format!("{line}{}\n", drctl::types::Sha256Digest::of(line.as_bytes()));
    fs::write(vault.path("planted"), planted).unwrap();
    let mut seal = Command::new("age");
    seal.args(["-r", &text(&vault.pins["recipients"][1]), "-o"]).arg(repository.join(format!("keys/{epoch}-0.age")));
    assert!(seal.arg(vault.path("planted")).status().unwrap().success());

    // By hand.
    let out = vault.path("out");
    let output = recover(&[Path::new("-i"), &vault.path("two.age"), &repository, Path::new(&backup), &out]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let recovered: Vec<Vec<u8>> =
        files(&out).into_iter().filter(|(path, _)| path.starts_with("all")).map(|(_, bytes)| bytes).collect();
    let parts = streams().iter().map(|stream| stream.parts.len()).sum::<usize>();
    assert_eq!(recovered.len(), parts);
    for (identity, said) in [(Some("stranger.age"), "opens no key file"), (None, "name the identity")] {
        let (backup, out, flag) = (Path::new(&backup), vault.path("none"), Path::new("-i"));
        let identity = identity.map(|name| vault.path(name));
        let words: Vec<&Path> = match &identity {
            Some(identity) => vec![flag, identity, &repository, backup, &out],
            None => vec![&repository, backup, &out],
        };
        let output = recover(&words);
        assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains(said), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_those_of_ssh_keygen_and_a_backup_without_one_does_not_count() {
    require!(program "age");
    require!(program "ssh-keygen");
    let vault = Vault::new();
    let signed = write_two_backups(&vault.open(vault.of_cluster()).await, &streams()).await;
    let manifest = vault.path("repository").join(format!("backups/orders/daily/{signed}.json"));
    let signer = text(&vault.pins["signers"][0]);
    fs::write(vault.path("allowed"), format!("drctl {signer}\n")).unwrap();
    let check = |namespace: &str| {
        let signature = format!("{}.sig", manifest.display());
        let mut command = Command::new("ssh-keygen");
        command
            .args(["-Y", "verify", "-I", "drctl", "-n", namespace, "-s", &signature, "-f"])
            .arg(vault.path("allowed"));
        command.stdin(fs::File::open(&manifest).unwrap()).output().unwrap().status.success()
    };
    assert!(check("drctl-manifest") && !check("drctl-evidence"));
    let state = |id: &str| {
        let list = vault.json(&["list"]);
        let found = list["backups"].as_array().unwrap().iter().find(|item| item["id"] == id).cloned();
        let found = found.unwrap();
        (found["signed"].clone(), found["good"].clone())
    };
    assert_eq!(state(&signed), (true.into(), true.into()));

    // Made with the cluster's keys, and signed by nobody.
    let unsigned = Access { signing_key: None, signers: Vec::new(), ..vault.of_cluster() };
    let unsigned = write_two_backups(&vault.open(unsigned).await, &streams()).await;
    assert_eq!(state(&unsigned), (false.into(), false.into()));
    let identity = ["--identity", "one.age"];
    let show = vault.json(&[&["show", "latest"][..], &identity].concat());
    assert!(show.to_string().contains(&signed) && !show.to_string().contains(&unsigned), "{show}");
    let passed_over = format!("UNSIGNED, and does not count: {unsigned}");
    vault.ends(0, &["show", "latest", "--identity", "one.age"], &passed_over);
    let ended = vault.ends(0, &["show", &signed, "--identity", "one.age"], "");
    assert!(!ended.stderr.contains("UNSIGNED"), "{ended:?}");
    let looks = || {
        let list = vault.json(&["list"]);
        let found = list["backups"].as_array().unwrap().iter().find(|item| item["id"] == signed).cloned();
        found.unwrap()["verified"].as_array().map_or(0, Vec::len)
    };
    vault.ends(0, &["verify", &signed], "the evidence of this verification does not count");
    assert_eq!(looks(), 0, "a report that nobody has signed");
    let mut verify = vault.command(&["verify", &signed]);
    let ended: Ended = verify.env("DRCTL_SIGNING_KEY", &vault.secret["DRCTL_SIGNING_KEY"]).output().unwrap().into();
    assert!(ended.code == 0 && !ended.stderr.contains("does not count"), "{ended:?}");
    assert_eq!(looks(), 1);
    vault.ends(4, &["verify", &unsigned], "");
    let export = |backup: &str, more: &[&str], out: &str| {
        vault.run(&[&["export", backup, "all", "--output", out][..], &identity, more].concat())
    };
    let refused = export(&unsigned, &[], "a");
    assert!(refused.code == 5 && refused.stderr.contains("it is not signed"), "{refused:?}");
    assert_eq!(export(&signed, &[], "b").code, 0);
    assert_eq!(export(&unsigned, &["--allow-unsigned"], "c").code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn prune_needs_no_key_that_decrypts_and_believes_no_backup_that_is_not_signed() {
    require!(program "age");
    let vault = Vault::new();
    let signed = write_two_backups(&vault.open(vault.of_cluster()).await, &streams()).await;
    let unsigned = Access { signing_key: None, signers: Vec::new(), ..vault.of_cluster() };
    let unsigned = write_two_backups(&vault.open(unsigned).await, &streams()).await;
    // With exactly what the CronJob's Secret holds.
    let prune = |words: &[&str]| {
        let mut command = vault.command(&[&["prune", "-o", "json"][..], words].concat());
        let ended: Ended = command.envs(&vault.secret).output().unwrap().into();
        assert_eq!(ended.code, 0, "{ended:?}");
        serde_json::from_str::<Value>(&ended.stdout).unwrap()
    };
    let plan = prune(&["--dry-run"]);
    let of = |id: &str| {
        let found = plan["backups"].as_array().unwrap().iter().find(|one| one["id"] == id).cloned().unwrap();
        (text(&found["state"]), text(&found["action"]))
    };
    assert_eq!(
        of(&signed),
        ("complete".into(), "keep".into()),
        "the newest that counts, although it is not the newest"
    );
    assert_eq!(of(&unsigned), ("complete, unsigned".into(), "keep".into()), "not before a good one is 7 days old");
    let count = |report: &Value, action: &str| {
        report["backups"].as_array().unwrap().iter().filter(|one| one["action"] == action).count()
    };
    assert_eq!((count(&plan, "keep"), count(&plan, "mark")), (3, 1), "{plan}");
    assert_eq!(count(&prune(&["--yes"]), "mark"), 1);
    for (path, _) in files(&vault.path("repository/tombstones")) {
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3600);
        fs::File::open(vault.path("repository/tombstones").join(path)).unwrap().set_modified(then).unwrap();
    }
    assert_eq!(count(&prune(&["--yes"]), "delete"), 1);
    vault.ends(0, &["verify", &signed, "--level", "content", "--identity", "one.age"], "");
    // With no key at all it may look, and not act: nobody would believe its tombstones.
    vault.ends(0, &["prune", "--dry-run"], "");
    vault.ends(5, &["prune", "--yes"], "no key to sign with");
}

#[tokio::test(flavor = "multi_thread")]
async fn recipients_are_added_and_removed_and_every_pin_is_held() {
    require!(program "age");
    let vault = Vault::new();
    write_two_backups(&vault.open(vault.of_cluster()).await, &streams()).await;
    let three = keygen(&vault.path("three.age"));
    let add = ["repository", "recipients", "add", &three];
    vault.ends(5, &add, "name the identity of a recipient");
    vault.ends(5, &[&add[..], &["--identity", "stranger.age"]].concat(), "opens a key file of the epoch");
    let added = vault.json(&[&add[..], &["--identity", "one.age"]].concat());
    assert_eq!(added["policy"]["recipients"].as_array().unwrap().len(), 3, "{added}");
    vault.ends(0, &["verify", "--all", "--level", "content", "--identity", "three.age"], "");
    vault.ends(5, &[&add[..], &["--identity", "one.age"]].concat(), "is a recipient of the epoch already");
    let list = vault.json(&["repository", "recipients", "list", "--identity", "three.age"]);
    assert_eq!(list["epochs"][0]["files"].as_array().unwrap().len(), 2, "{list}");

    // A new epoch for one of the two that the policy names.
    let removed = text(&vault.pins["recipients"][0]);
    let begun =
        vault.json(&["repository", "recipients", "remove", &removed, "--new-epoch", "--cluster-secret", "new.yaml"]);
    assert_ne!(begun["policy"]["epoch"], vault.pins["epoch"]);
    assert_eq!(begun["policy"]["signers"].as_array().unwrap().len(), 2, "the old one has signed what is there");
    let list = vault.json(&["repository", "recipients", "list", "--identity", "two.age"]);
    assert_eq!(list["epochs"].as_array().unwrap().len(), 2, "{list}");

    // Pins.
    let good = vault.pinned();
    let wrong = |from: &str, to: &str, said: &str| {
        assert!(good.contains(from), "{good}");
        vault.write_policy(&good.replace(from, to));
        vault.ends(5, &["list"], said);
    };
    wrong(&text(&vault.pins["id"]), &"0".repeat(32), "the policy pins the repository 0000");
    let other = keygen(&vault.path("four.age"));
    vault.write_policy(&good.replace(&text(&vault.pins["epoch"]), &other));
    let mut backup = vault.command(&["backup"]);
    let ended: Ended = backup.envs(&vault.secret).output().unwrap().into();
    assert!(ended.code == 5 && ended.stderr.contains("the id key that is held is of the epoch age1"), "{ended:?}");
    vault.write_policy(&good);
    for (absent, said) in [("DRCTL_ID_KEY", "DRCTL_ID_KEY"), ("DRCTL_SIGNING_KEY", "no key to sign with")] {
        let mut backup = vault.command(&["backup"]);
        let ended: Ended = backup.envs(&vault.secret).env_remove(absent).output().unwrap().into();
        assert!(ended.code == 5 && ended.stderr.contains(said), "{ended:?}");
    }
    // A policy that names a key to sign with wants signatures, whether or not it pins any.
    let from = good.find("  signers:").unwrap();
    let to = from + good[from..].find('\n').unwrap();
    vault.write_policy(&format!("{}  signingKey: {{env: THE_KEY}}{}", &good[..from], &good[to..]));
    let mut backup = vault.command(&["backup"]);
    let ended: Ended = backup.envs(&vault.secret).env_remove("THE_KEY").output().unwrap().into();
    assert!(ended.code == 5 && ended.stderr.contains("no key to sign with"), "{ended:?}");
    let mut backup = vault.command(&["backup"]);
    let key = vault.secret.get("DRCTL_SIGNING_KEY").unwrap();
    let ended: Ended = backup.envs(&vault.secret).env("THE_KEY", key).output().unwrap().into();
    assert!(!ended.stderr.contains("no key to sign with"), "the key is there: {ended:?}");
    vault.write_policy("  encryption: none\n");
    vault.ends(5, &["list"], "the policy says `encryption: none`, and the repository is encrypted");
    vault.write_policy(&good);
    vault.ends(0, &["list"], "");
    // The repository's own word that nothing is encrypted is not believed.
    let header = vault.path("repository/repository.json");
    let line = fs::read_to_string(&header).unwrap().lines().next().unwrap().to_owned();
    let forged = line.replace(r#""mode":"age""#, r#""mode":"none""#).replace(r#"["encryption-age"]"#, "[]") + "\n";
    assert_ne!(forged.trim_end(), line);
    let digest = drctl::types::Sha256Digest::of(forged.as_bytes());
    fs::remove_file(&header).unwrap();
    fs::write(&header, format!("{forged}{digest}\n")).unwrap();
    vault.ends(5, &["list"], "says that it is not");
}
