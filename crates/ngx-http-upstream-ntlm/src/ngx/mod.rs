//! Copyable handles over nginx's structs: the one place, beside trampolines and tables, that touches nginx's memory.
//!
//! A handle is made by an `unsafe` constructor whose caller vouches that nginx keeps the struct alive for as long as
//! the handle is used; nginx runs a worker's events on one thread, so no method can race. No method holds a Rust
//! reference into nginx's memory while it calls nginx: nginx re-enters the module.

mod connection;
mod content;
mod headers;
mod http2;
mod module;
mod peer;
mod pool;
mod process;
mod request;
mod stand_in;
mod suspend;
mod timer;
#[cfg(nginx_tls)]
mod tls;
mod upstream;
mod zone;

pub use connection::{Connection, Readable};
pub use content::{content_handler, set_content_handler};
pub use headers::{Wrapped, watch_client_field, watch_upstream_field};
pub use module::{commands_of, context_index, http_modules, module_tag, name_of};
pub use peer::{Peer, Server};
pub use pool::{Pool, Slice};
pub use process::{Process, is_exiting, without_exiting};
pub use request::{Request, show};
pub use stand_in::StandIn;
pub use timer::{Timer, now};
pub use upstream::{RequestHeader, Upstream, find_byte};
pub use zone::{add as add_zone, main_conf, unix_time, zeroed_in};

use nginx_sys::{NGX_DONE, NGX_ERROR, NGX_OK, ngx_int_t};

/// What nginx's functions return, in Rust's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Status(pub ngx_int_t);

impl Status {
    /// Done as asked.
    pub const OK: Status = Status(NGX_OK as ngx_int_t);
    /// Done, and nothing is left to do for the caller.
    pub const DONE: Status = Status(NGX_DONE as ngx_int_t);
    /// Not done.
    pub const ERROR: Status = Status(NGX_ERROR as ngx_int_t);
}
