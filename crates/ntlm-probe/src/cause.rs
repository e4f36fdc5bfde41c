//! Why a login failed: the known causes, each with its remedy and its exit status.
//!
//! The names are stable: scripts compare them. It must never name a cause that nothing seen speaks for.

use std::io;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The name has no address.
    NameUnknown,
    /// Nobody listens.
    ConnectRefused,
    /// No way there, or no answer to the connection attempt.
    ConnectFailed,
    /// No answer in time.
    Timeout,
    /// The certificate is not trusted.
    TlsCertificate,
    /// TLS failed otherwise.
    TlsFailed,
    /// The port speaks TLS, and was asked without.
    TlsWanted,
    /// The connection was closed without an answer.
    NoAnswer,
    /// The server wants nobody to log in.
    NoLoginWanted,
    /// A form asks for the password.
    FormsLogin,
    /// The URL leads elsewhere.
    Redirected,
    /// The server refuses the URL without asking for a login.
    Forbidden,
    /// The answer asks for a login, with another status than 401.
    Intercepted,
    /// The server does not know the URL.
    NotFound,
    /// The server does not know the name of the site.
    HostUnknown,
    /// It wants somebody to, but not by NTLM.
    NoNtlmOffered,
    /// It offers `Negotiate` and takes no NTLM inside.
    KerberosOnly,
    /// It speaks HTTP/2 only.
    Http2Only,
    /// It wants HTTP/1.1 for logins.
    Http2Refused,
    /// It speaks no HTTP/2.
    NoHttp2,
    /// NTLM was offered, and its first leg not answered with a challenge.
    NoChallenge,
    /// The answer with the challenge was HTTP/1.0.
    Http10,
    /// The answer with the challenge says `Connection: close`.
    ConnectionClose,
    /// The connection was closed between the legs without a word.
    ConnectionClosed,
    /// The last leg reached the server over another connection than the first.
    ConnectionChanged,
    /// The server refused the credentials.
    WrongCredentials,
    /// The server refused, and nothing tells why.
    Refused,
    /// The server checks channel bindings, which a proxy with TLS of its own breaks.
    ExtendedProtection,
    /// The clocks differ by more than domain controllers allow.
    ClockSkew,
    /// A later request was not authenticated any more.
    SessionLost,
    /// A connection without credentials was served as logged in.
    SessionShared,
    /// Not after the idle time.
    SessionLostIdle,
    /// A POST failed.
    PostFailed,
    /// Logins on parallel connections failed.
    ParallelFailed,
    /// A proxy does not reach the server.
    BadGateway,
    /// An answer that fits nothing.
    Unexpected,
}

impl Cause {
    /// Every cause, in the order of the exit status.
    #[cfg(test)]
    pub const ALL: [Self; 36] = [
        Self::NameUnknown,
        Self::ConnectRefused,
        Self::ConnectFailed,
        Self::Timeout,
        Self::TlsCertificate,
        Self::TlsFailed,
        Self::TlsWanted,
        Self::NoAnswer,
        Self::NoLoginWanted,
        Self::FormsLogin,
        Self::Redirected,
        Self::Forbidden,
        Self::Intercepted,
        Self::NotFound,
        Self::HostUnknown,
        Self::NoNtlmOffered,
        Self::KerberosOnly,
        Self::Http2Only,
        Self::Http2Refused,
        Self::NoHttp2,
        Self::NoChallenge,
        Self::Http10,
        Self::ConnectionClose,
        Self::ConnectionClosed,
        Self::ConnectionChanged,
        Self::WrongCredentials,
        Self::Refused,
        Self::ExtendedProtection,
        Self::ClockSkew,
        Self::SessionLost,
        Self::SessionShared,
        Self::SessionLostIdle,
        Self::PostFailed,
        Self::ParallelFailed,
        Self::BadGateway,
        Self::Unexpected,
    ];

