//! Several servers: a client stays on the one it authenticated at, and the balancer never hears of its requests. How
//! groups and servers may be named is in `naming`.

mod naming;

use std::collections::BTreeSet;

use ntlm_testkit::client::Response;
use ntlm_testkit::nginx::Builder;
use ntlm_testkit::{Client, Nginx, Origin, Request};

/// Three origins: `a`, `b` and `c`.
async fn three() -> [Origin; 3] {
    [
        Origin::builder().name("a").start().await,
        Origin::builder().name("b").start().await,
        Origin::builder().name("c").start().await,
    ]
}

fn named<'a>(origins: &'a [Origin], name: &str) -> &'a Origin {
    origins.iter().find(|origin| origin.name() == name).unwrap()
}

/// A `server` line for each of these origins.
fn servers(origins: &[Origin], parameters: &str) -> String {
    origins.iter().map(|origin| format!("server {} {parameters};\n", origin.address())).collect()
}

/// One server in front of a group `backend` of these lines.
fn in_front(group: &str) -> Builder {
    Nginx::builder().conf(&format!(
        "upstream backend {{ {group} }}\n\
         server {{ listen 127.0.0.1:{{{{port}}}}; location / {{ proxy_pass http://backend; }} }}"
    ))
}

/// A client that has just logged in as `user`, and the last response.
async fn logged_in(nginx: &Nginx, user: &str) -> (Client, Response) {
    let mut client = Client::connect(nginx).await;
    let home = client.login(user, "/login").await.pop().unwrap();
    (client, home)
}

/// The next request goes where the client authenticated, as whom it authenticated.
async fn stays(client: &mut Client, target: &str, home: &Response) {
    let response = client.get(target).await;
    assert_eq!(response.status, 200, "{target}: {response:?}");
    assert_eq!(response.identity(), home.identity(), "{target}");
    assert_eq!(response.connection(), home.connection(), "{target}");
    assert_eq!(response.origin_name(), home.origin_name(), "{target}");
}

/// The names of the servers that answer `count` anonymous requests.
async fn turns(nginx: &Nginx, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..count {
        let response = Client::connect(nginx).await.get("/public/turn").await;
        assert_eq!(response.status, 200, "{response:?}");
        names.push(response.origin_name().to_owned());
    }
    names
}

fn distinct(names: &[String]) -> usize {
    names.iter().collect::<BTreeSet<_>>().len()
}

/// Waits until a request is in the access log with this status, address and status of its upstream.
async fn logged(nginx: &Nginx, request: &str, status: u16, address: &str, upstream_status: &str) {
    let start = format!("\"{request} HTTP/1.1\" ");
    nginx.wait_access_log(|log| log.lines().any(|line| line.starts_with(&start))).await;
    let expected =
        format!("{start}status={status} upstream_addr={address} upstream_status={upstream_status} ");
    assert!(nginx.access_log().contains(&expected), "no {expected}\n{}", nginx.access_log());
}

/// Whether this nginx knows a directive of the `upstream` block.
async fn knows(directive: &str) -> bool {
    let conf = format!("upstream u {{ {directive} server 127.0.0.1:1; server 127.0.0.1:2; }}");
    Nginx::builder().without_module().conf(&conf).config_test().await.exit == Some(0)
}

// Every balancer.

