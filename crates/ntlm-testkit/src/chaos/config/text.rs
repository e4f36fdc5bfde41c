//! The configuration as nginx reads it, and as a finding tells of it.
//!
//! It must never decide anything: what is drawn was drawn before.

use std::fmt;

use super::{Config, Form, Front, GROUPS, OriginTls, PLAIN};
use crate::slowness;

/// Lines by which nginx before 1.29.7 keeps connections to its servers.
pub(super) const KEPT: &str = "proxy_http_version 1.1; proxy_set_header Connection \"\"; ";

/// Lines by which nginx passes on a request body before it has all of it.
pub(super) const UNBUFFERED: &str = "proxy_request_buffering off; ";

/// Lines by which nginx passes on an answer before it has all of it.
pub(super) const UNBUFFERED_ANSWERS: &str = "proxy_buffering off; ";

/// The line that the access log has for each request.
const LOG: &str = "log_format chaos '$http_x_client $ntlm_user $ntlm_binding $status $request_uri';\n";

/// How a location names its group: nginx compares the names of schemes and groups without case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    Usual,
    Upper,
    Mixed,
    Variables,
}

impl Spelling {
    pub(super) fn of(seed: u64) -> Self {
        match seed % 16 {
            2 | 11 => Self::Upper,
            4 | 15 => Self::Variables,
            1 | 7 => Self::Mixed,
            _ => Self::Usual,
        }
    }

    fn pass(self, scheme: &str, group: &str) -> String {
        let upper = scheme.to_uppercase();
        // Variables have one spelling.
        let capital = if group.starts_with('$') { group.to_owned() } else { group.to_uppercase() };
        let mixed = scheme.replacen('h', "H", 1);
        match self {
            Self::Usual => format!("proxy_pass {scheme}://{group};"),
            Self::Upper => format!("proxy_pass {upper}://{group};"),
            Self::Mixed => format!("proxy_pass {mixed}://{capital};"),
            Self::Variables => format!("set $s {mixed}; set $g {capital}; proxy_pass $s://$g;"),
        }
    }
}

impl Config {
    /// The `http` block, in front of origins at these addresses, whose names this resolver knows.
    pub(in crate::chaos) fn http(
        &self,
        servers: &[String],
        resolver: &str,
        version: (u32, u32, u32),
    ) -> String {
        let mut text =
            String::from("access_log off; client_body_buffer_size 512k; keepalive_requests 100000;\n");
        text.push_str(LOG);
        let seconds = |seconds: u32| seconds * slowness();
        // A client of HTTP/3 says once that it leaves; where that datagram is lost, nginx waits for so long. A request may wait five seconds for
        // its turn, in which its connection is idle.
        text.push_str(&match self.http3 {
            true => format!("keepalive_timeout {}s;\n", seconds(7)),
            false => "keepalive_timeout 1h;\n".to_owned(),
        });
        text.push_str(&format!(
            "proxy_connect_timeout {0}s; client_header_timeout {1}s; client_body_timeout {1}s;\n",
            seconds(3),
            seconds(20)
        ));
        let first = servers.first().map_or("", String::as_str);
        let (line, ntlm_lines) = self.form.line(&self.lines);
        text.push_str(&format!("resolver {resolver} ipv6=off; {line}\n"));
        let servers: String = servers.iter().map(|server| format!("server {server} max_fails=0; ")).collect();
        for (index, group) in GROUPS.iter().enumerate() {
            // A zone has a name of its own in each group.
            let lines = if index == PLAIN { self.plain_lines } else { &ntlm_lines };
            let lines = lines.replace("shared", &format!("shared_{group}"));
            let order = if lines.starts_with("ntlm") {
                format!("{lines} {servers}")
            } else {
                format!("{servers}{lines}")
            };
            text.push_str(&format!("upstream {group} {{ {order} }}\n"));
        }
        if self.min_timeout && version >= (1, 27, 4) {
            text.push_str("keepalive_min_timeout 100ms;\n");
        }
        if self.cached {
            text.push_str("proxy_cache_path {{prefix}}/cache keys_zone=chaos:1m;\n");
        }
        let mut listen = if version >= (1, 25, 1) {
            "listen 127.0.0.1:{{port}}; listen 127.0.0.1:{{port:h2}}; listen 127.0.0.1:{{port:tls}} ssl; http2 on;"
        } else {
            "listen 127.0.0.1:{{port}}; listen 127.0.0.1:{{port:h2}} http2; listen 127.0.0.1:{{port:tls}} ssl http2;"
        }
        .to_owned();
        if self.http3 {
            listen.push_str(" listen 127.0.0.1:{{port:quic}} quic;");
        }
        if let Some(OriginTls { protocols, reuse }) = self.origin_tls {
            text.push_str(&format!("proxy_ssl_protocols {protocols}; proxy_ssl_session_reuse {reuse};\n"));
        }
        let locations: String = (0..GROUPS.len()).map(|group| self.locations(group, first)).collect();
        let certificate = "ssl_certificate {{cert}}; ssl_certificate_key {{key}};";
        let log = "access_log {{prefix}}/access.log chaos;";
        text.push_str(&format!(
            "server {{ {listen} merge_slashes off; {certificate} {log} {} {locations} }}\n",
            self.server
        ));
        text
    }

