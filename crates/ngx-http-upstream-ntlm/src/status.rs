//! `ntlm_status`: what was counted, for programs and for people.
//!
//! Must never show a user's name, nor cost anything to requests that do not ask for it.
#![expect(unsafe_code, reason = "a directive's and a content handler's trampolines")]

use core::ffi::{CStr, c_char, c_void};
use core::fmt::{self, Write};
use core::ptr::null_mut;

use nginx_sys::{
    NGINX_VERSION, NGX_HTTP_BAD_REQUEST, NGX_HTTP_GET, NGX_HTTP_HEAD, NGX_HTTP_INTERNAL_SERVER_ERROR,
    NGX_HTTP_NOT_ALLOWED, NGX_HTTP_OK, ngx_command_t, ngx_conf_t, ngx_http_request_t, ngx_int_t,
};
use ntlm_core::binding::end::EndedBy;
use ntlm_core::diagnosis::Diagnosis;
use ntlm_core::mechanism::Mechanism;

use crate::conf::Directive;
use crate::group::{Group, Location};
use crate::ngx::{Request, unix_time};
use crate::stats::{Counted, Counter, Handshake, Shared, Slot};
use crate::worker;

/// The page, which asks its own path for the numbers.
const PAGE: &str = concat!(
    include_str!("status/head.html"),
    include_str!("status/page.css"),
    include_str!("status/body.html"),
    include_str!("status/page.js"),
    "</script>\n</body>\n</html>\n"
);
/// The page has its styles and its program in it, and asks nobody but NGINX.
const PAGE_POLICY: &CStr =
    c"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
      base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// The format of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Format {
    /// `application/json`
    Json = 1,
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
    /// A page for people.
    Html,
}

impl Format {
    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"json" => Some(Format::Json),
            b"prometheus" => Some(Format::Prometheus),
            b"html" => Some(Format::Html),
            _ => None,
        }
    }

    /// The one that a query asks for in `format=`; `default` where it asks for none, `None` where there is none of that name.
    fn asked(query: &[u8], default: Self) -> Option<Self> {
        let name = query.split(|&byte| byte == b'&').find_map(|pair| pair.strip_prefix(b"format="));
        name.map_or(Some(default), Self::named)
    }

    fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::Html => "text/html; charset=utf-8",
        }
    }
}

/// The format that a location says.
fn configured(location: &Location) -> Format {
    match location.status {
        2 => Format::Prometheus,
        3 => Format::Html,
        _ => Format::Json,
    }
}

/// `ntlm_status [json|prometheus|html];`
///
/// # Safety
///
/// Called by nginx while it reads the directive.
pub unsafe extern "C" fn ngx_http_ntlm_status(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: ngx_conf_handler passes its `cf`; the command table says NGX_HTTP_LOC_CONF_OFFSET, so `conf` is what
    // `create_loc_conf` returned.
    unsafe {
        let (Some(directive), Some(conf)) = (Directive::new(cf), conf.cast::<Location>().as_mut()) else {
            return crate::conf::CONF_ERROR;
        };
        if conf.status != 0 {
            return c"is duplicate".as_ptr().cast_mut();
        }
        let format = directive.word(1).map_or(Some(Format::Json), |word| Format::named(word.as_bytes()));
        let Some(format) = format else {
            return directive.invalid("\"json\", \"prometheus\" or \"html\"");
        };
        conf.status = format as usize;
        crate::ngx::set_content_handler(cf, ngx_http_ntlm_status_handler);
    }
    null_mut()
}

/// The content handler.
///
/// # Safety
///
/// Called by nginx with a live request to a location with `ntlm_status`.
unsafe extern "C" fn ngx_http_ntlm_status_handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: ngx_http_core_content_phase passes a live request.
    let r = unsafe { Request::new(r) };
    if r.method() & (NGX_HTTP_GET | NGX_HTTP_HEAD) == 0 {
        return NGX_HTTP_NOT_ALLOWED as ngx_int_t;
    }
    let location = Location::of(r);
    let Some(format) = Format::asked(r.query().as_bytes(), configured(location)) else {
        return NGX_HTTP_BAD_REQUEST as ngx_int_t;
    };
    let mut text = Text(String::new());
    let written = match (format, worker::shared()) {
        (Format::Html, _) => text.write_str(PAGE),
        (Format::Json, Some(shared)) => json(&mut text, shared),
        (Format::Prometheus, Some(shared)) => prometheus(&mut text, shared),
        (_, None) => Err(fmt::Error),
    };
    if written.is_err() {
        return NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
    }
    let policy = (format == Format::Html).then_some(PAGE_POLICY);
    r.answer(NGX_HTTP_OK as usize, format.content_type(), policy, text.0.as_bytes()).0
}

