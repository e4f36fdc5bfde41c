//! The TLS side of an origin: which versions it speaks, whose certificates it asks for, and what Extended Protection compares.
//!
//! This code must never read a byte of what TLS carries.

use std::path::Path;
use std::sync::Arc;

use md5::{Digest as _, Md5};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{HandshakeKind, ServerConfig};
use sha2::Sha256;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::connection::Secured;
use super::ntlm::Protection;
use crate::pki::{pki, provider};
use crate::stream::Stream;

/// The TLS versions an origin offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    #[default]
    Both,
    /// 1.2 alone.
    V12,
    /// 1.3 alone.
    V13,
}

/// The settings of an origin's TLS.
#[derive(Debug, Default)]
pub(super) struct Security {
    pub(super) versions: Option<TlsVersions>,
    pub(super) client_ca: bool,
    pub(super) no_resumption: bool,
    pub(super) protection: Option<Protection>,
}

impl Security {
    /// Writes the PEM files of `Origin::files`.
    pub(super) fn write_to(&self, folder: &Path) {
        pki().write_to(folder).expect("a temporary folder to write to");
    }

    /// The acceptor of TLS connections; `None` where the origin speaks plain HTTP.
    pub(super) fn acceptor(&self) -> Option<Acceptor> {
        self.versions.map(|versions| Acceptor(self.server_config(versions)))
    }

    /// Extended Protection, with the hash of what clients must send.
    pub(super) fn protection(&self) -> Option<(Protection, [u8; 16])> {
        self.protection.map(|protection| (protection, channel_bindings(&pki().server.chain()[0])))
    }

    fn server_config(&self, versions: TlsVersions) -> Arc<ServerConfig> {
        let versions: &[_] = match versions {
            TlsVersions::Both => &[&rustls::version::TLS12, &rustls::version::TLS13],
            TlsVersions::V12 => &[&rustls::version::TLS12],
            TlsVersions::V13 => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("TLS versions the provider knows");
        let builder = if self.client_ca {
            let verifier = WebPkiClientVerifier::builder_with_provider(pki().roots(), provider())
                .allow_unauthenticated()
                .build()
                .expect("a verifier for client certificates");
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let identity = &pki().server;
        let mut config = builder
            .with_single_cert(identity.chain(), identity.key())
            .expect("the server certificate of the tests");
        if self.no_resumption {
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        Arc::new(config)
    }
}

/// Makes TLS of a connection.
#[derive(Clone)]
pub(super) struct Acceptor(Arc<ServerConfig>);

impl Acceptor {
    /// The handshake; `None` where it fails.
    pub(super) async fn secure(&self, tcp: TcpStream) -> Option<Secured> {
        let tls = TlsAcceptor::from(self.0.clone()).accept(tcp).await.ok()?;
        let (_, session) = tls.get_ref();
        let sni = session.server_name().map(str::to_owned);
        let client_certificate = session.peer_certificates().is_some();
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let stream = Stream::Tls(Box::new(TlsStream::from(tls)));
        Some(Secured { stream, sni, client_certificate, resumed })
    }
}

/// The hash of the channel bindings `tls-server-end-point` of a certificate signed with SHA-256 (RFC 5929 4.1, MS-NLMP 2.2.2.1).
fn channel_bindings(certificate: &[u8]) -> [u8; 16] {
    let token = [b"tls-server-end-point:", &Sha256::digest(certificate)[..]].concat();
    // gss_channel_bindings_struct: no addresses, and the token.
    let bindings = [&[0; 16][..], &(token.len() as u32).to_le_bytes(), &token].concat();
    Md5::digest(bindings).into()
}
