//! An encrypted way through a port-forward, on which the server's certificate is checked by the name that it has.
//!
//! A port-forward ends at an address of this machine, and the driver takes the name that a certificate must have from the
//! address that it connects to. So the driver connects in the clear to a listener on this machine, and what comes there is
//! encrypted before it goes into the port-forward.

use std::{net::SocketAddr, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::types::for_terminal;

/// The listener. It ends with this value, and every connection through it, too.
#[derive(Debug)]
pub(super) struct Bridge {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where the other side of the bridge is, and who must be there.
#[derive(Clone)]
struct Way {
    connector: TlsConnector,
    to: SocketAddr,
    name: ServerName<'static>,
}

impl Way {
    async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.to).await?;
        stream.set_nodelay(true)?;
        self.connector.connect(self.name.clone(), stream).await
    }
}

impl Bridge {
    /// Opens a way to `to`, where a server must show a certificate for `name` that an authority in `ca_file` has signed. It is
    /// tried once.
    ///
    /// # Errors
    /// Why it cannot be had, in words.
    pub(super) async fn open(to: SocketAddr, name: &str, ca_file: &Path) -> Result<Self, String> {
        let shown = for_terminal(name).into_owned();
        let server =
            ServerName::try_from(name.to_owned()).map_err(|_| format!("`{shown}` can be in no certificate"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(authorities(ca_file)?)
            .with_no_client_auth();
        let way = Way { connector: TlsConnector::from(Arc::new(config)), to, name: server };
        let first = way.connect().await;
        first.map_err(|error| format!("its certificate must be for `{shown}`: {error}"))?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        Ok(Self { address, task: tokio::spawn(serve(listener, way)) })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(listener: TcpListener, way: Way) {
    // Dropped with this task, and so are all connections.
    let mut connections = JoinSet::new();
    loop {
        let Ok((mut client, _)) = listener.accept().await else { return };
        while connections.try_join_next().is_some() {}
        let way = way.clone();
        connections.spawn(async move {
            let done = async {
                client.set_nodelay(true)?;
                copy_bidirectional(&mut client, &mut way.connect().await?).await
            };
            if let Err(error) = done.await {
                tracing::debug!(%error, "a connection through the port-forward has ended");
            }
        });
    }
}

fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let failed = |error: String| {
        format!("cannot read the authorities in `{}`: {error}", for_terminal(&file.display().to_string()))
    };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| failed(error.to_string()))? {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        store.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if store.is_empty() { Err(failed("there is none".to_owned())) } else { Ok(store) }
}
