//! The Debian packages each command needs: one table, and what is done when one of them is missing.
//!
//! As root on a machine with apt they are installed; anybody else is told the one command that does it.

use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::ui;

/// A task, as far as it decides which packages it takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Download a Debian suite's NGINX.
    Fetch,
    /// Configure or compile NGINX.
    Nginx,
    /// Compile for another processor, and run that.
    Cross,
    /// Compile the module.
    Module,
    /// Run the suite or the demo.
    Suite,
    /// Look at pages, as the suite does.
    Browser,
    /// Measure.
    Bench,
    /// Compile the fuzz targets.
    Fuzz,
    /// Send floods.
    Flood,
    /// Watch accesses to memory.
    Memcheck,
    /// Load all modules that Debian has for its nginx.
    Crowd,
    /// Make packages, and install them into a clean system.
    Package,
    /// Run other people's clients and servers.
    Interop,
    /// Let other people's clients send requests at once over HTTP/2.
    Streams,
}

use Need::{
    Bench, Browser, Cross, Crowd, Fetch, Flood, Fuzz, Interop, Memcheck, Module, Nginx, Package, Streams,
    Suite,
};

/// Package, who needs it, for what.
const TABLE: &[(&str, &[Need], &str)] = &[
    ("apt", &[Fetch], "the packages of other Debian suites"),
    ("ca-certificates", &[Fetch], "mirrors behind HTTPS"),
    ("debian-archive-keyring", &[Fetch, Package], "the signatures of other Debian suites"),
    ("dpkg", &[Fetch], "unpacking"),
    ("binutils", &[Package], "what is in the module's file"),
    ("dpkg-dev", &[Fetch], "the compiler flags Debian's NGINX was configured with"),
    (
        "gcc",
        &[Fetch, Nginx, Module, Suite],
        "NGINX's configure, the module's headers, what the suite has in C",
    ),
    ("gcc-aarch64-linux-gnu", &[Cross], "64-bit ARM"),
    ("libc6-dev-arm64-cross", &[Cross], "the start of a program for 64-bit ARM"),
    ("qemu-user", &[Cross], "running what is for 64-bit ARM"),
    ("g++", &[Fuzz], "libFuzzer, which is C++"),
    ("libc6-dev", &[Fetch, Nginx, Module, Suite], "the C library's headers"),
    ("libclang-dev", &[Module], "bindgen, which reads NGINX's headers"),
    ("libpcre2-dev", &[Fetch, Nginx, Module], "NGINX's headers include it"),
    (
        "libssl-dev",
        &[Fetch, Nginx, Module, Suite],
        "NGINX's headers include it, and an origin of the suite speaks it",
    ),
    ("git", &[Package, Interop], "commits: what packages are made from, and what clients push"),
    ("iproute2", &[Package, Interop], "a loopback interface of one's own"),
    ("lintian", &[Package], "what Debian asks of a package"),
    ("make", &[Fetch, Nginx], "NGINX's build"),
    ("zlib1g-dev", &[Fetch, Nginx, Module], "NGINX's headers include it"),
    ("mmdebstrap", &[Package], "the systems that packages are built in and installed into"),
    ("curl", &[Suite, Package], "a client that speaks NTLM and Negotiate"),
    ("chromium", &[Browser, Interop], "a browser: for the page of \"ntlm_status html;\", and as a client"),
    ("jq", &[Suite], "reports on the access log"),
    ("gss-ntlmssp", &[Suite], "NTLM inside Negotiate for curl"),
    ("rpm", &[Package], "rpmlint, which asks it"),
    ("rpmlint", &[Package], "what RPM's distributions ask of a package"),
    ("tar", &[Package], "the sources' tarballs"),
    ("util-linux", &[Package], "namespaces"),
    ("xz-utils", &[Package], "the sources' tarballs"),
    ("apache2-bin", &[Interop], "Apache httpd"),
    ("cadaver", &[Interop], "a client that speaks Negotiate"),
    ("freerdp2-x11", &[Interop], "a client that speaks NTLM"),
    ("xauth", &[Interop], "a display for FreeRDP"),
    ("xvfb", &[Interop], "a display for FreeRDP"),
    ("git-lfs", &[Interop], "a client that speaks Negotiate"),
    ("haproxy", &[Bench, Interop], "a balancer in front of NGINX, and one to compare with"),
    ("krb5-admin-server", &[Interop], "the principals of a KDC"),
    ("krb5-kdc", &[Interop], "a KDC"),
    ("krb5-user", &[Interop], "Kerberos tickets"),
    ("libapache2-mod-auth-gssapi", &[Interop], "NTLM and Negotiate in Apache"),
    ("libkrb5-dev", &[Interop], "Kerberos for Python"),
    ("libnginx-mod-stream", &[Crowd, Interop], "a balancer in front of NGINX"),
    ("nginx", &[Crowd, Interop], "a balancer in front of NGINX"),
    ("python3-dev", &[Interop], "Kerberos for Python"),
    ("python3-gssapi", &[Interop], "Kerberos for Python"),
    ("python3-venv", &[Interop], "Python clients"),
    ("samba", &[Interop], "an Active Directory domain controller"),
    ("samba-ad-dc", &[Interop], "an Active Directory domain controller"),
    ("samba-ad-provision", &[Interop], "an Active Directory domain controller"),
    ("samba-dsdb-modules", &[Interop], "an Active Directory domain controller"),
    ("nghttp2-client", &[Flood], "h2load, which sends streams by the hundred thousand"),
    ("firefox-esr", &[Streams], "a browser, as a client"),
    ("gir1.2-soup-3.0", &[Streams], "libsoup for Python"),
    ("glib-networking", &[Streams], "TLS for libsoup"),
    ("golang-go", &[Streams], "a client in Go"),
    ("openjdk-17-jdk-headless", &[Streams], "a client in Java"),
    ("python3-gi", &[Streams], "libsoup for Python"),
    ("wget", &[Interop], "a client that speaks NTLM"),
    ("libauthen-ntlm-perl", &[Interop], "NTLM in Perl"),
    ("libhttpclient-java", &[Interop], "a client that speaks NTLM"),
    ("libwww-perl", &[Interop], "a client that speaks NTLM"),
    ("mono-mcs", &[Interop], "a client in C#"),
    ("openjdk-17-jdk-headless", &[Interop], "clients in Java"),
    ("php-cli", &[Interop], "a client in PHP"),
    ("php-curl", &[Interop], "a client that speaks NTLM"),
    ("ruby-httpclient", &[Interop], "a client that speaks NTLM"),
    ("ruby-ntlm", &[Interop], "NTLM in Ruby"),
    ("winbind", &[Interop], "ntlm_auth, which asks the domain controller"),
    ("libnginx-mod-http-auth-pam", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-brotli-filter", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-brotli-static", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-cache-purge", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-dav-ext", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-echo", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-fancyindex", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-geoip", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-geoip2", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-headers-more-filter", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-image-filter", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-js", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-lua", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-memc", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-modsecurity", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-ndk", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-perl", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-set-misc", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-srcache-filter", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-subs-filter", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-uploadprogress", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-upstream-fair", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-http-xslt-filter", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-mail", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-nchan", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-rtmp", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-stream-geoip", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-stream-geoip2", &[Crowd], "a neighbour of the module"),
    ("libnginx-mod-stream-js", &[Crowd], "a neighbour of the module"),
    ("lua-resty-core", &[Crowd], "what the Lua module loads"),
    ("valgrind", &[Bench, Memcheck], "counting instructions, watching accesses to memory"),
];

/// Makes sure that the packages for all of `needs` are installed.
pub fn ensure(needs: &[Need]) -> Result<()> {
    let wanted = TABLE.iter().filter(|(_, by, _)| by.iter().any(|need| needs.contains(need)));
    let missing: Vec<_> = wanted.filter(|(package, ..)| !installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }

    ui::say("these packages are missing:");
    for (package, _, what_for) in &missing {
        ui::say(format!("  {package:24} {what_for}"));
    }
    let names: Vec<&str> = missing.iter().map(|(package, ..)| *package).collect();
    if !has_apt() {
        bail!("this is no Debian system (no apt-get): install what corresponds to {}", names.join(" "));
    }
    if !is_root() {
        bail!(
            "run this, then try again:\n\n    sudo apt-get install -y --no-install-recommends {}\n",
            names.join(" ")
        );
    }
    ui::run(apt().arg("update")).context("apt-get update failed: is a Debian mirror reachable?")?;
    ui::run(apt().args(["install", "-y", "--no-install-recommends"]).args(&names))
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).arg("-q");
    // Another apt may be at work: this one waits for it.
    apt.args(["-o", "DPkg::Lock::Timeout=600"]);
    // stdout is for results.
    apt.stdout(std::io::stderr());
    apt
}

/// Whether the package is there; without dpkg nothing is.
fn installed(package: &str) -> bool {
    let query = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}\n", package])
        .stderr(Stdio::null())
        .output();
    query.is_ok_and(|out| out.stdout.split(|byte| *byte == b'\n').any(|line| line == b"installed"))
}

fn has_apt() -> bool {
    let version =
        Command::new("apt-get").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// Our own entry in /proc belongs to whom we run as.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}
