//! The clients that send requests at once, and one after the other.
//!
//! Must never help a client along: it gets addresses, a name and a password, or a ticket.

use std::path::PathBuf;

use tokio::process::Command;

use super::{Body, Load};
use crate::interop::clients::{Job, Proof};

/// A client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    /// Its name in what is printed.
    pub name: &'static str,
    /// How it proves who it is.
    pub proof: Proof,
    /// Whether the client can send these.
    pub takes: fn(&Load) -> bool,
    /// Whether the client, over HTTP/2, misses some answers to these and asks for passwords (docs/interop.md says why).
    pub known: fn(&Load) -> bool,
    /// Words of the client when it fails by a fault of its own with whatever server: such a session tells nothing.
    pub own_fault: Option<&'static str>,
    /// The client can be told to speak HTTP/1.1 instead.
    pub straight: bool,
    /// The command that sends them.
    pub command: fn(&Job<'_>, &Load) -> Command,
}

const CURL: Client = Client {
    name: "curl --negotiate (NTLM)",
    proof: Proof::NtlmInside,
    takes: |_| true,
    // A pipe cannot be sent twice: straight, too, only those get through that come after another one's login.
    known: |load| matches!(load.body, Body::Pipe(_)),
    own_fault: None,
    straight: true,
    command: |job, load| curl(job, load, None, "--negotiate"),
};
const CURL_NTLM: Client = Client {
    name: "curl --ntlm",
    proof: Proof::Ntlm,
    // This curl never ends the empty body of its first leg, whichever server it talks to.
    takes: |load| !matches!(load.body, Body::File(_) | Body::Pipe(_)),
    known: |_| false,
    command: |job, load| curl(job, load, None, "--ntlm"),
    ..CURL
};
const SOUP: Client = Client {
    name: "libsoup (NTLM)",
    proof: Proof::Ntlm,
    known: |_| false,
    // libsoup 3.2, uploading at once over HTTP/2, in one of five sessions on a busy machine without this module.
    own_fault: Some("on_data_source_read_callback: assertion failed"),
    command: |job, load| soup(job, load, "ntlm"),
    ..CURL
};
const FIREFOX: Client = Client {
    name: "Firefox (NTLM)",
    proof: Proof::Ntlm,
    // Firefox cannot send from a pipe. It is slow, so it is given fewer loads.
    takes: |load| match load.body {
        Body::None | Body::Post(100_000 | 3_000_000) => true,
        Body::File(bytes) => bytes == 3_000_000 && !load.at_once,
        _ => false,
    },
    known: |_| false,
    command: |job, load| firefox(job, load, "ntlm"),
    ..CURL
};
const GO: Client = Client {
    name: "Go net/http (NTLM)",
    takes: |load| !load.at_once && !matches!(load.body, Body::File(_)),
    known: |_| false,
    command: go,
    ..CURL
};
const JAVA: Client = Client { name: "Java HttpClient (NTLM)", command: java, ..GO };
const NODE: Client = Client {
    name: "Node http2 (NTLM)",
    straight: false,
    command: |job, load| node(job, load, "http2"),
    ..GO
};
const UNDICI: Client =
    Client { name: "Node undici (NTLM)", command: |job, load| node(job, load, "undici"), ..GO };
const HTTPX: Client = Client {
    name: "httpx-ntlm",
    proof: Proof::Ntlm,
    takes: |load| !load.at_once && matches!(load.body, Body::None | Body::Post(_)),
    command: |job, load| httpx(job, load, "ntlm"),
    ..GO
};

/// All of them; `NTLM` without more is NTLM in Negotiate, where the client is not told to speak the scheme `NTLM`.
pub(super) const CLIENTS: &[Client] = &[
    CURL,
    Client { name: "curl --negotiate (Kerberos)", proof: Proof::Kerberos, known: |_| false, ..CURL },
    Client { name: "curl --anyauth", command: |job, load| curl(job, load, None, "--anyauth"), ..CURL },
    CURL_NTLM,
    Client {
        name: "curl of trixie --negotiate (NTLM)",
        command: |job, load| curl(job, load, Some("trixie/curl"), "--negotiate"),
        ..CURL
    },
    Client {
        name: "curl of trixie --negotiate (Kerberos)",
        proof: Proof::Kerberos,
        known: |_| false,
        command: |job, load| curl(job, load, Some("trixie/curl"), "--negotiate"),
        ..CURL
    },
    Client {
        name: "curl of trixie --anyauth",
        command: |job, load| curl(job, load, Some("trixie/curl"), "--anyauth"),
        ..CURL
    },
    Client {
        name: "curl of trixie --ntlm",
        command: |job, load| curl(job, load, Some("trixie/curl"), "--ntlm"),
        ..CURL_NTLM
    },
    SOUP,
    Client {
        name: "libsoup (NTLM in Negotiate)",
        proof: Proof::NtlmInside,
        command: |job, load| soup(job, load, "negotiate"),
        ..SOUP
    },
    Client {
        name: "libsoup (Kerberos)",
        proof: Proof::Kerberos,
        // libsoup takes the refusal of one upload for the end of another one's login now and then.
        known: |load| load.at_once && matches!(load.body, Body::File(_) | Body::Pipe(_)),
        command: |job, load| soup(job, load, "negotiate"),
        ..SOUP
    },
    FIREFOX,
    Client {
        name: "Firefox (NTLM in Negotiate)",
        proof: Proof::NtlmInside,
        command: |job, load| firefox(job, load, "negotiate"),
        ..FIREFOX
    },
    Client {
        name: "Firefox (Kerberos)",
        proof: Proof::Kerberos,
        command: |job, load| firefox(job, load, "negotiate"),
        ..FIREFOX
    },
    GO,
    Client { name: "Go net/http (Kerberos)", proof: Proof::Kerberos, ..GO },
    JAVA,
    Client { name: "Java HttpClient (Kerberos)", proof: Proof::Kerberos, ..JAVA },
    NODE,
    Client { name: "Node http2 (Kerberos)", proof: Proof::Kerberos, ..NODE },
    UNDICI,
    Client { name: "Node undici (Kerberos)", proof: Proof::Kerberos, ..UNDICI },
    HTTPX,
    Client {
        name: "httpx-gssapi",
        proof: Proof::Kerberos,
        command: |job, load| httpx(job, load, "negotiate"),
        ..HTTPX
    },
];

