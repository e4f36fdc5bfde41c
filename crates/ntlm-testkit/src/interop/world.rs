//! A world of its own for servers that want fixed ports and fixed folders: network, mount, host name and process
//! namespaces, made by `unshare`, which end with the process that made them and take everything in them along.
//!
//! It must never change a file of the machine outside them.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::sh;

/// The argument by which a program knows that it is inside.
const INSIDE: &str = "--inside";
/// The names of everything in it, all of them 127.0.0.1.
pub const NAMES: [&str; 3] = ["www.example.com", "dc.example.com", "ad.example.com"];
/// The realm of the domain controller.
pub const AD_REALM: &str = "EXAMPLE.COM";
/// The realm of the MIT KDC.
pub const MIT_REALM: &str = "KRB.EXAMPLE.COM";
/// The address of the MIT KDC, in a network namespace of its own.
pub const MIT_KDC: &str = "127.0.0.1:1088";
/// The folders that Samba keeps its state in on every system.
const SAMBA: [&str; 5] = ["/etc/samba", "/var/lib/samba", "/var/cache/samba", "/var/log/samba", "/run/samba"];

/// A world, and its folder.
#[derive(Debug)]
pub struct World {
    folder: tempfile::TempDir,
}

impl World {
    /// Starts this program anew inside a world of its own, unless it is in one; then comes back with it.
    ///
    /// # Errors
    /// When there are no namespaces to be had, or a mount in them fails.
    pub fn enter(arguments: &[OsString]) -> Result<Self, String> {
        if !arguments.iter().any(|argument| argument == INSIDE) {
            let program = std::env::current_exe().map_err(|error| error.to_string())?;
            let namespaces = ["--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"];
            let mut inside = Command::new("unshare");
            inside.args(namespaces).arg("--").arg(program).args(arguments).arg(INSIDE);
            return Err(format!("cannot run unshare (package util-linux): {}", inside.exec()));
        }
        let folder = tempfile::Builder::new().prefix("ntlm-interop-").tempdir();
        let world = Self { folder: folder.map_err(|error| format!("no temporary folder: {error}"))? };
        sh("ip", &["link", "set", "lo", "up"])?;
        // Clients that ask with AI_ADDRCONFIG find no IPv4 address where 127.0.0.1 is the only one (RFC 5737 has this for nobody).
        sh("ip", &["address", "add", "192.0.2.1/32", "dev", "lo"])?;
        sh("hostname", &["dc"])?;
        // A line for each: the first name of a line is the canonical one, for which browsers want tickets. git-lfs wants them for the
        // first name of the address.
        let hosts = NAMES.iter().chain(&["localhost", "dc"]).map(|name| format!("127.0.0.1 {name}\n"));
        let hosts = hosts.collect::<String>() + "::1 localhost\n";
        world.put_over(Path::new("/etc/hosts"), &hosts)?;
        // No resolver is reachable; one that is not there is not waited for.
        world.put_over(
            Path::new("/etc/resolv.conf"),
            "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
        )?;
        for place in SAMBA.map(Path::new) {
            let own = world.path().join(&place.display().to_string()[1..]);
            fs::create_dir_all(&own).map_err(|error| format!("{}: {error}", own.display()))?;
            fs::create_dir_all(place).map_err(|error| format!("{}: {error}", place.display()))?;
            bind(&own, place)?;
        }
        world.write("krb5.conf", &krb5_conf(world.path()))?;
        Ok(world)
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Kerberos' configuration, for `KRB5_CONFIG`.
    #[must_use]
    pub fn krb5_config(&self) -> PathBuf {
        self.path().join("krb5.conf")
    }

    /// Where the tickets of `user` in `realm` are, for `KRB5CCNAME`.
    #[must_use]
    pub fn tickets(&self, user: &str, realm: &str) -> PathBuf {
        self.path().join(format!("tickets-{user}-{realm}"))
    }

    /// Writes a file of its folder.
    ///
    /// # Errors
    /// When that fails.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.path().join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// Puts a file of ours in the place of one of the machine's.
    fn put_over(&self, place: &Path, text: &str) -> Result<(), String> {
        let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        bind(&self.write(&name, text)?, place)
    }

    /// Gets a ticket for `user`, whose password is the user's own.
    ///
    /// # Errors
    /// With what kinit says.
    pub fn kinit(&self, user: &str, realm: &str) -> Result<(), String> {
        let mut kinit = Command::new("sh");
        let line = format!("echo {} | kinit {user}@{realm}", crate::password_of(user));
        kinit.args(["-c", &line]).env("KRB5_CONFIG", self.krb5_config());
        kinit.env("KRB5CCNAME", self.tickets(user, realm)).stdin(Stdio::null());
        super::finish(&mut kinit).map(drop)
    }
}

fn bind(from: &Path, to: &Path) -> Result<(), String> {
    sh("mount", &["--bind", &from.display().to_string(), &to.display().to_string()])
}

fn krb5_conf(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "[libdefaults]
 default_realm = {AD_REALM}
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
[realms]
 {AD_REALM} = {{
  kdc = 127.0.0.1:88
 }}
 {MIT_REALM} = {{
  kdc = {MIT_KDC}
 }}
[domain_realm]
 ad.example.com = {AD_REALM}
 dc.example.com = {AD_REALM}
 www.example.com = {MIT_REALM}
[logging]
 default = FILE:{folder}/krb5.log
"
    )
}