/// Text that grows as long as there is memory.
struct Text(String);

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.try_reserve(text.len()).map_err(|_| fmt::Error)?;
        self.0.push_str(text);
        Ok(())
    }
}

/// Bytes as JSON (RFC 8259 section 7) and Prometheus, which knows no other escapes, write them between quotes; what is no
/// UTF-8, and what else controls, becomes U+FFFD.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for char in chunk.valid().chars() {
                match char {
                    '"' | '\\' => write!(f, "\\{char}")?,
                    '\n' => f.write_str("\\n")?,
                    char if char < ' ' => f.write_char(char::REPLACEMENT_CHARACTER)?,
                    char => f.write_char(char)?,
                }
            }
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

fn version() -> &'static str {
    NGINX_VERSION.to_str().unwrap_or_default()
}

fn json(out: &mut Text, shared: &Shared) -> fmt::Result {
    let now = unix_time();
    write!(
        out,
        "{{\"version\":1,\"time_msec\":{now},\"since_msec\":{},\"module\":\"{}\",\"nginx\":\"{}\",\"workers\":{},\"uncounted\":{},\"groups\":[",
        shared.since(),
        env!("CARGO_PKG_VERSION"),
        version(),
        shared.workers(),
        uncounted()
    )?;
    for (index, (group, slot)) in counted().enumerate() {
        let live = slot.live(shared);
        write!(
            out,
            "{}{{\"name\":\"{}\",\"connections\":{},\"timeout_msec\":{},\
             \"bindings\":{{\"parked\":{},\"handshaking\":{},\"busy\":{}}}",
            if index == 0 { "" } else { "," },
            Quoted(group.name.as_bytes()),
            group.connections,
            group.timeout,
            live.parked,
            live.handshaking,
            live.busy
        )?;
        for counter in Counter::ALL {
            write!(out, ",\"{}\":{}", counter.name(), slot.counted(counter))?;
        }
        out.write_str(",\"ended\":{")?;
        for (index, by) in EndedBy::ALL.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(out, "{comma}\"{}\":{}", by.name(), slot.counted_ends(by))?;
        }
        out.write_str("},\"handshakes\":{")?;
        for (index, mechanism) in Mechanism::ALL.into_iter().enumerate() {
            write!(
                out,
                "{}\"{}\":{{\"accepted\":{},\"refused\":{}}}",
                if index == 0 { "" } else { "," },
                mechanism.name(),
                slot.counted_handshakes(mechanism, Handshake::Accepted),
                slot.counted_handshakes(mechanism, Handshake::Refused)
            )?;
        }
        out.write_str("},\"diagnoses\":[")?;
        let mut troubles = Diagnosis::ALL.map(|kind| (slot.counted_troubles(kind), kind));
        troubles.sort_by_key(|&((_, last), _)| core::cmp::Reverse(last));
        for (index, ((count, last), kind)) in
            troubles.into_iter().filter(|((count, _), _)| *count > 0).enumerate()
        {
            write!(
                out,
                "{}{{\"kind\":\"{}\",\"count\":{count},\"last_msec\":{last},\"text\":\"{}\",\"remedy\":\"{}\"}}",
                if index == 0 { "" } else { "," },
                kind.name(),
                Quoted(kind.text().as_bytes()),
                Quoted(kind.remedy().as_bytes())
            )?;
        }
        let mut comma = "";
        out.write_str("],\"servers\":[")?;
        slot.sites().each(|name, Counted { bound, ended, failed }| {
            let name = Quoted(name.as_bytes());
            write!(
                out,
                "{comma}{{\"name\":\"{name}\",\"bound\":{bound},\"ended\":{ended},\"failed\":{failed}}}"
            )?;
            comma = ",";
            Ok(())
        })?;
        write!(out, "],\"other_servers_bound\":{}}}", slot.sites().others())?;
    }
    out.write_str("]}\n")
}

/// The groups that are counted, in the order of the configuration.
fn counted() -> impl Iterator<Item = (&'static Group, &'static Slot)> {
    worker::groups().filter_map(|group| Some((group, group.slot?)))
}

/// How many groups are not, since there are more than slots.
fn uncounted() -> usize {
    worker::groups().filter(|group| group.slot.is_none()).count()
}