/// One address after the other, or all at once. `program` is one of the tools; else it is Debian's. A shell gives each address a
/// pipe of its own.
fn curl(job: &Job<'_>, load: &Load, program: Option<&str>, scheme: &str) -> Command {
    let own = program.map(|program| job.tools.join(program));
    let program = own.clone().unwrap_or_else(|| PathBuf::from("curl"));
    let file = load.file(job).display().to_string();
    let who = if scheme == "--ntlm" { format!("{}:{}", job.user, job.password()) } else { ":".to_owned() };
    let mut line = format!(
        "exec {} -q -sS --noproxy '*' --max-time 25 --http2 {scheme} -u {who} --cacert {} \
         -w 'ANSWER %{{http_code}} %header{{x-identity}} %header{{x-body-hash}}\\n'",
        program.display(),
        job.ca.display(),
    );
    if load.at_once {
        line += " -Z";
    }
    if let Body::Post(_) = load.body {
        line += &format!(" --data-binary @{file}");
    }
    for url in load.urls(job) {
        line += &match load.body {
            Body::File(_) => format!(" -T {file} -o /dev/null {url}"),
            Body::Pipe(_) => format!(" -T <(cat {file}) -o /dev/null {url}"),
            Body::None | Body::Post(_) => format!(" -o /dev/null {url}"),
        };
    }
    let mut bash = Command::new("bash");
    bash.args(["-c", &line]);
    if let Some(own) = own {
        bash.env("GSS_MECH_CONFIG", own.with_file_name("mech.conf"));
    }
    bash
}

fn soup(job: &Job<'_>, load: &Load, scheme: &str) -> Command {
    // Debian's Python, which has GObject's bindings.
    let mut python = Command::new("/usr/bin/python3");
    python.arg(job.script("soup.py", include_str!("../../../interop/soup.py")));
    python.args([scheme, &job.base, job.user, &job.password()]).arg(job.ca).args(told(job, load));
    python
}

fn firefox(job: &Job<'_>, load: &Load, scheme: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(job.script("firefox.cjs", include_str!("../../../interop/firefox.cjs")));
    node.args([scheme, &job.base, job.user, &job.password()]).args(told(job, load));
    node.env("NODE_PATH", job.tools.join("node/node_modules"));
    node
}

fn go(job: &Job<'_>, load: &Load) -> Command {
    let mut go = Command::new(job.tools.join("go/session"));
    go.arg(&job.base).arg(job.ca).args(&told(job, load)[..3]).args(helper(job));
    go
}

fn java(job: &Job<'_>, load: &Load) -> Command {
    let mut java = Command::new("java");
    java.arg(job.script("Session.java", include_str!("../../../interop/Session.java")));
    java.arg(&job.base).arg(job.ca).args(&told(job, load)[..3]).args(helper(job));
    java
}

fn node(job: &Job<'_>, load: &Load, library: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(job.script("streams.cjs", include_str!("../../../interop/streams.cjs")));
    node.args([library, &job.base]).arg(job.ca).args(&told(job, load)[..3]).args(helper(job));
    node.env("NODE_PATH", job.tools.join("node/node_modules"));
    node
}

fn httpx(job: &Job<'_>, load: &Load, scheme: &str) -> Command {
    let mut python = Command::new(job.tools.join("python/bin/python"));
    python.arg(job.script("streams.py", include_str!("../../../interop/streams.py")));
    python.args([scheme, &job.base, job.user, &job.password()]).args(&told(job, load)[..3]);
    python
}

/// The arguments of a script: the kind of body, the file, how many requests, and whether all at once.
fn told(job: &Job<'_>, load: &Load) -> [String; 4] {
    let kind = match load.body {
        Body::None => "none",
        Body::Post(_) => "post",
        Body::File(_) => "file",
        Body::Pipe(_) => "pipe",
    };
    let pace = if load.at_once { "ONCE" } else { "ROW" };
    [kind.to_owned(), load.file(job).display().to_string(), load.count.to_string(), pace.to_owned()]
}

/// The GSS-API for those that have none: Debian's Python, which has its bindings.
fn helper(job: &Job<'_>) -> [String; 3] {
    let script = job.script("gss.py", include_str!("../../../interop/gss.py"));
    ["/usr/bin/python3".to_owned(), script.display().to_string(), job.site.host.to_owned()]
}
