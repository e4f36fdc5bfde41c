//! The tools that test the module: an origin that authenticates connections as IIS does and keeps a ledger,
//! clients that own their connection, and a runner that gives each test an nginx of its own.
//!
//! It must never know the module under test: what it sees is nginx, bytes and logs. Everything listens on loopback,
//! on ports the kernel hands out; no wait is longer than [`patience`]; where nothing announces what is waited for, [`pause`] parts two looks at it.

#![cfg_attr(
    not(feature = "full"),
    allow(dead_code, unused_imports, reason = "the demo does without what only tests use")
)]

use std::future::Future;
use std::sync::OnceLock;
use std::task::Poll;
use std::time::Duration;

mod background;
#[cfg(feature = "http3")]
pub mod chaos;
pub mod client;
pub mod demo;
pub mod dns;
#[cfg(feature = "full")]
pub mod flood;
#[cfg(feature = "full")]
pub mod interop;
pub mod nginx;
pub mod ntlm;
pub mod origin;
#[cfg(feature = "full")]
pub mod pki;
pub mod ports;
#[cfg(feature = "full")]
pub mod record;
mod stream;

pub use client::{Client, Endpoint, Request, Response, Target};
pub use nginx::Nginx;
pub use ntlm_client::spnego;
pub use origin::Origin;

/// How long anything in a test may take before the test fails and says what it was waiting for: ten seconds, times
/// [`slowness`].
#[must_use]
pub fn patience() -> Duration {
    Duration::from_secs(10) * slowness()
}

/// How many times longer than usual nginx takes for everything: `NTLM_SLOWNESS`, else 1. `cargo xtask asan` sets it where
/// valgrind runs nginx. Every time that is given to nginx is as many times longer, and nothing else changes.
#[must_use]
pub fn slowness() -> u32 {
    static SLOWNESS: OnceLock<u32> = OnceLock::new();
    *SLOWNESS.get_or_init(|| match std::env::var("NTLM_SLOWNESS") {
        Ok(times) => times.parse().expect("NTLM_SLOWNESS is a number"),
        Err(_) => 1,
    })
}

/// The password of `user` at every origin that was not given other users.
///
/// Names that start with `nobody` have none: they do not exist.
#[must_use]
pub fn password_of(user: &str) -> String {
    format!("{}-password", user.to_lowercase())
}

/// The pause between two looks at an unannounced event: a file that grows, a process that ends, a count that falls. The
/// caller looks again, and gives up after [`patience`] or a limit of its own.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// Awaits `future` for at most [`patience`], and panics with what `otherwise` says if that was not enough.
pub async fn within<T>(future: impl Future<Output = T>, otherwise: impl FnOnce() -> String) -> T {
    match tokio::time::timeout(patience(), future).await {
        Ok(value) => value,
        Err(_) => panic!("{} (waited {} s)", otherwise(), patience().as_secs()),
    }
}

/// Awaits all of these side by side.
pub async fn together<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        let mut waiting = false;
        for (future, output) in &mut futures {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(value) => *output = Some(value),
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    futures.into_iter().filter_map(|(_, output)| output).collect()
}
