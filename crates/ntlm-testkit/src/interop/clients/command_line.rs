//! curl, wget, git, git-lfs and cadaver; and FreeRDP at a gateway.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::process::Command;

use super::{Client, Job, Proof};
use crate::interop::servers::apache::Apache;
use crate::origin::DOMAIN;

const CURL: Client = Client {
    name: "curl --ntlm",
    proof: Proof::Ntlm,
    short_first_leg: true,
    steady: true,
    reuses: true,
    only_tls: false,
    quick: true,
    files: false,
    answers: 4,
    command: |job| curl(job, &["--ntlm"]),
};
const GIT_CLIENT: Client = Client {
    name: "git push and clone",
    proof: Proof::Kerberos,
    files: true,
    quick: false,
    answers: 2,
    command: git,
    ..CURL
};
const FREERDP: Client = Client {
    name: "FreeRDP /gt:http",
    only_tls: true,
    quick: false,
    answers: 3,
    command: |job| freerdp(job, "http"),
    ..CURL
};

pub(super) const CLIENTS: &[Client] = &[
    CURL,
    // It prefers Negotiate where a server offers both.
    Client {
        name: "curl --anyauth",
        proof: Proof::NtlmInside,
        short_first_leg: false,
        command: |job| curl(job, &["--anyauth"]),
        ..CURL
    },
    Client {
        name: "curl --negotiate (NTLM)",
        proof: Proof::NtlmInside,
        short_first_leg: false,
        command: |job| curl(job, &["--negotiate"]),
        ..CURL
    },
    Client {
        name: "curl --negotiate (Kerberos)",
        proof: Proof::Kerberos,
        command: |job| curl(job, &["--negotiate"]),
        ..CURL
    },
    Client { name: "curl --ntlm, 10 MB", answers: 2, command: |job| upload(job, 10, &["--ntlm"]), ..CURL },
    Client {
        name: "curl --ntlm, 100 MB",
        quick: false,
        answers: 2,
        command: |job| upload(job, 100, &["--ntlm"]),
        ..CURL
    },
    Client {
        name: "curl --negotiate (Kerberos), 10 MB",
        proof: Proof::Kerberos,
        answers: 2,
        command: |job| upload(job, 10, &["--negotiate"]),
        ..CURL
    },
    Client { name: "wget", answers: 3, command: wget, ..CURL },
    GIT_CLIENT,
    // Whether Go uses a connection again depends on how soon it has read the answer 401.
    Client { name: "git-lfs", reuses: false, answers: 8, command: lfs, ..GIT_CLIENT },
    // cadaver sends Kerberos tickets over TLS only.
    Client { name: "cadaver", only_tls: true, answers: 5, command: cadaver, ..GIT_CLIENT },
    FREERDP,
    Client { name: "FreeRDP /gt:rpc", answers: 2, command: |job| freerdp(job, "rpc"), ..FREERDP },
];

/// One request of a session: its path, and what else curl is told.
type Part<'a> = (&'a str, Vec<String>);

fn run_curl(job: &Job<'_>, scheme: &[&str], parts: &[Part<'_>]) -> Command {
    // Kerberos and gss-ntlmssp know their user by themselves.
    let who = if scheme != ["--ntlm"] { ":".to_owned() } else { format!("{}:{}", job.user, job.password()) };
    let mut curl = Command::new("curl");
    curl.arg("-q");
    for (index, (path, more)) in parts.iter().enumerate() {
        if index > 0 {
            curl.arg("--next");
        }
        curl.args(["-sS", "--noproxy", "*", "--max-time", "50", "-o", "/dev/null"]).args(scheme);
        curl.args(["-u", &who, "-w", "ANSWER %{http_code} %header{x-identity}\\n"]);
        curl.arg("--cacert").arg(job.ca).args(more).arg(job.url(path));
    }
    curl
}

fn curl(job: &Job<'_>, scheme: &[&str]) -> Command {
    let body = format!("@{}", job.body(100_000).display());
    let post = vec!["--data-binary".to_owned(), body];
    let parts = [("one", vec![]), ("two", vec![]), ("three", post), ("four", vec![])];
    run_curl(job, scheme, &parts)
}

fn upload(job: &Job<'_>, megabytes: usize, scheme: &[&str]) -> Command {
    let body = format!("@{}", job.body(megabytes * 1_000_000).display());
    let post = vec!["--data-binary".to_owned(), body];
    run_curl(job, scheme, &[("upload", post), ("after", vec![])])
}

fn wget(job: &Job<'_>) -> Command {
    let mut wget = Command::new("sh");
    // wget shows the header's lines of each answer, indented.
    let awk = r#"/^  HTTP\//{s=$2} /^  X-Identity:/{if (s != 401) print "ANSWER", s, $2}"#;
    wget.args(["-c", &format!("wget \"$@\" 2>&1 | awk '{awk}'"), "wget"]);
    wget.args(["-q", "-S", "--no-config", "--no-proxy", "--tries=1", "--timeout=50", "-O", "/dev/null"]);
    wget.arg(format!("--user={DOMAIN}\\{}", job.user)).arg(format!("--password={}", job.password()));
    wget.arg(format!("--ca-certificate={}", job.ca.display()));
    wget.args(["one", "two", "three"].map(|path| job.url(path)));
    wget
}

