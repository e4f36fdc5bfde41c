//! Who is served as whom: a client gets its own identity or none, whatever pools, caches and neighbours are around.

mod caches;
mod line_ends;
mod locations;
mod proxy_authorization;
mod schemes;
mod spellings;
mod ways;

use ntlm_testkit::{Client, Nginx, Origin, Request, Response};

use crate::common::front;

/// From here on every upstream group has a keepalive pool of its own accord.
const POOLED_BY_DEFAULT: (u32, u32, u32) = (1, 29, 7);

/// The lines of a group around which pools may stand.
fn groups() -> Vec<&'static str> {
    let mut groups = vec!["ntlm;", "keepalive 8; ntlm;", "ntlm; keepalive 8;"];
    if Nginx::binary().version() >= POOLED_BY_DEFAULT {
        // Older ones know neither.
        groups.extend(["keepalive 0; ntlm;", "ntlm; keepalive 0;", "keepalive 8 local; ntlm;"]);
    }
    groups
}

/// A group with a pool that strangers could be served from, in front of `origin`.
async fn pooled(origin: &Origin) -> Nginx {
    Nginx::builder().in_front_of(&[origin], "ntlm; keepalive 8;").start().await
}

/// A group with `ntlm` and a pool, whichever form `NTLM_FORM` asks for: only a group has a pool.
async fn pool_of_group(origin: &Origin) -> Nginx {
    Nginx::builder().in_front_of(&[origin], "ntlm; keepalive 8;").as_written().start().await
}

/// A client that signs its requests, so that the ledger tells who sent them.
async fn client(nginx: &Nginx, name: &str) -> Client {
    Client::builder().name(name).connect(nginx).await
}

/// A client that is logged in, and the origin's connection it is bound to.
async fn logged_in(nginx: &Nginx, user: &str, path: &str) -> (Client, u64) {
    let mut client = client(nginx, user).await;
    let connection = client.login(user, path).await[1].connection();
    (client, connection)
}

/// Asserts that `client` is anonymous to the origin, and does not share the connection `bound`.
async fn assert_stranger(client: &mut Client, path: &str, bound: u64) -> Response {
    let response = client.get(path).await;
    assert_eq!((response.status, response.identity()), (401, "anonymous"), "{response:?}");
    assert_ne!(response.connection(), bound);
    response
}

/// Asserts that the origin serves `client` as `user`, over `connection`.
async fn assert_bound(client: &mut Client, path: &str, user: &str, connection: u64) -> Response {
    let response = client.get(path).await;
    assert_eq!((response.status, response.identity()), (200, user), "{response:?}");
    assert_eq!(response.connection(), connection);
    response
}

/// Asserts that each request was served as its sender, or as anonymous.
fn assert_nobody_is_mistaken(origin: &Origin) {
    for entry in origin.ledger() {
        let sender = entry.x_client.as_ref().expect("every client of the test has a name");
        assert!(entry.identity.iter().all(|identity| identity == sender), "{entry}");
    }
}

#[tokio::test]
async fn two_clients_whose_legs_interleave_stay_themselves() {
    let origin = Origin::start().await;
    let nginx = pooled(&origin).await;
    let mut alice = client(&nginx, "alice").await;
    let mut bob = client(&nginx, "bob").await;
    let for_alice = alice.leg1("alice", "/").await;
    let for_bob = bob.leg1("bob", "/").await;
    assert_ne!(for_alice.connection(), for_bob.connection());
    assert_eq!(alice.leg3(&for_alice, "/").await.identity(), "alice");
    assert_eq!(bob.leg3(&for_bob, "/").await.identity(), "bob");
    for _ in 0..50 {
        assert_bound(&mut alice, "/", "alice", for_alice.connection()).await;
        assert_bound(&mut bob, "/", "bob", for_bob.connection()).await;
    }
    assert_eq!(origin.open_connections(), 2);
    assert_nobody_is_mistaken(&origin);
}

