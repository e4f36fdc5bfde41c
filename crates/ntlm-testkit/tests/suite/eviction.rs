//! The choice of the bindings that end when there are too many.

use ntlm_testkit::{Client, Nginx, Origin, Request};

async fn front(origin: &Origin, group: &str) -> Nginx {
    Nginx::builder().in_front_of(&[origin], group).start().await
}

/// A client that is logged in, and the origin's connection it is bound to.
async fn logged_in(nginx: &Nginx, user: &str, path: &str) -> (Client, u64) {
    let mut client = Client::connect(nginx).await;
    let connection = client.login(user, path).await[1].connection();
    (client, connection)
}

/// A client after its first leg, and the origin's connection it is bound to.
async fn handshaking(nginx: &Nginx, user: &str) -> (Client, u64) {
    let mut client = Client::connect(nginx).await;
    let connection = client.leg1(user, "/").await.connection();
    (client, connection)
}

async fn assert_in(client: &mut Client, path: &str, user: &str, connection: u64) {
    let response = client.get(path).await;
    assert_eq!((response.status, response.identity()), (200, user), "{response:?}");
    assert_eq!(response.connection(), connection);
}

/// The head of a request whose body nginx is made to wait for, before it asks an origin.
const BEGINNING: &str =
    "POST /late HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Begins a request: its client connection is not idle any more, its binding still waits.
async fn begin(client: &mut Client) {
    client.send_raw(BEGINNING.as_bytes()).await;
    assert_eq!(client.read_raw(CONTINUE.len()).await, CONTINUE);
}

/// Leaves in the middle of a request that [`begin`] began, and waits until nginx has seen it.
async fn leave(client: Client, nginx: &Nginx) {
    client.abort();
    nginx.wait_access_log(|log| log.contains("POST /late")).await;
}

#[tokio::test]
async fn a_handshake_ends_before_a_login_does() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 2;").await;
    let (mut alice, of_alice) = logged_in(&nginx, "alice", "/").await;
    let (mut bob, of_bob) = handshaking(&nginx, "bob").await;
    let (mut carol, of_carol) = logged_in(&nginx, "carol", "/").await;
    bob.closed().await;
    origin.wait_closed(of_bob).await;
    assert_in(&mut alice, "/", "alice", of_alice).await;
    assert_in(&mut carol, "/", "carol", of_carol).await;
}

#[tokio::test]
async fn of_two_handshakes_the_older_ends() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 2;").await;
    let (mut alice, of_alice) = handshaking(&nginx, "alice").await;
    let mut bob = Client::connect(&nginx).await;
    let challenge = bob.leg1("bob", "/").await;
    let (_carol, _) = handshaking(&nginx, "carol").await;
    alice.closed().await;
    origin.wait_closed(of_alice).await;
    assert_eq!(bob.leg3(&challenge, "/").await.identity(), "bob");
}

#[tokio::test]
async fn of_two_logins_the_one_unused_longest_ends() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 2;").await;
    let (mut alice, of_alice) = logged_in(&nginx, "alice", "/").await;
    let (mut bob, of_bob) = logged_in(&nginx, "bob", "/").await;
    assert_in(&mut alice, "/", "alice", of_alice).await;
    let (mut carol, of_carol) = logged_in(&nginx, "carol", "/").await;
    bob.closed().await;
    origin.wait_closed(of_bob).await;
    assert_in(&mut alice, "/", "alice", of_alice).await;
    assert_in(&mut carol, "/", "carol", of_carol).await;
}

#[tokio::test]
async fn a_binding_at_work_neither_ends_nor_counts() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 1;").await;
    let (mut alice, of_alice) = logged_in(&nginx, "alice", "/").await;
    alice.send(Request::get("/?gate=work")).await;
    origin.wait_gate("work").await;
    let (mut bob, of_bob) = logged_in(&nginx, "bob", "/").await;
    assert_in(&mut bob, "/", "bob", of_bob).await;
    let (mut carol, of_carol) = logged_in(&nginx, "carol", "/").await;
    bob.closed().await;
    origin.open_gate("work");
    assert_eq!(alice.read_response().await.identity(), "alice");
    // Now hers waits too, and there is room for one.
    carol.closed().await;
    origin.wait_closed(of_carol).await;
    assert_in(&mut alice, "/", "alice", of_alice).await;
    assert_eq!(origin.connection_ids_open(), [of_alice]);
}

