//! A balancer of requests in front of nginx, which puts several clients on one connection: what is safe there, and what
//! cannot work. Balancers of connections are `cargo xtask interop`'s.

use ntlm_testkit::client::Login;
use ntlm_testkit::{Client, Nginx, Origin, Request, password_of};

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

/// Requests of two users over one connection, as a balancer of requests sends them.
fn of(target: &str, user: &str) -> Request {
    Request::get(target).header("X-Forwarded-For", user)
}

const ALICE: &str = "192.0.2.1";
const BOB: &str = "192.0.2.2";

/// How one binding of two that share a client connection ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    WithItsAnswer,
    WithItsChallenge,
    WhileItWaits,
    ByItsTimeout,
}

#[tokio::test]
async fn end_of_one_users_binding_leaves_others_in_other_groups() {
    for (form, lines) in [
        (
            "groups",
            "upstream mail { server {{mail}}; ntlm; } upstream wiki { server {{wiki}}; ntlm; ntlm_timeout 300ms; } \
             server { listen 127.0.0.1:{{port}}; location /mail/ { proxy_pass http://mail; } \
             location /wiki/ { proxy_pass http://wiki; } }",
        ),
        (
            "sites",
            "server { listen 127.0.0.1:{{port}}; location /mail/ { proxy_ntlm on; proxy_pass http://{{mail}}; } \
             location /wiki/ { proxy_ntlm on timeout=300ms; proxy_pass http://{{wiki}}; } }",
        ),
    ] {
        for ends in [Ends::WithItsAnswer, Ends::WithItsChallenge, Ends::WhileItWaits, Ends::ByItsTimeout] {
            let (mail, wiki) = (Origin::start().await, Origin::start().await);
            let nginx = Nginx::builder()
                .set("mail", &mail.address())
                .set("wiki", &wiki.address())
                .conf(lines)
                .as_written()
                .start()
                .await;
            let mut proxy = Client::connect(&nginx).await;
            let login = Login::new("NTLM", "alice", &password_of("alice"));
            let bound = proxy.login_as(login, of("/mail/", ALICE)).await[1].connection();
            let bobs = |target, value: &str| of(target, BOB).header("Authorization", value);
            let first = Login::new("NTLM", "bob", "forged").first();
            let ended = match ends {
                Ends::WithItsAnswer => {
                    proxy.request(bobs("/wiki/?ignore&close=header", "NTLM Zm9yZ2Vk")).await
                }
                Ends::WithItsChallenge => proxy.request(bobs("/wiki/?close=challenge", &first)).await,
                Ends::WhileItWaits | Ends::ByItsTimeout => {
                    proxy.request(bobs("/wiki/?ignore", "NTLM Zm9yZ2Vk")).await
                }
            };
            if ends == Ends::WhileItWaits {
                wiki.close_connection(ended.connection()).await;
            }
            wiki.wait_closed(ended.connection()).await;
            let next = proxy.request(of("/mail/", ALICE)).await;
            assert_eq!((next.identity(), next.connection()), ("alice", bound), "{form} {ends:?}");
        }
    }
}

#[tokio::test]
async fn end_of_a_users_own_binding_closes_the_connection() {
    let (mail, wiki) = (Origin::start().await, Origin::start().await);
    let nginx = Nginx::builder()
        .set("mail", &mail.address())
        .set("wiki", &wiki.address())
        .conf(
            "upstream mail { server {{mail}}; ntlm; } upstream wiki { server {{wiki}}; ntlm; } \
             server { listen 127.0.0.1:{{port}}; location /mail/ { proxy_pass http://mail; } \
             location /wiki/ { proxy_pass http://wiki; } }",
        )
        .start()
        .await;
    let mut proxy = Client::connect(&nginx).await;
    let login = Login::new("NTLM", "alice", &password_of("alice"));
    proxy.login_as(login, of("/mail/", ALICE)).await;
    let request = of("/wiki/?ignore&close=header", ALICE).header("Authorization", "NTLM Zm9yZ2Vk");
    assert!(proxy.request(request).await.says_close());
}
