//! `ngx_http_upstream_ntlm_module`: binds an upstream connection to the client connection that authenticated on it.
//!
//! The rule above all: a response is only ever produced over an upstream connection that this client connection
//! tainted, or over an untainted one. A tainted connection is owned or closed; it never enters a shared pool.
//!
//! This crate is the nginx layer. What to do is decided in `ntlm-core`; here nginx is asked for the facts, and the
//! decisions are carried out. Trampolines and tables stand beside what they call; every other access to nginx's memory
//! is in `ngx`.

mod bound;
mod challenge;
mod client;
mod conf;
mod credentials;
mod diagnose;
mod fields;
mod group;
mod header_filter;
mod idle;
mod location;
mod log;
mod module;
mod ngx;
mod original;
mod outgoing;
mod peer;
mod place;
mod proxy;
mod stats;
mod status;
mod target;
mod variables;
mod worker;
