//! The subjects of a measurement. Each is a proxy with its configuration; of some the clients log in.
//!
//! Two subjects must never differ in anything but what they are compared for.

use std::fmt;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;
use ntlm_testkit::Nginx;
use ntlm_testkit::ports::Reserved;
use serde::{Deserialize, Serialize};

/// A subject of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// NGINX without the module, with its own `keepalive`: what everything is compared with.
    KeepAlive,
    /// NGINX without the module, which connects to the origin for each request.
    NoKeepAlive,
    /// Clients that are logged in, in a group with `ntlm`.
    Bound,
    /// HAProxy, with clients that are logged in.
    HaProxy,
    /// Clients without credentials, in a group with `ntlm` and `keepalive`.
    NoCredentials,
    /// Clients without credentials, in a group with `keepalive`, where the module is loaded.
    OtherGroup,
    /// As [`Self::Bound`], with `keepalive` in the group.
    BoundBesideKeepAlive,
    /// Bound by `proxy_ntlm`.
    BoundByProxyNtlm,
    /// As [`Self::Bound`], with `ntlm_key`, and `ntlm_status` in another server.
    BoundWithKey,
    /// As [`Self::Bound`], with six variables of NGINX's in the access log.
    BoundLogged,
    /// As [`Self::Bound`], with six variables of the module's in the access log.
    BoundLoggedNames,
}

impl Subject {
    /// Its clients log in.
    pub fn logs_in(self) -> bool {
        !matches!(self, Self::KeepAlive | Self::NoKeepAlive | Self::NoCredentials | Self::OtherGroup)
    }

    fn has_module(self) -> bool {
        !matches!(self, Self::KeepAlive | Self::NoKeepAlive | Self::HaProxy)
    }

    /// The subject's name on the page.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeepAlive => "NGINX, keepalive",
            Self::NoKeepAlive => "NGINX, no keepalive",
            Self::Bound => "bound by ntlm",
            Self::HaProxy => "bound by HAProxy",
            Self::NoCredentials => "no credentials, group with ntlm",
            Self::OtherGroup => "another group, module loaded",
            Self::BoundBesideKeepAlive => "bound, keepalive in the group",
            Self::BoundByProxyNtlm => "bound by proxy_ntlm",
            Self::BoundWithKey => "bound, ntlm_key and ntlm_status",
            Self::BoundLogged => "bound, six variables of NGINX's logged",
            Self::BoundLoggedNames => "bound, six variables of the module's logged",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a subject is set up.
pub struct Setup {
    /// The addresses of the origin's that make the group.
    pub servers: Vec<SocketAddr>,
    /// Connections of NGINX's or HAProxy's to clients and to the origin.
    pub connections: usize,
    /// Idle connections that the pool of `keepalive` has room for.
    pub pool: usize,
    /// A command that runs the proxy: valgrind and its options.
    pub below: Vec<String>,
    /// The proxy speaks TLS to clients.
    pub tls: bool,
}

/// A running proxy of one process.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    kind: Kind,
}

enum Kind {
    Nginx(Box<Nginx>),
    HaProxy(HaProxy),
}

/// A running HAProxy, which ends when this is dropped.
struct HaProxy {
    child: Child,
    _folder: tempfile::TempDir,
    _port: Reserved,
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        // Either fails only where the proxy has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    /// Starts the proxy of a subject.
    pub async fn start(subject: Subject, setup: &Setup) -> Result<Self> {
        if subject == Subject::HaProxy { haproxy(setup).await } else { nginx(subject, setup).await }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        match &self.kind {
            Kind::Nginx(nginx) => nginx.pid(),
            Kind::HaProxy(haproxy) => haproxy.child.id(),
        }
    }

    /// Waits until it waits for something to do.
    pub async fn idle(&self) -> Result<()> {
        let file = format!("/proc/{}/stat", self.pid());
        loop {
            let stat = std::fs::read_to_string(&file).context("the proxy has ended")?;
            // "pid (name) state"; the name may have brackets of its own.
            if stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S')) {
                return Ok(());
            }
            ntlm_testkit::pause().await;
        }
    }

    /// Bytes of memory that the process has.
    pub fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(1024 * kilobytes.context("the kernel does not say how much memory a process has")?)
    }

    /// Nanoseconds that the process has spent on a processor.
    pub fn cpu_nanoseconds(&self) -> Result<u64> {
        let clock = nix::time::clock_getcpuclockid(Pid::from_raw(i32::try_from(self.pid())?))?;
        let time = clock.now()?;
        Ok(u64::try_from(time.tv_sec())? * 1_000_000_000 + u64::try_from(time.tv_nsec())?)
    }

    /// Ends it.
    pub async fn stop(self) {
        if let Kind::Nginx(nginx) = self.kind {
            nginx.stop().await;
        }
    }
}

