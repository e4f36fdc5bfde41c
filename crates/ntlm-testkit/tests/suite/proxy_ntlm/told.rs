//! Status, diagnoses and variables under `proxy_ntlm`.

use ntlm_testkit::dns::Dns;
use ntlm_testkit::{Client, Nginx, Origin};
use serde_json::Value;

use super::nginx_with;
use crate::common::login_of;

/// The groups of the status.
async fn groups(nginx: &Nginx) -> Vec<Value> {
    let status = Client::connect(nginx).await.get("/status").await.text();
    let status: Value = serde_json::from_str(&status).unwrap_or_else(|error| panic!("{error}: {status}"));
    status["groups"].as_array().unwrap().clone()
}

fn named<'a>(groups: &'a [Value], name: &str) -> &'a Value {
    groups.iter().find(|group| group["name"] == name).unwrap_or_else(|| panic!("no {name} in {groups:?}"))
}

#[tokio::test]
async fn status_has_each_place_with_its_servers() {
    let (one, other) = (Origin::start().await, Origin::start().await);
    let nginx = Nginx::builder()
        .conf(
            "server { listen 127.0.0.1:{{port}}; server_name files.example; location = /status { ntlm_status; }
                 location ~ ^/(\\d+)/ { proxy_ntlm on connections=7 timeout=90s; proxy_pass http://127.0.0.1:$1; }
                 location /off { proxy_ntlm off; } }
             server { listen 127.0.0.1:{{port:second}}; server_name files.example; proxy_ntlm on; }
             server { listen 127.0.0.1:{{port:third}}; server_name files.example; proxy_ntlm on; }
             proxy_ntlm on;",
        )
        .start()
        .await;
    let mut alice = Client::connect(&nginx).await;
    for origin in [&one, &other] {
        let path = format!("/{}/", origin.socket_addr().port());
        alice.login("alice", &path).await;
        alice.get(&path).await;
    }
    let groups = groups(&nginx).await;
    let names: Vec<&str> = groups.iter().map(|group| group["name"].as_str().unwrap()).collect();
    let place = "files.example^/(\\d+)/";
    for name in [place, "files.example", "files.example #2", "http"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!(names.len(), 4, "{names:?}");
    let place = named(&groups, place);
    assert_eq!((&place["connections"], &place["timeout_msec"]), (&7.into(), &90_000.into()));
    assert_eq!((&place["bound"], &place["reused"]), (&2.into(), &4.into()));
    assert_eq!(place["handshakes"]["NTLMv2"]["accepted"], 2);
    let servers: Vec<(String, u64)> = place["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|server| (server["name"].as_str().unwrap().to_owned(), server["bound"].as_u64().unwrap()))
        .collect();
    let expected =
        [&one, &other].map(|origin| (format!("http://127.0.0.1:{}", origin.socket_addr().port()), 1));
    assert_eq!(servers, expected);
    assert_eq!(place["other_servers_bound"], 0);
}

#[tokio::test]
async fn status_names_no_more_than_sixteen_servers() {
    let (origin, dns) = (Origin::start().await, Dns::start().await);
    let nginx = nginx_with(
        &origin,
        &format!(
            "resolver {} ipv6=off; server {{ listen 127.0.0.1:{{{{port}}}}; location = /status {{ ntlm_status; }}
                 location ~ ^/(\\w+)/ {{ proxy_ntlm on; proxy_pass http://$1.local.test:{{{{origin_port}}}}; }} }}",
            dns.address()
        ),
    )
    .await;
    let mut alice = Client::connect(&nginx).await;
    for _ in 0..2 {
        for name in 'a'..='r' {
            alice.login("alice", &format!("/{name}/")).await;
        }
    }
    let groups = groups(&nginx).await;
    let servers = groups[0]["servers"].as_array().unwrap();
    assert_eq!(servers.len(), 16);
    assert_eq!(servers[15]["name"], format!("http://p.local.test:{}", origin.socket_addr().port()));
    // The second login goes over the binding of the first.
    assert!(servers.iter().all(|server| server["bound"] == 1));
    assert_eq!(groups[0]["other_servers_bound"], 2);
}

#[tokio::test]
async fn diagnoses_name_the_place_and_the_line() {
    let origin = Origin::start().await;
    let nginx = nginx_with(
        &origin,
        "server { listen 127.0.0.1:{{port}}; server_name files.example; set $server {{origin}};
             location /in { proxy_ntlm on connections=1; proxy_pass http://$server; }
             location /out { proxy_pass http://$server; } }",
    )
    .await;
    let mut carol = Client::connect(&nginx).await;
    carol.leg1("carol", "/out").await;
    let remedy = "is in no \"upstream\" block with \"ntlm\", so no login can finish: write \"proxy_ntlm on;\" beside \"proxy_pass\"";
    nginx.wait_log(|log| log.contains(remedy)).await;
    let (mut alice, mut bob) = (Client::connect(&nginx).await, Client::connect(&nginx).await);
    alice.login("alice", "/in").await;
    bob.login("bob", "/in").await;
    nginx
        .wait_log(|log| {
            log.contains("closed to make room for another's in \"proxy_ntlm\" of \"files.example/in\": raise")
                && log.contains("\"proxy_ntlm on connections=1\" is reached")
        })
        .await;
}

#[tokio::test]
async fn variables_tell_of_a_binding_to_a_name() {
    let (origin, dns) = (Origin::start().await, Dns::start().await);
    let nginx = Nginx::builder()
        .conf(&format!(
            "resolver {} ipv6=off; proxy_ntlm on; server {{ listen 127.0.0.1:{{{{port}}}}; set $name app.local.test;
                 add_header X-Binding \"$ntlm_binding $ntlm_requests $ntlm_user $ntlm_refused_user\" always;
                 location / {{ proxy_pass http://$name:{}; }} }}",
            dns.address(),
            origin.socket_addr().port()
        ))
        .start()
        .await;
    let mut alice = Client::connect(&nginx).await;
    let told = |response: &ntlm_testkit::Response| response.get("X-Binding").unwrap_or_default().to_owned();
    assert_eq!(told(&alice.get("/").await), "- - - -");
    let legs = alice.login_as(login_of("alice"), ntlm_testkit::Request::get("/")).await;
    assert_eq!(legs.iter().map(told).collect::<Vec<_>>(), ["- - - -", "reused 2 alice -"]);
    assert_eq!(told(&alice.get("/").await), "reused 3 alice -");
}
