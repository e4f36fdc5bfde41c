//! Ways to name a group and its servers: variables, names that resolve anew, several groups, other families of addresses.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use ntlm_testkit::{Client, Endpoint, Nginx, Origin, within};
use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::{distinct, in_front, logged, logged_in, named, servers, stays, three};

/// A name server on loopback: every name has the address that it was last given.
struct Names {
    address: SocketAddr,
    answer: Arc<Mutex<Ipv4Addr>>,
    answered: watch::Receiver<Ipv4Addr>,
}

impl Names {
    async fn start(first: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(first));
        let (sender, answered) = watch::channel(Ipv4Addr::UNSPECIFIED);
        let current = answer.clone();
        tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut query).await {
                let now = *current.lock().unwrap();
                // RFC 1035 §4.1: the same id, an answer, one question repeated, one record of type A for a second.
                let mut reply =
                    [&query[..2], &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0], &query[12..length]].concat();
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
                reply.extend(now.octets());
                let _ = socket.send_to(&reply, client).await;
                sender.send_replace(now);
            }
        });
        Names { address, answer, answered }
    }

    /// Gives the names another address, and waits until nginx was told.
    async fn change(&mut self, address: Ipv4Addr) {
        *self.answer.lock().unwrap() = address;
        let told = self.answered.wait_for(|answered| *answered == address);
        within(told, || "nginx does not ask again".to_owned()).await.unwrap();
    }
}

#[tokio::test]
async fn bound_client_stays_when_its_server_name_moves() {
    if Nginx::binary().version() < (1, 27, 3) {
        // `resolve` is not in the open source edition yet.
        return;
    }
    let old = Origin::builder().name("old").start().await;
    let port = old.socket_addr().port();
    let there = Ipv4Addr::new(127, 0, 0, 2);
    let new = Origin::builder().name("new").listen((there, port).into()).start().await;
    let mut names = Names::start(Ipv4Addr::LOCALHOST).await;
    let nginx = in_front(&format!("zone backend 64k; server farm.example:{port} resolve; ntlm;"))
        .conf(&format!("resolver {} ipv6=off;", names.address))
        .start()
        .await;
    let answers_as = async |name: &str| {
        let answer = async {
            while Client::connect(&nginx).await.get("/public/").await.get("X-Origin") != Some(name) {}
        };
        within(answer, || format!("{name} does not answer")).await;
    };
    answers_as("old").await;
    let (mut alice, home) = logged_in(&nginx, "alice").await;
    names.change(there).await;
    answers_as("new").await;
    stays(&mut alice, "/still", &home).await;
    logged(&nginx, "GET /still", 200, &old.address(), "200").await;
    let (_, home) = logged_in(&nginx, "carol").await;
    assert_eq!(home.origin_name(), new.name());
}

#[tokio::test]
async fn variable_names_a_group_declared_later() {
    let origins = three().await;
    let nginx = Nginx::builder()
        .conf(&format!(
            "server {{ listen 127.0.0.1:{{{{port}}}}; set $group late; \
               location / {{ proxy_pass http://late; }} \
               location /variable/ {{ proxy_pass http://$group; }} }}\n\
             upstream late {{ {} ntlm; }}",
            servers(&origins, "")
        ))
        .start()
        .await;
    for first in ["/", "/variable/"] {
        let mut alice = Client::connect(&nginx).await;
        let home = alice.login("alice", first).await.pop().unwrap();
        for target in ["/", "/variable/", "/again", "/variable/again"] {
            stays(&mut alice, target, &home).await;
        }
    }
}

#[tokio::test]
async fn client_has_a_binding_in_each_group() {
    let [a, b, c] = three().await;
    let nginx = Nginx::builder()
        .conf(&format!(
            "upstream one {{ ntlm; server {}; }} upstream two {{ server {}; server {}; keepalive 8; ntlm; }}\n\
             server {{ listen 127.0.0.1:{{{{port}}}}; \
               location /one/ {{ proxy_pass http://one; }} location /two/ {{ proxy_pass http://two; }} }}",
            a.address(),
            b.address(),
            c.address()
        ))
        .start()
        .await;
    let mut client = Client::connect(&nginx).await;
    let one = client.login("alice", "/one/").await.pop().unwrap();
    assert_eq!(client.get("/two/").await.status, 401);
    let two = client.login("bob", "/two/").await.pop().unwrap();
    assert_eq!(one.origin_name(), "a");
    assert_ne!(two.origin_name(), "a");
    for i in 0..3 {
        stays(&mut client, &format!("/one/{i}"), &one).await;
        stays(&mut client, &format!("/two/{i}"), &two).await;
    }
    client.close().await;
    a.wait_closed(one.connection()).await;
    named(&[b, c], two.origin_name()).wait_closed(two.connection()).await;
}

#[tokio::test]
async fn unix_socket_and_ipv6_peers_and_clients_bind() {
    let origins = [
        Origin::builder().name("unix").unix().start().await,
        Origin::builder().name("ipv6").ipv6().start().await,
        Origin::builder().name("ipv4").start().await,
    ];
    let nginx = Nginx::builder()
        .conf(&format!(
            "upstream backend {{ {} ntlm; }}\n\
             server {{ listen 127.0.0.1:{{{{port}}}}; listen [::1]:{{{{port6}}}}; listen unix:{{{{prefix}}}}/front; \
               location / {{ proxy_pass http://backend; }} }}",
            servers(&origins, "")
        ))
        .start()
        .await;
    let unix = Endpoint::Unix(nginx.prefix().join("front"));
    for (front, endpoint) in [("ipv4", nginx.at("")), ("ipv6", nginx.at("v6")), ("unix", unix)] {
        let mut homes = Vec::new();
        // Each login takes one turn.
        for turn in 0..3 {
            let mut alice = Client::connect(&endpoint).await;
            let home = alice.login("alice", "/").await.pop().unwrap();
            let target = format!("/{front}/{turn}");
            stays(&mut alice, &target, &home).await;
            let address = named(&origins, home.origin_name()).address();
            logged(&nginx, &format!("GET {target}"), 200, &address, "200").await;
            homes.push(home.origin_name().to_owned());
        }
        assert_eq!(distinct(&homes), 3, "{homes:?}");
    }
}
