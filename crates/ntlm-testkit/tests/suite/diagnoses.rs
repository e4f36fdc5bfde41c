//! The log tells the cause that keeps logins from finishing, with its remedy and not too often.

use ntlm_testkit::client::http2;
use ntlm_testkit::client::{Login, kerberos_token};
use ntlm_testkit::{Client, Nginx, Origin, Request, password_of};

use crate::common::{front, login_of};

mod mistakes;
mod remedies;

/// Waits until the log tells of a trouble, and sees that it names the group and the remedy, and is told once.
async fn told(nginx: &Nginx, trouble: &str, remedy: &str) {
    nginx.wait_log(|log| log.contains(trouble)).await;
    let log = nginx.error_log();
    let lines: Vec<_> =
        log.lines().filter(|line| line.contains(" ntlm: ") && line.contains("in upstream")).collect();
    let [line] = lines[..] else { panic!("not one trouble but {lines:#?}") };
    assert!(line.contains("[warn]") && line.contains(trouble), "{line}");
    assert!(line.contains("in upstream \"backend\": ") && line.contains(remedy), "{line}");
    // nginx's own words behind a message are no part of the remedy.
    let (sentence, nginx_says) = line.split_once("; seen").expect("an end of the sentence");
    assert!(sentence.contains(remedy), "{line}");
    assert!(nginx_says.starts_with(" while ") || nginx_says.starts_with(", client: "), "{line}");
    assert!(nginx_says.contains("client: 127.0.0.1"), "{line}");
}

fn troubles(nginx: &Nginx) -> usize {
    nginx.error_log().matches("in upstream \"").count()
}

#[tokio::test]
async fn a_login_that_finishes_is_no_trouble() {
    let (origin, nginx) = front("ntlm;").await;
    let mut alice = Client::connect(&nginx).await;
    alice.login("alice", "/").await;
    alice.login_with("NTLM", "alice", "wrong", "/").await;
    alice.login("alice", "/").await;
    alice.post("/", "hello").await;
    let mut bob = Client::connect(&nginx).await;
    bob.login_as(Login::new("Negotiate", "bob", &password_of("bob")).in_legs(5), Request::get("/?legs=5"))
        .await;
    bob.close().await;
    origin.wait_open_connections(1).await;
    assert_eq!(troubles(&nginx), 0, "{}", nginx.error_log());
}

#[tokio::test]
async fn custom_connection_field_is_diagnosed() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .conf("proxy_set_header Connection \"TE, close\";")
        .in_front_of(&[&origin], "ntlm;")
        .start()
        .await;
    for _ in 0..3 {
        Client::connect(&nginx).await.leg1("alice", "/").await;
    }
    // The origin closes because it is told to, and is not blamed.
    told(&nginx, "with \"Connection: close\"", "remove \"proxy_set_header Connection\"").await;
}

#[tokio::test]
async fn origin_closing_after_its_challenge_is_diagnosed() {
    for how in ["challenge", "silent"] {
        let (_origin, nginx) = front("ntlm;").await;
        for _ in 0..2 {
            let mut alice = Client::connect(&nginx).await;
            alice.leg1("alice", &format!("/?close={how}")).await;
            alice.closed().await;
        }
        told(&nginx, "the origin closes its connection after the challenge", "keep its connections alive")
            .await;
    }
}

#[tokio::test]
async fn page_for_other_answers_is_not_the_trouble() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .conf("proxy_buffering off; proxy_intercept_errors on; error_page 404 /nowhere;")
        .in_front_of(&[&origin], "ntlm;")
        .start()
        .await;
    Client::connect(&nginx).await.leg1("alice", "/?close=challenge").await;
    told(&nginx, "the origin closes its connection after the challenge", "keep its connections alive").await;
}

#[tokio::test]
async fn close_after_a_refusal_is_no_trouble() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder().in_front_of(&[&origin], "ntlm;").start().await;
    let mut mallory = Client::connect(&nginx).await;
    let refused = mallory.login_with("NTLM", "alice", "wrong", "/").await;
    origin.close_connection(refused[1].connection()).await;
    mallory.closed().await;
    assert_eq!(troubles(&nginx), 0, "{}", nginx.error_log());
}

#[tokio::test]
async fn page_in_place_of_challenge_is_diagnosed() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .conf("proxy_intercept_errors on; error_page 401 /sorry;")
        .in_front_of(&[&origin], "ntlm;")
        .start()
        .await;
    let mut alice = Client::connect(&nginx).await;
    alice.get_with("/", "Authorization", "NTLM TlRMTVNTUAABAAAAB4IIAAAAAAAAAAAAAAAAAAAAAAA=").await;
    told(
        &nginx,
        "\"error_page\" replaces the origin's answer",
        "remove the answer's code from \"error_page\"",
    )
    .await;
}