#[tokio::test]
async fn busy_client_of_evicted_binding_gets_connection_close() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 1;").await;
    let (mut alice, of_alice) = logged_in(&nginx, "alice", "/").await;
    begin(&mut alice).await;
    let (mut bob, of_bob) = logged_in(&nginx, "bob", "/").await;
    origin.wait_closed(of_alice).await;
    alice.send_raw(b"late").await;
    let response = alice.read_response().await;
    assert_eq!((response.status, response.identity()), (401, "anonymous"));
    assert!(response.says_close());
    alice.closed().await;
    assert_in(&mut bob, "/", "bob", of_bob).await;
}

#[tokio::test]
async fn flood_of_forged_first_legs_evicts_no_login() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 4;").await;
    let mut users = Vec::new();
    for user in ["alice", "bob", "carol"] {
        let (client, connection) = logged_in(&nginx, user, "/").await;
        users.push((user, client, connection));
    }
    let mut flood = Vec::new();
    for number in 0..120 {
        let mut forger = Client::connect(&nginx).await;
        let response = match number % 3 {
            0 => forger.leg1("mallory", "/").await,
            1 => forger.get_with("/", "Authorization", "NTLM Zm9yZ2Vk").await,
            _ => forger.get_with("/", "Authorization", "Negotiate").await,
        };
        assert_eq!(response.status, 401);
        flood.push(forger);
        if number % 10 == 0 {
            let (user, client, connection) = &mut users[number / 10 % 3];
            assert_in(client, "/", user, *connection).await;
        }
    }
    for (user, client, connection) in &mut users {
        assert_in(client, "/", user, *connection).await;
    }
    // Whose handshake ended was not left to believe in it.
    for forger in &mut flood[..119] {
        forger.closed().await;
    }
}

#[tokio::test]
async fn forged_credentials_log_nobody_out_of_a_full_group() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 3;").await;
    let mut users = Vec::new();
    for user in ["alice", "bob", "carol"] {
        let (client, connection) = logged_in(&nginx, user, "/").await;
        users.push((user, client, connection));
    }
    let mut forgers = Vec::new();
    for number in 0..40 {
        let mut forger = Client::connect(&nginx).await;
        let target = if number % 2 == 0 { "/" } else { "/public/" };
        forger.get_with(target, "Authorization", "NTLM Zm9yZ2Vk").await;
        forgers.push(forger);
    }
    for (user, client, connection) in &mut users {
        assert_in(client, "/", user, *connection).await;
    }
    // There is room for a login to begin; the one unused longest ends when it has come to its end.
    let (mut dave, of_dave) = logged_in(&nginx, "dave", "/").await;
    assert_in(&mut dave, "/", "dave", of_dave).await;
}

#[tokio::test]
async fn successor_of_evicted_binding_survives_its_predecessor() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 1;").await;
    let (mut alice, of_alice) = logged_in(&nginx, "alice", "/").await;
    begin(&mut alice).await;
    let (mut carol, of_carol) = logged_in(&nginx, "carol", "/").await;
    origin.wait_closed(of_alice).await;
    leave(alice, &nginx).await;
    assert_in(&mut carol, "/", "carol", of_carol).await;
}

#[tokio::test]
async fn successor_of_closed_binding_survives_its_predecessor() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 1;").await;
    let (mut alice, of_alice) = logged_in(&nginx, "alice", "/").await;
    begin(&mut alice).await;
    origin.close_connection(of_alice).await;
    let (mut carol, of_carol) = logged_in(&nginx, "carol", "/").await;
    leave(alice, &nginx).await;
    assert_in(&mut carol, "/", "carol", of_carol).await;
}

#[tokio::test]
async fn successor_of_expired_binding_survives_its_predecessor() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .conf(
            "upstream short { server {{origin}}; ntlm 1; ntlm_timeout 50ms; } \
             upstream long { server {{origin}}; ntlm 1; } \
             server { listen 127.0.0.1:{{port}}; \
             location / { proxy_pass http://long; } location /short/ { proxy_pass http://short; } }",
        )
        .start()
        .await;
    let mut alice = Client::connect(&nginx).await;
    let ticket = ntlm_testkit::client::kerberos_token("alice", &ntlm_testkit::password_of("alice"));
    let login = Request::get("/short/").header("Authorization", &format!("Negotiate {ticket}"));
    // One write: the client connection has its next request at hand however soon the time is over.
    alice.send_raw(&[&login.head_bytes("localhost"), BEGINNING.as_bytes()].concat()).await;
    let response = alice.read_response().await;
    assert_eq!(response.identity(), "alice");
    assert_eq!(alice.read_raw(CONTINUE.len()).await, CONTINUE);
    origin.wait_closed(response.connection()).await;
    let (mut carol, of_carol) = logged_in(&nginx, "carol", "/").await;
    leave(alice, &nginx).await;
    assert_in(&mut carol, "/", "carol", of_carol).await;
}

