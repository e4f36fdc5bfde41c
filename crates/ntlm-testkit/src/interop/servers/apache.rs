//! Apache httpd with mod_auth_gssapi: NTLM by gss-ntlmssp, and Kerberos by the MIT KDC, bound to the connection or not. It keeps
//! repositories, and a folder of WebDAV.
//!
//! It must never read a file of the machine's own Apache but its modules and MIME types.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::super::world::{MIT_REALM, World};
use super::super::{USERS, finish, until};
use super::{Site, Wire};
use crate::origin::DOMAIN;
use crate::password_of;
use crate::pki::pki;

const MODULES: &str = "/usr/lib/apache2/modules";
const LOADED: [&str; 17] = [
    "mpm_event",
    "authn_core",
    "authz_core",
    "authz_user",
    "auth_gssapi",
    "alias",
    "cgid",
    "dav",
    "dav_fs",
    "dir",
    "env",
    "headers",
    "proxy",
    "proxy_http",
    "proxy_wstunnel",
    "setenvif",
    "ssl",
];

/// A sort of authentication, and the site that has it.
#[derive(Debug)]
pub struct Sort {
    /// The site's name in the matrix.
    pub name: &'static str,
    mechanism: &'static str,
    /// A login holds for its connection.
    pub bound: bool,
}

/// All of them.
pub const SORTS: [Sort; 3] = [
    Sort { name: "apache-ntlm", mechanism: "ntlmssp", bound: true },
    Sort { name: "apache-kerberos", mechanism: "krb5", bound: true },
    Sort { name: "apache-kerberos-each", mechanism: "krb5", bound: false },
];

impl Sort {
    /// The realm of its service ticket.
    #[must_use]
    pub fn realm(&self) -> Option<&'static str> {
        (self.mechanism == "krb5").then_some(MIT_REALM)
    }

    /// Its access log.
    #[must_use]
    pub fn log(&self, world: &World) -> PathBuf {
        world.path().join(format!("{}.log", self.name))
    }
}

/// A running httpd; it ends when this is dropped.
#[derive(Debug)]
pub struct Apache {
    _child: Child,
    _sockets: Sockets,
}

/// The WebSocket server behind it.
#[derive(Debug)]
struct Sockets {
    _child: Child,
    port: u16,
}

impl Sockets {
    async fn start(world: &World, tools: &Path) -> Result<Self, String> {
        let script = world.write("socket.cjs", include_str!("../../../interop/socket.cjs"))?;
        let mut child = Command::new("node")
            .arg(script)
            .env("NODE_PATH", tools.join("node/node_modules"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot run node: {error}"))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            let read = BufReader::new(stdout).read_line(&mut line).await;
            read.map_err(|error| format!("socket.cjs: {error}"))?;
        }
        let port = line.trim().parse().map_err(|_| "socket.cjs does not listen".to_owned())?;
        Ok(Self { _child: child, port })
    }
}

impl Apache {
    /// Starts it for `sites`, which are [`SORTS`] in their order.
    ///
    /// # Errors
    /// With its error log.
    pub async fn start(world: &World, tools: &Path, sites: &[Site]) -> Result<Self, String> {
        let sockets = Sockets::start(world, tools).await?;
        let folder = world.path();
        let cannot = |error: std::io::Error| format!("{}: {error}", folder.display());
        let pages = folder.join("pages");
        let repositories = folder.join("git");
        let files = folder.join("files");
        for folder in [&pages, &repositories, &files] {
            std::fs::create_dir_all(folder).map_err(cannot)?;
        }
        world.write("pages/page", "a page\n")?;
        let users = USERS.map(|user| format!("{DOMAIN}:{user}:{}\n", password_of(user)));
        world.write("ntlm-users", &users.concat())?;
        let batch = world.write("lfs.py", include_str!("../../../interop/lfs.py"))?;
        let keys = pki().write_to(folder).map_err(cannot)?;
        // Its workers are not root; the world is gone with all it holds in a minute.
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(cannot)
        };
        open(folder, 0o755)?;
        open(&folder.join("http.keytab"), 0o644)?;
        open(&batch, 0o755)?;
        open(&repositories, 0o777)?;
        open(&files, 0o777)?;

