//! nginx reloads, quits, or is told to hurry: what is busy finishes, what waits is closed, workers leave.

use ntlm_testkit::nginx::Builder;
use ntlm_testkit::{Client, Nginx, Origin, Request};

use super::{elsewhere_too, logged_in};

fn in_front_of(origin: &Origin) -> Builder {
    Nginx::builder().in_front_of(&[origin], "ntlm;")
}

/// A client whose request, over its bound connection, is held at the gate `busy`.
async fn busy(nginx: &Nginx, origin: &Origin) -> Client {
    origin.close_gate("busy");
    let (mut busy, _) = logged_in(nginx).await;
    busy.send(Request::get("/?gate=busy")).await;
    origin.wait_gate("busy").await;
    busy
}

/// A client whose first leg, over a connection that is not bound yet, is held at the gate `first`.
async fn first_leg_under_way(nginx: &Nginx, origin: &Origin) -> Client {
    origin.close_gate("first");
    let mut client = Client::connect(nginx).await;
    client
        .send(
            Request::get("/?gate=first")
                .header("Authorization", "NTLM TlRMTVNTUAABAAAAB4IIogAAAAAAAAAAAAAAAAAAAAAKAGFKAAAADw=="),
        )
        .await;
    origin.wait_gate("first").await;
    client
}

#[tokio::test]
async fn reload_closes_idle_and_finishes_busy_connections() {
    let origin = Origin::start().await;
    let nginx = in_front_of(&origin).start().await;
    let before = nginx.worker_pids();
    let (mut idle, _) = logged_in(&nginx).await;
    let mut handshaking = Client::connect(&nginx).await;
    handshaking.leg1("bob", "/").await;
    let mut busy = busy(&nginx, &origin).await;
    let mut first = first_leg_under_way(&nginx, &origin).await;

    nginx.reload().await;
    idle.closed().await;
    handshaking.closed().await;
    origin.wait_open_connections(2).await;

    origin.open_gate("busy");
    let response = busy.read_response().await;
    assert_eq!((response.identity(), response.says_close()), ("alice", true));
    busy.closed().await;
    origin.open_gate("first");
    let response = first.read_response().await;
    // Clients give a login up whose challenge announces the end, and begin it anew after an end that nobody announced.
    assert_eq!((response.status, response.says_close()), (401, false));
    first.closed().await;
    origin.wait_open_connections(0).await;
    nginx.wait_gone(&before).await;
    assert_eq!(logged_in(&nginx).await.0.get("/").await.identity(), "alice");
    nginx.stop().await;
}

#[tokio::test]
async fn binding_behind_a_busy_client_ends_with_it() {
    let (origin, elsewhere) = (Origin::start().await, Origin::start().await);
    let nginx = elsewhere_too(&origin, &elsewhere).await;
    let before = nginx.worker_pids();
    let (mut alice, _) = logged_in(&nginx).await;
    alice.send(Request::get("/public/?gate=long")).await;
    elsewhere.wait_gate("long").await;
    nginx.reload().await;
    elsewhere.open_gate("long");
    assert_eq!(alice.read_response().await.status, 200);
    alice.closed().await;
    origin.wait_open_connections(0).await;
    nginx.wait_gone(&before).await;
}

#[tokio::test]
async fn a_reload_without_the_directive_ends_the_bindings() {
    let origin = Origin::start().await;
    let nginx = in_front_of(&origin).start().await;
    let before = nginx.worker_pids();
    let (mut alice, _) = logged_in(&nginx).await;
    nginx.rewrite(&Nginx::builder().in_front_of(&[&origin], ""));
    nginx.reload().await;
    alice.closed().await;
    nginx.wait_gone(&before).await;
    nginx.rewrite(&in_front_of(&origin));
    nginx.reload().await;
    logged_in(&nginx).await;
}

#[tokio::test]
async fn graceful_quit_closes_idle_and_finishes_busy_connections() {
    let origin = Origin::start().await;
    let mut nginx = in_front_of(&origin).workers(2).start().await;
    let (mut idle, _) = logged_in(&nginx).await;
    let mut handshaking = Client::connect(&nginx).await;
    handshaking.leg1("bob", "/").await;
    let mut busy = busy(&nginx, &origin).await;

    nginx.quit();
    idle.closed().await;
    handshaking.closed().await;
    origin.wait_open_connections(1).await;
    origin.open_gate("busy");
    let response = busy.read_response().await;
    assert_eq!((response.identity(), response.says_close()), ("alice", true));
    busy.closed().await;
    nginx.wait_exit().await;
    origin.wait_open_connections(0).await;
}

#[tokio::test]
async fn worker_shutdown_timeout_closes_idle_and_busy_clients() {
    let origin = Origin::start().await;
    let nginx = in_front_of(&origin).main("worker_shutdown_timeout 200ms;").start().await;
    let before = nginx.worker_pids();
    let (mut idle, _) = logged_in(&nginx).await;
    let mut busy = busy(&nginx, &origin).await;
    let mut first = first_leg_under_way(&nginx, &origin).await;
    nginx.reload().await;
    idle.closed().await;
    busy.closed().await;
    first.closed().await;
    nginx.wait_gone(&before).await;
    origin.wait_open_connections(0).await;
    nginx.stop().await;
}

#[tokio::test]
async fn a_fast_end_closes_everything() {
    let origin = Origin::start().await;
    let mut nginx = in_front_of(&origin).start().await;
    let (mut idle, _) = logged_in(&nginx).await;
    let mut busy = busy(&nginx, &origin).await;
    nginx.terminate();
    idle.closed().await;
    busy.closed().await;
    nginx.wait_exit().await;
    origin.wait_open_connections(0).await;
}

#[tokio::test]
async fn reopened_logs_leave_bindings_alone() {
    let origin = Origin::start().await;
    let nginx = in_front_of(&origin).start().await;
    let (mut alice, _) = logged_in(&nginx).await;
    let bound = alice.get("/").await.connection();
    let path = nginx.prefix().join("access.log");
    std::fs::rename(&path, nginx.prefix().join("access.log.1")).unwrap();
    nginx.reopen();
    nginx.wait_access_log(|_| path.exists()).await;
    let next = alice.get("/after").await;
    assert_eq!((next.identity(), next.connection()), ("alice", bound));
    alice.close().await;
    origin.wait_open_connections(0).await;
    nginx.stop().await;
}

#[tokio::test]
async fn single_process_binds_and_ends_cleanly() {
    let origin = Origin::start().await;
    for fast in [false, true] {
        let mut nginx = in_front_of(&origin).single_process().start().await;
        let (mut alice, _) = logged_in(&nginx).await;
        let bound = alice.get("/").await.connection();
        assert_eq!(alice.get("/").await.connection(), bound);
        let mut carol = Client::connect(&nginx).await;
        let carols = carol.login("carol", "/").await[1].connection();
        carol.close().await;
        origin.wait_closed(carols).await;
        let mut handshaking = Client::connect(&nginx).await;
        handshaking.leg1("bob", "/").await;
        if fast {
            nginx.terminate();
        } else {
            nginx.quit();
        }
        alice.closed().await;
        handshaking.closed().await;
        nginx.wait_exit().await;
        origin.wait_open_connections(0).await;
    }
}
