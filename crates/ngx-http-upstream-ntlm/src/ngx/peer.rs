//! The peer of an upstream, and the names of servers as nginx logs them.
#![expect(unsafe_code, reason = "reads and writes nginx's peer connections")]

use core::ptr::NonNull;

use nginx_sys::{ngx_log_t, ngx_peer_connection_t, ngx_str_t};

use super::{Connection, Slice};

/// `u->peer` (or another peer connection) that is alive while the handle is used.
#[derive(Debug, Clone, Copy)]
pub struct Peer(NonNull<ngx_peer_connection_t>);

/// The name of a server, as `$upstream_addr` shows it, within a struct.
#[derive(Clone, Copy)]
pub struct ServerName {
    bytes: [u8; ServerName::LONGEST],
    length: usize,
}

impl ServerName {
    /// `unix:` and the longest path that a `sockaddr_un` has, or an IPv6 address with a port.
    const LONGEST: usize = 120;
    /// An IPv4 address with a port takes no more.
    const SHORT: usize = 32;

    /// A name, cut where it is too long.
    pub fn of(name: Slice) -> Self {
        let mut bytes = [0; Self::LONGEST];
        let length = name.as_bytes().len().min(Self::LONGEST);
        for (to, from) in bytes.iter_mut().zip(name.as_bytes()) {
            *to = *from;
        }
        ServerName { bytes, length }
    }
}

/// Room for the name of a server in the request's pool, where nginx finds it when it logs the request.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct LoggedName {
    name: ngx_str_t,
    bytes: [u8; ServerName::LONGEST],
}

impl LoggedName {
    /// Copies a name to a place.
    ///
    /// # Safety
    ///
    /// The place has room for it, and no reference to what is there exists.
    #[inline]
    unsafe fn set(place: NonNull<Self>, name: &ServerName) {
        let place = place.as_ptr();
        // SAFETY: vouched for by the caller; either length fits both.
        unsafe {
            let (len, data) = (name.length, (&raw mut (*place).bytes).cast::<u8>());
            // Most names are short, and what is behind one does no harm.
            core::ptr::copy_nonoverlapping(name.bytes.as_ptr(), data, ServerName::SHORT);
            if len > ServerName::SHORT {
                core::ptr::copy_nonoverlapping(name.bytes.as_ptr(), data, ServerName::LONGEST);
            }
            (&raw mut (*place).name).write(ngx_str_t { len, data });
        }
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
        // SAFETY: alive (from_raw).
        unsafe { (*self.as_ptr()).log }
    }

    /// `pc->connection`.
    pub fn connection(self) -> Option<Connection> {
        // SAFETY: alive (from_raw), and its connection with it.
        unsafe { Connection::from_raw((*self.as_ptr()).connection) }
    }

    /// Sets `pc->connection`. What hangs there when the peer has been freed is closed by nginx.
    pub fn set_connection(self, connection: Option<Connection>) {
        // SAFETY: alive (from_raw).
        unsafe { (*self.as_ptr()).connection = connection.map_or(core::ptr::null_mut(), Connection::as_ptr) };
    }

    /// The server's address, as bytes.
    pub fn address(self) -> Slice {
        // SAFETY: alive (from_raw); the address belongs to the balancer or to the request.
        unsafe {
            let pc = self.as_ptr();
            Slice::from_raw(ngx_str_t { len: (*pc).socklen as usize, data: (*pc).sockaddr.cast() })
        }
    }

    /// The server's name, as `$upstream_addr` shows it.
    pub fn name(self) -> Slice {
        // SAFETY: alive (from_raw); the name belongs to the balancer or to the request.
        unsafe {
            NonNull::new((*self.as_ptr()).name).map_or(Slice::EMPTY, |name| Slice::from_raw(name.read()))
        }
    }

    /// The local address that `proxy_bind` asks for, as bytes.
    pub fn local_address(self) -> Slice {
        // SAFETY: alive (from_raw); the address belongs to the request or to the configuration.
        unsafe {
            NonNull::new((*self.as_ptr()).local).map_or(Slice::EMPTY, |local| {
                let local = local.as_ref();
                Slice::from_raw(ngx_str_t { len: local.socklen as usize, data: local.sockaddr.cast() })
            })
        }
    }

    /// Offers a connection that is already open, to the server of this address and name.
    ///
    /// `address` is read until the peer is freed. The name is read until the request is logged, so it is copied to `room`.
    ///
    /// # Safety
    ///
    /// `room` is room for it in the request's pool, to which no reference exists.
    pub unsafe fn offer(
        self,
        connection: Connection,
        address: Slice,
        name: &ServerName,
        room: NonNull<LoggedName>,
    ) {
        let pc = self.as_ptr();
        let address = address.as_raw();
        // SAFETY: alive (from_raw), and vouched for by the caller. The address is one that nginx connected to, so its length is a
        // socklen_t.
        unsafe {
            LoggedName::set(room, name);
            (*pc).sockaddr = address.data.cast();
            (*pc).socklen = address.len.try_into().unwrap_or(0);
            (*pc).name = &raw mut (*room.as_ptr()).name;
            (*pc).connection = connection.as_ptr();
            (*pc).set_cached(1);
        }
    }

    /// Charges a failed attempt, as `ngx_http_upstream_free_round_robin_peer` does.
    pub fn charge_try(self) {
        // SAFETY: alive (from_raw).
        unsafe { (*self.as_ptr()).tries = (*self.as_ptr()).tries.saturating_sub(1) };
    }
}