        let log = folder.join("apache-errors.log");
        let mut conf = format!(
            "ServerRoot {0}\nPidFile {0}/apache.pid\nServerName www.example.com\nDefaultRuntimeDir {0}\n\
             ErrorLog {1}\nLogLevel warn\nUser www-data\nGroup www-data\nKeepAlive On\n\
             KeepAliveTimeout 60\nMaxKeepAliveRequests 0\nDocumentRoot {2}\nScriptSock {0}/cgisock\n\
             DavLockDB {0}/files/.locks\n",
            folder.display(),
            log.display(),
            pages.display(),
        );
        for module in LOADED {
            let _ = writeln!(conf, "LoadModule {module}_module {MODULES}/mod_{module}.so");
        }
        // TransferLog takes the format that was named last.
        conf += "LogFormat \"%{local}p/%{remote}p %>s %u %m %U\"\n";
        for (sort, site) in SORTS.iter().zip(sites) {
            conf += &hosts(sort, site, world, &keys, sockets.port);
        }
        let conf = world.write("apache.conf", &conf)?;
        let said = folder.join("apache-said");
        let mut child = Command::new("apache2")
            .args(["-D", "FOREGROUND", "-f"])
            .arg(conf)
            .env("NTLM_USER_FILE", folder.join("ntlm-users"))
            .env("KRB5_CONFIG", world.krb5_config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&said).map_err(cannot)?)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot run apache2: {error}"))?;
        let address = sites[0].plain[0].clone();
        until("Apache", || match child.try_wait() {
            Ok(None) => {
                let open = std::net::TcpStream::connect(&address);
                open.map(drop).map_err(|error| error.to_string())
            }
            _ => Err([&said, &log].map(|path| std::fs::read_to_string(path).unwrap_or_default()).concat()),
        })
        .await?;
        Ok(Self { _child: child, _sockets: sockets })
    }

    /// Makes an empty git repository that the sites serve as `/git/NAME`.
    ///
    /// # Errors
    /// With what git says.
    pub fn repository(world: &World, name: &str) -> Result<(), String> {
        let path = world.path().join("git").join(name).display().to_string();
        finish(std::process::Command::new("git").args(["init", "-q", "--bare", &path]))?;
        finish(std::process::Command::new("chown").args(["-R", "www-data", &path])).map(drop)
    }
}

fn hosts(sort: &Sort, site: &Site, world: &World, keys: &crate::pki::Files, sockets: u16) -> String {
    let folder = world.path().display();
    let credentials = match sort.mechanism {
        "krb5" => format!("GssapiCredStore keytab:{folder}/http.keytab"),
        _ => String::new(),
    };
    let mut conf = String::new();
    for (addresses, tls) in [(&site.plain, false), (&site.tls, true)] {
        for address in addresses {
            let _ = writeln!(conf, "Listen {address}\n<VirtualHost {address}>");
            if tls {
                let (cert, key) = (keys.cert.display(), keys.key.display());
                let _ =
                    writeln!(conf, "SSLEngine on\nSSLCertificateFile {cert}\nSSLCertificateKeyFile {key}");
            }
            let _ = write!(
                conf,
                "TransferLog {log}
ProxyPass /session/socket/ ws://127.0.0.1:{sockets}/
RequestHeader set X-Remote-User \"expr=%{{REMOTE_USER}}\"
AliasMatch \"^/session/.*\" {folder}/pages/page
ScriptAlias /git/ /usr/lib/git-core/git-http-backend/
SetEnv GIT_PROJECT_ROOT {folder}/git
SetEnv GIT_HTTP_EXPORT_ALL 1
ScriptAlias /files/objects/batch {folder}/lfs.py
Alias /files/ {folder}/files/
<Directory {folder}/files>
 Dav On
</Directory>
<Location />
 AuthType GSSAPI
 AuthName interop
 GssapiAllowedMech {mechanism}
 GssapiConnectionBound {bound}
 {credentials}
 Require valid-user
 Header always set X-Identity \"expr=%{{REMOTE_USER}}\"
</Location>
</VirtualHost>
",
                log = sort.log(world).display(),
                mechanism = sort.mechanism,
                bound = if sort.bound { "On" } else { "Off" },
            );
        }
    }
    conf
}

/// A line of the access log.
pub fn wire(line: &str) -> Option<Wire> {
    let mut words = line.split(' ');
    let connection = words.next()?.to_owned();
    let status = words.next()?.parse().ok()?;
    let user = words.next().filter(|user| *user != "-").map(crate::origin::name_of);
    Some(Wire { connection, status, user, target: None })
}