#[tokio::test]
async fn bound_client_stays_under_every_balancer() {
    let origins = three().await;
    let mut methods = vec![
        "",
        "least_conn;",
        "ip_hash;",
        "hash $request_uri;",
        "hash $request_uri consistent;",
        "random;",
        "random two;",
    ];
    // Not in every nginx, nor in every edition.
    for optional in ["sticky cookie srv;", "least_time header;"] {
        if knows(optional).await {
            methods.push(optional);
        }
    }
    let orders = [
        "ntlm; METHOD SERVERS",
        "METHOD SERVERS ntlm;",
        "METHOD ntlm; keepalive 8; SERVERS",
        "METHOD SERVERS keepalive 8; ntlm;",
        "ntlm; keepalive 8; METHOD SERVERS",
        "zone ZONE 64k; METHOD SERVERS keepalive 8; ntlm;",
        "METHOD SERVERS ntlm; keepalive 8; zone ZONE 64k;",
    ];
    let [a, b, c] = origins.each_ref().map(Origin::address);
    let weighted = format!("server {a} weight=3; server {b}; server {c} weight=2;");
    let mut groups = Vec::new();
    for method in methods {
        for order in orders {
            groups.push(order.replace("METHOD", method).replace("ZONE", &format!("z{}", groups.len())));
        }
    }
    let (mut upstreams, mut locations) = (String::new(), String::new());
    for (number, group) in groups.iter().enumerate() {
        upstreams += &format!("upstream g{number} {{ {} }}\n", group.replace("SERVERS", &weighted));
        locations += &format!("location /{number}/ {{ proxy_pass http://g{number}/; }}\n");
    }
    let nginx = Nginx::builder()
        .conf(&format!("{upstreams} server {{ listen 127.0.0.1:{{{{port}}}}; {locations} }}"))
        .start()
        .await;

    for (number, group) in groups.iter().enumerate() {
        println!("group {number}: {group}");
        let mut bob = Client::connect(&nginx).await;
        for i in 0..3 {
            assert_eq!(bob.get(&format!("/{number}/public/{i}")).await.identity(), "anonymous");
        }
        let mut alice = Client::connect(&nginx).await;
        let home = alice.login("alice", &format!("/{number}/")).await.pop().unwrap();
        let address = named(&origins, home.origin_name()).address();
        for i in 0..4 {
            let foreign = bob.get(&format!("/{number}/public/{i}")).await;
            assert_ne!(foreign.connection(), home.connection());
            let target = format!("/{number}/page/{i}");
            stays(&mut alice, &target, &home).await;
            logged(&nginx, &format!("GET {target}"), 200, &address, "200").await;
        }
    }
    nginx.stop().await;
}

#[tokio::test]
async fn foreign_sticky_cookie_does_not_move_bound_client() {
    if !knows("sticky cookie srv;").await {
        return;
    }
    let origins = three().await;
    let nginx = in_front(&format!("{} sticky cookie srv; ntlm;", servers(&origins, ""))).start().await;
    let (mut alice, home) = logged_in(&nginx, "alice").await;
    let mut moved = 0;
    for _ in 0..3 {
        let mut bob = Client::connect(&nginx).await;
        let first = bob.get("/public/").await;
        let cookie = first.get("Set-Cookie").unwrap().split(';').next().unwrap().to_owned();
        assert_eq!(bob.get_with("/public/", "Cookie", &cookie).await.origin_name(), first.origin_name());
        moved += usize::from(first.origin_name() != home.origin_name());
        let response = alice.get_with("/", "Cookie", &cookie).await;
        assert_eq!((response.identity(), response.connection()), ("alice", home.connection()));
    }
    assert_eq!(moved, 2);
}

#[tokio::test]
async fn bound_requests_use_no_turn_of_the_balancer() {
    for lines in
        ["ntlm;", "ntlm; keepalive 8;", "keepalive 8; ntlm;", "least_conn; ntlm;", "zone z 64k; ntlm;"]
    {
        let origins = three().await;
        let nginx = in_front(&format!("{} {lines}", servers(&origins, ""))).start().await;
        let (mut alice, home) = logged_in(&nginx, "alice").await;
        let mut names = Vec::new();
        for turn in 0..9 {
            names.extend(turns(&nginx, 1).await);
            for i in 0..=turn % 2 {
                stays(&mut alice, &format!("/{turn}/{i}"), &home).await;
            }
        }
        assert_eq!(distinct(&names[..3]), 3, "{lines} {names:?}");
        assert_eq!(names[..3], names[3..6], "{lines} {names:?}");
        assert_eq!(names[..3], names[6..], "{lines} {names:?}");
    }
}

#[tokio::test]
async fn bound_request_in_flight_adds_no_server_load() {
    let origins = three().await;
    let nginx = in_front(&format!("least_conn; {} ntlm;", servers(&origins, ""))).start().await;
    let (mut alice, home) = logged_in(&nginx, "alice").await;
    alice.send(Request::get("/slow?gate=slow")).await;
    let origin = named(&origins, home.origin_name());
    origin.wait_gate("slow").await;
    let names = turns(&nginx, 6).await;
    assert_eq!(names.iter().filter(|name| *name == home.origin_name()).count(), 2, "{names:?}");
    origin.open_gate("slow");
    assert_eq!(alice.read_response().await.connection(), home.connection());
}

// The access log.

