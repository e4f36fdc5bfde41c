//! Handshakes of every length, wrapping and outcome, with every kind of body and token, as clients are known to send them.

mod bodies;
mod closes;
mod curl;
mod tokens;

use ntlm_testkit::client::{Login, Scheme, kerberos_token};
use ntlm_testkit::{Client, Nginx, Origin, Request, Response, password_of};

use crate::common::{front, login_of, refuses, serves};

/// An origin, and an nginx in front of it whose server has the lines `lines`.
async fn front_with(lines: &str) -> (Origin, Nginx) {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .conf("upstream backend { server {{origin}}; ntlm; }")
        .conf(&format!(
            "server {{ listen 127.0.0.1:{{{{port}}}}; {lines} location / {{ proxy_pass http://backend; }} }}"
        ))
        .start()
        .await;
    (origin, nginx)
}

fn statuses(responses: &[Response]) -> Vec<u16> {
    responses.iter().map(|response| response.status).collect()
}

/// All of them came over one connection to the origin, which is returned.
#[track_caller]
fn one_connection<'a>(responses: impl IntoIterator<Item = &'a Response>) -> u64 {
    let mut ids: Vec<u64> = responses.into_iter().map(Response::connection).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1, "several connections: {ids:?}");
    ids[0]
}

#[tokio::test]
async fn login_follows_anonymous_request_on_one_connection() {
    let (origin, nginx) = front("ntlm;").await;
    let mut alice = Client::connect(&nginx).await;
    let offered = alice.get("/").await;
    refuses(&offered);
    assert_eq!(offered.all("WWW-Authenticate").collect::<Vec<_>>(), ["Negotiate", "NTLM"]);
    assert!(!offered.says_close());
    let legs = alice.login("alice", "/").await;
    assert_eq!(statuses(&legs), [401, 200]);
    let bound = one_connection(&legs);
    serves(&alice.get("/").await, "alice", bound);
    assert_eq!(origin.ledger().len(), 4);
}

#[tokio::test]
async fn handshake_of_any_length_keeps_one_connection() {
    let (_origin, nginx) = front("ntlm;").await;
    for legs in [3, 4, 6] {
        let mut alice = Client::connect(&nginx).await;
        let path = format!("/?legs={legs}");
        refuses(&alice.get(&path).await);
        let login = Login::new("Negotiate", "alice", &password_of("alice")).in_legs(legs);
        let responses = alice.login_as(login, Request::get(&path)).await;
        assert_eq!(responses.len(), legs - 1);
        let bound = one_connection(&responses);
        serves(responses.last().unwrap(), "alice", bound);
        serves(&alice.get("/").await, "alice", bound);
    }
}

#[tokio::test]
async fn ntlm_after_refused_ticket_keeps_the_connection() {
    let (_origin, nginx) = front("ntlm;").await;
    let mut alice = Client::connect(&nginx).await;
    let ticket = format!("Negotiate {}", kerberos_token("alice", "expired"));
    let refused = alice.get_with("/", "Authorization", &ticket).await;
    refuses(&refused);
    let mut responses = alice.login("alice", "/").await;
    responses.push(alice.get("/").await);
    assert_eq!(one_connection(&responses), refused.connection());
}

#[tokio::test]
async fn spnego_and_every_scheme_spelling_log_in() {
    let (_origin, nginx) = front("ntlm;").await;
    let schemes: [Scheme; 6] = [
        Scheme::spnego(),
        "Negotiate".into(),
        "negotiate".into(),
        "NTLM".into(),
        "ntlm".into(),
        "Nego2".into(),
    ];
    for scheme in schemes {
        let mut alice = Client::connect(&nginx).await;
        // A last answer with a token of its own is no new challenge.
        let responses = alice.login_with(scheme, "alice", &password_of("alice"), "/?mutual").await;
        let bound = one_connection(&responses);
        assert_eq!(statuses(&responses), [401, 200]);
        serves(&alice.get("/").await, "alice", bound);
    }
}

#[tokio::test]
async fn live_binding_is_authenticated_again() {
    let (_origin, nginx) = front("ntlm;").await;
    let (mut one, mut other) = (Client::connect(&nginx).await, Client::connect(&nginx).await);
    let bound = one_connection(&one.login("alice", "/").await);
    let others = one_connection(&other.login("carol", "/").await);
    for user in ["alice", "bob", "bob", "alice"] {
        assert_eq!(one_connection(&one.login(user, "/").await), bound);
        serves(&one.get("/").await, user, bound);
        serves(&other.get("/").await, "carol", others);
    }
}

#[tokio::test]
async fn right_password_after_wrong_keeps_the_connection() {
    let (_origin, nginx) = front("ntlm;").await;
    let mut alice = Client::connect(&nginx).await;
    let refused = alice.login_with("NTLM", "alice", "guessed", "/").await;
    assert_eq!(statuses(&refused), [401, 401]);
    let bound = one_connection(&refused);
    refuses(&alice.get("/").await);
    assert_eq!(one_connection(&alice.login("alice", "/").await), bound);
    serves(&alice.get("/").await, "alice", bound);
}

#[tokio::test]
async fn credentials_on_each_request_need_one_connection() {
    let (origin, nginx) = front("ntlm;").await;
    let mut alice = Client::connect(&nginx).await;
    let mut responses = Vec::new();
    for _ in 0..50 {
        responses.push(alice.login_in_one_leg("alice", "/").await);
        responses.extend(alice.login("alice", "/").await);
    }
    let bound = one_connection(&responses);
    assert_eq!(origin.connection_ids_open(), [bound]);
    assert_eq!(origin.ledger().len(), 150);
}

