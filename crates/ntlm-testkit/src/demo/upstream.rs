//! The module in front of a server of the user's own: what the server answers to a request without a password, and what that
//! means.
//!
//! The demonstration must never see a password: where a login is wanted, `ntlm-probe` asks for it and plays the login.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use super::screen::Screen;
use super::url::ServerUrl;
use super::{Demo, Login, Options, Watched, address, print_configuration, start};
use crate::{Client, Nginx, Request, Response};

/// How long the server may take. Shorter than the clients' patience, so that what nginx says of it is seen.
const TIMEOUT: Duration = Duration::from_secs(8);

const HTTP: &str = r"
upstream your_server {
    server {{server}};
    ntlm;
}

server {
    listen 127.0.0.1:{{port}};
{{listen}}    client_max_body_size 0;

    location / {
        proxy_pass       {{scheme}}://your_server;
        proxy_set_header Host {{host}};
        proxy_redirect   {{scheme}}://{{host}}/ /;
{{ssl}}    }

    location = /ntlm-status {
        ntlm_status html;
    }
}
";

const SSL: &str = "
        # The name in the TLS handshake. To have the certificate checked: proxy_ssl_verify and
        # proxy_ssl_trusted_certificate.
        proxy_ssl_server_name on;
        proxy_ssl_name        {{name}};
";

/// One line a request: tab-separated, the time to the response header last, "-" where the server sent none.
const LOG: &str = "log_format demo '$status\t$connection\t$request_method $request_uri\t$upstream_header_time';\n\
                   access_log {{prefix}}/requests.log demo;\n";

pub(super) async fn show(url: &ServerUrl, options: &Options, screen: Screen) -> Result<Demo, String> {
    resolves(url).await?;
    let host = url.host_field();
    let configuration = HTTP
        .replace("{{listen}}", &options.listen_line())
        .replace("{{ssl}}", if url.https { SSL } else { "" })
        .replace("{{server}}", &url.place())
        .replace("{{scheme}}", url.scheme())
        .replace("{{host}}", &host)
        .replace("{{name}}", &url.host);
    let timeout = TIMEOUT.as_secs();
    let limits = format!("proxy_connect_timeout {timeout}s;\n");
    let nginx = start(Nginx::builder().conf(LOG).conf(&limits).conf(&configuration), options).await?;
    let mut tail = Tail::of(&nginx);

    let (major, minor, patch) = Nginx::binary().version();
    let origin = format!("{}://{host}", url.scheme());
    println!(
        "{}\n",
        screen.bold(&format!("nginx {major}.{minor}.{patch} with the module in front of {origin}"))
    );
    let path = &url.target;
    let answer = ask(&nginx, path).await?;
    // nginx gives answers of its own when the server does not; there is nothing to stay up for then.
    if !tail.answered().await {
        return Err(format!("{origin} did not answer: {}", reason(&nginx, &answer)));
    }
    explain(&answer, path, screen);
    let login = match &options.login {
        Some(login) => Some((&login.user, log_in(&nginx, path, login, screen).await?)),
        None => None,
    };
    println!();
    print_configuration(&nginx, configuration.trim_start(), options, screen);
    if !options.once {
        invite(url, &nginx, &answer, options, screen);
    }
    println!();
    let fine = match login {
        None => {
            println!("{} {origin} answered {} through nginx", screen.good("OK:"), answer.status);
            true
        }
        Some((user, true)) => {
            println!("{} {user} logged in at {origin} through nginx", screen.good("OK:"));
            true
        }
        Some((user, false)) => {
            println!(
                "{} {user} was not logged in at {origin} through nginx: see above",
                screen.bad("FAILED:")
            );
            false
        }
    };
    Ok(Demo { fine, _nginxes: vec![nginx], watched: Watched::Log(tail), screen })
}