/// A push of more than git buffers, and a clone that has to be the same; the server's log tells as whom.
const GIT: &str = r#"
set -e
mkdir "$1" && cd "$1"
git init -q -b main work && cd work
head -c 5000000 /dev/urandom > large
git add large
git -c user.name=test -c user.email=test@example.com commit -q -m one
git push -q "$2" main && echo "ANSWER 200 $3"
git clone -q -b main "$2" ../copy
cmp large ../copy/large && echo "ANSWER 200 $3"
"#;

fn git(job: &Job<'_>) -> Command {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("repository-{}.git", COUNT.fetch_add(1, Ordering::Relaxed));
    Apache::repository(job.world, &name).expect("a repository");
    let work = job.world.path().join(format!("work-{name}"));
    let mut git = Command::new("sh");
    git.args(["-c", GIT, "git"]).arg(work).arg(format!("{}/git/{name}", job.base)).arg(job.user);
    // An empty user name stands for the owner of the ticket.
    configured(job, git, &[("http.emptyAuth", "true")])
}

/// Three files that a commit has on a server of large files, and a clone that has to be the same. The repositories are folders. git-lfs
/// asks where the files are, and then for each file.
const LFS: &str = r#"
set -e
cd "$(mktemp -d)"
git init -q --bare server
git init -q -b main work && cd work
git lfs install --local > /dev/null
git lfs track 'large-*' > /dev/null
for bytes in 5000000 100000 1000; do head -c $bytes /dev/urandom > large-$bytes; done
git add .
git -c user.name=test -c user.email=test@example.com commit -q -m one
git push -q ../server main
for request in batch put put put; do echo "ANSWER 200 $1"; done
GIT_LFS_SKIP_SMUDGE=1 git clone -q -b main ../server ../copy
cd ../copy
git lfs install --local > /dev/null
git lfs pull
for file in large-*; do cmp $file ../work/$file; done
for request in batch get get get; do echo "ANSWER 200 $1"; done
"#;

fn lfs(job: &Job<'_>) -> Command {
    let mut git = Command::new("sh");
    git.args(["-c", LFS, "git", job.user]);
    let url = format!("{}/files", job.base);
    // One file at a time, so that each session repeats its requests in their order.
    let more = [("lfs.url", &*url), ("lfs.locksverify", "false"), ("lfs.concurrentTransfers", "1")];
    configured(job, git, &more)
}

/// A file that is put, listed, and got again. cadaver trusts the machine's authorities alone.
const CADAVER: &str = r#"
set -e
cd "$(mktemp -d)"
mount --bind "$SSL_CERT_FILE" /etc/ssl/certs/ca-certificates.crt
head -c 1000000 /dev/urandom > sent-$$
printf 'put sent-%s\nls\nget sent-%s got\n' $$ $$ | cadaver "$1/files/" 2>&1 | tee said
grep -q "sent-$$ *1000000" said
cmp sent-$$ got
for request in options propfind put propfind get; do echo "ANSWER 200 $2"; done
"#;

fn cadaver(job: &Job<'_>) -> Command {
    let mut cadaver = Command::new("unshare");
    cadaver.args(["--mount", "sh", "-c", CADAVER, "cadaver", &job.base, job.user]);
    cadaver
}

/// A login at a gateway of remote desktops, which ends the session when both halves of it are logged in. The last answer stands for the
/// stream that the client sends then, and that the gateway never answers.
const GATEWAY: &str = r#"
cd "$(mktemp -d)"
user=$1
shift
xvfb-run -a sh -c 'xfreerdp "$@" 2> errors' freerdp /v:desktop.example.com "$@" /cert:ignore /log-level:DEBUG > said
sed -n "s/.* RDG_.* authorization result: /ANSWER /p; s/.*STATE_WAIT_A3W/ANSWER 200/p; s/.*Protocol Security Negotiation Failure/ANSWER 200/p" \
    said errors | sed "s/$/ $user/"
cat errors
"#;

fn freerdp(job: &Job<'_>, transport: &str) -> Command {
    let gateway = job.base.trim_start_matches("https://");
    let mut freerdp = Command::new("sh");
    freerdp.args(["-c", GATEWAY, "freerdp", job.user, &format!("/g:{gateway}"), &format!("/gt:{transport}")]);
    freerdp.args([format!("/gd:{DOMAIN}"), format!("/gu:{}", job.user), format!("/gp:{}", job.password())]);
    freerdp
}

/// `git` with this configuration.
fn configured(job: &Job<'_>, mut git: Command, more: &[(&str, &str)]) -> Command {
    let ca = job.ca.display().to_string();
    let configuration = [&[("http.sslCAInfo", &*ca)], more].concat();
    git.env("GIT_CONFIG_COUNT", configuration.len().to_string()).env("GIT_TERMINAL_PROMPT", "0");
    for (index, (key, value)) in configuration.into_iter().enumerate() {
        git.env(format!("GIT_CONFIG_KEY_{index}"), key).env(format!("GIT_CONFIG_VALUE_{index}"), value);
    }
    git.env_remove("GIT_SSL_CAINFO");
    git
}
