//! The second after a login whose challenge was turned back: its client gives the login up, and sends what waited for it once more.

use std::time::{Duration, Instant};

use ntlm_testkit::client::http2;
use ntlm_testkit::{Origin, Request, pause, slowness, within};

use super::{End, PASS, ask, front};
use crate::common::{login_of, serves};

/// Begins a login as a user, and disturbs it.
async fn give_up(client: &http2::Client, origin: &Origin, user: &str) {
    let gate = format!("login-{user}");
    let get = |target: &str| Request::get(target).header("X-User", user);
    let leg = |target: &str| get(target).header("Authorization", &login_of("alice").first());
    let (challenge, ()) = tokio::join!(ask(client, leg(&format!("/?gate={gate}"))), async {
        origin.wait_gate(&gate).await;
        assert_eq!(ask(client, leg("/")).await, End::TurnedBack);
        origin.open_gate(&gate);
    });
    assert_eq!(challenge, End::TurnedBack);
}

#[tokio::test]
async fn refusals_are_turned_back_for_a_second() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", PASS).start().await;
    let client = http2::Client::connect(nginx.at("clear")).await;
    give_up(&client, &origin, "alice").await;
    let begun = Instant::now();
    let answered = async {
        // nginx counts the second from the first challenge that it turned back, and not from the later ones. One that it passes on is no refusal.
        let mut login = login_of("alice");
        let first = Request::get("/").header("Authorization", &login.first());
        while ask(&client, Request::get("/")).await == End::TurnedBack {
            if let End::Answered(challenge) = ask(&client, first.clone()).await {
                return Some((login, challenge));
            }
            pause().await;
        }
        None
    };
    let begun_login = within(answered, || "refusals are turned back for ever".to_owned()).await;
    assert!(slowness() > 1 || begun.elapsed() > Duration::from_millis(500), "{:?}", begun.elapsed());
    match begun_login {
        Some((mut login, challenge)) => {
            let answer = Request::get("/").header("Authorization", &login.next(&challenge).unwrap());
            serves(&ask(&client, answer).await.answer(), "alice", challenge.connection());
        }
        None => {
            client.login("alice", "/").await;
        }
    }
}

#[tokio::test]
async fn refusals_of_other_users_and_groups_are_answered() {
    let origin = Origin::start().await;
    let lines = format!("{PASS} location /other/ {{ proxy_pass http://other; }}");
    let group =
        "ntlm; ntlm_key $http_x_user; } upstream other { server {{origin}}; ntlm; ntlm_key $http_x_user;";
    let nginx = front(&origin, group, &lines).start().await;
    let client = http2::Client::connect(nginx.at("clear")).await;
    let get = |target: &str, user: &str| Request::get(target).header("X-User", user);
    give_up(&client, &origin, "alice").await;
    if slowness() == 1 {
        assert_eq!(ask(&client, get("/", "alice")).await, End::TurnedBack);
    }
    for (target, user) in [("/", "bob"), ("/other/", "alice")] {
        let mut login = login_of(user);
        assert_eq!(ask(&client, get(target, user)).await.answer().status, 401);
        let leg = |value: &str| get(target, user).header("Authorization", value);
        let challenge = ask(&client, leg(&login.first())).await.answer();
        let last = ask(&client, leg(&login.next(&challenge).unwrap())).await.answer();
        serves(&last, user, challenge.connection());
    }
}