    /// The name in `--json` and in front of the sentence.
    pub fn id(self) -> &'static str {
        match self {
            Self::NameUnknown => "name-unknown",
            Self::ConnectRefused => "connect-refused",
            Self::ConnectFailed => "connect-failed",
            Self::Timeout => "timeout",
            Self::TlsCertificate => "tls-certificate",
            Self::TlsFailed => "tls-failed",
            Self::TlsWanted => "tls-wanted",
            Self::NoAnswer => "no-answer",
            Self::NoLoginWanted => "no-login-wanted",
            Self::FormsLogin => "forms-login",
            Self::Redirected => "redirected",
            Self::Forbidden => "forbidden",
            Self::Intercepted => "intercepted",
            Self::NotFound => "not-found",
            Self::HostUnknown => "host-unknown",
            Self::NoNtlmOffered => "no-ntlm-offered",
            Self::KerberosOnly => "kerberos-only",
            Self::Http2Only => "http2-only",
            Self::Http2Refused => "http2-refused",
            Self::NoHttp2 => "no-http2",
            Self::NoChallenge => "no-challenge",
            Self::Http10 => "http10",
            Self::ConnectionClose => "connection-close",
            Self::ConnectionClosed => "connection-closed",
            Self::ConnectionChanged => "connection-changed",
            Self::WrongCredentials => "wrong-credentials",
            Self::Refused => "refused",
            Self::ExtendedProtection => "extended-protection",
            Self::ClockSkew => "clock-skew",
            Self::SessionLost => "session-lost",
            Self::SessionShared => "session-shared",
            Self::SessionLostIdle => "session-lost-idle",
            Self::PostFailed => "post-failed",
            Self::ParallelFailed => "parallel-failed",
            Self::BadGateway => "bad-gateway",
            Self::Unexpected => "unexpected",
        }
    }

    /// The exit status: one for each group of causes.
    pub fn exit(self) -> u8 {
        match self {
            Self::NameUnknown
            | Self::ConnectRefused
            | Self::ConnectFailed
            | Self::Timeout
            | Self::TlsCertificate
            | Self::TlsFailed
            | Self::TlsWanted
            | Self::NoAnswer => 3,
            Self::NoLoginWanted
            | Self::FormsLogin
            | Self::Redirected
            | Self::Forbidden
            | Self::Intercepted
            | Self::NotFound
            | Self::HostUnknown
            | Self::NoHttp2
            | Self::NoNtlmOffered
            | Self::KerberosOnly
            | Self::Http2Only
            | Self::Http2Refused => 4,
            Self::NoChallenge
            | Self::Http10
            | Self::ConnectionClose
            | Self::ConnectionClosed
            | Self::ConnectionChanged => 5,
            Self::WrongCredentials | Self::Refused | Self::ExtendedProtection | Self::ClockSkew => 6,
            Self::SessionLost
            | Self::SessionShared
            | Self::SessionLostIdle
            | Self::PostFailed
            | Self::ParallelFailed => 7,
            Self::BadGateway | Self::Unexpected => 8,
        }
    }

    /// What happened, in a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NameUnknown => "the name of the host has no address",
            Self::ConnectRefused => "nobody listens there: the connection was refused",
            Self::ConnectFailed => "no connection could be made",
            Self::Timeout => "no answer came in time",
            Self::TlsCertificate => "the certificate of the server is not trusted",
            Self::TlsFailed => "TLS could not be agreed on",
            Self::TlsWanted => "the port speaks TLS, and was asked in the clear",
            Self::NoAnswer => "the connection was made, and closed without an answer",
            Self::NoLoginWanted => "this URL wants nobody to log in",
            Self::FormsLogin => "this URL asks for the password by a form, not by NTLM",
            Self::Redirected => "this URL leads elsewhere, and nobody is asked to log in here",
            Self::Forbidden => "this URL is refused to everybody, and nobody is asked to log in",
            Self::Intercepted => {
                "the server asks for a login, but the status is not 401: the proxy replaces it, so that no client logs in"
            }
            Self::NotFound => "the server does not know this URL, and asks nobody to log in",
            Self::HostUnknown => "the server has no site of the name that it is asked for",
            Self::NoNtlmOffered => "a login is wanted, but neither NTLM nor Negotiate is offered for it",
            Self::KerberosOnly => {
                "Negotiate is offered, but NTLM inside it was not taken up: Kerberos is wanted"
            }
            Self::Http2Only => "the server speaks HTTP/2 only, and NTLM needs HTTP/1.1",
            Self::Http2Refused => "the server refuses the login over HTTP/2",
            Self::NoHttp2 => "the server speaks no HTTP/2 here",
            Self::NoChallenge => "NTLM is offered, but its first leg was answered without a challenge",
            Self::Http10 => {
                "the answer with the challenge is HTTP/1.0: the connection ends with it, and so does the login"
            }
            Self::ConnectionClose => {
                "the answer with the challenge says \"Connection: close\": the login ends with the connection"
            }
            Self::ConnectionClosed => "the connection was closed between the challenge and the answer to it",
            Self::ConnectionChanged => {
                "the last leg reached the server over another connection than the one it was challenged on"
            }
            Self::WrongCredentials => "the server refused the user name or the password",
            Self::Refused => {
                "the server refused the login and does not say why: the user name or the password, Extended Protection, \
                 or a proxy that spread the legs over several connections"
            }
            Self::ExtendedProtection => {
                "the server uses Extended Protection: the login is tied to the certificate that the client sees, and \
                 that is not the server's own"
            }
            Self::ClockSkew => "the login was refused, and the server's clock differs from the one here",
            Self::SessionLost => "logged in, but a later request on the same connection was not",
            Self::SessionShared => {
                "DANGER: the server demands a login, but the proxy answered a connection that sent no credentials: the proxy lets \
                 strangers use another user's session"
            }
            Self::SessionLostIdle => "logged in, but not any more after the idle time",
            Self::PostFailed => "logged in, but a POST failed",
            Self::ParallelFailed => "logged in, but logins on parallel connections failed",
            Self::BadGateway => "the proxy does not reach the server",
            Self::Unexpected => "an answer came that fits no step of a login",
        }
    }

    /// What mends it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NameUnknown => {
                "check the spelling and the DNS server, or name the address with --connect HOST:PORT"
            }
            Self::ConnectRefused => "check that the proxy runs and listens on this address and port",
            Self::ConnectFailed => "check the route and the firewalls between here and the proxy",
            Self::Timeout => {
                "check firewalls, and whether the proxy reaches the server; --timeout gives it more time"
            }
            Self::TlsCertificate => {
                "name the authority with --cacert FILE, use the name that is in the certificate, or renew it; \
                 --insecure skips the check"
            }
            Self::TlsFailed => "check that the port speaks TLS, and which versions of it",
            Self::TlsWanted => "write https:// in place of http://",
            Self::NoAnswer => {
                "see whether the port wants TLS (https://), and what the error logs of the proxy and the server say; in NGINX \
                 status 444 closes so"
            }
            Self::NoLoginWanted => {
                "probe a path that is protected; if this one should be, ask the server itself with --direct URL: if it wants \
                 a login there, the proxy serves strangers over somebody's connection. Else switch anonymous \
                 authentication off in IIS"
            }
            Self::FormsLogin => {
                "probe a path with Windows authentication (of Exchange /autodiscover/autodiscover.xml or \
                 /ews/exchange.asmx; /owa/ and /ecp/ use a form by default), or switch the form off for this path"
            }
            Self::Redirected => "probe the address that it leads to",
            Self::Forbidden => {
                "probe a page in place of a folder; see \"allow\" and \"deny\" in the proxy, and IP restrictions and \"Require SSL\" \
                 in IIS; and that the proxy asks for the right site (\"proxy_set_header Host $host;\")"
            }
            Self::Intercepted => {
                "remove 401 from \"error_page\" in this location of the proxy, or say \"proxy_intercept_errors off\""
            }
            Self::NotFound => {
                "see that the proxy asks for the right site (\"proxy_set_header Host $host;\": NGINX sends the name of the \
                 upstream block by default) and passes this path on (its locations look at case, IIS does not); or \
                 probe another path"
            }
            Self::HostUnknown => {
                "let the proxy ask for a name that is bound to the site: \"proxy_set_header Host $host;\", since NGINX sends \
                 the name of the upstream block by default"
            }
            Self::NoNtlmOffered => {
                "add the providers Negotiate and NTLM to Windows authentication in IIS, and see that no proxy asks \
                 for a login of its own (NGINX: auth_basic) or takes WWW-Authenticate out of answers"
            }
            Self::KerberosOnly => {
                "use a client that has a Kerberos ticket for HTTP/HOST, or add the provider NTLM in IIS; a server \
                 refuses NTLM where a policy restricts it (\"Network security: Restrict NTLM\")"
            }
            Self::Http2Only => "offer HTTP/1.1 too: add http/1.1 to the protocols of the TLS listener",
            Self::Http2Refused => "clients fall back to HTTP/1.1 by themselves; leave --http2 out",
            Self::NoHttp2 => "leave --http2 out, or switch HTTP/2 on in the proxy",
            Self::NoChallenge => {
                "see that no proxy takes Authorization out of requests (proxy_set_header Authorization) or \
                 WWW-Authenticate out of answers, and that no policy restricts NTLM on the server"
            }
            Self::Http10 => {
                "let the proxy in front answer HTTP/1.1 and keep connections to clients; in NGINX \
                 check keepalive_timeout, and load balancers in front of it"
            }
            Self::ConnectionClose => {
                "let the proxy keep connections to clients (NGINX: keepalive_timeout above 0, keepalive_requests \
                 large, no keepalive_disable) and to the server: \"ntlm;\" in the upstream block, no \"proxy_set_header \
                 Connection\" but with \"\", and no \"error_page 401\" with \"proxy_intercept_errors\""
            }
            Self::ConnectionClosed => {
                "let the proxy keep connections for longer than a login takes (NGINX: keepalive_timeout, \
                 ntlm_timeout), and see that the server does not close after its challenge"
            }
            Self::ConnectionChanged => {
                "bind the server's connection to the client's: in NGINX, \"ntlm;\" in the upstream block of \
                 ngx_http_upstream_ntlm_module; with several servers or proxies in a row, in each of them. Where it stands \
                 already, its error log names at \"error_log … warn\" what else parts them: \"proxy_set_header Connection\", \"error_page 401\" with \
                 \"proxy_intercept_errors\", or an \"ntlm_key\" that changes"
            }
            Self::WrongCredentials => {
                "check the user name, its domain (--domain, or DOMAIN\\user) and the password, and whether the account \
                 is locked or may not log in over the network"
            }
            Self::Refused => {
                "run it again with --direct URL, where URL reaches the server past the proxy: if that login works, the \
                 proxy is at fault (\"ntlm;\" in its upstream block); over TLS, see whether the server uses Extended Protection. In the IIS log, sc-win32-status 2148074252 is \
                 a wrong password, 2148074248 a changed connection"
            }
            Self::ExtendedProtection => {
                "use the same certificate and key on the proxy and on the server, or set Extended Protection to \
                 \"Off\" for this site in IIS (Windows authentication, Advanced settings)"
            }
            Self::ClockSkew => {
                "set the clocks of client, server and domain controllers by the same time source"
            }
            Self::SessionLost => {
                "see that every request of a client takes its own connection to the server (\"ntlm;\" in the upstream \
                 block), and that IIS does not ask for each request (authPersistSingleRequest)"
            }
            Self::SessionShared => {
                "take the proxy out of service until each client has connections of its own to the server: \"ntlm;\" in \
                 the upstream block of NGINX, which no plain \"keepalive\" replaces. Unless the proxy asks for another site than \
                 --direct does, and that one is public: compare their \"Host\""
            }
            Self::SessionLostIdle => {
                "raise what ends idle connections: keepalive_timeout and ntlm_timeout in NGINX, the connection timeout \
                 of the site in IIS, idle timeouts of load balancers and firewalls between them"
            }
            Self::PostFailed => {
                "see that the proxy allows bodies of this size (client_max_body_size) and the server POST at this URL"
            }
            Self::ParallelFailed => {
                "raise \"ntlm N\" in the upstream block above the number of client connections, and see that no proxy in front \
                 lets several clients share a connection (\"ntlm_key\")"
            }
            Self::BadGateway => {
                "see the error log of the proxy, which names the address that it tried and what became of it"
            }
            Self::Unexpected => "see the error logs of the proxy and of the server",
        }
    }
}

