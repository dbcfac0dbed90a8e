//! A connection to a server on which nothing has been said yet: for a client program that speaks for itself, and whose
//! answers a thread of its own reads.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect as _};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    Error, Server,
    calm::Calm,
    tls,
    url::{Host, SslMode},
};

/// The message by which a client asks for TLS: its length, and the number of the request.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// How long a server may take to answer it, and for the handshake.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Both directions of a connection.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for S {}

impl Server {
    /// A connection as far as its encryption, as the address wants it: what is sent next is the client's greeting.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Tls`].
    pub(super) async fn wire(&self) -> Result<Box<dyn Wire>, Error> {
        let unreachable = |reason: String| Error::Unreachable { server: self.shown(), reason };
        match &self.url().host {
            Host::Unix(folder) => {
                let path = folder.join(format!(".s.PGSQL.{}", self.url().port));
                let stream = UnixStream::connect(&path).await.map_err(|error| unreachable(error.to_string()))?;
                Ok(Box::new(Calm::new(stream, true)))
            }
            Host::Tcp(host) => {
                let stream = Calm::new(self.dial().await?, true);
                if self.url().encryption() == SslMode::Disable {
                    return Ok(Box::new(stream));
                }
                timeout(TIMEOUT, self.encrypt(host, stream))
                    .await
                    .map_err(|_| unreachable("it accepted the connection and did not answer within 15 s".to_owned()))?
            }
        }
    }

    async fn encrypt(&self, host: &str, mut stream: Calm<TcpStream>) -> Result<Box<dyn Wire>, Error> {
        let unreachable =
            |error: std::io::Error| Error::Unreachable { server: self.shown(), reason: error.to_string() };
        let failed = |reason: String| Error::Tls { server: self.shown(), reason };
        stream.write_all(&SSL_REQUEST).await.map_err(unreachable)?;
        // One byte and no more: what a server sends after it belongs to the handshake.
        match stream.read_u8().await.map_err(unreachable)? {
            b'S' => {}
            b'N' if self.url().encryption() == SslMode::Prefer => return Ok(Box::new(stream)),
            _ => return Err(failed("the server does not support TLS".to_owned())),
        }
        let rustls = tls::client_config(self.url(), self.roots()).map_err(failed)?;
        let mut make = MakeRustlsConnect::new(rustls);
        let connector = MakeTlsConnect::<Calm<TcpStream>>::make_tls_connect(&mut make, host)
            .map_err(|error| failed(error.to_string()))?;
        let stream = connector.connect(stream).await.map_err(|error| failed(error.to_string()))?;
        Ok(Box::new(stream))
    }
}