async fn nginx(subject: Subject, setup: &Setup) -> Result<Proxy> {
    // Later versions keep 32 connections where nothing is said, and have another default for what is sent.
    let pools_by_default = Nginx::binary().version() >= (1, 29, 7);
    let pool = format!("keepalive {}; keepalive_requests 1000000000; keepalive_timeout 1h;", setup.pool);
    let ntlm = format!("ntlm {}; ntlm_timeout 1h;", setup.connections);
    let one_each = if pools_by_default { "keepalive 0;" } else { "" };
    let (group, http) = match subject {
        Subject::KeepAlive | Subject::OtherGroup | Subject::HaProxy => (pool, ""),
        Subject::NoKeepAlive => (one_each.to_owned(), ""),
        Subject::Bound => (ntlm, ""),
        Subject::NoCredentials | Subject::BoundBesideKeepAlive => (format!("{pool} {ntlm}"), ""),
        Subject::BoundByProxyNtlm => (String::new(), "proxy_ntlm on connections=30000 timeout=1h;"),
        Subject::BoundWithKey => (
            format!("{ntlm} ntlm_key $remote_addr;"),
            "server { listen 127.0.0.1:{{port:status}}; location / { ntlm_status; } }",
        ),
        Subject::BoundLogged => (
            ntlm,
            "log_format six '$upstream_addr $upstream_status $upstream_response_time $bytes_sent \
             $remote_user $host';",
        ),
        Subject::BoundLoggedNames => (
            ntlm,
            "log_format six '$ntlm_binding $ntlm_requests $ntlm_mechanism $ntlm_user \
             $ntlm_domain $ntlm_workstation';",
        ),
    };
    let log = match subject {
        Subject::BoundLogged | Subject::BoundLoggedNames => {
            "access_log {{prefix}}/access.log six buffer=64k;"
        }
        _ => "access_log off;",
    };
    // The module sends as this says; without it, and without a pool, the proxy module does not.
    let sent = match subject {
        Subject::NoKeepAlive => "proxy_http_version 1.1; proxy_set_header Connection close;",
        // Without these lines, before that version, NGINX keeps no connection, and the module has them to change.
        _ if !pools_by_default => "proxy_http_version 1.1; proxy_set_header Connection \"\";",
        _ => "",
    };
    let (ssl, certificate) = if setup.tls {
        (
            " ssl",
            "ssl_certificate {{cert}}; ssl_certificate_key {{key}}; ssl_session_cache off; ssl_session_tickets off;",
        )
    } else {
        ("", "")
    };
    let servers: String = setup.servers.iter().map(|server| format!("server {server}; ")).collect();
    let mut nginx = Nginx::builder()
        .single_process()
        .as_written()
        .worker_connections(setup.connections)
        .log_level("notice")
        .below(&setup.below);
    if !subject.has_module() {
        nginx = nginx.without_module();
    }
    // All times are alike, as they are by default (60 seconds): nginx leaves a timer alone that it would set to nearly the same time.
    let nginx = nginx.conf(&format!(
        "{http} {log}
         upstream backend {{ {servers} {group} }}
         keepalive_requests 1000000000; keepalive_timeout 1h; proxy_read_timeout 1h;
         server {{ listen 127.0.0.1:{{{{port}}}}{ssl}; {certificate} {sent}
                   location / {{ proxy_pass http://backend; }} }}"
    ));
    let nginx = nginx.start().await;
    Ok(Proxy { address: nginx.socket_addr(""), kind: Kind::Nginx(Box::new(nginx)) })
}

async fn haproxy(setup: &Setup) -> Result<Proxy> {
    let port = Reserved::v4()?;
    let folder = tempfile::Builder::new().prefix("ntlm-haproxy-").tempdir()?;
    let address = port.address();
    let ssl = if setup.tls {
        let files = ntlm_testkit::pki::pki().write_to(folder.path())?;
        let both = folder.path().join("both.pem");
        let text = std::fs::read_to_string(files.cert)? + &std::fs::read_to_string(files.key)?;
        std::fs::write(&both, text)?;
        format!("ssl crt {} no-tls-tickets", both.display())
    } else {
        String::new()
    };
    let servers: String = setup
        .servers
        .iter()
        .enumerate()
        .map(|(number, server)| format!(" server s{number} {server}\n"))
        .collect();
    let conf = format!(
        "global\n maxconn {}\n nbthread 1\n tune.ssl.cachesize 0\n\
         defaults\n mode http\n timeout connect 60s\n timeout client 1h\n timeout server 1h\n timeout http-keep-alive 1h\n\
         listen origin\n bind {address} {ssl}\n{servers}",
        setup.connections / 2,
    );
    let file = folder.path().join("haproxy.conf");
    std::fs::write(&file, conf)?;
    let mut words = setup.below.iter().map(String::as_str).chain(["haproxy", "-db", "-f"]);
    let mut command = Command::new(words.next().context("no command")?);
    command.args(words).arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(std::fs::File::create(folder.path().join("stderr"))?);
    let child = command.spawn().context("haproxy does not start")?;
    let mut haproxy = HaProxy { child, _folder: folder, _port: port };
    while std::net::TcpStream::connect(address).is_err() {
        let said = || std::fs::read_to_string(file.with_file_name("stderr")).unwrap_or_default();
        ensure!(haproxy.child.try_wait()?.is_none(), "haproxy does not start: {}", said());
        ntlm_testkit::pause().await;
    }
    Ok(Proxy { address, kind: Kind::HaProxy(haproxy) })
}

/// The version of Debian's HAProxy.
pub fn haproxy_version() -> Result<String> {
    let said = Command::new("haproxy").arg("-v").output().context("haproxy does not run")?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let version = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    // Without Debian's own number behind it.
    let version = version.and_then(|version| version.split('-').next());
    Ok(version.context("haproxy does not say its version")?.to_owned())
}
