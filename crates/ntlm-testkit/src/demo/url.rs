//! The URL of a server that the demonstration stands in front of, read without a crate: `cargo xtask demo` reads it by these
//! lines before it builds anything, and they are written into a configuration.
//!
//! Must take nothing that means something to nginx, and import nothing.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// `http://host:port/path?query`, without a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    /// `https`, and not `http`.
    pub https: bool,
    /// A name or an IPv4 address as it is written, an IPv6 address in brackets; in lower case.
    pub host: String,
    /// The port, unless it is the scheme's own.
    pub port: Option<u16>,
    /// Path and query.
    pub target: String,
}

impl ServerUrl {
    /// The port of `http` or `https`.
    const fn usual_port(https: bool) -> u16 {
        if https { 443 } else { 80 }
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// `host:port`, as nginx's `server` takes it.
    pub fn place(&self) -> String {
        format!("{}:{}", self.host, self.port.unwrap_or(Self::usual_port(self.https)))
    }

    /// The value of `Host`: browsers name the port only where it is not the scheme's own.
    pub fn host_field(&self) -> String {
        self.port.map_or(self.host.clone(), |port| format!("{}:{port}", self.host))
    }

    /// The host is a name, which a resolver has to know.
    pub fn has_name(&self) -> bool {
        !self.host.starts_with('[') && self.host.parse::<Ipv4Addr>().is_err()
    }

    /// Whether a resolver here knows the name; addresses need none.
    pub fn is_known(&self) -> bool {
        !self.has_name() || std::net::ToSocketAddrs::to_socket_addrs(&self.place()).is_ok()
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.host_field(), self.target)
    }
}

/// The error is a sentence for the person who wrote the URL.
impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("write it with http:// or https:// in front, such as https://{text}"));
        };
        let https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(format!("\"{scheme}\" is neither http nor https")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?', '\\']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(
                "leave name and password out: --user has the name, and the password is asked for".to_owned()
            );
        }
        let (host, port) = match authority.rfind(':').filter(|&colon| !authority[colon..].contains(']')) {
            Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
            None => (authority, None),
        };
        let host = host.to_ascii_lowercase();
        let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)),
        };
        if !is_host {
            return Err(format!("\"{host}\" is no name of a host"));
        }
        let port = match port {
            None | Some("") => Self::usual_port(https),
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(format!("{port} is no port to connect to")),
            },
        };
        if let Some(c) = target.chars().find(|c| !c.is_ascii_graphic() || "\\\"<>`".contains(*c)) {
            return Err(format!("write the {c:?} in its path by its number, such as %20 for a space"));
        }
        Ok(Self {
            https,
            host,
            port: Some(port).filter(|&port| port != Self::usual_port(https)),
            target: if target.starts_with('/') { target.to_owned() } else { format!("/{target}") },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::ServerUrl;

    #[test]
    fn urls_of_servers_are_taken() {
        for (text, written, place) in [
            ("http://a", "http://a/", "a:80"),
            (
                "https://mail.example.com:8443/owa/?x=1#here",
                "https://mail.example.com:8443/owa/?x=1",
                "mail.example.com:8443",
            ),
            ("HTTPS://Mail.Example.com:443?x", "https://mail.example.com/?x", "mail.example.com:443"),
            ("http://[::1]:81/", "http://[::1]:81/", "[::1]:81"),
            ("http://[::1]", "http://[::1]/", "[::1]:80"),
            ("HTTP://10.0.0.1:/%20", "http://10.0.0.1/%20", "10.0.0.1:80"),
        ] {
            let url: ServerUrl = text.parse().expect(text);
            assert_eq!((url.to_string(), url.place()), (written.to_owned(), place.to_owned()));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "mail.example.com",
            "localhost:80",
            "ftp://a",
            "http://",
            "http:///x",
            "http://:80",
            "http://a:99999",
            "http://a:0",
            "http://a:b",
            "https://u:p@a/",
            "http://a;b/",
            "http://a{b",
            "http://a b/",
            "http://a/b c",
            "http://a\\b",
            "http://[::g]/",
            "http://::1/",
            "http://b\u{fc}cher.example/",
        ] {
            assert!(text.parse::<ServerUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_have_no_name() {
        let has_name = |text: &str| text.parse::<ServerUrl>().map(|url| url.has_name());
        assert_eq!(has_name("http://10.0.0.1"), Ok(false));
        assert_eq!(has_name("http://[::1]"), Ok(false));
        assert_eq!(has_name("http://localhost"), Ok(true));
    }
}
