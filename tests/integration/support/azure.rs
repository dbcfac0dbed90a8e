//! A container of the bed's Azurite, for one test.

#![allow(dead_code, reason = "not every helper has a user in every state of the tests")]

use std::{
    env,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
};

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_STANDARD};
use drctl::repository::backend::AzureOptions;
use drctl::types::Secret;

use super::bed::{component, keeps, ran, unique_name};

/// A container of the bed's Azurite; removed at the end.
#[derive(Debug)]
pub(crate) struct Container {
    /// `http://127.0.0.1:PORT/ACCOUNT`
    pub(crate) endpoint: String,
    /// The storage account.
    pub(crate) account: String,
    /// The account's key, in Base64.
    pub(crate) key: String,
    /// The container.
    pub(crate) name: String,
    /// The authority of the server over https.
    pub(crate) authority: PathBuf,
    /// A SAS that may do everything.
    all: String,
}

/// A new, empty container, over http.
pub(crate) fn container(test: &str) -> Option<Container> {
    made(test, "DRCTL_BED_AZURITE_ENDPOINT")
}

/// A new, empty container on the server that takes tokens of Entra, over https.
pub(crate) fn entra_container(test: &str) -> Option<Container> {
    made(test, "DRCTL_BED_AZURITE_HTTPS_ENDPOINT")
}

fn made(test: &str, endpoint: &str) -> Option<Container> {
    let container = Container {
        endpoint: component(test, endpoint)?,
        account: component(test, "DRCTL_BED_AZURITE_ACCOUNT")?,
        key: component(test, "DRCTL_BED_AZURITE_KEY")?,
        name: unique_name(test),
        authority: component(test, "DRCTL_BED_AZURITE_CA")?.into(),
        all: component(test, "DRCTL_BED_AZURITE_SAS")?,
    };
    ran(test);
    let answer = container.ask("PUT", "", "restype=container", "");
    assert!(answer.starts_with("HTTP/1.1 201 "), "Azurite made no container: {answer}");
    Some(container)
}

impl Container {
    /// How it is opened with the account's key.
    pub(crate) fn options(&self) -> AzureOptions {
        AzureOptions {
            endpoint: Some(self.endpoint.clone()),
            account_key: Some(Secret::new(&self.key)),
            ca_file: self.endpoint.starts_with("https").then(|| self.authority.clone()),
            ..AzureOptions::default()
        }
    }

    /// How it is opened with a SAS.
    pub(crate) fn with_sas(&self, sas: &str) -> AzureOptions {
        AzureOptions { account_key: None, sas: Some(Secret::new(sas)), ..self.options() }
    }

    /// A SAS of the account with just these permissions (`rcl`: read, create, list), from and until these times.
    pub(crate) fn sas(&self, permissions: &str, from: &str, until: &str) -> String {
        let version = "2018-11-09";
        let text = format!("{}\n{permissions}\nb\nsco\n{from}\n{until}\n\n\n{version}\n", self.account);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64_STANDARD.decode(&self.key).unwrap());
        let signature = BASE64_STANDARD.encode(hmac::sign(&key, text.as_bytes()));
        let mut parameters = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("st", from), ("se", until), ("sp", permissions), ("ss", "b"), ("srt", "sco")] {
            if !value.is_empty() {
                parameters.append_pair(name, value);
            }
        }
        parameters.append_pair("sv", version).append_pair("sig", &signature).finish()
    }

    /// The `repository:` section of a policy for this container, with the account's key in `TEST_ACCOUNT_KEY`.
    pub(crate) fn repository(&self, prefix: &str) -> String {
        let Self { account, name, endpoint, .. } = self;
        let authority = match self.endpoint.starts_with("https") {
            true => format!("\n    caFile: {}", self.authority.display()),
            false => String::new(),
        };
        format!(
            "repository:\n  url: az://{account}/{name}/{prefix}\n  encryption: none\n  azure:\n    endpoint: {endpoint}\n    \
             accountKey: {{env: TEST_ACCOUNT_KEY}}{authority}"
        )
    }

    /// What curl says of a request as one who may do everything: the head of the answer and the body.
    pub(crate) fn ask(&self, method: &str, blob: &str, query: &str, body: &str) -> String {
        let url = format!("{}/{}{blob}?{query}&{}", self.endpoint, self.name, self.all);
        if let Some(plain) = url.strip_prefix("http://") {
            let (address, path) = plain.split_once('/').unwrap();
            let head = format!(
                "{method} /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nx-ms-version: 2018-11-09\r\n\
                 x-ms-blob-type: BlockBlob\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let mut connection = TcpStream::connect(address).expect("Azurite listens");
            connection.write_all((head + body).as_bytes()).expect("Azurite reads");
            let mut answer = Vec::new();
            connection.read_to_end(&mut answer).expect("Azurite answers");
            return String::from_utf8_lossy(&answer).into_owned();
        }
        let output = std::process::Command::new("curl")
            .args(["--silent", "--show-error", "--include", "--http1.1", "--noproxy", "*", "--cacert"])
            .arg(&self.authority)
            .args(["-X", method, "-H", "x-ms-version: 2018-11-09", "-H", "x-ms-blob-type: BlockBlob"])
            .args(["--data-binary", body, "-H", "Content-Type:", &url])
            .output()
            .expect("curl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !keeps() {
            self.ask("DELETE", "", "restype=container", "");
        }
    }
}

/// The place of an identity's variables, for a process that must not see this one's.
pub(crate) fn without_azure_variables(command: &mut std::process::Command) -> &mut std::process::Command {
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("AZURE_") {
            command.env_remove(name);
        }
    }
    command
}
