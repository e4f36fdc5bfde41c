//! Events that clients do not cause: origins close, reset, chatter, die and come back; nginx is reloaded. And events that
//! must leave clients alone: origins send TLS records that carry no data.
//!
//! It must never check anything.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::client::World;
use super::config::pick;
use crate::{Nginx, Origin, slowness};

/// Brings a fault every now and then, until the run is over. Returns the workers that the last reload left.
pub(super) async fn bring(
    world: Arc<World>,
    nginx: Arc<Nginx>,
    origins: Arc<Vec<Origin>>,
    mut over: tokio::sync::watch::Receiver<bool>,
) -> Vec<u32> {
    let mut rng = Rng::with_seed(world.config.seed.wrapping_mul(0x517c_c1b7_2722_0a95));
    let mut workers = nginx.worker_pids();
    workers.sort_unstable();
    if !world.config.faults && world.config.origin_tls.is_none() {
        return workers;
    }
    loop {
        let pause = Duration::from_millis(rng.u64(1..2 * world.config.pause)) * slowness();
        if tokio::time::timeout(pause, over.wait_for(|over| *over)).await.is_ok() {
            break;
        }
        let origin = &origins[rng.usize(..origins.len())];
        let open = origin.connection_ids_open();
        let one = (!open.is_empty()).then(|| open[rng.usize(..open.len())]);
        match (if world.config.faults { rng.u8(0..40) } else { 39 }, one) {
            (0..=1, _) => {
                origin.close_idle_connections().await;
            }
            (2..=13, Some(one)) => origin.close_connection(one).await,
            (14..=23, Some(one)) => origin.reset_connection(one).await,
            (24..=35, Some(one)) => {
                let bytes = pick(&mut rng, &[&b"unsolicited"[..], b"unsolicited HTTP/1.1 200 OK\r\n\r\n"]);
                origin.send_unsolicited(one, bytes).await;
            }
            (36, _) => {
                origin.stop().await;
                // Nothing is waited for: the seed has the origin be away for so long.
                tokio::time::sleep(Duration::from_millis(rng.u64(0..60)) * slowness()).await;
                origin.start_again().await;
            }
            // A QUIC connection ends with the worker that has it.
            (37, _) if world.config.http3 => {}
            (37, _) => {
                nginx.reload().await;
                workers = nginx.worker_pids();
                workers.sort_unstable();
            }
            (38, _) => nginx.reopen(),
            (_, Some(one)) => {
                // Over TLS 1.2, or in the clear, there is none to send.
                origin.send_key_update(one).await;
            }
            (_, None) => {}
        }
    }
    workers
}