#[tokio::test]
async fn access_log_names_server_of_ended_binding() {
    let origins = three().await;
    let list = servers(&origins, "");
    let nginx = in_front(&format!("{list} ntlm;"))
        .conf(&format!(
            "upstream capped {{ {list} ntlm; ntlm_requests 3; }}\n\
             server {{ listen 127.0.0.1:{{{{port:capped}}}}; location / {{ proxy_pass http://capped; }} }}"
        ))
        .start()
        .await;
    for (port, query, status) in [
        ("", "close=after", 200),
        ("", "close=header", 200),
        ("", "delimit=close", 200),
        ("", "http10&status=404", 404),
        ("", "logout", 401),
        ("", "upgrade", 101),
        ("capped", "capped", 200),
    ] {
        let mut alice = Client::connect(nginx.at(port)).await;
        let home = alice.login("alice", "/").await.pop().unwrap();
        let target = format!("/ends?{query}");
        let request = Request::get(&target).header("Connection", "Upgrade").header("Upgrade", "echo");
        let response = alice.request(request).await;
        assert_eq!((response.status, response.connection()), (status, home.connection()), "{query}");
        drop(alice);
        let address = named(&origins, response.origin_name()).address();
        logged(&nginx, &format!("GET {target}"), status, &address, &status.to_string()).await;
    }
}

#[tokio::test]
async fn access_log_names_servers_tried_after_lost_binding() {
    let origins = three().await;
    let list = servers(&origins, "max_fails=0");
    for (lines, query) in [
        ("ntlm;", "rst=read"),
        ("ntlm;", "close=read"),
        ("least_conn; zone z 64k; ntlm;", "rst=read"),
        ("ip_hash; ntlm;", "rst=read"),
        ("hash $request_uri; ntlm;", "rst=read"),
        ("hash $request_uri consistent; ntlm;", "rst=read"),
        ("random; ntlm;", "close=read"),
        ("random two; ntlm; keepalive 8;", "rst=read"),
    ] {
        let nginx = in_front(&format!("{lines} {list}")).start().await;
        let (mut alice, home) = logged_in(&nginx, "alice").await;
        for origin in &origins {
            origin.clear_ledger();
        }
        let target = format!("/dies?{query}");
        assert_eq!(alice.get(&target).await.status, 502);
        let start = format!("\"GET {target} ");
        nginx.wait_access_log(|log| log.lines().any(|line| line.starts_with(&start))).await;
        let log = nginx.access_log();
        let line = log.lines().find(|line| line.starts_with(&start)).unwrap();
        let (_, rest) = line.split_once("upstream_addr=").unwrap();
        let (addresses, rest) = rest.split_once(" upstream_status=").unwrap();
        let addresses: Vec<&str> = addresses.split(", ").collect();
        assert_eq!(addresses[0], named(&origins, home.origin_name()).address(), "{line}");
        for origin in &origins {
            let address = origin.address();
            let tried = addresses.iter().filter(|tried| **tried == address).count();
            assert_eq!(tried, origin.ledger().len(), "{line}\n{}", origin.ledger_text());
            assert_ne!(tried, 0, "{line}");
        }
        assert_eq!(addresses.len(), 4, "{line}");
        assert!(rest.starts_with("502, 502, 502, 502 "), "{line}");
    }
}

// Servers that fail.

#[tokio::test]
async fn lost_binding_is_charged_to_no_server() {
    let origins = three().await;
    let list = servers(&origins, "max_fails=1 fail_timeout=1h");
    let nginx = in_front(&format!("{list} ntlm;")).start().await;
    for round in 0..3 {
        let (mut alice, home) = logged_in(&nginx, "alice").await;
        // It must not be sent again, so it fails with its connection.
        let target = format!("/dies/{round}?rst=read");
        assert_eq!(alice.post(&target, "once").await.status, 502);
        alice.close().await;
        let address = named(&origins, home.origin_name()).address();
        logged(&nginx, &format!("POST {target}"), 502, &address, "502").await;
    }
    assert_eq!(distinct(&turns(&nginx, 3).await), 3);
}

#[tokio::test]
async fn retry_after_lost_binding_charges_the_failing_server() {
    let origins = three().await;
    let list = servers(&origins, "max_fails=1 fail_timeout=1h");
    let nginx = in_front(&format!("{list} ntlm;")).start().await;
    let (mut alice, home) = logged_in(&nginx, "alice").await;
    assert_eq!(alice.get("/dies?rst=read").await.status, 502);
    for origin in &origins {
        let tried = 1 + usize::from(origin.name() == home.origin_name());
        assert_eq!(origin.ledger().iter().filter(|entry| entry.status == 0).count(), tried);
    }
    assert_eq!(Client::connect(&nginx).await.get("/public/").await.status, 502);
}

