//! The key of a binding beside its client connection: `ntlm_key`, or else the address in a forwarding field.

use ntlm_testkit::client::{Login, kerberos_token};
use ntlm_testkit::{Client, Nginx, Origin, Request, Response, password_of};

use crate::common::front;

#[tokio::test]
async fn login_without_a_forwarding_field_serves_no_request_with_one() {
    let (_origin, nginx) = front("ntlm;").await;
    let mut proxy = Client::connect(&nginx).await;
    let bound = proxy.login("alice", "/").await[1].connection();
    for address in ["192.0.2.1", "192.0.2.2"] {
        for _ in 0..2 {
            let own = proxy.get("/").await;
            assert_eq!((own.identity(), own.connection()), ("alice", bound));
        }
        assert_nobody(&proxy.get_with("/", "X-Forwarded-For", address).await, address);
    }
}

/// A group with a pool, keyed by a field of the request.
async fn keyed(origin: &Origin) -> Nginx {
    Nginx::builder().in_front_of(&[origin], "ntlm; ntlm_key $http_x_session; keepalive 8;").start().await
}

fn of_session(request: Request, session: Option<&str>) -> Request {
    match session {
        Some(session) => request.header("X-Session", session),
        None => request,
    }
}

fn with_ticket(request: Request) -> Request {
    let ticket = format!("Negotiate {}", kerberos_token("alice", &password_of("alice")));
    request.header("Authorization", &ticket)
}

async fn log_in(client: &mut Client, user: &str, request: Request) -> Vec<Response> {
    client.login_as(Login::new("NTLM", user, &password_of(user)), request).await
}

fn assert_nobody(response: &Response, context: &str) {
    assert_eq!((response.status, response.identity()), (401, "anonymous"), "{context}\n{response:?}");
}

#[tokio::test]
async fn request_with_an_empty_key_makes_no_binding() {
    let origin = Origin::start().await;
    let nginx = keyed(&origin).await;
    for session in [None, Some("")] {
        let mut proxy = Client::connect(&nginx).await;
        let response = proxy.request(with_ticket(of_session(Request::get("/"), session))).await;
        assert_eq!((response.status, response.identity()), (200, "alice"));
        assert_nobody(
            &proxy.request(of_session(Request::get("/"), session)).await,
            "over the same connection",
        );
        assert_nobody(&Client::connect(&nginx).await.get("/").await, "over another");
        origin.wait_closed(response.connection()).await;
    }
}

#[tokio::test]
async fn ntlm_login_with_empty_key_does_not_finish() {
    let origin = Origin::start().await;
    let nginx = keyed(&origin).await;
    let mut proxy = Client::connect(&nginx).await;
    let legs = log_in(&mut proxy, "alice", Request::get("/")).await;
    assert_nobody(&legs[1], "the challenge's connection is closed");
    for leg in &legs {
        origin.wait_closed(leg.connection()).await;
    }
}

#[tokio::test]
async fn empty_key_leaves_the_bindings_of_others_alone() {
    let origin = Origin::start().await;
    let nginx = keyed(&origin).await;
    let mut proxy = Client::connect(&nginx).await;
    let of_alice = of_session(Request::get("/"), Some("a"));
    let bound = log_in(&mut proxy, "alice", of_alice.clone()).await[1].connection();
    for _ in 0..2 {
        assert_nobody(&proxy.get("/").await, "without a session");
        assert_eq!(proxy.request(with_ticket(Request::get("/"))).await.identity(), "alice");
        let response = proxy.request(of_alice.clone()).await;
        assert_eq!((response.identity(), response.connection()), ("alice", bound));
    }
}

#[tokio::test]
async fn empty_key_is_diagnosed() {
    let origin = Origin::start().await;
    let nginx = keyed(&origin).await;
    for _ in 0..3 {
        Client::connect(&nginx).await.request(with_ticket(Request::get("/"))).await;
    }
    nginx.wait_log(|log| log.contains("[warn]") && log.contains("\"ntlm_key\"")).await;
    let log = nginx.error_log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("[warn]")).collect();
    let [line] = lines[..] else { panic!("not one warning but {lines:#?}") };
    assert!(line.contains("in upstream \"backend\"") && line.contains("empty"), "{line}");
}

