//! The nginx in front of all sites: a port for each way to each of them.
//!
//! It must never set more than an administrator would: what the module needs beyond that is a finding.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;

use super::servers::Site;
use crate::Nginx;

/// The protocol that nginx speaks with its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// HTTP/1.1 in the clear.
    Http,
    /// HTTP/1.1 behind TLS.
    Https,
    /// HTTP/2 or HTTP/1.1 behind TLS, as the client likes.
    Http2,
}

/// A way through nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Towards the client.
    pub front: Front,
    /// TLS towards the servers.
    pub tls: bool,
    /// How many servers there are behind it.
    pub servers: usize,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let front = match self.front {
            Front::Http => "http",
            Front::Https => "https",
            Front::Http2 => "h2",
        };
        write!(f, "{front}-{}-{}", if self.tls { "https" } else { "http" }, self.servers)
    }
}

impl Way {
    /// All of them, or a few that have everything once.
    #[must_use]
    pub fn all(quick: bool) -> Vec<Self> {
        let way = |front, tls, servers| Self { front, tls, servers };
        if quick {
            return vec![
                way(Front::Http, false, 1),
                way(Front::Https, true, super::servers::SERVERS),
                way(Front::Http2, false, super::servers::SERVERS),
            ];
        }
        let mut ways = Vec::new();
        for front in [Front::Http, Front::Https, Front::Http2] {
            for tls in [false, true] {
                for servers in [1, super::servers::SERVERS] {
                    ways.push(way(front, tls, servers));
                }
            }
        }
        ways
    }

    /// It speaks TLS with its clients.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.front != Front::Http
    }
}

/// nginx with the module, and where each way of each site begins.
#[derive(Debug)]
pub struct Fronts {
    nginx: Nginx,
    ca: std::path::PathBuf,
}

/// A request as nginx logged it.
#[derive(Clone, Debug)]
pub struct Logged {
    /// `HTTP/1.1`, `HTTP/2.0`.
    pub protocol: String,
    /// Sent to the client.
    pub status: u16,
    /// Which client connection.
    pub connection: String,
}

impl Fronts {
    /// Starts it.
    pub async fn start(sites: &[Site], ways: &[Way]) -> Self {
        let h2_directive = Nginx::binary().version() >= (1, 25, 1);
        let mut conf = String::from(
            "client_max_body_size 0;\nlarge_client_header_buffers 4 64k;\n\
             map $http_upgrade $connection_upgrade { default upgrade; '' ''; }\n\
             ssl_certificate {{cert}};\nssl_certificate_key {{key}};\n",
        );
        for site in sites {
            for way in ways {
                let name = port(site, *way);
                let servers = if way.tls { &site.tls } else { &site.plain };
                let _ = writeln!(conf, "upstream {name} {{");
                for server in &servers[..way.servers] {
                    let _ = writeln!(conf, "server {server};");
                }
                let (listen, more) = match way.front {
                    Front::Http => ("", ""),
                    Front::Https => (" ssl", ""),
                    Front::Http2 if h2_directive => (" ssl", "http2 on;"),
                    Front::Http2 => (" ssl http2", ""),
                };
                let scheme = if way.tls { "https" } else { "http" };
                let _ = write!(
                    conf,
                    "ntlm;\n}}\nserver {{ listen 127.0.0.1:{{{{port:{name}}}}}{listen}; {more}
location / {{
    proxy_pass {scheme}://{name};
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
    location ~* ^/(remotedesktopgateway|rpc)/ {{
        proxy_pass {scheme}://{name};
        proxy_buffering off;
        proxy_request_buffering off;
    }}
}} }}\n"
                );
            }
        }
        let nginx = Nginx::builder().conf(&conf).workers(2).start().await;
        Self { ca: nginx.files().ca, nginx }
    }

    /// The authority that its certificate, and that of every server, is from.
    #[must_use]
    pub fn ca(&self) -> &std::path::Path {
        &self.ca
    }

    /// Where `way` to `site` begins.
    #[must_use]
    pub fn base(&self, site: &Site, way: Way) -> String {
        let scheme = if way.is_https() { "https" } else { "http" };
        format!("{scheme}://{}:{}", site.host, self.nginx.socket_addr(&port(site, way)).port())
    }

    /// The error log, from byte `offset` on.
    #[must_use]
    pub fn logged(&self, offset: usize) -> Vec<Logged> {
        let log = self.nginx.access_log();
        log.get(offset..).unwrap_or_default().lines().filter_map(logged).collect()
    }

    /// The length of its access log.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.nginx.access_log().len()
    }

    /// The error log from byte `offset` on, for findings.
    #[must_use]
    pub fn errors(&self) -> String {
        self.nginx.error_log()
    }

    /// Ends it, and fails if it complained.
    pub async fn stop(self) {
        self.nginx.stop().await;
    }
}

fn port(site: &Site, way: Way) -> String {
    format!("{}-{way}", site.name)
}

fn logged(line: &str) -> Option<Logged> {
    let (request, rest) = line.strip_prefix('"')?.split_once('"')?;
    let field = |name: &str| rest.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    Some(Logged {
        protocol: request.rsplit(' ').next()?.to_owned(),
        status: field("status")?.parse().ok()?,
        connection: field("connection")?.to_owned(),
    })
}

/// The protocols of these requests.
#[must_use]
pub fn protocols(logged: &[Logged]) -> BTreeSet<String> {
    logged.iter().map(|request| request.protocol.clone()).collect()
}