#[tokio::test]
async fn login_passes_over_a_dead_server() {
    let origins = three().await;
    origins[0].stop().await;
    for lines in ["ntlm;", "least_conn; ntlm;", "ip_hash; ntlm; keepalive 8;", "random; ntlm;"] {
        let list = servers(&origins, "max_fails=0");
        let nginx = in_front(&format!("{lines} {list}")).start().await;
        for round in 0..4 {
            let (mut alice, home) = logged_in(&nginx, "alice").await;
            assert_ne!(home.origin_name(), "a", "{lines}");
            stays(&mut alice, &format!("/{round}"), &home).await;
        }
    }
}

#[tokio::test]
async fn client_of_backup_stays_when_primaries_return() {
    let origins = three().await;
    let [a, b, c] = origins.each_ref().map(Origin::address);
    let nginx =
        in_front(&format!("ntlm; server {a} max_fails=0; server {b} max_fails=0; server {c} backup;"))
            .start()
            .await;
    let (_, first) = logged_in(&nginx, "first").await;
    assert_ne!(first.origin_name(), "c");
    origins[0].stop().await;
    origins[1].stop().await;
    let (mut alice, home) = logged_in(&nginx, "alice").await;
    assert_eq!(home.origin_name(), "c");
    origins[0].start_again().await;
    origins[1].start_again().await;
    let mut names = turns(&nginx, 4).await;
    names.sort();
    assert_eq!(names, ["a", "a", "b", "b"]);
    stays(&mut alice, "/", &home).await;
}

#[tokio::test]
async fn bound_client_is_served_without_a_live_peer() {
    let origins = three().await;
    let list = servers(&origins, "max_fails=1 fail_timeout=1h");
    for lines in ["ntlm;", "least_conn; ntlm;", "hash $request_uri; ntlm;", "random two; keepalive 8; ntlm;"]
    {
        let nginx = in_front(&format!("{lines} {list}")).start().await;
        let (mut alice, home) = logged_in(&nginx, "alice").await;
        let mut bob = Client::connect(&nginx).await;
        // Tried at every server, until none is left.
        while !nginx.error_log().contains("no live upstreams") {
            assert_eq!(bob.get("/public/?rst=read").await.status, 502);
        }
        assert_eq!(bob.get("/public/").await.status, 502);
        stays(&mut alice, "/still", &home).await;
        let address = named(&origins, home.origin_name()).address();
        logged(&nginx, "GET /still", 200, &address, "200").await;
    }
}

#[tokio::test]
async fn bound_client_is_served_at_max_conns() {
    let origin = Origin::start().await;
    for lines in ["ntlm;", "zone z 64k; ntlm;", "ntlm; keepalive 8;"] {
        origin.close_gate("full");
        let nginx = in_front(&format!("server {} max_conns=1; {lines}", origin.address())).start().await;
        let (mut alice, home) = logged_in(&nginx, "alice").await;
        let mut bob = Client::connect(&nginx).await;
        bob.send(Request::get("/public/?gate=full")).await;
        origin.wait_gate("full").await;
        assert_eq!(Client::connect(&nginx).await.get("/public/").await.status, 502, "{lines}");
        stays(&mut alice, "/", &home).await;
        origin.open_gate("full");
        assert_eq!(bob.read_response().await.status, 200);
        // Alice's parked connection does not count.
        assert_eq!(bob.get("/public/").await.status, 200, "{lines}");
    }
}

// Servers that come and go.

#[tokio::test]
async fn server_marked_down_by_reload_gets_no_login() {
    let origins = three().await;
    let nginx = in_front(&format!("{} ntlm;", servers(&origins, ""))).start().await;
    let (mut alice, home) = logged_in(&nginx, "alice").await;
    let origin = named(&origins, home.origin_name());
    alice.send(Request::get("/slow?gate=slow")).await;
    origin.wait_gate("slow").await;
    let list: String = origins
        .iter()
        .map(|other| {
            let down = if other.name() == origin.name() { "down" } else { "" };
            format!("server {} {down};", other.address())
        })
        .collect();
    nginx.rewrite(&in_front(&format!("{list} ntlm;")));
    nginx.reload().await;
    for round in 0..4 {
        let (mut carol, new_home) = logged_in(&nginx, "carol").await;
        assert_ne!(new_home.origin_name(), origin.name());
        stays(&mut carol, &format!("/{round}"), &new_home).await;
    }
    origin.open_gate("slow");
    let response = alice.read_response().await;
    assert_eq!((response.identity(), response.connection()), ("alice", home.connection()));
    assert!(response.says_close(), "{response:?}");
    alice.closed().await;
    origin.wait_closed(home.connection()).await;
}