/// Writes a metric: its head, then a sample for each group and whatever `samples` gives of it.
fn metric(
    out: &mut Text,
    name: &str,
    kind: &str,
    help: &str,
    samples: impl Fn(&mut Text, &str, Quoted<'_>, &Group, &Slot) -> fmt::Result,
) -> fmt::Result {
    write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n")?;
    counted().try_for_each(|(group, slot)| samples(out, name, Quoted(group.name.as_bytes()), group, slot))
}

/// A metric of servers: its name, its help, and its number.
type OfServer = (&'static str, &'static str, fn(&Counted) -> u64);

/// The servers of each group.
fn servers(out: &mut Text) -> fmt::Result {
    let metrics: [OfServer; 3] = [
        ("nginx_ntlm_server_bindings_made_total", "Bindings made to a server.", |of| of.bound),
        ("nginx_ntlm_server_bindings_ended_total", "Bindings that their server ended.", |of| of.ended),
        (
            "nginx_ntlm_server_failures_total",
            "Bindings that their server ended in the middle of a request.",
            |of| of.failed,
        ),
    ];
    metrics.into_iter().try_for_each(|(name, help, number)| {
        metric(out, name, "counter", help, |out, name, upstream, _, slot| {
            slot.sites().each(|server, counted| {
                let (server, number) = (Quoted(server.as_bytes()), number(&counted));
                writeln!(out, "{name}{{upstream=\"{upstream}\",server=\"{server}\"}} {number}")
            })
        })
    })
}

fn prometheus(out: &mut Text, shared: &Shared) -> fmt::Result {
    metric(
        out,
        "nginx_ntlm_bindings",
        "gauge",
        "Bindings now, by state, over all workers.",
        |out, name, upstream, _, slot| {
            let live = slot.live(shared);
            for (state, count) in [
                ("handshaking", live.handshaking),
                ("established", live.parked.saturating_sub(live.handshaking)),
                ("busy", live.busy),
            ] {
                writeln!(out, "{name}{{upstream=\"{upstream}\",state=\"{state}\"}} {count}")?;
            }
            Ok(())
        },
    )?;
    metric(
        out,
        "nginx_ntlm_bindings_limit",
        "gauge",
        "Waiting bindings that all workers together keep at most.",
        |out, name, upstream, group, _| {
            let most = group.connections.saturating_mul(shared.workers());
            writeln!(out, "{name}{{upstream=\"{upstream}\"}} {most}")
        },
    )?;
    for counter in Counter::ALL {
        let (name, help) = counter.metric();
        metric(out, name, "counter", help, |out, name, upstream, _, slot| {
            let count = slot.counted(counter);
            writeln!(out, "{name}{{upstream=\"{upstream}\"}} {count}")
        })?;
    }
    metric(
        out,
        "nginx_ntlm_bindings_ended_total",
        "counter",
        "Bindings that ended, by what ended them.",
        |out, name, upstream, _, slot| {
            EndedBy::ALL.into_iter().try_for_each(|by| {
                let (reason, count) = (by.name(), slot.counted_ends(by));
                writeln!(out, "{name}{{upstream=\"{upstream}\",reason=\"{reason}\"}} {count}")
            })
        },
    )?;
    metric(
        out,
        "nginx_ntlm_handshakes_total",
        "counter",
        "Logins that the origin decided on.",
        |out, name, upstream, _, slot| {
            Mechanism::ALL.into_iter().try_for_each(|mechanism| {
                [("accepted", Handshake::Accepted), ("refused", Handshake::Refused)].into_iter().try_for_each(
                    |(outcome, verdict)| {
                        let count = slot.counted_handshakes(mechanism, verdict);
                        let mechanism = mechanism.name();
                        writeln!(
                            out,
                            "{name}{{upstream=\"{upstream}\",mechanism=\"{mechanism}\",outcome=\"{outcome}\"}} {count}"
                        )
                    },
                )
            })
        },
    )?;
    metric(
        out,
        "nginx_ntlm_diagnoses_total",
        "counter",
        "Troubles that keep logins from finishing, by kind.",
        |out, name, upstream, _, slot| {
            Diagnosis::ALL.into_iter().try_for_each(|kind| {
                let (count, _) = slot.counted_troubles(kind);
                writeln!(out, "{name}{{upstream=\"{upstream}\",kind=\"{}\"}} {count}", kind.name())
            })
        },
    )?;
    servers(out)?;
    let since = shared.since();
    for (name, help, value) in [
        ("nginx_ntlm_workers", "Worker processes at work.", shared.workers()),
        ("nginx_ntlm_groups_uncounted", "Groups with ntlm that are not in these numbers.", uncounted()),
    ] {
        write!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n")?;
    }
    write!(
        out,
        "# HELP nginx_ntlm_start_time_seconds When counting began, in Unix time.\n\
         # TYPE nginx_ntlm_start_time_seconds gauge\nnginx_ntlm_start_time_seconds {}.{:03}\n",
        since / 1000,
        since % 1000
    )?;
    write!(
        out,
        "# HELP nginx_ntlm_info Versions.\n# TYPE nginx_ntlm_info gauge\n\
         nginx_ntlm_info{{version=\"{}\",nginx=\"{}\"}} 1\n",
        env!("CARGO_PKG_VERSION"),
        version()
    )
}
