//! The TLS side of the clients: they trust only the authority of the tests.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use crate::pki::{pki, provider};
use crate::stream::Stream;

/// Begins TLS for HTTP/1.1 with the server `name`.
pub(super) async fn over(tcp: TcpStream, name: &str, certified: bool) -> io::Result<Stream> {
    let name = ServerName::try_from(name.to_owned()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let connector = TlsConnector::from(config(&["http/1.1"], certified));
    Ok(Stream::Tls(Box::new(TlsStream::from(connector.connect(name, tcp).await?))))
}

/// A configuration that offers `alpn`, with the tests' client certificate if `certified`.
pub(super) fn config(alpn: &[&str], certified: bool) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("TLS versions the provider knows")
        .with_root_certificates(pki().roots());
    let mut config = if certified {
        let identity = &pki().client;
        builder
            .with_client_auth_cert(identity.chain(), identity.key())
            .expect("the client certificate of the tests")
    } else {
        builder.with_no_client_auth()
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}
