//! The certificates of a test run: one authority, one server and one client certificate, made anew in each process.
//!
//! It must never offer a key that outlives the process or is trusted by anything but these tests.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::stream::Secured;

/// The names the server certificate is good for.
pub const SERVER_NAMES: [&str; 5] = ["localhost", "origin.example", "*.example.com", "127.0.0.1", "::1"];

/// A certificate with its key, as PEM and as DER.
#[derive(Debug)]
pub struct Identity {
    /// The certificate as PEM.
    pub cert_pem: String,
    /// The private key as PEM.
    pub key_pem: String,
    cert: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Identity {
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.cert.clone()]
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }
}

/// Everything TLS needs in a test.
#[derive(Debug)]
pub struct Pki {
    /// The authority's certificate as PEM.
    pub ca_pem: String,
    /// For servers: [`SERVER_NAMES`].
    pub server: Identity,
    /// For clients: `test client`.
    pub client: Identity,
    ca: CertificateDer<'static>,
}

/// The certificates of this process.
#[must_use]
pub fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| make().expect("certificates for the tests"))
}

fn make() -> Result<Pki, rcgen::Error> {
    let ca_key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "ntlm-testkit authority");
    let ca = params.self_signed(&ca_key)?;
    let issuer = Issuer::new(params, ca_key);
    let leaf = |name: &str, names: &[&str]| -> Result<Identity, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, name);
        let cert = params.signed_by(&key, &issuer)?;
        Ok(Identity {
            cert_pem: cert.pem(),
            key_pem: key.serialize_pem(),
            cert: cert.der().clone(),
            key: key.serialize_der(),
        })
    };
    Ok(Pki {
        ca_pem: ca.pem(),
        server: leaf("origin.example", &SERVER_NAMES)?,
        client: leaf("test client", &["client.example"])?,
        ca: ca.der().clone(),
    })
}

impl Pki {
    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).expect("the authority of the tests");
        Arc::new(roots)
    }

    /// Writes `ca.pem`, `cert.pem`, `key.pem`, `client_cert.pem` and `client_key.pem` into `folder`.
    ///
    /// # Errors
    /// When `folder` cannot be written to.
    pub fn write_to(&self, folder: &Path) -> io::Result<Files> {
        let files = Files::of(folder);
        std::fs::write(&files.ca, &self.ca_pem)?;
        std::fs::write(&files.cert, &self.server.cert_pem)?;
        std::fs::write(&files.key, &self.server.key_pem)?;
        std::fs::write(&files.client_cert, &self.client.cert_pem)?;
        std::fs::write(&files.client_key, &self.client.key_pem)?;
        Ok(files)
    }
}

/// Where [`Pki::write_to`] put the PEM files.
#[derive(Clone, Debug)]
pub struct Files {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The server's certificate.
    pub cert: PathBuf,
    /// The server's key.
    pub key: PathBuf,
    /// The client's certificate.
    pub client_cert: PathBuf,
    /// The client's key.
    pub client_key: PathBuf,
}

impl Files {
    /// The files in a folder that they were written to.
    pub(crate) fn of(folder: &Path) -> Self {
        let path = |name: &str| folder.join(format!("{name}.pem"));
        Self {
            ca: path("ca"),
            cert: path("cert"),
            key: path("key"),
            client_cert: path("client_cert"),
            client_key: path("client_key"),
        }
    }
}

impl Secured for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }

    fn queue_key_update(&mut self) -> bool {
        match self {
            Self::Server(stream) => stream.get_mut().1.refresh_traffic_keys().is_ok(),
            Self::Client(stream) => stream.get_mut().1.refresh_traffic_keys().is_ok(),
        }
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())).clone()
}