#[tokio::test]
async fn page_in_place_of_any_answer_is_diagnosed() {
    for status in [403, 404, 500] {
        let origin = Origin::start().await;
        let nginx = Nginx::builder()
            .conf(&format!("proxy_intercept_errors on; error_page {status} /sorry;"))
            .in_front_of(&[&origin], "ntlm;")
            .start()
            .await;
        let mut alice = Client::connect(&nginx).await;
        alice.login("alice", "/").await;
        alice.get(&format!("/?status={status}")).await;
        told(&nginx, "\"error_page\" replaces the origin's answer", "remove the answer's code").await;
    }
}

#[tokio::test]
async fn client_connection_closed_after_challenge_is_diagnosed() {
    for lines in ["keepalive_timeout 0;", "keepalive_requests 1;"] {
        let origin = Origin::start().await;
        let nginx = Nginx::builder().conf(lines).in_front_of(&[&origin], "ntlm;").start().await;
        assert!(Client::connect(&nginx).await.leg1("alice", "/").await.says_close());
        told(&nginx, "the client connection is closed after the challenge", "\"keepalive_timeout\"").await;
    }
}

#[tokio::test]
async fn refusal_on_a_closing_connection_is_no_trouble() {
    let (_origin, nginx) = front("ntlm;").await;
    let ticket = format!("Negotiate {}", kerberos_token("alice", "wrong"));
    let request = Request::get("/").header("Connection", "close").header("Authorization", &ticket);
    let response = Client::connect(&nginx).await.request(request).await;
    assert!(response.status == 401 && response.says_close());
    assert_eq!(troubles(&nginx), 0, "{}", nginx.error_log());
}

#[tokio::test]
async fn client_leaving_before_whole_challenge_is_no_trouble() {
    let (origin, nginx) = front("ntlm;").await;
    let mut alice = Client::connect(&nginx).await;
    let first = format!("NTLM {}", Login::new("NTLM", "alice", "").first().split(' ').nth(1).unwrap());
    alice.send(Request::get("/?gate_body=slow").header("Authorization", &first)).await;
    origin.wait_gate("slow").await;
    alice.abort();
    origin.wait_open_connections(0).await;
    assert_eq!(troubles(&nginx), 0, "{}", nginx.error_log());
}

/// An origin, and an nginx in front of it that speaks HTTP/2, with these lines in its group.
async fn over_http2(group: &str) -> (Origin, Nginx) {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .set("group", group)
        .conf(
            "upstream backend { server {{origin}}; ntlm; {{group}} } \
             server { listen 127.0.0.1:{{port}}; listen 127.0.0.1:{{port:h2}} http2; location / { proxy_pass http://backend; } }",
        )
        .allow_log("the \"listen ... http2\" directive is deprecated")
        .start()
        .await;
    (origin, nginx)
}

#[tokio::test]
async fn requests_at_once_over_http2_are_diagnosed() {
    let (origin, nginx) = over_http2("").await;
    let alice = http2::Client::connect(nginx.at("h2")).await;
    alice.login("alice", "/").await;
    assert_eq!(alice.get("/").await.status, 200);
    assert_eq!(troubles(&nginx), 0, "one after the other they are no trouble");
    tokio::join!(alice.get("/?gate=slow"), async {
        origin.wait_gate("slow").await;
        assert_eq!(alice.get("/public/").await.status, 200);
        // It has a body, so it is refused.
        assert_eq!(alice.request(Request::post("/", "body")).await.status, 401);
        origin.open_gate("slow");
    });
    told(&nginx, "because they came at once over one HTTP/2", "set \"http2 off\", and no \"quic\",").await;
    assert_eq!(troubles(&nginx), 1);
}

