//! Clients of other languages' libraries: the same session in PHP, Perl, Ruby, Java and C#, and httpie's.

use tokio::process::Command;

use super::{Client, Job, Proof};

const PHP: Client = Client {
    name: "PHP curl",
    proof: Proof::Ntlm,
    short_first_leg: true,
    steady: true,
    reuses: true,
    only_tls: false,
    quick: false,
    files: false,
    answers: 4,
    command: |job| script(job, "php", "session.php", include_str!("../../../interop/session.php")),
};

pub(super) const CLIENTS: &[Client] = &[
    PHP,
    // LWP knows NTLM version 1 alone.
    Client {
        name: "Perl LWP",
        command: |job| script(job, "perl", "session.pl", include_str!("../../../interop/session.pl")),
        ..PHP
    },
    Client {
        name: "Ruby httpclient",
        command: |job| script(job, "ruby", "session.rb", include_str!("../../../interop/session.rb")),
        ..PHP
    },
    Client { name: "Java HttpURLConnection", command: url_connection, ..PHP },
    Client { name: "Apache HttpClient", command: apache_client, ..PHP },
    Client { name: "Mono HttpWebRequest", command: mono, ..PHP },
    // Each command is a connection.
    Client { name: "httpie", short_first_leg: false, answers: 2, command: httpie, ..PHP },
];

/// Where Debian has Java's packages.
const JARS: &str = "/usr/share/java";

/// A session that is a file, which `program` runs.
fn script(job: &Job<'_>, program: &str, name: &str, text: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(job.script(name, text)).args([&job.base, job.user, &job.password()]);
    command
}

/// Java compiles the file before it runs it.
fn java(job: &Job<'_>, options: &[&str], name: &str, text: &str) -> Command {
    let mut java = Command::new("java");
    java.args(options).arg(job.script(name, text)).args([&job.base, job.user, &job.password()]);
    java
}

fn url_connection(job: &Job<'_>) -> Command {
    // Java prefers Negotiate where a server offers both, and has no ticket here.
    let options = ["-Dhttp.auth.preference=ntlm"];
    java(job, &options, "UrlConnection.java", include_str!("../../../interop/UrlConnection.java"))
}

fn apache_client(job: &Job<'_>) -> Command {
    let names = ["httpclient", "httpcore", "commons-logging", "commons-codec"];
    let jars = names.map(|name| format!("{JARS}/{name}.jar")).join(":");
    java(job, &["-cp", &jars], "ApacheClient.java", include_str!("../../../interop/ApacheClient.java"))
}

fn mono(job: &Job<'_>) -> Command {
    let mut mono = Command::new("sh");
    let compile = "exe=$(mktemp) && mcs -out:\"$exe\" \"$1\" && shift && exec mono \"$exe\" \"$@\"";
    mono.args(["-c", compile, "mono"]);
    mono.arg(job.script("Session.cs", include_str!("../../../interop/Session.cs")));
    mono.args([&job.base, job.user, &job.password()]);
    mono
}

fn httpie(job: &Job<'_>) -> Command {
    let mut httpie = Command::new("sh");
    // HTTPie prints the lines of the response's header.
    let awk = r#"/^HTTP\//{s=$2} /^X-Identity:/{print "ANSWER", s, $2}"#;
    let each = format!(
        "for url do python=\"$0\"; \"$python\" -m httpie --ignore-stdin --print=h --timeout=50 --verify=\"$SSL_CERT_FILE\" \
         --auth-type=ntlm --auth=\"$WHO\" \"$url\" | tr -d '\\r' | awk '{awk}'; done"
    );
    httpie.arg("-c").arg(each).arg(job.tools.join("python/bin/python"));
    httpie.args(["one", "two"].map(|path| job.url(path)));
    httpie.env("WHO", format!("{}\\{}:{}", crate::origin::DOMAIN, job.user, job.password()));
    httpie
}
