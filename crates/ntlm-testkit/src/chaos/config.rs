//! What a seed makes of nginx and the origins: workers, connections, groups, caps, protocols, and which faults there are.
//!
//! It must never draw from anything but the seed.

use std::fmt;

use fastrand::Rng;

use crate::slowness;

/// The groups of a configuration; the second one is not always asked.
pub(super) const GROUPS: [&str; 2] = ["a", "b"];

/// One configuration, drawn from a seed.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) seed: u64,
    pub(super) workers: usize,
    pub(super) origins: usize,
    /// How many of [`GROUPS`] clients ask.
    pub(super) groups: usize,
    /// `ntlm N`
    pub(super) cap: usize,
    /// Just enough connections for a part of the load.
    pub(super) tight: bool,
    /// The lines of a group after its servers.
    lines: String,
    /// The lines of the server.
    server: String,
    /// `keepalive_min_timeout`, where nginx has it: it may not end a client connection at once.
    pub(super) min_timeout: bool,
    /// Bindings end soon after they were parked.
    pub(super) short_timeout: bool,
    /// `ntlm_requests` or `ntlm_time` ends bindings.
    pub(super) capped: bool,
    /// Origins misbehave and nginx is reloaded. Without it everything must go well.
    pub(super) faults: bool,
    /// Milliseconds from fault to fault.
    pub(super) pause: u64,
    /// One life in so many speaks HTTP/2; 0 for none.
    pub(super) http2: u64,
    /// One life in so many speaks TLS; 0 for none.
    pub(super) tls: u64,
    /// The TLS that nginx speaks with the origins, if it does.
    pub(super) origin_tls: Option<OriginTls>,
}

/// How nginx speaks TLS with the origins.
#[derive(Clone, Copy, Debug)]
pub(super) struct OriginTls {
    protocols: &'static str,
    /// `proxy_ssl_session_reuse`
    reuse: &'static str,
}

impl Config {
    pub(super) fn draw(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Of eight seeds one is quiet, and one quiet but for timeouts.
        let faults = seed % 4 != 1;
        let cap = if faults { pick(&mut rng, &[1, 2, 5, 1000, 1000, 1000]) } else { 1000 };
        let short_timeout = if faults { rng.u8(0..4) == 0 } else { seed % 8 != 1 };
        let capped = faults && rng.u8(0..3) == 0;
        let mut lines = vec![format!("ntlm {cap};")];
        if short_timeout {
            lines.push(format!("ntlm_timeout {}ms;", pick(&mut rng, &[150, 300]) * slowness()));
        }
        if capped {
            let time = format!("ntlm_time {}ms;", 50 * slowness());
            lines.push(pick(&mut rng, &["ntlm_requests 3;", "ntlm_requests 1;", &time]).to_owned());
        }
        if rng.u8(0..3) != 0 {
            let keepalive = format!("keepalive {};", pick(&mut rng, &[1, 4, 32]));
            let place = if rng.bool() { 0 } else { lines.len() };
            lines.insert(place, keepalive);
        }
        if rng.u8(0..3) == 0 {
            lines.insert(0, pick(&mut rng, &["least_conn;", "zone shared 64k;", "random;"]).to_owned());
        }
        let mut server = String::new();
        for line in ["proxy_http_version 1.1; proxy_set_header Connection \"\";", "proxy_buffering off;"] {
            if rng.bool() {
                server.push_str(line);
            }
        }
        for line in
            ["proxy_request_buffering off; ", "lingering_close always; ", "reset_timedout_connection on; "]
        {
            if rng.u8(0..4) == 0 {
                server.push_str(line);
            }
        }
        let http2 = pick(&mut rng, &[0, 2, 4]);
        if faults && http2 == 0 && rng.u8(0..2) == 0 {
            // What a fault garbles is to nginx an answer without an end, which it would wait for after its client has left. Over
            // HTTP/2 nginx waits for ever for the window of a client that has left.
            let timeout = 3 * slowness();
            server.push_str(&format!("proxy_ignore_client_abort on; proxy_read_timeout {timeout}s; "));
        }
        Self {
            seed,
            workers: rng.usize(1..=2),
            origins: pick(&mut rng, &[1, 1, 3]),
            groups: pick(&mut rng, &[1, 2, 2, 2]),
            cap,
            tight: faults && rng.u8(0..3) == 0,
            lines: lines.join(" "),
            server,
            min_timeout: rng.u8(0..3) == 0,
            short_timeout,
            capped,
            faults,
            pause: pick(&mut rng, &[10, 30, 100]),
            http2,
            tls: pick(&mut rng, &[0, 0, 2, 4]),
            origin_tls: (rng.u8(0..3) == 0).then(|| OriginTls {
                protocols: pick(&mut rng, &["TLSv1.2", "TLSv1.3", "TLSv1.2 TLSv1.3"]),
                reuse: pick(&mut rng, &["on", "off"]),
            }),
        }
    }

