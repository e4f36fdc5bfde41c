//! The configuration that a seed draws for nginx and the origins: workers, connections, groups, caps, protocols, faults.
//!
//! It must never draw from anything but the seed. `text` writes the configuration for nginx.

mod form;
mod text;
mod theme;

use fastrand::Rng;

use self::form::Form;
use self::text::Spelling;
use self::theme::Theme;
pub(super) use self::theme::{Crowd, Front};
use crate::slowness;

/// The groups of a configuration: two with `ntlm`, of which clients may ask one only, and [`PLAIN`].
pub(super) const GROUPS: [&str; 3] = ["a", "b", "c"];

/// Which of [`GROUPS`] has no `ntlm`.
pub(super) const PLAIN: usize = 2;

/// `ntlm N` beside a crowd: more than the users who log in for good.
const CROWDED: usize = 16;

/// One configuration, drawn from a seed.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) seed: u64,
    pub(super) workers: usize,
    pub(super) origins: usize,
    /// How many of the groups with `ntlm` clients ask.
    pub(super) groups: usize,
    /// Clients ask the group without `ntlm` as well.
    pub(super) plain: bool,
    /// `ntlm N`
    pub(super) cap: usize,
    /// Just enough connections for a part of the load.
    pub(super) tight: bool,
    /// The lines of a group after its servers.
    lines: String,
    /// The lines of the group without `ntlm`.
    plain_lines: &'static str,
    /// The lines of the server.
    server: String,
    /// How the locations name their group.
    spelling: Spelling,
    /// Whether they name a group at all.
    form: Form,
    /// `keepalive_min_timeout`, where nginx has it: it may not end a client connection at once.
    pub(super) min_timeout: bool,
    /// Bindings end soon after they were parked.
    pub(super) short_timeout: bool,
    /// `ntlm_requests` or `ntlm_time` ends bindings.
    pub(super) capped: bool,
    /// Requests and milliseconds that a binding has to itself at least, where nothing else ends it.
    pub(super) spared: Option<(u64, u64)>,
    /// Origins misbehave and nginx is reloaded. Without it everything must go well.
    pub(super) faults: bool,
    /// Checks (`auth_request`) are answered with a body, which nginx does not read, so that it cannot keep their connection.
    unread: bool,
    /// Milliseconds from fault to fault.
    pub(super) pause: u64,
    /// One life in so many speaks HTTP/2; 0 for none.
    pub(super) http2: u64,
    /// One life in so many speaks TLS; 0 for none.
    pub(super) tls: u64,
    /// One life in four speaks HTTP/3, where nginx has it.
    pub(super) http3: bool,
    /// Logins take place over HTTP/2, too: else nginx turns each of them back.
    pub(super) multiplexing: bool,
    /// The TLS that nginx speaks with the origins, if it does.
    pub(super) origin_tls: Option<OriginTls>,
    /// The mark that tells the users of one client connection apart, if there are several.
    pub(super) front: Option<Front>,
    /// Credentials also come from a location, and in `Proxy-Authorization`.
    pub(super) doors: bool,
    /// Some public answers come from a cache.
    pub(super) cached: bool,
    /// Strangers who fill the groups beside users who hold logins.
    pub(super) crowd: Option<Crowd>,
    /// Bindings time out at the same moment.
    pub(super) mass: bool,
}

/// How nginx speaks TLS with the origins.
#[derive(Clone, Copy, Debug)]
pub(super) struct OriginTls {
    protocols: &'static str,
    /// `proxy_ssl_session_reuse`
    reuse: &'static str,
}