/// The fields by which a proxy says whom it speaks for, with two values each.
const SPOKEN_FOR: [(&str, &str, &str); 3] = [
    ("X-Forwarded-For", "192.0.2.1", "192.0.2.2"),
    ("Forwarded", "for=192.0.2.1", "for=192.0.2.2;proto=https"),
    ("X-Real-IP", "192.0.2.1", "192.0.2.10"),
];

#[tokio::test]
async fn binding_is_for_the_same_forwarded_fields() {
    let origin = Origin::start().await;
    for (field, alice, bob) in SPOKEN_FOR {
        let nginx = Nginx::builder().in_front_of(&[&origin], "ntlm; keepalive 8;").start().await;
        let mut proxy = Client::connect(&nginx).await;
        let of = |value: &str| Request::get("/").header(field, value);
        let bound = log_in(&mut proxy, "alice", of(alice)).await[1].connection();
        assert_nobody(&proxy.request(of(bob)).await, field);
        assert_nobody(&proxy.get("/").await, &format!("without {field}"));
        assert_nobody(&proxy.request(of(&alice[..alice.len() - 1])).await, field);
        let both = of(alice).header(field, bob);
        assert_nobody(&proxy.request(both).await, &format!("two lines of {field}"));
        let response = proxy.request(Request::get("/").header(&field.to_uppercase(), alice)).await;
        assert_eq!((response.identity(), response.connection()), ("alice", bound), "{field}");
        // Another's login stands beside hers.
        let of_bob = log_in(&mut proxy, "bob", of(bob)).await[1].connection();
        assert_nobody(&proxy.request(of(alice).header(field, bob)).await, &format!("two lines of {field}"));
        for (user, value, connection) in [("alice", alice, bound), ("bob", bob, of_bob)] {
            let response = proxy.request(of(value)).await;
            assert_eq!((response.identity(), response.connection()), (user, connection), "{field}");
        }
    }
}

#[tokio::test]
async fn value_in_another_forwarded_field_is_another() {
    let (_origin, nginx) = front("ntlm; keepalive 8;").await;
    let mut proxy = Client::connect(&nginx).await;
    let of = |field: &str| Request::get("/").header(field, "192.0.2.1");
    log_in(&mut proxy, "alice", of("X-Forwarded-For")).await;
    for field in ["Forwarded", "X-Real-IP"] {
        assert_nobody(&proxy.request(of(field)).await, field);
    }
}

#[tokio::test]
async fn login_between_other_forwarded_fields_does_not_finish() {
    let (_origin, nginx) = front("ntlm; keepalive 8;").await;
    let mut proxy = Client::connect(&nginx).await;
    let mut login = Login::new("NTLM", "alice", &password_of("alice"));
    let of = |address: &str, credentials: &str| {
        Request::get("/").header("X-Forwarded-For", address).header("Authorization", credentials)
    };
    let challenge = proxy.request(of("192.0.2.1", &login.first())).await;
    let answer = login.next(&challenge).expect("a challenge");
    assert_nobody(&proxy.request(of("192.0.2.2", &answer)).await, "a message for another's challenge");
}

/// A control: the administrator has said how clients are told apart.
#[tokio::test]
async fn ntlm_key_stands_for_the_forwarded_fields() {
    let origin = Origin::start().await;
    let nginx = keyed(&origin).await;
    let mut proxy = Client::connect(&nginx).await;
    let of_alice = || of_session(Request::get("/"), Some("a"));
    let bound = log_in(&mut proxy, "alice", of_alice()).await[1].connection();
    for (field, one, another) in SPOKEN_FOR {
        for value in [one, another] {
            let response = proxy.request(of_alice().header(field, value)).await;
            assert_eq!((response.identity(), response.connection()), ("alice", bound), "{field}");
        }
    }
}

