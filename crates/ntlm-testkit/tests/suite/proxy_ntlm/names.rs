//! Servers whose names a resolver knows.

use std::net::SocketAddr;

use ntlm_testkit::dns::Dns;
use ntlm_testkit::ports::Reserved;
use ntlm_testkit::{Client, Nginx, Origin, pause};

use super::two_clients_stay_apart;
use crate::common::{refuses, serves, ticket_of};

/// An nginx that passes everything to `app.test` at this port.
async fn nginx_for(dns: &Dns, port: u16) -> Nginx {
    Nginx::builder()
        .conf(&format!(
            "resolver {} ipv6=off valid=1s; resolver_timeout 5s; proxy_ntlm on;
             server {{ listen 127.0.0.1:{{{{port}}}}; set $backend http://app.test:{port};
                 location / {{ proxy_pass $backend; }} }}",
            dns.address()
        ))
        .start()
        .await
}

/// An origin, a resolver that knows it as `app.test`, and an nginx in front.
async fn named() -> (Origin, Dns, Nginx) {
    let (origin, dns) = (Origin::start().await, Dns::start().await);
    dns.set("app.test", &["127.0.0.1"]);
    let nginx = nginx_for(&dns, origin.socket_addr().port()).await;
    (origin, dns, nginx)
}

async fn origin_at(host: &str, port: u16) -> Origin {
    Origin::builder().name(host).listen(SocketAddr::new(host.parse().unwrap(), port)).start().await
}

