//! Several locations and groups on one client connection, and locations that send credentials themselves.

use ntlm_testkit::client::kerberos_token;
use ntlm_testkit::{Client, Nginx, Origin, password_of};

use super::{assert_bound, assert_stranger, client, logged_in};

#[tokio::test]
async fn two_groups_hold_and_release_a_binding_each() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .conf(
            "upstream mail { server {{origin}}; ntlm; keepalive 8; } \
             upstream wiki { server {{origin}}; keepalive 8; ntlm; } \
             server { listen 127.0.0.1:{{port}}; \
             location /mail/ { proxy_pass http://mail; } location /wiki/ { proxy_pass http://wiki; } }",
        )
        .start()
        .await;
    let mut alice = Client::connect(&nginx).await;
    let mail = alice.login("alice", "/mail/").await[1].connection();
    assert_stranger(&mut alice, "/wiki/", mail).await;
    let wiki = alice.login("amelia", "/wiki/").await[1].connection();
    for _ in 0..3 {
        assert_bound(&mut alice, "/mail/", "alice", mail).await;
        assert_bound(&mut alice, "/wiki/", "amelia", wiki).await;
    }
    alice.close().await;
    let mut bob = Client::connect(&nginx).await;
    for path in ["/mail/", "/wiki/"] {
        for bound in [mail, wiki] {
            assert_stranger(&mut bob, path, bound).await;
        }
    }
    origin.wait_closed(mail).await;
    origin.wait_closed(wiki).await;
}

#[tokio::test]
async fn many_locations_of_one_group_share_one_binding() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .conf(
            "upstream exchange { server {{origin}}; ntlm; } \
             server { listen 127.0.0.1:{{port}}; set $exchange exchange; \
             location / { proxy_pass http://exchange; } \
             location /owa { proxy_pass http://exchange; proxy_http_version 1.1; proxy_set_header Connection ''; } \
             location /ews { proxy_pass http://exchange/moved; proxy_read_timeout 1h; } \
             location /mapi { proxy_pass http://exchange; proxy_buffering off; } \
             location /rpc { proxy_pass http://$exchange; proxy_request_buffering off; } \
             location /oab { proxy_pass http://exchange; proxy_set_header X-More yes; } }",
        )
        .start()
        .await;
    let (mut alice, bound) = logged_in(&nginx, "alice", "/").await;
    for path in ["/owa", "/ews", "/mapi", "/rpc", "/oab", "/"].repeat(3) {
        assert_bound(&mut alice, path, "alice", bound).await;
    }
    assert_eq!(origin.connection_ids_open(), [bound]);
}

#[tokio::test]
async fn credentials_from_a_location_taint_the_connection() {
    let origin = Origin::start().await;
    for line in ["Authorization", "AUTHORIZATION", "authorization"] {
        let nginx = Nginx::builder()
            .conf(&format!("proxy_set_header {line} $http_x_credentials;"))
            .in_front_of(&[&origin], "ntlm; keepalive 8;")
            .start()
            .await;
        let mut alice = Client::connect(&nginx).await;
        let ticket = format!("Negotiate {}", kerberos_token("alice", &password_of("alice")));
        // One leg, answered without a token: nothing but what was sent shows that the connection is hers.
        let response = alice.get_with("/?nomutual", "X-Credentials", &ticket).await;
        assert_eq!(response.identity(), "alice");
        for user in ["bob", "carol"] {
            let stranger = client(&nginx, user).await.get("/").await;
            assert_eq!(stranger.status, 401, "{line}");
            assert_ne!(stranger.connection(), response.connection());
        }
        let again = alice.get("/").await;
        assert_eq!((again.identity(), again.connection()), ("alice", response.connection()));
    }
}

#[tokio::test]
async fn credentials_from_a_location_taint_the_retry() {
    for tls in [false, true] {
        let origin = if tls { Origin::builder().tls().start().await } else { Origin::start().await };
        let nginx = Nginx::builder()
            .conf("proxy_set_header Authorization $http_x_credentials;")
            .in_front_of(&[&origin], "ntlm; keepalive 8;")
            .start()
            .await;
        let ticket = format!("Negotiate {}", kerberos_token("alice", &password_of("alice")));
        let mut alice = Client::connect(&nginx).await;
        let bound = alice.get_with("/?nomutual", "X-Credentials", &ticket).await.connection();
        let again = alice.get_with("/?nomutual&close=reused", "X-Credentials", &ticket).await;
        assert_eq!(again.identity(), "alice");
        assert_ne!(again.connection(), bound);
        let stranger = client(&nginx, "bob").await.get("/").await;
        assert_eq!(stranger.status, 401, "{stranger:?}");
        assert_ne!(stranger.connection(), again.connection());
    }
}

/// nginx reads no header of such a request, so that its list of fields is not there.
#[tokio::test]
async fn request_without_a_header_is_no_trouble() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder().in_front_of(&[&origin], "ntlm;").start().await;
    let worker = nginx.worker_pids();
    let mut alice = Client::connect(&nginx).await;
    alice.get_with("/", "Proxy-Authorization", "NTLM x").await;
    let mut old = Client::connect(&nginx).await;
    old.send_raw(b"GET /public/\r\n").await;
    assert_eq!(old.read_raw(9).await, b"anonymous");
    assert_eq!(nginx.worker_pids(), worker);
    nginx.stop().await;
}