    /// Nothing ends a connection but its client: every request is answered, and every login holds.
    pub(super) fn is_strict(&self) -> bool {
        !self.faults && !self.short_timeout
    }

    /// Connections of a worker, for this many clients at a time.
    pub(super) fn worker_connections(&self, slots: usize) -> usize {
        match (self.tight, self.workers) {
            (false, _) => 6 * slots + 100,
            (true, 1) => slots + slots / 4 + 12,
            (true, _) => slots / 2 + slots / 4 + 12,
        }
    }

    /// The `http` block, in front of origins at these addresses.
    pub(super) fn http(&self, servers: &[String], version: (u32, u32, u32)) -> String {
        let mut text = String::from(
            "access_log off; client_body_buffer_size 512k; keepalive_requests 100000; keepalive_timeout 1h;\n",
        );
        let seconds = |seconds: u32| seconds * slowness();
        text.push_str(&format!(
            "proxy_connect_timeout {0}s; client_header_timeout {1}s; client_body_timeout {1}s;\n",
            seconds(3),
            seconds(20)
        ));
        let servers: String = servers.iter().map(|server| format!("server {server} max_fails=0; ")).collect();
        for group in GROUPS {
            // A zone has a name of its own in each group.
            let lines = self.lines.replace("shared", &format!("shared_{group}"));
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
        let listen = if version >= (1, 25, 1) {
            "listen 127.0.0.1:{{port}}; listen 127.0.0.1:{{port:h2}}; listen 127.0.0.1:{{port:tls}} ssl; http2 on;"
        } else {
            "listen 127.0.0.1:{{port}}; listen 127.0.0.1:{{port:h2}} http2; listen 127.0.0.1:{{port:tls}} ssl http2;"
        };
        let scheme = match self.origin_tls {
            None => "http",
            Some(OriginTls { protocols, reuse }) => {
                text.push_str(&format!(
                    "proxy_ssl_protocols {protocols}; proxy_ssl_session_reuse {reuse};\n"
                ));
                "https"
            }
        };
        let locations: String = GROUPS
            .iter()
            .map(|group| {
                format!(
                    "location /{group}/ {{ proxy_pass {scheme}://{group}; }} \
                     location /public/{group}/ {{ proxy_pass {scheme}://{group}; }}\n"
                )
            })
            .collect();
        let certificate = "ssl_certificate {{cert}}; ssl_certificate_key {{key}};";
        text.push_str(&format!("server {{ {listen} {certificate} {} {locations} }}\n", self.server));
        text
    }

    /// Of a hundred whole logins with the right password, how many have to succeed.
    ///
    /// Clients that log in at the same time end each other's handshakes where the cap is small.
    pub(super) fn fewest_logins(&self) -> u64 {
        match (self.faults, self.cap) {
            _ if self.is_strict() => 100,
            (false, _) => 30,
            (true, 1000) if !self.tight && !self.capped && self.pause > 10 => 30,
            (true, 1000) => 5,
            (true, _) => 1,
        }
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
        match self.http2 {
            0 => write!(f, ", HTTP/1.1")?,
            n => write!(f, ", one client of {n} over HTTP/2")?,
        }
        if self.tls != 0 {
            write!(f, ", one of {} over TLS", self.tls)?;
        }
        if self.min_timeout {
            write!(f, ", keepalive_min_timeout")?;
        }
        match self.origin_tls {
            None => Ok(()),
            Some(OriginTls { protocols, reuse }) => {
                write!(f, ", {protocols} to the origins, session reuse {reuse}")
            }
        }
    }
}

/// One of these.
pub(super) fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}