#[tokio::test]
async fn dead_one_of_three_addresses_is_passed_over() {
    let (dns, port) = (Dns::start().await, Reserved::v4().unwrap());
    let _origins = [origin_at("127.0.0.1", port.port()).await, origin_at("127.0.0.2", port.port()).await];
    dns.set("app.test", &["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
    let nginx = nginx_for(&dns, port.port()).await;
    for _ in 0..6 {
        let mut alice = Client::connect(&nginx).await;
        refuses(&alice.get("/").await);
        let legs = alice.login("alice", "/").await;
        serves(&legs[1], "alice", legs[0].connection());
        serves(&alice.get("/").await, "alice", legs[0].connection());
    }
}

#[tokio::test]
async fn bound_client_stays_when_its_name_moves() {
    let (dns, port) = (Dns::start().await, Reserved::v4().unwrap());
    let (old, new) = (origin_at("127.0.0.1", port.port()).await, origin_at("127.0.0.2", port.port()).await);
    dns.set("app.test", &["127.0.0.1"]);
    let nginx = nginx_for(&dns, port.port()).await;
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login("alice", "/").await[1].connection();
    dns.set("app.test", &["127.0.0.2"]);
    let moved = async {
        while Client::connect(&nginx).await.get("/").await.get("X-Origin") != Some("127.0.0.2") {
            pause().await;
        }
    };
    ntlm_testkit::within(moved, || "the name does not move".to_owned()).await;
    serves(&alice.get("/").await, "alice", bound);
    let mut bob = Client::connect(&nginx).await;
    let legs = bob.login("bob", "/").await;
    serves(&bob.get("/").await, "bob", legs[1].connection());
    assert_eq!(legs[1].get("X-Origin"), Some("127.0.0.2"));
    // A binding that is over does not keep the old address.
    drop(old);
    let mut alice = Client::connect(&nginx).await;
    serves(
        &alice.login("alice", "/").await[1],
        "alice",
        new.connection_ids_open().into_iter().max().unwrap(),
    );
}

#[tokio::test]
async fn bound_client_goes_on_without_a_resolver() {
    let (_origin, dns, nginx) = named().await;
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login("alice", "/").await[1].connection();
    let questions = dns.questions();
    dns.stop();
    // Until nginx has forgotten the address.
    let forgotten = async {
        while Client::connect(&nginx).await.get("/").await.status != 502 {
            serves(&alice.get("/").await, "alice", bound);
            pause().await;
        }
    };
    ntlm_testkit::within(forgotten, || "nginx still knows the name".to_owned()).await;
    serves(&alice.get("/").await, "alice", bound);
    assert_eq!(dns.questions(), questions);
}

#[tokio::test]
async fn name_in_mixed_case_is_one_server() {
    let (origin, dns) = (Origin::start().await, Dns::start().await);
    let port = origin.socket_addr().port();
    dns.set("app.test", &["127.0.0.1"]);
    let nginx = Nginx::builder()
        .conf(&format!(
            "resolver {} ipv6=off; proxy_ntlm on; server {{ listen 127.0.0.1:{{{{port}}}};
                 location /a {{ set $a app.test; proxy_pass http://$a:{port}; }}
                 location /b {{ set $b APP.test; proxy_pass HTTP://$b:{port}; }} }}",
            dns.address()
        ))
        .start()
        .await;
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login("alice", "/a").await[1].connection();
    serves(&alice.get("/b").await, "alice", bound);
}

#[tokio::test]
async fn each_name_has_a_binding_of_its_own() {
    let (one, other, dns) = (Origin::start().await, Origin::start().await, Dns::start().await);
    let nginx = Nginx::builder()
        .conf(&format!(
            "resolver {} ipv6=off; proxy_ntlm on; server {{ listen 127.0.0.1:{{{{port}}}};
                 location ~ ^/(\\d+)/ {{ proxy_pass http://any.local.test:$1; }} }}",
            dns.address()
        ))
        .start()
        .await;
    let paths = [&one, &other].map(|origin| format!("/{}/", origin.socket_addr().port()));
    let mut client = Client::connect(&nginx).await;
    let alice = client.login("alice", &paths[0]).await[1].connection();
    let bob = client.login("bob", &paths[1]).await[1].connection();
    for _ in 0..2 {
        serves(&client.get(&paths[0]).await, "alice", alice);
        serves(&client.get(&paths[1]).await, "bob", bob);
    }
    assert_eq!((one.open_connections(), other.open_connections()), (1, 1));
}

#[tokio::test]
async fn name_over_tls_is_verified_by_its_name() {
    let (origin, dns) = (Origin::builder().tls().start().await, Dns::start().await);
    dns.set("localhost", &["127.0.0.1"]);
    let nginx = Nginx::builder()
        .conf(&format!(
            "resolver {} ipv6=off; proxy_ntlm on; server {{ listen 127.0.0.1:{{{{port}}}};
                 proxy_ssl_verify on; proxy_ssl_trusted_certificate {{{{ca}}}}; proxy_ssl_server_name on;
                 set $host_of localhost; location / {{ proxy_pass https://$host_of:{}; }} }}",
            dns.address(),
            origin.socket_addr().port()
        ))
        .start()
        .await;
    two_clients_stay_apart(&origin, &nginx).await;
    assert!(origin.ledger().iter().all(|entry| entry.sni.as_deref() == Some("localhost")));
}

#[tokio::test]
async fn ticket_without_a_token_in_the_answer_binds() {
    let (_origin, _dns, nginx) = named().await;
    let mut alice = Client::connect(&nginx).await;
    let first = alice.get_with("/?nomutual", "Authorization", &ticket_of("alice")).await;
    assert_eq!((first.status, first.get("WWW-Authenticate")), (200, None));
    serves(&alice.get("/").await, "alice", first.connection());
    refuses(&Client::connect(&nginx).await.get("/").await);
}

#[tokio::test]
async fn dead_binding_is_tried_again_at_its_address() {
    let (origin, dns, nginx) = named().await;
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login("alice", "/").await[1].connection();
    let questions = dns.questions();
    dns.stop();
    let target = "/?close=read";
    let response = alice.get(target).await;
    assert_eq!((response.status, response.says_close()), (502, true));
    let asked = origin.ledger().into_iter().filter(|entry| entry.target == target);
    let asked: Vec<u64> = asked.map(|entry| entry.connection).collect();
    assert_eq!((asked.len(), asked[0]), (2, bound), "{asked:?}");
    assert_eq!(dns.questions(), questions);
    let tried = format!("upstream_addr={0}, {0} ", origin.address());
    nginx.wait_access_log(|log| log.contains(&tried)).await;
}