#[tokio::test]
async fn logins_for_one_request_reuse_the_connection() {
    let (origin, nginx) = front("ntlm;").await;
    let mut alice = Client::connect(&nginx).await;
    let first = alice.login_in_one_leg("alice", "/?persist=no").await;
    let bound = first.connection();
    for _ in 0..10 {
        serves(&alice.login_in_one_leg("alice", "/?persist=no").await, "alice", bound);
        let forgotten = alice.get("/").await;
        refuses(&forgotten);
        assert_eq!(forgotten.connection(), bound);
    }
    assert_eq!(origin.open_connections(), 1);
}

#[tokio::test]
async fn six_browser_connections_log_in_side_by_side() {
    let (_origin, nginx) = front("ntlm;").await;
    let browser = |user: &'static str| {
        let nginx = nginx.at("");
        async move {
            let mut client = Client::connect(&nginx).await;
            refuses(&client.get("/").await);
            let bound = one_connection(&client.login(user, "/").await);
            for _ in 0..5 {
                serves(&client.get("/").await, user, bound);
            }
            // Returned open, so that no number comes twice.
            (client, bound)
        }
    };
    let connections = tokio::join!(
        browser("alice"),
        browser("alice"),
        browser("alice"),
        browser("bob"),
        browser("bob"),
        browser("bob"),
    );
    let (a, b, c, d, e, f) = connections;
    let mut bound = vec![a.1, b.1, c.1, d.1, e.1, f.1];
    bound.sort_unstable();
    bound.dedup();
    assert_eq!(bound.len(), 6);
}

#[tokio::test]
async fn legs_split_over_two_connections_fail() {
    let (origin, nginx) = front("ntlm;").await;
    let (mut one, mut other) = (Client::connect(&nginx).await, Client::connect(&nginx).await);
    let mut login = login_of("alice");
    let challenge = one.get_with("/", "Authorization", &login.first()).await;
    let last = login.next(&challenge).unwrap();
    refuses(&other.get_with("/", "Authorization", &last).await);
    refuses(&other.get("/").await);
    // Nor where the other connection has a challenge of its own.
    let challenge = one.leg1("alice", "/").await;
    assert_ne!(other.leg1("alice", "/").await.connection(), challenge.connection());
    refuses(&other.leg3(&challenge, "/").await);
    // The one that was challenged may still answer.
    serves(&one.leg3(&challenge, "/").await, "alice", challenge.connection());
    refuses(&other.get("/").await);
    assert_eq!(origin.ledger().iter().filter(|entry| entry.identity.is_some()).count(), 1);
}

#[tokio::test]
async fn last_leg_first_is_refused_and_bound() {
    let (origin, nginx) = front("ntlm;").await;
    let mut login = login_of("alice");
    let mut direct = Client::connect(&origin).await;
    let challenge = direct.get_with("/", "Authorization", &login.first()).await;
    let mut alice = Client::connect(&nginx).await;
    let bare = alice.get_with("/", "Authorization", &login.next(&challenge).unwrap()).await;
    refuses(&bare);
    assert_eq!(one_connection(&alice.login("alice", "/").await), bare.connection());
}

#[tokio::test]
async fn abandoned_handshakes_leave_nothing_behind() {
    let (origin, nginx) = front("ntlm;").await;
    for round in 0..30 {
        let mut alice = Client::connect(&nginx).await;
        let challenge = alice.leg1("alice", "/").await;
        match round % 3 {
            0 => alice.close().await,
            1 => alice.abort(),
            _ => {
                // The client comes to other thoughts, and back.
                refuses(&alice.get("/").await);
                let legs = alice.login("alice", "/").await;
                assert_eq!(one_connection(&legs), challenge.connection());
                alice.close().await;
            }
        }
        origin.wait_closed(challenge.connection()).await;
    }
}

#[tokio::test]
async fn two_groups_keep_one_connections_users_apart() {
    let intranet = Origin::builder().name("intranet").start().await;
    let mail = Origin::builder().name("mail").start().await;
    let nginx = Nginx::builder()
        .set("intranet", &intranet.address())
        .set("mail", &mail.address())
        .conf(
            "upstream intranet { server {{intranet}}; ntlm; } upstream mail { server {{mail}}; ntlm; } \
             server { listen 127.0.0.1:{{port}}; \
             location /intranet/ { proxy_pass http://intranet; } location /mail/ { proxy_pass http://mail; } }",
        )
        .start()
        .await;
    let mut client = Client::connect(&nginx).await;
    // The legs of both logins come alternately.
    let (mut alice, mut bob) = (login_of("alice"), login_of("bob"));
    let alices = client.get_with("/intranet/", "Authorization", &alice.first()).await;
    let bobs = client.get_with("/mail/", "Authorization", &bob.first()).await;
    client.get_with("/intranet/", "Authorization", &alice.next(&alices).unwrap()).await;
    client.get_with("/mail/", "Authorization", &bob.next(&bobs).unwrap()).await;
    for _ in 0..5 {
        serves(&client.get("/intranet/").await, "alice", alices.connection());
        serves(&client.get("/mail/").await, "bob", bobs.connection());
    }
    client.close().await;
    intranet.wait_open_connections(0).await;
    mail.wait_open_connections(0).await;
}