/// Whether the probe logs in through nginx; it asks for the password, and tells what it saw.
async fn log_in(nginx: &Nginx, path: &str, login: &Login, screen: Screen) -> Result<bool, String> {
    println!("\n{}\n", screen.bold(&format!("With the password of {}", login.user)));
    let mut probe = tokio::process::Command::new(&login.probe);
    probe.arg(address(nginx, "", path)).arg("--user").arg(&login.user).kill_on_drop(true);
    let status = probe.status().await.map_err(|error| format!("{}: {error}", login.probe.display()))?;
    Ok(status.success())
}

/// nginx looks the name up as it starts, and is silent for minutes if no name server answers.
async fn resolves(url: &ServerUrl) -> Result<(), String> {
    if !url.has_name() {
        return Ok(());
    }
    let name = &url.host;
    match tokio::time::timeout(TIMEOUT, tokio::net::lookup_host(url.place())).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("the name {name} has no address here: {error}")),
        Err(_) => Err(format!("no name server answered for {name} within {} s", TIMEOUT.as_secs())),
    }
}

async fn ask(nginx: &Nginx, path: &str) -> Result<Response, String> {
    let exchange = async {
        let mut client = Client::builder().try_connect(nginx).await?;
        client.try_request(Request::get(path)).await
    };
    match tokio::time::timeout(TIMEOUT + Duration::from_secs(1), exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        // nginx passes on what it cannot read as an answer of HTTP/0.9.
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(format!("the answer is not HTTP ({error}); is https:// what the server speaks?"))
        }
        Ok(Err(error)) => Err(format!("nginx did not answer: {error}")),
        Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs() + 1)),
    }
}

/// The last line of nginx's log that explains the answer.
fn reason(nginx: &Nginx, answer: &Response) -> String {
    let log = nginx.error_log();
    let line = log.lines().rev().find(|line| line.contains("upstream"));
    match line.and_then(|line| line.split_once(": *")) {
        Some((_, rest)) => {
            let rest = rest.split_once(' ').map_or(rest, |(_, rest)| rest);
            rest.split(", client:").next().unwrap_or(rest).to_owned()
        }
        None => format!("nginx answered {} by itself", answer.status),
    }
}

/// The schemes of all `WWW-Authenticate` fields, each once, as they were spelled.
fn schemes(answer: &Response) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for value in answer.all("WWW-Authenticate") {
        for (index, part) in value.split(',').enumerate() {
            let word = part.split_whitespace().next().unwrap_or_default();
            let known = meaning(word).is_some();
            // After a comma there may be a parameter of the scheme before.
            let is_scheme = known || (index == 0 && !word.is_empty());
            if is_scheme && !found.iter().any(|scheme| scheme.eq_ignore_ascii_case(word)) {
                found.push(word.to_owned());
            }
        }
    }
    found
}

/// Whether a scheme authenticates the connection, and what it is.
fn meaning(scheme: &str) -> Option<(bool, &'static str)> {
    Some(match scheme.to_ascii_lowercase().as_str() {
        "ntlm" => (true, "name and password, three requests. This is what the module is for."),
        "negotiate" => (true, "Kerberos if the client has a ticket for the server's name, else NTLM inside."),
        "nego2" | "kerberos" => (true, "a relative of Negotiate. The module keeps its connections, too."),
        "basic" => (false, "name and password with each request. Works through any proxy."),
        "digest" => (false, "a proof of the password with each request. Works through any proxy."),
        "bearer" => (false, "a token with each request. Works through any proxy."),
        _ => return None,
    })
}

fn binds(scheme: &str) -> bool {
    meaning(scheme).is_some_and(|(binds, _)| binds)
}

