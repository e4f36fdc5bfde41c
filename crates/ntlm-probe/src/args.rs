//! The command line, and the password, which is never on it.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use url::Url;

const EXAMPLES: &str = "\
Examples:
  ntlm-probe https://mail.example.com/autodiscover/autodiscover.xml --user 'EXAMPLE\\alice'
      asks for the password, logs in, and says what came back
  ntlm-probe https://intranet.example.com/ --user alice@example.com --password-file pw --idle 90s --post
      also: is the session still there after 90 seconds, and does it take a POST
  ntlm-probe https://intranet.example.com/ --user 'EXAMPLE\\alice' --direct https://web1.internal/
      when the login fails, tries it past the proxy: that tells a wrong password from a proxy at fault
  NTLM_PROBE_PASSWORD=… ntlm-probe http://intranet/ --user alice --domain EXAMPLE --json
      for scripts

Exit status:
  0  logged in, and everything that was tried worked
  2  the command line or the password cannot be used
  3  no connection: name, refused, timed out, closed, TLS, certificate
  4  nobody offers NTLM there: no login wanted, a form, another page, other schemes, HTTP/2 only
  5  something between the client and the server broke the login: connection changed or closed between the legs,
     HTTP/1.0, Connection: close
  6  the server refused the login: credentials, Extended Protection, clock
  7  logged in, but the session did not last (lost, idle, POST, parallel connections), or others are let into it
  8  an answer that fits none of these, such as 502";

const ABOUT: &str = "\
Logs in by NTLM the way a client does, and says leg by leg what came back; when it fails, why, and what mends it.

The password is asked for, or read from --password-file or the environment variable NTLM_PROBE_PASSWORD.
A wrong password counts for the account's lockout: it is sent once, over TLS once more when it was refused
(--one-attempt prevents that), with --direct up to twice more, and once for each of the --parallel connections
after a login that worked.";

/// The command line.
#[derive(Parser, Debug)]
#[command(name = "ntlm-probe", version, about = ABOUT, after_help = EXAMPLES)]
pub struct Args {
    /// What to log in to, through the proxy
    #[arg(value_parser = parse_url)]
    pub url: Url,

    /// User: alice, EXAMPLE\alice or alice@example.com
    #[arg(short, long, value_name = "USER", value_parser = parse_user)]
    pub user: String,

    /// Domain, where --user has none
    #[arg(short, long)]
    pub domain: Option<String>,

    /// Read the password from the first line of this file ("-": standard input)
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// Use the scheme NTLM, whatever else is offered
    #[arg(long, conflicts_with = "negotiate")]
    pub ntlm: bool,

    /// Use the scheme Negotiate, with NTLM in SPNEGO, as browsers do
    #[arg(long)]
    pub negotiate: bool,

    /// HTTP/1.1, the default
    #[arg(long = "http1.1", conflicts_with = "http2")]
    pub http11: bool,

    /// Log in over HTTP/2, to see what the server does then (http:// with prior knowledge)
    #[arg(long)]
    pub http2: bool,

    /// Requests to send on the session after the login
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub requests: u32,

    /// Connections to log in on at the same time, each by itself; 0 or 1 for none but the first
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=64))]
    pub parallel: u16,

    /// Leave the session idle for so long (90s, 5m) and look whether it is still there
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub idle: Option<Duration>,

    /// Send a POST with a body of 1 KiB to URL on the session
    #[arg(long)]
    pub post: bool,

    /// Where the same server is reached past the proxy; tried only when the login through the proxy is refused
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub direct: Option<Url>,

    /// Connect to this address in place of the URL's
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_place)]
    pub connect: Option<String>,

    /// Never send the password a second time after it was refused
    #[arg(long, conflicts_with = "direct")]
    pub one_attempt: bool,

    /// Trust the certificates in this PEM file, and no others
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub cacert: Option<PathBuf>,

    /// Do not check the server's certificate
    #[arg(short = 'k', long)]
    pub insecure: bool,

    /// The longest to wait for a connection or an answer
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_timeout)]
    pub timeout: Duration,

    /// Print one JSON object (docs/probe.md) in place of the text
    #[arg(long)]
    pub json: bool,
}

/// The environment variable that may hold the password.
pub const PASSWORD: &str = "NTLM_PROBE_PASSWORD";

fn parse_url(text: &str) -> Result<Url, String> {
    let hint = "write http://HOST/PATH or https://HOST/PATH";
    let url = Url::parse(text).map_err(|error| format!("{error}; {hint}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(hint.to_owned());
    }
    if url.password().is_some() || !url.username().is_empty() {
        return Err("a user or password does not belong into the URL; use --user".to_owned());
    }
    Ok(url)
}

fn parse_user(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        _ if text.is_empty() => Err("it is empty".to_owned()),
        Some((domain, user)) => Err(format!("no user name has a slash; write '{domain}\\{user}'")),
        None => Ok(text.to_owned()),
    }
}

fn parse_place(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Ok(text.to_owned())
        }
        _ => Err("write HOST:PORT".to_owned()),
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text).map_err(|error| error.to_string())? {
        Duration::ZERO => Err("no answer comes in no time".to_owned()),
        time => Ok(time),
    }
}

impl Args {
    /// Refuses arguments that contradict each other.
    pub fn check(&self) -> Result<(), String> {
        match (&self.domain, self.user.split_once('\\')) {
            (Some(_), Some((domain, _))) => {
                Err(format!("the domain is named twice: leave --domain out, or \"{domain}\\\" in --user"))
            }
            _ => Ok(()),
        }
    }

    /// User and domain as the AUTHENTICATE message names them.
    pub fn account(&self) -> (String, String) {
        match self.user.split_once('\\') {
            Some((domain, user)) => (user.to_owned(), domain.to_owned()),
            None => (self.user.clone(), self.domain.clone().unwrap_or_default()),
        }
    }

    /// The password, from wherever it is to come.
    pub fn password(&self) -> Result<String, String> {
        let text = match &self.password_file {
            Some(file) if file.as_os_str() == "-" => {
                let mut text = String::new();
                std::io::stdin()
                    .read_to_string(&mut text)
                    .map_err(|error| format!("standard input: {error}"))?;
                text
            }
            Some(file) => std::fs::read_to_string(file)
                .map_err(|error| format!("cannot read the password from \"{}\": {error}", file.display()))?,
            None => return self.password_asked_for(),
        };
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(line.to_owned()),
            _ => Err("the first line of the password file is empty".to_owned()),
        }
    }

    fn password_asked_for(&self) -> Result<String, String> {
        // An empty password is sent as any other is, and would count for the lockout.
        let not_empty = |password: String, what: &str| match password.as_str() {
            "" => Err(format!("{what} is empty")),
            _ => Ok(password),
        };
        if let Ok(password) = std::env::var(PASSWORD) {
            return not_empty(password, PASSWORD);
        }
        if !std::io::stdin().is_terminal() {
            return Err(format!(
                "there is no terminal to ask for the password: use --password-file FILE, or set {PASSWORD}"
            ));
        }
        let password = rpassword::prompt_password(format!("Password of {}: ", self.user))
            .map_err(|error| format!("cannot ask for the password: {error}"))?;
        not_empty(password, "the password")
    }
}