#[tokio::test]
async fn mixing_proxy_gets_one_binding_per_key() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .in_front_of(&[&origin], "ntlm; ntlm_key $http_x_session; keepalive 8;")
        .start()
        .await;
    one_binding_each(&origin, &nginx, "X-Session", ["a", "b"], &["A", "ab"]).await;
}

#[tokio::test]
async fn key_stays_constant_throughout_a_request() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .in_front_of(&[&origin], "ntlm; ntlm_key of-$upstream_http_x_identity;")
        .start()
        .await;
    let mut alice = Client::connect(&nginx).await;
    // Nothing has answered when a request begins, so the key of each is "of-".
    let bound = alice.login("alice", "/").await[1].connection();
    for _ in 0..3 {
        let response = alice.get("/").await;
        assert_eq!((response.identity(), response.connection()), ("alice", bound));
    }
    // The module keeps no key for a request without credentials: a token in its answer ends the connection.
    let mut bob = Client::connect(&nginx).await;
    let tainted = bob.get("/?token_without_auth").await.connection();
    origin.wait_closed(tainted).await;
    assert_ne!(bob.get("/").await.connection(), tainted);
}

#[tokio::test]
async fn mixing_proxy_gets_one_binding_per_address() {
    if !Nginx::binary().has("with-http_realip_module") {
        return; // To this nginx all its users have the proxy's address.
    }
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .conf("set_real_ip_from 127.0.0.0/8; real_ip_header X-Forwarded-For;")
        .in_front_of(&[&origin], "ntlm; keepalive 8;")
        .start()
        .await;
    one_binding_each(&origin, &nginx, "X-Forwarded-For", ["192.0.2.1", "192.0.2.2"], &["192.0.2.3"]).await;
}

/// Logs two users in over one client connection, each with a value of `field`; requests with `others`, or without the field,
/// reach neither's connection.
async fn one_binding_each(origin: &Origin, nginx: &Nginx, field: &str, values: [&str; 2], others: &[&str]) {
    let mut proxy = Client::connect(nginx).await;
    let of = |value: &str| Request::get("/").header(field, value);
    let mut bound = Vec::new();
    for (user, value) in ["alice", "bob"].into_iter().zip(values) {
        assert_eq!(proxy.request(of(value)).await.status, 401, "nobody is bob because alice is in");
        let legs = proxy.login_as(Login::new("NTLM", user, &password_of(user)), of(value)).await;
        assert_eq!(legs[1].identity(), user);
        bound.push((user, value, legs[1].connection()));
    }
    for &(user, value, connection) in bound.repeat(3).iter() {
        let response = proxy.request(of(value)).await;
        assert_eq!((response.identity(), response.connection()), (user, connection));
    }
    for request in others.iter().map(|value| of(value)).chain([Request::get("/")]) {
        let response = proxy.request(request).await;
        assert_eq!(response.status, 401);
        assert!(bound.iter().all(|&(_, _, connection)| connection != response.connection()));
    }
    proxy.close().await;
    origin.wait_closed(bound[0].2).await;
    origin.wait_closed(bound[1].2).await;
}

#[tokio::test]
async fn end_of_one_key_leaves_others_their_client() {
    let origin = Origin::start().await;
    let nginx = keyed(&origin).await;
    let mut proxy = Client::connect(&nginx).await;
    let at = |target: &str, session| of_session(Request::get(target), Some(session));
    let of_bob = log_in(&mut proxy, "bob", at("/", "b")).await[1].connection();
    for ends_with_its_answer in [true, false] {
        let of_alice = log_in(&mut proxy, "alice", at("/", "a")).await[1].connection();
        if ends_with_its_answer {
            let response = proxy.request(at("/?close=header", "a")).await;
            assert_eq!((response.identity(), response.says_close()), ("alice", false));
        } else {
            origin.close_connection(of_alice).await;
        }
        origin.wait_closed(of_alice).await;
        // Once another is served, nginx has seen the end.
        assert_nobody(&Client::connect(&nginx).await.get("/").await, "another client connection");
        let response = proxy.request(at("/", "b")).await;
        assert_eq!((response.identity(), response.connection()), ("bob", of_bob));
        assert!(!response.says_close());
    }
}
