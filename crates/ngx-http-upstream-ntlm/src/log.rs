//! Messages to nginx's error log, formatted without allocation and only when the level asks for them.
//!
//! Must never be given a token, a password or a challenge.
#![expect(unsafe_code, reason = "calls nginx's log")]

use core::fmt::{self, Write};

use nginx_sys::{
    NGX_LOG_ALERT, NGX_LOG_DEBUG_HTTP, NGX_LOG_EMERG, NGX_LOG_INFO, NGX_LOG_WARN, ngx_log_error_core,
    ngx_log_t, ngx_uint_t,
};

/// `NGX_LOG_DEBUG`, which the generated bindings leave out.
const NGX_LOG_DEBUG: u32 = 8;

/// Longer messages are cut; nginx itself cuts a line at 2048 bytes.
const LONGEST: usize = 1024;

/// The levels the module logs at.
#[derive(Debug, Clone, Copy)]
pub enum Level {
    /// A configuration that is refused.
    Emerg,
    /// A broken invariant: a bug in the module, or memory that ran out.
    Alert,
    /// A diagnosis, with its remedy.
    Warn,
    /// News for an operator about a worker that does its work.
    Info,
    /// Each step, with the mask that `error_log … debug` and `debug_connection` set.
    Debug,
}

/// Whether `log` wants messages of a level.
pub fn wanted(level: Level, log: *mut ngx_log_t) -> bool {
    // SAFETY: nginx's logs outlive what they belong to; the callers pass the log of a live connection or the cycle's.
    let wanted = unsafe { (*log).log_level };
    match level {
        Level::Debug => wanted & NGX_LOG_DEBUG_HTTP as ngx_uint_t != 0,
        Level::Info => wanted >= NGX_LOG_INFO as ngx_uint_t,
        Level::Warn => wanted >= NGX_LOG_WARN as ngx_uint_t,
        Level::Alert => wanted >= NGX_LOG_ALERT as ngx_uint_t,
        Level::Emerg => true,
    }
}

/// Writes a message that is [`wanted`].
#[cold]
#[inline(never)]
pub fn write(level: Level, log: *mut ngx_log_t, message: fmt::Arguments<'_>) {
    let code = match level {
        Level::Emerg => NGX_LOG_EMERG,
        Level::Alert => NGX_LOG_ALERT,
        Level::Warn => NGX_LOG_WARN,
        Level::Info => NGX_LOG_INFO,
        Level::Debug => NGX_LOG_DEBUG,
    };
    let line = Line::of(message);
    let bytes = line.as_bytes();
    // SAFETY: `%*s` takes a length and as many bytes, which `line` has; for the log see `wanted`.
    unsafe { ngx_log_error_core(code as ngx_uint_t, log, 0, c"%*s".as_ptr(), bytes.len(), bytes.as_ptr()) };
}

/// A message as text, cut where it is too long.
pub struct Line {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Line {
    /// Formats a message.
    pub fn of(message: fmt::Arguments<'_>) -> Self {
        let mut line = Line { bytes: [0; LONGEST], length: 0 };
        // A line that is too long is cut, which is no error.
        let _ = line.write_fmt(message);
        line
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.length..).ok_or(fmt::Error)?;
        let fits = text.len().min(room.len());
        for (to, from) in room.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        self.length += fits;
        if fits == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Formats nothing unless it is wanted.
macro_rules! log_at {
    ($level:ident, $log:expr, $($message:tt)+) => {{
        let log = $log;
        if $crate::log::wanted($crate::log::Level::$level, log) {
            $crate::log::write($crate::log::Level::$level, log, format_args!($($message)+));
        }
    }};
}

/// `debug!(log, "…", …)`: a step, for `error_log … debug`.
macro_rules! debug {
    ($log:expr, $($message:tt)+) => {
        $crate::log::log_at!(Debug, $log, "ntlm: {}", format_args!($($message)+))
    };
}

/// `info!(log, "…", …)`: for an operator.
macro_rules! info {
    ($log:expr, $($message:tt)+) => { $crate::log::log_at!(Info, $log, $($message)+) };
}

/// `warn!(log, "…", …)`: what keeps logins from finishing.
macro_rules! warn_ {
    ($log:expr, $($message:tt)+) => { $crate::log::log_at!(Warn, $log, $($message)+) };
}

/// `alert!(log, "…", …)`: a broken invariant.
macro_rules! alert {
    ($log:expr, $($message:tt)+) => { $crate::log::log_at!(Alert, $log, $($message)+) };
}

/// `emerg!(log, "…", …)`: a configuration that is refused.
macro_rules! emerg {
    ($log:expr, $($message:tt)+) => { $crate::log::log_at!(Emerg, $log, $($message)+) };
}

pub(crate) use {alert, debug, emerg, info, log_at, warn_ as warn};