#[tokio::test]
async fn anonymous_client_stays_anonymous_beside_every_pool() {
    for group in groups() {
        for (servers, workers) in [(1, 1), (3, 1), (1, 2), (3, 2)] {
            let mut origins = Vec::new();
            for _ in 0..servers {
                origins.push(Origin::start().await);
            }
            let places: Vec<&Origin> = origins.iter().collect();
            let nginx = Nginx::builder().in_front_of(&places, group).workers(workers).start().await;
            let (mut alice, bound) = logged_in(&nginx, "alice", "/").await;
            for _ in 0..=servers {
                let mut bob = client(&nginx, "bob").await;
                assert_stranger(&mut bob, "/", bound).await;
                assert_stranger(&mut bob, "/", bound).await;
                assert_bound(&mut alice, "/", "alice", bound).await;
            }
            alice.close().await;
            for _ in 0..=servers {
                assert_stranger(&mut client(&nginx, "bob").await, "/", bound).await;
            }
            origins.iter().for_each(assert_nobody_is_mistaken);
            nginx.stop().await;
        }
    }
}

/// The control: what the tests here assert is not true of nginx alone.
#[tokio::test]
async fn nginx_alone_serves_a_stranger_as_alice() {
    let pool = if Nginx::binary().version() >= POOLED_BY_DEFAULT { "" } else { "keepalive 8;" };
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .without_module()
        .conf("proxy_http_version 1.1; proxy_set_header Connection '';")
        .in_front_of(&[&origin], pool)
        .start()
        .await;
    let (_alice, shared) = logged_in(&nginx, "alice", "/").await;
    let response = client(&nginx, "bob").await.get("/").await;
    assert_eq!((response.identity(), response.connection()), ("alice", shared));
}

#[tokio::test]
async fn client_in_recycled_memory_is_a_stranger() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .in_front_of(&[&origin], "ntlm;")
        .worker_connections(16)
        .log_level("info")
        .start()
        .await;
    let gone = |count| nginx.wait_log(move |log| log.matches("closed keepalive connection").count() >= count);
    for round in 0..60 {
        let (alice, bound) = logged_in(&nginx, "alice", "/").await;
        alice.close().await;
        if round % 2 == 0 {
            gone(3 * round + 1).await;
        }
        // nginx takes first what was freed last: the upstream connection for one, the client connection for another.
        let mut next = client(&nginx, "bob").await;
        let mut next_but_one = client(&nginx, "carol").await;
        assert_stranger(&mut next, "/", bound).await;
        assert_stranger(&mut next_but_one, "/", bound).await;
        origin.wait_closed(bound).await;
        next.close().await;
        next_but_one.close().await;
        gone(3 * round + 3).await;
    }
    assert_nobody_is_mistaken(&origin);
}

#[tokio::test]
async fn strangers_and_warm_pool_leave_handshake_alone() {
    let origin = Origin::start().await;
    let nginx = pool_of_group(&origin).await;
    let mut strangers = [client(&nginx, "bob").await, client(&nginx, "carol").await];
    // Both at once, so that the pool has two connections.
    for stranger in &mut strangers {
        stranger.send(Request::get("/public/?gate=warm")).await;
    }
    origin.wait_gate_count("warm", 2).await;
    origin.open_gate("warm");
    for stranger in &mut strangers {
        stranger.read_response().await;
    }

    let mut alice = client(&nginx, "alice").await;
    let challenge = alice.leg1("alice", "/").await;
    let bound = challenge.connection();
    for stranger in &mut strangers {
        assert!(assert_stranger(stranger, "/", bound).await.request_number() > 1, "it is out of the pool");
    }
    assert_eq!(alice.leg3(&challenge, "/").await.connection(), bound);
    for _ in 0..10 {
        for stranger in &mut strangers {
            let response = stranger.get("/public/").await;
            assert_eq!(response.identity(), "anonymous");
            assert_ne!(response.connection(), bound);
        }
        assert_bound(&mut alice, "/", "alice", bound).await;
    }
    assert_eq!(origin.open_connections(), 2, "{}", origin.ledger_text());
    assert_nobody_is_mistaken(&origin);
}