/// A cause, and what was seen of it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub cause: Cause,
    /// The particulars: an error text, a status, a number of seconds. May be empty.
    pub detail: String,
}

impl Failure {
    /// A cause with its particulars.
    pub fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into() }
    }
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self::new(cause, "")
    }
}

/// The failure behind an I/O error of TLS.
pub fn tls_failure(error: &io::Error) -> Failure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let cause = match inner {
        Some(rustls::Error::InvalidCertificate(_)) => Cause::TlsCertificate,
        Some(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)) => {
            Cause::Http2Only
        }
        Some(rustls::Error::NoApplicationProtocol) => Cause::Http2Only,
        Some(_) => Cause::TlsFailed,
        None if is_timeout(error) => Cause::Timeout,
        None => Cause::TlsFailed,
    };
    Failure::new(cause, error.to_string())
}

/// The time for an answer is over.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_name_and_remedy() {
        let mut ids: Vec<_> = Cause::ALL.iter().map(|cause| cause.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Cause::ALL.len());
        assert!(Cause::ALL.iter().all(|cause| !cause.remedy().is_empty() && (3..=8).contains(&cause.exit())));
    }

    #[test]
    fn the_manual_names_every_cause() {
        let manual = include_str!("../../../docs/probe.md");
        for cause in Cause::ALL {
            let row = format!("| {} | `{}` |", cause.exit(), cause.id());
            assert!(manual.contains(&row), "docs/probe.md lacks: {row}");
        }
    }
}
