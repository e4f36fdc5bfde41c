//! The peer of an upstream, and servers as nginx logs them.
#![expect(unsafe_code, reason = "reads and writes nginx's peer connections")]

use core::ptr::NonNull;

use nginx_sys::{ngx_log_t, ngx_peer_connection_t, ngx_str_t, socklen_t};

use super::{Connection, Slice};

/// `u->peer` (or another peer connection) that is alive while the handle is used.
#[derive(Debug, Clone, Copy)]
pub struct Peer(NonNull<ngx_peer_connection_t>);

/// A server: its address, and its name as `$upstream_addr` shows it.
#[derive(Clone, Copy)]
pub struct Server {
    address: Slice,
    /// The length of the address.
    socklen: socklen_t,
    name: Slice,
}

impl Server {
    /// The server of a peer; its bytes belong to the balancer or to the request.
    pub fn of(pc: Peer) -> Self {
        // SAFETY: alive (see `Peer::new`).
        let socklen = unsafe { (*pc.as_ptr()).socklen };
        Server { address: pc.address(), socklen, name: pc.name() }
    }

    /// A copy whose bytes are where `keep` puts them.
    pub fn kept_by(self, keep: impl Fn(Slice) -> Option<Slice>) -> Option<Self> {
        Some(Server { address: keep(self.address)?, name: keep(self.name)?, ..self })
    }
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address && self.name == other.name
    }
}

impl Peer {
    /// # Safety
    ///
    /// The peer connection is not null, and alive while the handle is used.
    pub unsafe fn new(pc: *mut ngx_peer_connection_t) -> Self {
        // SAFETY: vouched for by the caller.
        Peer(unsafe { NonNull::new_unchecked(pc) })
    }

    /// The peer connection itself, for a call into nginx and for the callbacks in it.
    pub fn as_ptr(self) -> *mut ngx_peer_connection_t {
        self.0.as_ptr()
    }

    /// The log of the peer.
    pub fn log(self) -> *mut ngx_log_t {
        // SAFETY: alive (new).
        unsafe { (*self.as_ptr()).log }
    }

    /// `pc->connection`.
    pub fn connection(self) -> Option<Connection> {
        // SAFETY: alive (new), and its connection with it.
        unsafe { Connection::from_raw((*self.as_ptr()).connection) }
    }

    /// Sets `pc->connection`. What hangs there when the peer has been freed is closed by nginx.
    pub fn set_connection(self, connection: Option<Connection>) {
        // SAFETY: alive (new).
        unsafe { (*self.as_ptr()).connection = connection.map_or(core::ptr::null_mut(), Connection::as_ptr) };
    }

    /// The server's address, as bytes.
    pub fn address(self) -> Slice {
        // SAFETY: alive (new); the address belongs to the balancer or to the request.
        unsafe {
            let pc = self.as_ptr();
            Slice::from_raw(ngx_str_t { len: (*pc).socklen as usize, data: (*pc).sockaddr.cast() })
        }
    }

    /// The server's name, as `$upstream_addr` shows it.
    pub fn name(self) -> Slice {
        // SAFETY: alive (new); the name belongs to the balancer or to the request.
        unsafe {
            NonNull::new((*self.as_ptr()).name).map_or(Slice::EMPTY, |name| Slice::from_raw(name.read()))
        }
    }

    /// Whether `proxy_bind` asks for a local address.
    pub fn has_local_address(self) -> bool {
        // SAFETY: alive (new).
        unsafe { !(*self.as_ptr()).local.is_null() }
    }

    /// The local address that `proxy_bind` asks for, as bytes.
    pub fn local_address(self) -> Slice {
        // SAFETY: alive (new); the address belongs to the request or to the configuration.
        unsafe {
            NonNull::new((*self.as_ptr()).local).map_or(Slice::EMPTY, |local| {
                let local = local.as_ref();
                Slice::from_raw(ngx_str_t { len: local.socklen as usize, data: local.sockaddr.cast() })
            })
        }
    }

    /// Offers a connection that is already open, to this server. Called from `pc->get` only: Angie does not call that where
    /// `pc->sockaddr` is set before.
    ///
    /// # Safety
    ///
    /// The server lives until the request is logged.
    pub unsafe fn offer(self, connection: Connection, server: NonNull<Server>) {
        let pc = self.as_ptr();
        // SAFETY: alive (new), and vouched for by the caller. nginx only reads the name.
        unsafe {
            (*pc).sockaddr = (*server.as_ptr()).address.as_raw().data.cast();
            (*pc).socklen = (*server.as_ptr()).socklen;
            (*pc).name = (&raw mut (*server.as_ptr()).name).cast();
            (*pc).connection = connection.as_ptr();
            (*pc).set_cached(1);
        }
    }

    /// Charges a failed attempt, as `ngx_http_upstream_free_round_robin_peer` does.
    pub fn charge_try(self) {
        // SAFETY: alive (new).
        unsafe { (*self.as_ptr()).tries = (*self.as_ptr()).tries.saturating_sub(1) };
    }
}