fn explain(answer: &Response, path: &str, screen: Screen) {
    println!("{}\n", screen.bold("Without a password"));
    println!("  GET {path} was answered {}.", answer.status);
    let schemes = schemes(answer);
    for scheme in &schemes {
        println!(
            "    {scheme:<10} {}",
            meaning(scheme).map_or("not known to this demonstration", |(_, what)| what)
        );
    }
    let moral = match answer.status {
        401 if schemes.iter().any(|scheme| binds(scheme)) => {
            "The server demands a login that belongs to a connection: without the module it would fail or leak."
                .to_owned()
        }
        401 => "The server demands a login, but none that belongs to a connection: the module has nothing to do."
            .to_owned(),
        300..=399 => format!(
            "The server sends its clients elsewhere, to {}: a login may be demanded there.",
            answer.get("Location").unwrap_or("an unnamed place")
        ),
        200..=299 => "The server demands no login for this: try an address that does.".to_owned(),
        _ => "The server neither demanded a login nor served it: try another path.".to_owned(),
    };
    println!("  {moral}");
}

fn invite(url: &ServerUrl, nginx: &Nginx, answer: &Response, options: &Options, screen: Screen) {
    let schemes = schemes(answer);
    let offers = |wanted: &str| schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case(wanted));
    let address = options.address(nginx, &url.target);
    println!("\n{}\n", screen.bold("Try it"));
    println!("  browser  {address}");
    if offers("NTLM") || !offers("Negotiate") {
        let option = if offers("NTLM") { "--ntlm" } else { "--anyauth" };
        println!("  curl     curl {option} -u 'DOMAIN\\name' \\");
        println!("             '{address}' '{address}' '{address}'");
        println!("           asks for the password, and logs in once for all three");
    }
    if offers("Negotiate") && url.has_name() {
        let (name, port) = (&url.host, nginx.socket_addr("").port());
        println!(
            "  Kerberos curl --negotiate -u : --resolve {name}:{port}:127.0.0.1 'http://{name}:{port}{}'",
            url.target
        );
        println!("           needs a ticket (kinit), which is for the server's name: hence --resolve");
    }
    println!("  status   {}", options.address(nginx, "/ntlm-status"));
    println!("  probe    cargo run -p ntlm-probe -- '{address}' --user 'DOMAIN\\name'");
}

/// The end of the request log.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    offset: u64,
    pending: String,
}

impl Tail {
    fn of(nginx: &Nginx) -> Self {
        Self { path: nginx.prefix().join("requests.log"), offset: 0, pending: String::new() }
    }

    /// The next line, for people.
    pub(super) async fn next(&mut self) -> String {
        let line = self.line().await;
        let mut fields = line.trim_end().split('\t');
        let mut field = || fields.next().unwrap_or_default();
        let (status, connection, request, time) = (field(), field(), field(), field());
        let remark = if time.ends_with('-') { "  (nginx's own answer)" } else { "" };
        format!("{status:<7} {connection:<16} {request}{remark}")
    }

    /// Whether the next request was answered by the server.
    async fn answered(&mut self) -> bool {
        let line = self.line().await;
        // Of several servers tried, the last counts.
        line.trim_end().rsplit('\t').next().is_some_and(|time| !time.is_empty() && !time.ends_with('-'))
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some((line, rest)) = self.pending.split_once('\n') {
                let (line, rest) = (line.to_owned(), rest.to_owned());
                self.pending = rest;
                return line;
            }
            self.read();
            if !self.pending.contains('\n') {
                crate::pause().await;
            }
        }
    }

    fn read(&mut self) {
        let Ok(mut file) = File::open(&self.path) else { return };
        let mut bytes = Vec::new();
        if file.seek(SeekFrom::Start(self.offset)).is_ok() && file.read_to_end(&mut bytes).is_ok() {
            self.offset += bytes.len() as u64;
            self.pending.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_found_in_lists_and_in_fields() {
        let header = |value: &str| ("WWW-Authenticate".to_owned(), value.to_owned());
        let answer = ntlm_client::Response {
            status: 401,
            version: "HTTP/1.1",
            headers: vec![
                header("Negotiate, NTLM"),
                header("Basic realm=\"a, b\", charset=\"UTF-8\""),
                header("ntlm"),
            ],
            body: Vec::new(),
        };
        assert_eq!(schemes(&answer.into()), ["Negotiate", "NTLM", "Basic"]);
    }
}
