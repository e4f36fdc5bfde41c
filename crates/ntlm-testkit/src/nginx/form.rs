//! The forms that a test's configuration can have: an `upstream` block with `ntlm`, the same with the two directives that NGINX before
//! 1.29.7 needs to keep its own connections, or `proxy_ntlm` and a server.
//!
//! `NTLM_FORM` names the form in which the tests of a run are played. A configuration is rewritten as a whole or not at all: for
//! `proxy_ntlm` one with groups that are more than a server, `ntlm` and a pool stays as it is, and so does one that says
//! `proxy_http_version` itself.

use std::fmt::Write as _;
use std::sync::OnceLock;

use crate::dns::Dns;

/// A form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An `upstream` block.
    Group,
    /// An `upstream` block, `proxy_http_version 1.1` and `proxy_set_header Connection ""`.
    Replaced,
    /// An address.
    Literal,
    /// A variable with an address.
    Address,
    /// A variable with a name, which a resolver knows.
    Name,
}

/// These two directives replace the defaults of `proxy_pass`. A location that has a `proxy_set_header` of its own does not inherit the second one.
const REPLACED: &str = "proxy_http_version 1.1; proxy_set_header Connection \"\";";

/// An `upstream` block.
struct Group<'a> {
    name: &'a str,
    server: &'a str,
    parameters: String,
}

/// The resolver of all tests of the process.
static DNS: OnceLock<Dns> = OnceLock::new();

impl Form {
    /// That of the run.
    #[must_use]
    pub fn of_run() -> Self {
        static FORM: OnceLock<Form> = OnceLock::new();
        *FORM.get_or_init(|| match std::env::var("NTLM_FORM").as_deref() {
            Err(_) | Ok("group") => Self::Group,
            Ok("replaced") => Self::Replaced,
            Ok("literal") => Self::Literal,
            Ok("address") => Self::Address,
            Ok("name") => Self::Name,
            Ok(other) => panic!("NTLM_FORM is \"{other}\""),
        })
    }

    /// Starts what the form needs.
    pub(super) async fn prepare(self) {
        if self == Self::Name && DNS.get().is_none() {
            let dns = Dns::start().await;
            // Another test may have been faster.
            let _ = DNS.set(dns);
        }
    }

    /// A configuration's lines of `http` in this form; `None` where it has none in it.
    pub(super) fn write(self, http: &str) -> Option<String> {
        match self {
            Self::Group => return None,
            Self::Replaced if http.contains("proxy_http_version") => return None,
            Self::Replaced => return Some(format!("{REPLACED}\n{http}")),
            Self::Literal | Self::Address | Self::Name => {}
        }
        let mut rest = String::new();
        let mut groups = Vec::new();
        // The word alone, not the end of a directive's name.
        let http = http.replace("_upstream ", "_upstream\u{a0}");
        let mut text = http.as_str();
        while let Some((before, after)) = text.split_once("upstream ") {
            let (name, after) = after.split_once('{')?;
            let (body, after) = after.split_once('}')?;
            groups.push(Group::read(name.trim(), body)?);
            rest.push_str(before);
            text = after;
        }
        rest.push_str(text);
        let parameters = groups.first()?.parameters.clone();
        if groups.iter().any(|group| group.parameters != parameters) {
            return None;
        }
        let mut written = format!("proxy_ntlm on {parameters};\n");
        if self == Self::Name {
            let _ = writeln!(written, "resolver {} ipv6=off;", DNS.get()?.address());
        }
        for (index, group) in groups.iter().enumerate() {
            for scheme in ["http", "https"] {
                let url = format!("{scheme}://{}", group.server_in(self));
                let value = if self == Self::Literal {
                    url
                } else {
                    let variable = format!("$testkit_{scheme}_{index}");
                    let _ = writeln!(written, "map '' {variable} {{ default '{url}'; }}");
                    variable
                };
                rest = rest.replace(
                    &format!("proxy_pass {scheme}://{};", group.name),
                    &format!("proxy_pass {value};"),
                );
            }
            if group.is_named_in(&rest) || groups.iter().take(index).any(|other| other.server == group.server)
            {
                return None;
            }
        }
        // Nothing may be left that the line would change: another `proxy_pass`, a server's name in a certificate.
        let others = rest.split("proxy_pass ").skip(1).any(|after| {
            let server = after.split_once("://").map_or("", |(_, server)| server);
            !after.starts_with("$testkit_") && !groups.iter().any(|group| server.starts_with(group.server))
        });
        let is_named = ["proxy_ssl_server_name", "proxy_ssl_verify", "$proxy_host"]
            .iter()
            .any(|word| rest.contains(word));
        (!others && !is_named).then_some((written + &rest).replace('\u{a0}', " "))
    }
}

impl<'a> Group<'a> {
    /// A group of one server and `ntlm`; `None` for another.
    fn read(name: &'a str, body: &'a str) -> Option<Self> {
        let (mut server, mut parameters, mut ntlm) = (None, String::new(), false);
        for line in body.split(';').map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["server", address] if server.is_none() => server = Some(address),
                ["ntlm"] => ntlm = true,
                // A server outside of a group has no pool.
                ["keepalive", _] => {}
                ["ntlm", number] => {
                    ntlm = true;
                    let _ = write!(parameters, " connections={number}");
                }
                ["ntlm_timeout", time] => {
                    let _ = write!(parameters, " timeout={time}");
                }
                _ => return None,
            }
        }
        Some(Self { name, server: server.filter(|_| ntlm)?, parameters })
    }

    /// Whether a configuration still names the group.
    fn is_named_in(&self, http: &str) -> bool {
        let (http, name) = (http.to_lowercase(), self.name.to_lowercase());
        http.contains(&format!("://{name}")) || http.contains(&format!(" {name};"))
    }

    fn server_in(&self, form: Form) -> String {
        match self.server.strip_prefix("127.0.0.1:") {
            Some(port) if form == Form::Name => format!("{}.local.test:{port}", self.server.len()),
            _ => self.server.to_owned(),
        }
    }
}