#[tokio::test]
async fn each_group_counts_its_own() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .conf(
            "upstream mail { server {{origin}}; ntlm 1; } upstream wiki { server {{origin}}; ntlm 1; } \
             server { listen 127.0.0.1:{{port}}; \
             location /mail/ { proxy_pass http://mail; } location /wiki/ { proxy_pass http://wiki; } }",
        )
        .start()
        .await;
    let (mut alice, of_alice) = logged_in(&nginx, "alice", "/mail/").await;
    let (mut bob, of_bob) = logged_in(&nginx, "bob", "/wiki/").await;
    assert_in(&mut alice, "/mail/", "alice", of_alice).await;
    assert_in(&mut bob, "/wiki/", "bob", of_bob).await;
    // Her mail's binding waits while the wiki's is evicted, although both are hers.
    let wiki = alice.login("alice", "/wiki/").await[1].connection();
    bob.closed().await;
    assert_in(&mut alice, "/mail/", "alice", of_alice).await;
    assert_in(&mut alice, "/wiki/", "alice", wiki).await;
}

#[tokio::test]
async fn connection_shortage_takes_waiting_bindings() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder().in_front_of(&[&origin], "ntlm;").worker_connections(24).start().await;
    let mut users = Vec::new();
    for number in 0..6 {
        // Each has begun a request, so that only its binding can be spared.
        let (mut client, connection) = logged_in(&nginx, &format!("user{number}"), "/").await;
        begin(&mut client).await;
        users.push((client, connection));
    }
    let spared = [users[0].1, users[1].1];
    let mut newcomers = Vec::new();
    while origin.connection_ids_open().iter().any(|open| spared.contains(open)) {
        assert!(newcomers.len() < 24, "nothing was spared");
        let mut newcomer = Client::connect(&nginx).await;
        newcomer.send(Request::get("/public/?gate=full")).await;
        origin.wait_gate_count("full", newcomers.len() + 1).await;
        newcomers.push(newcomer);
    }
    origin.open_gate("full");
    for newcomer in &mut newcomers {
        assert_eq!(newcomer.read_response().await.status, 200);
    }
    drop(newcomers);
    for (mut spared, _) in users.drain(..2) {
        spared.send_raw(b"late").await;
        let response = spared.read_response().await;
        assert_eq!(response.status, 401);
        assert!(response.says_close());
    }
    let (mut alice, connection) = logged_in(&nginx, "alice", "/").await;
    assert_in(&mut alice, "/", "alice", connection).await;
}

#[tokio::test]
async fn connection_shortage_without_bindings_takes_idle_clients() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder().in_front_of(&[&origin], "ntlm;").worker_connections(15).start().await;
    let (alice, bound) = logged_in(&nginx, "alice", "/").await;
    alice.close().await;
    origin.wait_closed(bound).await;
    let mut idle = Vec::new();
    for _ in 0..30 {
        let mut client = Client::connect(&nginx).await;
        assert_eq!(client.get("/public/").await.status, 200);
        idle.push(client);
    }
}

#[tokio::test]
async fn evictions_and_caps_are_told_at_info() {
    let origin = Origin::start().await;
    let told = |nginx: &Nginx, what: &str| {
        let (log, what) = (nginx.error_log(), what.to_owned());
        let line = log.lines().find(|line| line.contains(&what));
        let line = line.unwrap_or_else(|| panic!("no {what} in\n{log}"));
        assert!(line.contains("[info]") && line.contains("bound upstream connection"), "{line}");
    };
    let nginx = front(&origin, "ntlm 1;").await;
    let _alice = logged_in(&nginx, "alice", "/").await;
    let _bob = logged_in(&nginx, "bob", "/").await;
    told(&nginx, "1\" is reached");

    let nginx = front(&origin, "ntlm; ntlm_requests 2;").await;
    let (mut alice, _) = logged_in(&nginx, "alice", "/").await;
    alice.closed().await;
    told(&nginx, "is closed, \"ntlm_requests\" is reached");

    let nginx = front(&origin, "ntlm; ntlm_time 1ms;").await;
    let mut alice = Client::connect(&nginx).await;
    alice.login_in_one_leg("alice", "/").await;
    alice.get("/?delay=20").await;
    alice.closed().await;
    told(&nginx, "is closed, \"ntlm_time\" is reached");
}