impl Config {
    /// `http3`: this nginx has HTTP/3.
    pub(super) fn draw(seed: u64, http3: bool) -> Self {
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let theme = Theme::of(seed);
        let Theme { faults, short_timeout, capped, front, crowd, .. } = theme;
        let drawn_cap = pick(&mut rng, &[1, 2, 5, 1000, 1000, 1000]);
        let cap = match crowd {
            Some(_) => CROWDED,
            None if faults => drawn_cap,
            None => 1000,
        };
        let short_timeout = short_timeout || (faults && rng.u8(0..4) == 0);
        let capped = capped || (faults && rng.u8(0..3) == 0);
        let spared = theme.capped.then(|| pick(&mut rng, &[(4, u64::MAX), (u64::MAX, 200)]));
        let mut lines = vec![format!("ntlm {cap};")];
        if short_timeout {
            lines.push(format!("ntlm_timeout {}ms;", pick(&mut rng, &[150, 300]) * slowness()));
        }
        if let Some((requests, time)) = spared {
            let time = time.saturating_mul(u64::from(slowness()));
            lines.push(match requests {
                u64::MAX => format!("ntlm_time {time}ms;"),
                requests => format!("ntlm_requests {requests};"),
            });
        } else if capped {
            let time = format!("ntlm_time {}ms;", 50 * slowness());
            lines.push(pick(&mut rng, &["ntlm_requests 3;", "ntlm_requests 2;", &time, &time]).to_owned());
        }
        if front == Some(Front::Key) {
            lines.push("ntlm_key $http_x_session;".to_owned());
        }
        // Where nothing but a cap ends bindings, connections get old in a pool first.
        if rng.u8(0..3) != 0 || theme.capped {
            let keepalive = format!("keepalive {};", pick(&mut rng, &[1, 4, 32]));
            let place = if rng.bool() { 0 } else { lines.len() };
            lines.insert(place, keepalive);
        }
        if rng.u8(0..3) == 0 {
            lines.insert(0, pick(&mut rng, &["least_conn;", "zone shared 64k;", "random;"]).to_owned());
        }
        let mut server = String::new();
        for line in [text::KEPT, text::UNBUFFERED_ANSWERS] {
            if rng.bool() {
                server.push_str(line);
            }
        }
        for line in [text::UNBUFFERED, "lingering_close always; ", "reset_timedout_connection on; "] {
            if rng.u8(0..4) == 0 {
                server.push_str(line);
            }
        }
        let http2 = pick(&mut rng, &[0, 2, 4]);
        if faults && http2 == 0 && rng.u8(0..2) == 0 {
            // nginx takes a garbled answer for one without an end, and would wait for it after the client has left. Over
            // HTTP/2 nginx waits for ever for the window of a client that has left.
            let timeout = 3 * slowness();
            server.push_str(&format!("proxy_ignore_client_abort on; proxy_read_timeout {timeout}s; "));
        }
        if front == Some(Front::RealIp) {
            server.push_str("set_real_ip_from 127.0.0.0/8; real_ip_header X-Forwarded-For; ");
        }
        let workers = rng.usize(1..=2);
        let tight = faults && rng.u8(0..3) == 0;
        // A second worker takes datagrams that belong to the first, and streams of HTTP/3 stall where nginx buffers no bodies.
        let buffered = !server.contains(text::UNBUFFERED) && !server.contains(text::UNBUFFERED_ANSWERS);
        let http3 = http3 && workers == 1 && !tight && crowd.is_none() && buffered;
        let origins = pick(&mut rng, &[1, 1, 3]);
        let mut drawn = Self {
            form: Form::of(seed, &lines, origins),
            seed,
            workers,
            origins,
            groups: if crowd.is_some() { pick(&mut rng, &[1, 2]) } else { pick(&mut rng, &[1, 2, 2, 2]) },
            plain: theme.plain,
            cap,
            tight,
            lines: lines.join(" "),
            plain_lines: pick(&mut rng, &["keepalive 8;", "keepalive 2;", "least_conn; keepalive 32;"]),
            server,
            spelling: Spelling::of(seed),
            min_timeout: rng.u8(0..3) == 0,
            short_timeout,
            capped,
            spared,
            faults,
            pause: pick(&mut rng, &[10, 30, 100]),
            // Who comes from an address of its own does so over HTTP/1.1.
            http2: if crowd.is_some() { 0 } else { http2 },
            tls: pick(&mut rng, &[0, 0, 2, 4]),
            origin_tls: (rng.u8(0..3) == 0 || theme.key_updates).then(|| OriginTls {
                protocols: match theme.key_updates {
                    true => "TLSv1.3",
                    false => pick(&mut rng, &["TLSv1.2", "TLSv1.3", "TLSv1.2 TLSv1.3"]),
                },
                reuse: pick(&mut rng, &["on", "off"]),
            }),
            front,
            doors: theme.doors || rng.u8(0..3) == 0,
            cached: theme.cached || rng.u8(0..4) == 0,
            crowd,
            mass: theme.mass,
            http3: rng.u8(0..4) != 0 && http3,
            multiplexing: true,
            unread: crowd.is_some() && rng.bool(),
        };
        // `ntlm_multiplexing` belongs to a group with `ntlm`.
        drawn.multiplexing = rng.u8(0..3) != 0 || drawn.form != Form::Group;
        if !drawn.multiplexing {
            drawn.lines.push_str(" ntlm_multiplexing off;");
        }
        drawn
    }

    /// Nothing ends a connection but its client: every request is answered, and every login holds.
    pub(super) fn is_strict(&self) -> bool {
        !self.faults && !self.short_timeout && !self.capped && self.crowd.is_none()
    }

    /// A proven login holds, however many others log in.
    pub(super) fn logins_hold(&self) -> bool {
        self.is_strict() || self.crowd.is_some()
    }

    /// Nothing comes between the legs of a login.
    pub(super) fn logins_succeed(&self) -> bool {
        self.is_strict() || (!self.faults && self.capped)
    }

    /// Connections of a worker, for this many clients at a time.
    pub(super) fn worker_connections(&self, slots: usize) -> usize {
        match (self.tight, self.workers) {
            (false, _) => 12 * slots + 100,
            (true, 1) => slots + slots / 4 + 12,
            (true, _) => slots / 2 + slots / 4 + 12,
        }
    }

    /// Of a hundred whole logins with the right password, how many have to succeed.
    ///
    /// Clients that log in at the same time end each other's handshakes where the cap is small.
    pub(super) fn fewest_logins(&self) -> u64 {
        match (self.faults, self.cap) {
            _ if self.is_strict() => 100,
            // Those who log in at the same time end each other's handshakes.
            _ if self.crowd.is_some() => 1,
            // Connections that linger take what others would need to log in.
            _ if self.tight => 1,
            (false, _) => 30,
            (true, 1000) if !self.capped && self.pause > 10 => 30,
            (true, 1000) => 5,
            (true, _) => 1,
        }
    }
}

/// One of these.
pub(super) fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}
