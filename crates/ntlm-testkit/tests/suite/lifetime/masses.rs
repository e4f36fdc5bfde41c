//! Many bindings that end at one moment: no turn of the event loop closes more than a few of them.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ntlm_testkit::client::Target as _;
use ntlm_testkit::{Client, Nginx, Origin, pause, slowness};
use tokio::task::JoinSet;

/// Connections that a turn may close: as many bindings as epoll tells nginx of at a time, and a client with each.
const MOST: usize = 2 * 512;

/// Bindings, as far as the limit on open files allows: the test has two descriptors for each, and nginx two.
fn bindings() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit on open files");
    let limit: usize =
        line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX);
    1500.min(limit.saturating_sub(400) / 2)
}

#[tokio::test]
async fn bindings_that_expire_together_are_closed_in_batches() {
    let (count, timeout) = (bindings(), Duration::from_secs(4) * slowness());
    // The log tells the turns apart where nginx can write so much.
    if count < MOST || !Nginx::binary().has("--with-debug") {
        return;
    }
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .worker_connections(4 * count)
        .conf("access_log off;")
        .in_front_of(&[&origin], &format!("ntlm 100000; ntlm_timeout {}s;", timeout.as_secs()))
        .start()
        .await;
    let worker = Pid::from_raw(i32::try_from(nginx.worker_pids()[0]).unwrap());
    let mut logins = JoinSet::new();
    let mut clients = Vec::new();
    for _ in 0..count {
        let endpoint = nginx.endpoint();
        logins.spawn(async move {
            let mut client = Client::connect(&endpoint).await;
            client.login_in_one_leg("alice", "/").await;
            client
        });
        if logins.len() == 50 {
            clients.extend(logins.join_next().await.map(Result::unwrap));
        }
    }
    clients.extend(logins.join_all().await);
    kill(worker, Signal::SIGSTOP).unwrap();
    let start = Instant::now();
    while start.elapsed() < timeout {
        pause().await;
    }
    // On a slow machine the first had expired before the worker stood still; by now the origin knows of all those.
    let waiting = origin.open_connections();
    assert!(2 * waiting > MOST, "{waiting} bindings are too few");
    let before = nginx.error_log().len();
    kill(worker, Signal::SIGCONT).unwrap();
    origin.wait_open_connections(0).await;
    for client in &mut clients {
        client.closed().await;
    }
    let log = nginx.error_log();
    let turns = log[before..].split("worker cycle");
    // nginx logs "reusable connection: 0" for each reusable connection that it closes.
    let closed: Vec<usize> = turns.map(|turn| turn.matches("reusable connection: 0").count()).collect();
    assert!(closed.iter().sum::<usize>() >= 2 * waiting, "all of them are closed: {closed:?}");
    assert!(closed.iter().all(|&closed| closed <= MOST), "connections closed turn by turn: {closed:?}");
}

#[tokio::test]
async fn waiting_ends_may_come_otherwise() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder().in_front_of(&[&origin], "ntlm 1000;").start().await;
    let worker = Pid::from_raw(i32::try_from(nginx.worker_pids()[0]).unwrap());
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = Client::connect(&nginx).await;
        assert_eq!(client.login_in_one_leg("alice", "/").await.identity(), "alice");
        clients.push(client);
    }
    origin.wait_idle_connections(100).await;
    // In one turn nginx hears first that the clients have left, and then of the origin's end.
    kill(worker, Signal::SIGSTOP).unwrap();
    drop(clients);
    assert_eq!(origin.close_idle_connections().await, 100);
    kill(worker, Signal::SIGCONT).unwrap();
    origin.wait_open_connections(0).await;
    assert_eq!(Client::connect(&nginx).await.get("/").await.status, 401);
}