    /// The locations in front of one group, whose first server is at this address.
    fn locations(&self, group: usize, address: &str) -> String {
        let scheme = if self.origin_tls.is_some() { "https" } else { "http" };
        let name = GROUPS[group];
        let pass = match self.form.server(group, name, address).filter(|_| group != PLAIN) {
            Some(server) if self.form == Form::Literal => self.spelling.pass(scheme, &server),
            Some(server) => format!("set $server {server}; {}", self.spelling.pass(scheme, "$server")),
            None => self.spelling.pass(scheme, name),
        };
        let pass =
            if group == PLAIN && self.form != Form::Group { format!("proxy_ntlm off; {pass}") } else { pass };
        // A location that sets a field of the request takes over none from the server.
        let kept = if self.server.contains(KEPT) || group == PLAIN { KEPT } else { "" };
        let own = if group == PLAIN { KEPT } else { "" };
        let both = |path: &str, lines: &str| {
            format!("location /{path}{name}/ {{ {lines} }} location /public/{path}{name}/ {{ {lines} }}\n")
        };
        let mut text = both("", &format!("{own} {pass}"));
        if self.groups > 1 && group != PLAIN {
            let other = GROUPS[1 - group];
            text.push_str(&both("checked/", &format!("auth_request /check/{other}; {pass}")));
            // A subrequest changes the variables of its main request.
            let pass = pass.replace('$', "$check_");
            let method = if self.unread { "GET" } else { "HEAD" };
            text.push_str(&format!(
                "location = /check/{name} {{ internal; {kept} \
                 proxy_method {method}; proxy_pass_request_body off; proxy_set_header Content-Length ''; {pass} \
                 rewrite ^ /public/{name}/check?ignore break; }}\n"
            ));
        }
        if self.doors {
            for (path, field) in [
                ("put/", "Authorization $http_x_auth"),
                ("put407/", "Proxy-Authorization $http_x_auth"),
                (
                    "ends/",
                    "X-Original $uri; proxy_set_header X-User $ntlm_user; proxy_set_header X-Domain $ntlm_domain",
                ),
            ] {
                text.push_str(&both(path, &format!("{kept} proxy_set_header {field}; {pass}")));
            }
        }
        if self.cached {
            // Without buffers nginx waits for the origin's timeout where a client left an answer that it caches.
            let cache = "proxy_cache chaos; proxy_cache_valid 200 1m; proxy_buffering on; \
                         add_header X-Cache $upstream_cache_status;";
            text.push_str(&format!("location /public/cached/{name}/ {{ {cache} {own} {pass} }}\n"));
        }
        text
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workers, origins, groups, lines, server, .. } = self;
        write!(
            f,
            "workers {workers}, origins {origins}, groups {groups} {{ {lines} }}, server {{ {server}}}"
        )?;
        write!(f, ", connections {}", if self.tight { "scarce" } else { "plenty" })?;
        if self.faults {
            write!(f, ", a fault every {} ms", self.pause)?;
        } else {
            write!(f, ", no faults")?;
        }
        if self.plain {
            write!(f, ", a group without ntlm {{ {} }}", self.plain_lines)?;
        }
        match self.http2 {
            0 => write!(f, ", HTTP/1.1")?,
            n => write!(f, ", one client of {n} over HTTP/2")?,
        }
        if self.tls != 0 {
            write!(f, ", one of {} over TLS", self.tls)?;
        }
        match self.front {
            Some(Front::Key) => write!(f, ", users told apart by ntlm_key")?,
            Some(Front::RealIp) => write!(f, ", users told apart by realip")?,
            Some(Front::Field(field)) => write!(f, ", users told apart by {field}")?,
            None => {}
        }
        if let Some(crowd) = self.crowd {
            write!(f, ", a crowd ({crowd:?})")?;
        }
        let Self { min_timeout, http3, doors, cached, mass, spelling, .. } = self;
        for (is, what) in [
            (*min_timeout, "keepalive_min_timeout"),
            (*http3, "HTTP/3"),
            (*doors, "credentials from locations, for a proxy and behind line ends"),
            (*cached, "a cache"),
            (*mass, "bindings that time out together"),
        ] {
            if is {
                write!(f, ", {what}")?;
            }
        }
        if self.form != Form::Group {
            write!(f, ", proxy_ntlm ({:?})", self.form)?;
        }
        if *spelling != Spelling::Usual {
            write!(f, ", {spelling:?} spelling of proxy_pass")?;
        }
        match self.origin_tls {
            None => Ok(()),
            Some(OriginTls { protocols, reuse }) => {
                write!(f, ", {protocols} to the origins, session reuse {reuse}")
            }
        }
    }
}
