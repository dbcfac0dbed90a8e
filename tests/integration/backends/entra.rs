//! Identities: workload identity and client secrets, as a Pod on AKS has them, from the program itself.
//!
//! Azurite takes Entra's tokens. What gives them cannot be had on a test machine: it is played by a server of the test's
//! own, which is a fake and no more than that. It says what Entra says, and signs nothing.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::support::azure::{self, Container, without_azure_variables};
use crate::support::bed::require;
use crate::support::program::{Ended, drctl};

/// A fake of the service that gives tokens.
struct FakeEntra {
    address: String,
    /// What it was asked, as form data.
    asked: Arc<Mutex<Vec<String>>>,
}

/// `refusing`: the error that it answers with, in place of a token.
fn fake_entra(container: &Container, refusing: Option<&'static str>) -> FakeEntra {
    let folder = container.authority.parent().unwrap();
    let certificates = CertificateDer::pem_file_iter(folder.join("server.crt")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(certificates, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(session, socket.unwrap());
            let Some((head, body)) = request(&mut stream) else { continue };
            seen.lock().unwrap().push(body);
            let (status, body) = match refusing {
                _ if !head.starts_with("POST /the-tenant/oauth2/v2.0/token ") => (404, "{}".to_owned()),
                Some(error) => (400, format!(r#"{{"error":"invalid_client","error_description":"{error}: no"}}"#)),
                None => (200, format!(r#"{{"token_type":"Bearer","expires_in":3600,"access_token":"{}"}}"#, token())),
            };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    FakeEntra { address, asked }
}

fn request(stream: &mut impl Read) -> Option<(String, String)> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&buffer[..read]),
            _ => return None,
        }
    }
}

/// A token as Entra's look; its signature is none.
fn token() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let part = |json: String| BASE64_URL_SAFE_NO_PAD.encode(json);
    let claims = format!(
        r#"{{"aud":"https://storage.azure.com","iss":"https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/","iat":{0},"nbf":{0},"exp":{1},"oid":"x","tid":"x","ver":"1.0"}}"#,
        now - 60,
        now + 3600
    );
    format!("{}.{}.{}", part(r#"{"typ":"JWT","alg":"RS256"}"#.to_owned()), part(claims), part("none".to_owned()))
}

/// Runs `repository init` and `info` with these variables, on a policy that says nothing of credentials.
fn run(container: &Container, folder: &Path, variables: &[(&str, &str)]) -> Ended {
    let repository = container.repository("prod").replace("\n    accountKey: {env: TEST_ACCOUNT_KEY}", "");
    let policy = folder.join("policy.yaml");
    let text = format!(
        "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: shop}}\n{repository}\nsources:\n  \
         services: {{kubernetes: {{namespaces: [shop]}}}}\nschedules:\n  daily: {{cron: \"0 2 * * *\", sources: [services]}}\n"
    );
    std::fs::write(&policy, text).unwrap();
    let mut command = drctl(&["repository", "init"]);
    as_nobody(&mut command).env("DRCTL_FILE", &policy).envs(variables.iter().copied());
    command.output().unwrap().into()
}

/// Neither this process's identity nor a login of `az` counts.
fn as_nobody(command: &mut Command) -> &mut Command {
    without_azure_variables(command).env("PATH", "/nonexistent").env_remove("IDENTITY_ENDPOINT")
}

#[test]
fn a_pod_with_workload_identity_needs_no_secret() {
    let container = require!(azure::entra_container);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "the-pods-own-token").unwrap();
    let entra = fake_entra(&container, None);
    let variables = [
        ("AZURE_TENANT_ID", "the-tenant"),
        ("AZURE_CLIENT_ID", "the-client"),
        ("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap()),
        ("AZURE_AUTHORITY_HOST", &entra.address),
    ];
    let made = run(&container, folder.path(), &variables);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let asked = entra.asked.lock().unwrap().clone();
    // Requests that begin together may each ask.
    assert!((1..=2).contains(&asked.len()), "one token does for all requests: {asked:?}");
    for part in [
        "client_assertion=the-pods-own-token",
        "client_id=the-client",
        "scope=https%3A%2F%2Fstorage.azure.com%2F.default",
    ] {
        assert!(asked[0].contains(part), "no {part} in {asked:?}");
    }
    let again = run(&container, folder.path(), &variables);
    assert_eq!(again.code, 5, "{}", again.stderr);
    assert!(again.stderr.contains("is a repository already") || again.stderr.contains("already"), "{}", again.stderr);

    // The twin: Entra does not know the identity.
    let refusing = fake_entra(&container, Some("AADSTS700016"));
    let refused = [variables[0], variables[1], variables[2], ("AZURE_AUTHORITY_HOST", refusing.address.as_str())];
    let refused = run(&container, folder.path(), &refused);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    assert!(refused.stderr.contains("Entra gives the identity no token (AADSTS700016): correct"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("the-pods-own-token"), "{}", refused.stderr);
}

#[test]
fn a_client_secret_of_the_environment_gets_a_token_and_is_never_shown() {
    let container = require!(azure::entra_container);
    let folder = tempfile::tempdir().unwrap();
    let entra = fake_entra(&container, None);
    let variables = [
        ("AZURE_TENANT_ID", "the-tenant"),
        ("AZURE_CLIENT_ID", "the-client"),
        ("AZURE_CLIENT_SECRET", "hunter2"),
        ("AZURE_AUTHORITY_HOST", entra.address.as_str()),
        ("DRCTL_LOG", "trace"),
    ];
    let made = run(&container, folder.path(), &variables);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(entra.asked.lock().unwrap()[0].contains("client_secret=hunter2"));
    for secret in ["hunter2", &token()[..30]] {
        assert!(!made.stderr.contains(secret), "{secret} is in {}", made.stderr);
    }
    let nowhere = [variables[0], variables[1], variables[2], ("AZURE_AUTHORITY_HOST", "https://127.0.0.1:9")];
    let failed = run(&container, folder.path(), &nowhere);
    assert_eq!(failed.code, 5, "{}", failed.stderr);
    assert!(failed.stderr.contains("no token for the identity: the connection was refused"), "{}", failed.stderr);
}

#[test]
fn without_any_identity_the_next_step_is_said() {
    let container = require!(azure::entra_container);
    let folder = tempfile::tempdir().unwrap();
    let nobody = run(&container, folder.path(), &[]);
    assert_eq!(nobody.code, 5, "{}", nobody.stderr);
    assert!(nobody.stderr.contains("no credentials found: say `azure.accountKey` or `azure.sas`"), "{}", nobody.stderr);
    let half = run(&container, folder.path(), &[("AZURE_CLIENT_SECRET", "hunter2")]);
    assert_eq!(half.code, 5, "{}", half.stderr);
    assert!(half.stderr.contains("AZURE_CLIENT_SECRET is set, and AZURE_TENANT_ID is not"), "{}", half.stderr);
}

#[test]
fn a_repository_is_opened_by_its_place_alone_with_what_the_environment_has() {
    let container = require!(azure::container);
    let place = format!("az://{}/{}/prod", container.account, container.name);
    let info = |variables: &[(&str, &str)]| -> Ended {
        let mut command = drctl(&["repository", "info", "--repository", &place]);
        as_nobody(&mut command)
            .env("AZURE_STORAGE_SERVICE_ENDPOINT", &container.endpoint)
            .envs(variables.iter().copied());
        command.output().unwrap().into()
    };
    let folder = tempfile::tempdir().unwrap();
    let made = run(&container, folder.path(), &[("AZURE_STORAGE_KEY", &container.key)]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let sas = container.sas("rl", "", "2099-01-01T00:00:00Z");
    for variable in [("AZURE_STORAGE_KEY", container.key.as_str()), ("AZURE_STORAGE_SAS_TOKEN", sas.as_str())] {
        let ended = info(&[variable]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(ended.stdout.contains(&place), "{}", ended.stdout);
    }
    let token = info(&[]);
    assert_eq!(token.code, 5, "{}", token.stderr);
    assert!(token.stderr.contains("a token is never sent over http"), "{}", token.stderr);
}
