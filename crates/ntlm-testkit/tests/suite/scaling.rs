//! A balancer of requests in front of nginx, which puts several clients on one connection: what is safe there, and what
//! cannot work. Balancers of connections are `cargo xtask interop`'s.

use ntlm_testkit::{Client, Nginx, Origin};

/// An nginx with the module that learns the client's address from the balancer.
async fn behind(origin: &Origin) -> Nginx {
    let conf = format!(
        "set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;
         upstream backend {{ server {}; ntlm; }}
         server {{ listen 127.0.0.1:{{{{port}}}}; location / {{ proxy_pass http://backend; }} }}",
        origin.address()
    );
    Nginx::builder().conf(&conf).start().await
}

/// A balancer of requests in front of it: another nginx, without the module.
async fn balancer(behind: &Nginx, pool: &str, connection: &str) -> Nginx {
    let conf = format!(
        "upstream nginx {{ server {}; {pool} }}
         server {{
             listen 127.0.0.1:{{{{port}}}};
             location / {{
                 proxy_pass http://nginx;
                 proxy_http_version 1.1;
                 proxy_set_header Connection \"{connection}\";
                 proxy_set_header X-Forwarded-For $remote_addr;
             }}
         }}",
        behind.socket_addr("")
    );
    Nginx::builder().without_module().conf(&conf).start().await
}

/// A client of its own address.
async fn client(balancer: &Nginx, ip: &str) -> Client {
    Client::builder().source(ip).connect(balancer).await
}

/// The connections that `nginx` accepted.
fn accepted(nginx: &Nginx) -> usize {
    let log = nginx.access_log();
    let connections = log.lines().filter_map(|line| line.split(" connection=").nth(1)?.split(' ').next());
    connections.collect::<std::collections::BTreeSet<_>>().len()
}

#[tokio::test]
async fn clients_sharing_a_connection_differ_by_address() {
    if !Nginx::binary().has("with-http_realip_module") {
        return;
    }
    let origin = Origin::start().await;
    let nginx = behind(&origin).await;
    let front = balancer(&nginx, "keepalive 1;", "").await;
    let (mut alice, mut bob) = (client(&front, "127.0.0.11").await, client(&front, "127.0.0.12").await);
    let home = alice.login("alice", "/").await.pop().unwrap();
    assert_eq!((home.status, home.identity()), (200, "alice"));
    for _ in 0..3 {
        // Over the very connection on which Alice logged in.
        let response = bob.get("/").await;
        assert_eq!((response.status, response.identity()), (401, "anonymous"));
        let response = alice.get("/").await;
        assert_eq!((response.identity(), response.connection()), ("alice", home.connection()));
    }
    // And he logs in beside her.
    let bobs = bob.login("bob", "/").await.pop().unwrap();
    assert_eq!((bobs.status, bobs.identity()), (200, "bob"));
    assert_ne!(bobs.connection(), home.connection());
    assert_eq!(alice.get("/").await.identity(), "alice");
    assert_eq!(bob.get("/").await.identity(), "bob");
    nginx.wait_access_log(|log| log.lines().count() >= 12).await;
    assert_eq!(accepted(&nginx), 1, "the balancer did not mix its clients\n{}", nginx.access_log());
}

#[tokio::test]
async fn connection_per_request_lets_no_user_in() {
    let origin = Origin::start().await;
    let nginx = behind(&origin).await;
    // nginx pools connections by default since 1.29.7.
    let pool = if Nginx::binary().version() >= (1, 29, 7) { "keepalive 0;" } else { "" };
    let front = balancer(&nginx, pool, "close").await;
    let (mut alice, mut bob) = (client(&front, "127.0.0.11").await, client(&front, "127.0.0.12").await);
    for (client, user) in [(&mut alice, "alice"), (&mut bob, "bob")] {
        let challenge = client.leg1(user, "/").await;
        let refused = client.leg3(&challenge, "/").await;
        assert_eq!((refused.status, refused.identity()), (401, "anonymous"));
    }
    assert_eq!(bob.get("/").await.identity(), "anonymous");
    // Each of its connections took its binding along.
    for entry in origin.ledger().iter().filter(|entry| entry.scheme.is_some()) {
        origin.wait_closed(entry.connection).await;
    }
    assert!(origin.ledger().iter().all(|entry| entry.identity.is_none()), "{}", origin.ledger_text());
}