#[tokio::test]
async fn connection_with_requests_used_up_is_closed() {
    for group in ["ntlm; ntlm_requests 3; keepalive 8;", "keepalive 8; ntlm_requests 3; ntlm;"] {
        let (origin, nginx) = front(group).await;
        let mut alice = client(&nginx, "alice").await;
        let legs = alice.login("alice", "/").await;
        let bound = legs[1].connection();
        assert!(!legs.iter().any(|leg| leg.says_close()));
        assert!(assert_bound(&mut alice, "/", "alice", bound).await.says_close());
        alice.closed().await;
        assert_stranger(&mut client(&nginx, "bob").await, "/", bound).await;
        origin.wait_closed(bound).await;
    }
}

#[tokio::test]
async fn connection_past_its_time_is_closed() {
    let (origin, nginx) = front("ntlm; ntlm_time 1ms; keepalive 8;").await;
    let mut alice = client(&nginx, "alice").await;
    assert!(!alice.login_in_one_leg("alice", "/").await.says_close());
    let response = alice.get("/?delay=20").await;
    assert_eq!(response.identity(), "alice");
    assert!(response.says_close());
    alice.closed().await;
    assert_stranger(&mut client(&nginx, "bob").await, "/", response.connection()).await;
    origin.wait_closed(response.connection()).await;
}

#[tokio::test]
async fn ticket_logs_in_one_client_at_once() {
    let origin = Origin::start().await;
    let nginx = pooled(&origin).await;
    for path in ["/", "/?nomutual"] {
        let mut alice = client(&nginx, "alice").await;
        let response = alice.login_in_one_leg("alice", path).await;
        assert_eq!((response.status, response.identity()), (200, "alice"));
        let bound = response.connection();
        let mut bob = client(&nginx, "bob").await;
        assert_stranger(&mut bob, "/", bound).await;
        assert_bound(&mut alice, "/", "alice", bound).await;
        alice.close().await;
        assert_stranger(&mut bob, "/", bound).await;
        origin.wait_closed(bound).await;
    }
}

#[tokio::test]
async fn any_status_on_the_last_leg_keeps_binding() {
    let origin = Origin::start().await;
    let nginx = pooled(&origin).await;
    for status in [204, 302, 304, 403, 404, 500] {
        let mut alice = client(&nginx, "alice").await;
        let legs = alice.login("alice", &format!("/?status={status}")).await;
        assert_eq!(legs[1].status, status);
        let bound = legs[1].connection();
        assert_stranger(&mut client(&nginx, "bob").await, "/", bound).await;
        assert_bound(&mut alice, "/", "alice", bound).await;
    }
}

#[tokio::test]
async fn token_in_an_answer_binds_the_connection() {
    let origin = Origin::start().await;
    let nginx = pooled(&origin).await;
    let mut alice = client(&nginx, "alice").await;
    let bound = alice.get("/?token_without_auth").await.connection();
    let mut bob = client(&nginx, "bob").await;
    assert_stranger(&mut bob, "/", bound).await;
    assert_eq!(alice.get("/public/").await.connection(), bound);
    alice.close().await;
    assert_stranger(&mut bob, "/", bound).await;
    origin.wait_closed(bound).await;
}

#[tokio::test]
async fn credentials_on_200_requests_use_one_connection() {
    let origin = Origin::start().await;
    let nginx = pooled(&origin).await;
    let (mut alice, bound) = logged_in(&nginx, "alice", "/").await;
    for number in 0..100 {
        let response = if number % 2 == 0 {
            alice.login("alice", "/").await.remove(1)
        } else {
            alice.login_in_one_leg("alice", "/").await
        };
        assert_eq!((response.identity(), response.connection()), ("alice", bound));
    }
    assert_eq!(origin.connection_ids_open(), [bound]);
}