#[tokio::test]
async fn login_begun_anew_over_each_connection_of_http2_is_diagnosed() {
    let (_origin, nginx) = over_http2("ntlm_key $cookie_user;").await;
    let leg = |target: &str, user: u8, token: &str| {
        let cookie = format!("user={user}");
        Request::post(target, "body").header("Cookie", &cookie).header("Authorization", token)
    };
    let first = login_of("alice").first();
    for turn in 0..6 {
        let (client, mut login) = (http2::Client::connect(nginx.at("h2")).await, login_of("alice"));
        let challenge = client.request(leg("/answered", 1, &login.first())).await;
        let answer = login.next(&challenge).unwrap();
        assert_eq!(client.request(leg("/answered", 1, &answer)).await.status, 200, "{turn}");
    }
    // As curl does, which goes on over HTTP/1.1.
    for _ in 0..6 {
        http2::Client::connect(nginx.at("h2")).await.request(leg("/elsewhere", 1, &first)).await;
        let (mut client, mut login) = (Client::connect(&nginx).await, login_of("alice"));
        let challenge = client.request(leg("/elsewhere", 1, &login.first())).await;
        let answer = login.next(&challenge).unwrap();
        assert_eq!(client.request(leg("/elsewhere", 1, &answer)).await.status, 200);
    }
    let steady = http2::Client::connect(nginx.at("h2")).await;
    for turn in 0..6 {
        let without_length = Request::get("/get").header("Cookie", "user=1").header("Authorization", &first);
        let others = [
            leg(&format!("/{turn}"), 1, &first),
            leg("/of-many", turn, &first),
            leg("/public/?ignore", 1, &first),
            without_length,
        ];
        for other in others {
            http2::Client::connect(nginx.at("h2")).await.request(other).await;
        }
        steady.request(leg("/steady", 1, &first)).await;
    }
    assert_eq!(troubles(&nginx), 0, "{}", nginx.error_log());
    for turn in 0..3 {
        assert_eq!(troubles(&nginx), 0, "{turn}");
        let client = http2::Client::connect(nginx.at("h2")).await;
        // Another user answers a challenge of the same target, and nginx still counts those of the first user.
        let (mut other, mut login) = (Client::connect(&nginx).await, login_of("bob"));
        let challenge = other.request(leg("/anew", 2, &login.first())).await;
        assert_eq!(other.request(leg("/anew", 2, &login.next(&challenge).unwrap())).await.status, 200);
        // The last one is turned back.
        assert_eq!(client.try_request(leg("/anew", 1, &first)).await.is_ok(), turn < 2);
    }
    told(&nginx, "begins its login anew over another HTTP/2 connection each time", "set \"http2 off\" on")
        .await;
}

#[tokio::test]
async fn cap_that_evicts_logins_is_diagnosed() {
    let (_origin, nginx) = front("ntlm 1;").await;
    let mut users = Vec::new();
    for user in ["alice", "bob", "carol"] {
        let mut client = Client::connect(&nginx).await;
        client.login_in_one_leg(user, "/").await;
        users.push(client);
    }
    told(&nginx, "closed to make room for another's", "raise the number in \"ntlm\"").await;
}

#[tokio::test]
async fn a_handshake_that_makes_room_is_no_trouble() {
    let (_origin, nginx) = front("ntlm 1;").await;
    let mut alice = Client::connect(&nginx).await;
    alice.leg1("alice", "/").await;
    let mut bob = Client::connect(&nginx).await;
    bob.leg1("bob", "/").await;
    alice.closed().await;
    assert_eq!(troubles(&nginx), 0, "{}", nginx.error_log());
}

#[tokio::test]
async fn answer_before_the_body_is_diagnosed() {
    let origin = Origin::start().await;
    let nginx =
        Nginx::builder().conf("proxy_request_buffering off;").in_front_of(&[&origin], "ntlm;").start().await;
    let mut alice = Client::connect(&nginx).await;
    alice
        .send_raw(
            b"POST /?early HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\
              Authorization: NTLM TlRMTVNTUAABAAAAB4IIAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\nhalf",
        )
        .await;
    assert_eq!(alice.read_response().await.status, 401);
    told(&nginx, "401 before it had read the request's body", "proxy_request_buffering on").await;
}

#[tokio::test]
async fn two_users_on_one_client_connection_are_diagnosed() {
    let (_origin, nginx) = front("ntlm;").await;
    let mut proxy = Client::connect(&nginx).await;
    proxy.login("alice", "/").await;
    proxy.login("alice", "/").await;
    assert_eq!(troubles(&nginx), 0);
    proxy.login("bob", "/").await;
    told(&nginx, "carries the requests of several clients", "\"ntlm_key\"").await;
}

#[tokio::test]
async fn two_addresses_on_one_client_connection_are_diagnosed() {
    if !Nginx::binary().has("with-http_realip_module") {
        return; // This nginx never sees but the proxy's address.
    }
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .conf("set_real_ip_from 127.0.0.0/8; real_ip_header X-Forwarded-For;")
        .in_front_of(&[&origin], "ntlm;")
        .start()
        .await;
    let mut proxy = Client::connect(&nginx).await;
    for (user, address) in [("alice", "192.0.2.1"), ("alice", "192.0.2.2")] {
        let request = Request::get("/").header("X-Forwarded-For", address);
        proxy.login_as(Login::new("NTLM", user, &password_of(user)), request).await;
    }
    nginx.wait_log(|log| log.contains("carries the requests of several clients")).await;
    assert_eq!(troubles(&nginx), 1);
}
