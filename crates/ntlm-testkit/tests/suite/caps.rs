//! `ntlm_requests` and `ntlm_time` count from the moment a connection is bound, and never cut a handshake.

use ntlm_testkit::client::Login;
use ntlm_testkit::{Client, Nginx, Origin, Request, Response, password_of};

/// The connections that the pool holds before a login.
const POOLED: usize = 8;

/// A group with a pool whose connections carried `requests` each, which asked for `query`.
async fn front_with_an_old_pool(origin: &Origin, caps: &str, requests: usize, query: &str) -> Nginx {
    let nginx = Nginx::builder().in_front_of(&[origin], &format!("ntlm; {caps} keepalive 8;")).start().await;
    let mut strangers = Vec::new();
    for _ in 0..POOLED {
        strangers.push(Client::connect(&nginx).await);
    }
    for round in 0..requests {
        let gate = format!("round{round}");
        for stranger in &mut strangers {
            stranger.send(Request::get(&format!("/public/?gate={gate}&{query}"))).await;
        }
        // All at once, so that each has a connection of its own.
        origin.wait_gate_count(&gate, POOLED).await;
        origin.open_gate(&gate);
        for stranger in &mut strangers {
            stranger.read_response().await;
        }
    }
    origin.wait_idle_connections(POOLED).await;
    nginx
}

/// As many clients log in as the pool has connections, each over one of them.
async fn log_in_over_the_pool(nginx: &Nginx, requests: usize) -> Vec<(Client, Vec<Response>)> {
    let mut clients = Vec::new();
    for _ in 0..POOLED {
        let mut client = Client::connect(nginx).await;
        let legs = client.login_with("NTLM", "alice", &password_of("alice"), "/").await;
        assert_eq!(legs[0].request_number(), requests as u64 + 1, "it is out of the pool");
        assert!(!legs[0].says_close(), "a challenge must be answered where it came from");
        assert_eq!((legs[1].status, legs[1].identity()), (200, "alice"));
        assert_eq!(legs[0].connection(), legs[1].connection());
        clients.push((client, legs));
    }
    clients
}

#[tokio::test]
async fn login_over_an_old_pooled_connection_finishes() {
    let origin = Origin::start().await;
    let nginx = front_with_an_old_pool(&origin, "ntlm_time 100ms;", 1, "delay=200").await;
    log_in_over_the_pool(&nginx, 1).await;
}

#[tokio::test]
async fn login_over_a_much_used_pooled_connection_finishes() {
    let origin = Origin::start().await;
    let nginx = front_with_an_old_pool(&origin, "ntlm_requests 4;", 3, "").await;
    for (mut client, legs) in log_in_over_the_pool(&nginx, 3).await {
        assert!(!legs[1].says_close());
        assert!(!client.get("/").await.says_close());
        let fourth = client.get("/").await;
        assert_eq!(fourth.identity(), "alice");
        assert!(fourth.says_close(), "the fourth since it was bound");
    }
}

#[tokio::test]
async fn age_counts_from_the_binding() {
    let origin = Origin::start().await;
    let nginx = front_with_an_old_pool(&origin, "ntlm_time 1s;", 1, "delay=1500").await;
    let mut alice = Client::connect(&nginx).await;
    alice.login("alice", "/").await;
    let last = alice.get("/?delay=1500").await;
    assert_eq!(last.identity(), "alice");
    assert!(last.says_close(), "it is older now");
}

#[tokio::test]
async fn caps_never_cut_a_handshake() {
    for caps in ["ntlm_requests 2;", "ntlm_time 1ms;"] {
        let origin = Origin::start().await;
        let nginx = Nginx::builder().in_front_of(&[&origin], &format!("ntlm; {caps}")).start().await;
        let mut alice = Client::connect(&nginx).await;
        let login = Login::new("Negotiate", "alice", &password_of("alice")).in_legs(6);
        let legs = alice.login_as(login, Request::get("/?legs=6&delay=5")).await;
        let (last, challenges) = legs.split_last().expect("a login has responses");
        assert!(challenges.iter().all(|leg| leg.status == 401 && !leg.says_close()), "{caps}");
        assert_eq!((legs.len(), last.identity()), (5, "alice"), "{caps}");
        assert!(last.says_close(), "{caps}");
        alice.closed().await;
    }
}
