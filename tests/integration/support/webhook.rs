//! An admission webhook of a test's own: a real server with TLS, which an API server calls.

use std::{
    fs,
    io::{BufReader, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};

use super::bed::Cluster;

/// What it answers to a review.
type Handler = dyn Fn(&Value) -> Value + Send + Sync;

/// A server with TLS on this machine that an API server sends reviews to. It serves until the process ends.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    /// Its authority's certificate, as a `caBundle`.
    pub(crate) ca: String,
}

impl Server {
    /// `name` is what its certificate is for: `DNS:convert.shop.svc`.
    pub(crate) fn start(name: &str, handler: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        fs::write(here.join("names"), format!("subjectAltName={name}\n")).unwrap();
        let key_pair = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        openssl(here, &format!("req -x509 {key_pair} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"));
        openssl(here, &format!("req {key_pair} -keyout tls.key -out tls.csr -subj /CN=webhook"));
        openssl(
            here,
            "x509 -req -in tls.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out tls.pem -days 2 -extfile names",
        );
        let chain = vec![CertificateDer::from_pem_file(here.join("tls.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(here.join("tls.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let handler: Arc<Handler> = Arc::new(handler);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (config, handler) = (Arc::clone(&config), Arc::clone(&handler));
                std::thread::spawn(move || serve(socket, config, &*handler));
            }
        });
        Self { port, ca: base64(&fs::read(here.join("ca.pem")).unwrap()) }
    }
}

/// A webhook that is registered until it is dropped.
#[derive(Debug)]
pub(crate) struct Webhook<'c> {
    cluster: &'c Cluster,
    name: String,
    calls: Arc<AtomicUsize>,
}

impl<'c> Webhook<'c> {
    /// Registers a validating webhook for ConfigMaps of one namespace.
    pub(crate) fn start(
        cluster: &'c Cluster,
        namespace: &str,
        side_effects: &str,
        judge: impl Fn(&Value) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let Server { port, ca } = Server::start("IP:127.0.0.1", move |review| {
            counter.fetch_add(1, Ordering::SeqCst);
            let why = judge(&review["request"]["object"]);
            let mut response = json!({"uid": review["request"]["uid"], "allowed": why.is_none()});
            if let Some(why) = why {
                response["status"] = json!({"message": why, "code": 403});
            }
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
        });

        let name = cluster.name("hook");
        let label = cluster.label();
        let (label, value) = label.split_once('=').unwrap();
        let registered = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": name, "labels": {label: value}},
            "webhooks": [{
                "name": "judge.example.org", "admissionReviewVersions": ["v1"], "sideEffects": side_effects,
                "failurePolicy": "Fail", "timeoutSeconds": 5,
                "clientConfig": {"url": format!("https://127.0.0.1:{port}/"), "caBundle": ca},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE"]}],
            }],
        });
        cluster.create(&registered.to_string());
        let webhook = Self { cluster, name, calls };
        webhook.wait_until_called(namespace);
        webhook
    }

    /// How often it was asked.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// The API server hears of a new webhook a moment later.
    fn wait_until_called(&self, namespace: &str) {
        let probe =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe", "namespace": namespace}});
        super::workshop::wait_for("a call of the webhook", 120, || {
            self.cluster.apply(&probe.to_string());
            self.cluster.kubectl(&["delete", "configmap", "probe", "-n", namespace]);
            (self.calls() > 0).then_some(())
        });
    }
}

impl Drop for Webhook<'_> {
    fn drop(&mut self) {
        let words = ["delete", "validatingwebhookconfiguration", &self.name, "--ignore-not-found"];
        let _ = self.cluster.try_kubectl(&words);
    }
}

fn openssl(folder: &std::path::Path, arguments: &str) {
    let done = Command::new("openssl").current_dir(folder).args(arguments.split(' ')).output().unwrap();
    assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn serve(socket: TcpStream, config: Arc<ServerConfig>, handler: &Handler) {
    let stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
    let mut stream = BufReader::new(stream);
    while let Some(review) = read_review(&mut stream) {
        let answer = handler(&review).to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", answer.len());
        let out = stream.get_mut();
        if out
            .write_all(head.as_bytes())
            .and_then(|()| out.write_all(answer.as_bytes()))
            .and_then(|()| out.flush())
            .is_err()
        {
            return;
        }
    }
}

fn read_review(stream: &mut impl std::io::BufRead) -> Option<Value> {
    let (mut line, mut length) = (String::new(), 0);
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    loop {
        line.clear();
        stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}
