//! Ports reserved for as long as a test needs them.
//!
//! A reservation is a socket that is bound with `SO_REUSEADDR` and never listens: the kernel then offers the number to
//! no process that lets it choose, while a server that asks for the number by name (and sets `SO_REUSEADDR`, as nginx and
//! tokio do) still gets it. It holds between processes, and across a server's restart. It must never hand out a fixed number.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use tokio::net::TcpSocket;

/// A port that stays ours until this is dropped.
#[derive(Debug)]
pub struct Reserved {
    address: SocketAddr,
    _held: TcpSocket,
}

impl Reserved {
    /// Reserves a port of 127.0.0.1.
    ///
    /// # Errors
    /// When the kernel has none left.
    pub fn v4() -> io::Result<Self> {
        Self::on(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// Reserves a port of ::1.
    ///
    /// # Errors
    /// When there is no IPv6 loopback.
    pub fn v6() -> io::Result<Self> {
        Self::on(IpAddr::V6(Ipv6Addr::LOCALHOST))
    }

    fn on(ip: IpAddr) -> io::Result<Self> {
        let mut passed_over = Vec::new();
        loop {
            let socket = if ip.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_reuseaddr(true)?;
            socket.bind(SocketAddr::new(ip, 0))?;
            let address = socket.local_addr()?;
            // The port must also be free for UDP (QUIC).
            if UdpSocket::bind(address).is_ok() {
                return Ok(Self { address, _held: socket });
            }
            if passed_over.len() == 64 {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            passed_over.push(socket);
        }
    }

    /// Address and port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}
