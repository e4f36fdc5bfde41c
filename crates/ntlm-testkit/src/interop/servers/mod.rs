//! The servers: where each listens, who may come, and what it saw.
//!
//! It must never tell from a client's own words what a server saw.

pub mod apache;
pub mod kdc;
pub mod samba;

use std::cell::Cell;
use std::path::{Path, PathBuf};

use self::apache::Apache;
use super::world::{AD_REALM, World};
use crate::Origin;
use crate::origin::Judge;
use crate::ports::Reserved;

/// How many servers of a site there are.
pub const SERVERS: usize = 3;

/// A site: the same service at several addresses, in the clear and behind TLS.
#[derive(Debug)]
pub struct Site {
    /// How the matrix calls it.
    pub name: &'static str,
    /// The name it is known by.
    pub host: &'static str,
    /// The realm of its service ticket; `None` if it takes no tickets.
    pub realm: Option<&'static str>,
    /// It takes `NTLM`, and NTLM inside `Negotiate`.
    pub ntlm: bool,
    /// It takes the 32 bytes with which most clients begin NTLM.
    pub short_first_leg: bool,
    /// A login holds for its connection.
    pub bound: bool,
    /// It keeps files: repositories, and a folder of WebDAV.
    pub files: bool,
    /// Addresses in the clear.
    pub plain: Vec<String>,
    /// Addresses behind TLS.
    pub tls: Vec<String>,
    log: Log,
}

#[derive(Debug)]
enum Log {
    Ledgers(Vec<Origin>),
    File { path: PathBuf, seen: Cell<usize> },
}

/// A request as a server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// Which connection.
    pub connection: String,
    /// The status of the answer.
    pub status: u16,
    /// Who it was served as.
    pub user: Option<String>,
    /// Path and query, where the server tells.
    pub target: Option<String>,
}

impl Site {
    /// Our origin, with the domain controller for a judge.
    pub async fn domain() -> Self {
        let mut origins = Vec::new();
        for tls in [false, true] {
            for number in 1..=SERVERS {
                let origin =
                    Origin::builder().name(&format!("ad{number}")).judged_by(Judge::ntlm_auth()).gateway();
                origins.push(if tls { origin.tls() } else { origin }.start().await);
            }
        }
        let addresses =
            |tls: bool| origins.iter().filter(|origin| origin.is_tls() == tls).map(Origin::address).collect();
        Self {
            name: "domain",
            host: "ad.example.com",
            realm: Some(AD_REALM),
            ntlm: true,
            short_first_leg: true,
            bound: true,
            files: false,
            plain: addresses(false),
            tls: addresses(true),
            log: Log::Ledgers(origins),
        }
    }

    /// The requests that the server saw since [`Self::forget`].
    #[must_use]
    pub fn wire(&self) -> Vec<Wire> {
        match &self.log {
            Log::Ledgers(origins) => {
                let entries = origins.iter().flat_map(Origin::ledger);
                let mut entries: Vec<_> = entries
                    .map(|entry| Wire {
                        connection: entry.connection.to_string(),
                        status: entry.status,
                        user: entry.identity,
                        target: Some(entry.target),
                    })
                    .collect();
                // Connections are numbered as they come, over all origins of the process.
                entries.sort_by_key(|wire| wire.connection.parse::<u64>().unwrap_or_default());
                entries
            }
            Log::File { path, seen } => {
                let text = std::fs::read_to_string(path).unwrap_or_default();
                text.get(seen.get()..).unwrap_or_default().lines().filter_map(apache::wire).collect()
            }
        }
    }

    /// Forgets what it saw.
    pub fn forget(&self) {
        match &self.log {
            Log::Ledgers(origins) => origins.iter().for_each(Origin::clear_ledger),
            Log::File { path, seen } => {
                seen.set(std::fs::metadata(path).map_or(0, |file| file.len() as usize));
            }
        }
    }
}

/// Everything that serves.
#[derive(Debug)]
pub struct Servers {
    /// The sites, in the order of the matrix.
    pub sites: Vec<Site>,
    _samba: samba::Samba,
    _kdc: kdc::Kdc,
    _apache: Apache,
    _ports: Vec<Reserved>,
}

impl Servers {
    /// Starts them all.
    ///
    /// # Errors
    /// With the last words of what failed.
    pub async fn start(world: &World, tools: &Path) -> Result<Self, String> {
        let samba = samba::Samba::start(world).await?;
        let kdc = kdc::Kdc::start(world).await?;
        let mut sites = vec![Site::domain().await];
        let mut ports = Vec::new();
        for sort in apache::SORTS {
            let mut addresses = || -> Result<Vec<String>, String> {
                let mut addresses = Vec::new();
                for _ in 0..SERVERS {
                    let port = Reserved::v4().map_err(|error| format!("no free port: {error}"))?;
                    addresses.push(port.address().to_string());
                    ports.push(port);
                }
                Ok(addresses)
            };
            sites.push(Site {
                name: sort.name,
                host: "www.example.com",
                realm: sort.realm(),
                ntlm: sort.realm().is_none(),
                short_first_leg: false,
                bound: sort.bound,
                files: true,
                plain: addresses()?,
                tls: addresses()?,
                log: Log::File { path: sort.log(world), seen: Cell::new(0) },
            });
        }
        let apache = Apache::start(world, tools, &sites[1..]).await?;
        Ok(Self { sites, _samba: samba, _kdc: kdc, _apache: apache, _ports: ports })
    }
}
