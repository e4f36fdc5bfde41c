//! Mistakes of a configuration that were silent: what a location takes away, and legs that do not find each other.

use ntlm_testkit::client::{Login, kerberos_token};
use ntlm_testkit::{Client, Nginx, Origin, Request, password_of};

use super::{told, troubles};
use crate::common::front;
use crate::multiplexed::njs::njs;

/// nginx with these lines in its server.
async fn with_lines(origin: &Origin, group: &str, lines: &str) -> Nginx {
    Nginx::builder().conf(lines).in_front_of(&[origin], group).start().await
}

#[tokio::test]
async fn cleared_credentials_are_diagnosed() {
    let origin = Origin::start().await;
    let nginx = with_lines(&origin, "ntlm;", "proxy_set_header Authorization '';").await;
    for _ in 0..2 {
        assert_eq!(Client::connect(&nginx).await.leg1("alice", "/").await.status, 401);
    }
    told(&nginx, "takes the credentials out of requests", "remove \"proxy_set_header Authorization\"").await;
}

#[tokio::test]
async fn credentials_cleared_for_public_files_are_no_trouble() {
    let origin = Origin::start().await;
    let nginx = with_lines(&origin, "ntlm;", "proxy_set_header Authorization '';").await;
    let ticket = format!("Negotiate {}", kerberos_token("alice", &password_of("alice")));
    let mut alice = Client::connect(&nginx).await;
    assert_eq!(alice.get_with("/public/", "Authorization", &ticket).await.status, 200);
    // Credentials of other schemes are no concern of the module.
    assert_eq!(alice.get_with("/", "Authorization", "Basic YTpi").await.status, 401);
    assert_eq!(troubles(&nginx), 0, "{}", nginx.error_log());
}

#[tokio::test]
async fn hidden_challenge_is_diagnosed() {
    let origin = Origin::start().await;
    let nginx = with_lines(&origin, "ntlm;", "proxy_hide_header www-authenticate;").await;
    let response = Client::connect(&nginx).await.get("/").await;
    assert_eq!((response.status, response.get("WWW-Authenticate")), (401, None));
    told(&nginx, "takes \"WWW-Authenticate\" out of the answer", "proxy_hide_header WWW-Authenticate").await;
}

/// nginx whose answers pass this script; `None` where it came without njs.
async fn filtered(origin: &Origin, script: &str) -> Option<Nginx> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("filter.js");
    std::fs::write(&file, format!("function filter(r) {{ {script} }} export default {{ filter }};")).unwrap();
    let conf = format!(
        "js_import main from {}; upstream backend {{ server {}; ntlm; }}
         server {{ listen 127.0.0.1:{{{{port}}}};
                   location / {{ js_header_filter main.filter; proxy_pass http://backend; }} }}",
        file.display(),
        origin.address()
    );
    Some(Nginx::builder().main(&format!("load_module {};", njs()?.display())).conf(&conf).start().await)
}

#[tokio::test]
async fn challenge_that_another_module_replaces_is_diagnosed() {
    let origin = Origin::start().await;
    let script = "r.headersOut['WWW-Authenticate'] = 'Basic realm=\"a\"';";
    let Some(nginx) = filtered(&origin, script).await else { return };
    for _ in 0..2 {
        let mut alice = Client::connect(&nginx).await;
        assert_eq!(alice.get("/").await.get("WWW-Authenticate"), Some("Basic realm=\"a\""));
        alice.leg1("alice", "/").await;
    }
    told(&nginx, "takes \"WWW-Authenticate\" out of the answer", "whatever else replaces this field").await;
    // One that only adds to it does no harm.
    let nginx = filtered(&origin, "r.headersOut['X-Frame-Options'] = 'DENY';").await.unwrap();
    Client::connect(&nginx).await.login("alice", "/").await;
    assert_eq!(troubles(&nginx), 0, "{}", nginx.error_log());
}

#[tokio::test]
async fn other_hidden_fields_are_no_trouble() {
    let origin = Origin::start().await;
    let nginx = with_lines(&origin, "ntlm;", "proxy_hide_header X-Powered-By;").await;
    Client::connect(&nginx).await.login("alice", "/").await;
    assert_eq!(troubles(&nginx), 0, "{}", nginx.error_log());
    let hidden = with_lines(&origin, "", "proxy_hide_header WWW-Authenticate;").await;
    Client::connect(&hidden).await.get("/").await;
    assert_eq!(troubles(&hidden), 0, "{}", hidden.error_log());
}

#[tokio::test]
async fn key_of_each_request_is_diagnosed() {
    let origin = Origin::start().await;
    let nginx = with_lines(&origin, "ntlm; ntlm_key $request_id;", "").await;
    let mut alice = Client::connect(&nginx).await;
    let legs = alice.login_with("NTLM", "alice", &password_of("alice"), "/").await;
    assert_eq!(legs[1].status, 401);
    told(&nginx, "\"ntlm_key\" is another in each leg", "unlike \"$request_id\"").await;
}

#[tokio::test]
async fn users_whom_a_key_tells_apart_are_no_trouble() {
    let origin = Origin::start().await;
    let nginx = with_lines(&origin, "ntlm; ntlm_key $http_x_session;", "").await;
    let mut proxy = Client::connect(&nginx).await;
    let mut logins = Vec::new();
    for user in ["alice", "bob"] {
        let mut login = Login::new("NTLM", user, &password_of(user));
        let first = Request::get("/").header("X-Session", user).header("Authorization", &login.first());
        let challenge = proxy.request(first).await;
        logins.push((user, login, challenge));
    }
    for (user, mut login, challenge) in logins {
        let last = login.next(&challenge).unwrap();
        let request = Request::get("/").header("X-Session", user).header("Authorization", &last);
        assert_eq!(proxy.request(request).await.identity(), user);
    }
    assert_eq!(troubles(&nginx), 0, "{}", nginx.error_log());
}

#[tokio::test]
async fn proxy_in_front_that_spreads_the_legs_is_diagnosed() {
    let (_origin, nginx) = front("ntlm;").await;
    let mut login = Login::new("NTLM", "alice", &password_of("alice"));
    let mut one = Client::connect(&nginx).await;
    let challenge = one.get_with("/", "Authorization", &login.first()).await;
    let last = login.next(&challenge).unwrap();
    let mut other = Client::connect(&nginx).await;
    assert_eq!(other.get_with("/", "Authorization", &last).await.status, 401);
    told(&nginx, "came over another client connection", "let the proxy in front keep a connection").await;
}

#[tokio::test]
async fn leg_after_a_lost_connection_is_no_trouble() {
    let (_origin, nginx) = front("ntlm;").await;
    let mut login = Login::new("NTLM", "alice", &password_of("alice"));
    let mut alice = Client::connect(&nginx).await;
    let challenge = alice.get_with("/?close=reused", "Authorization", &login.first()).await;
    let last = login.next(&challenge).unwrap();
    // The connection is gone when the answer comes, and the request goes on to another one.
    alice.get_with("/?close=reused", "Authorization", &last).await;
    assert_eq!(troubles(&nginx), 0, "{}", nginx.error_log());
}

#[tokio::test]
async fn ticket_that_is_too_large_is_diagnosed() {
    let (_origin, nginx) = front("ntlm;").await;
    let ticket = format!("Negotiate {}", "YII".repeat(6000));
    // Other fields that are too large are no trouble of logins.
    let request = Request::get("/").header("Cookie", &ticket);
    assert_eq!(Client::connect(&nginx).await.request(request).await.status, 400);
    let twice = Request::get("/").header("Authorization", "NTLM a").header("Authorization", "NTLM b");
    assert_eq!(Client::connect(&nginx).await.request(twice).await.status, 400);
    assert!(!nginx.error_log().contains(" ntlm: an "), "{}", nginx.error_log());
    for _ in 0..2 {
        let request = Request::get("/").header("Authorization", &ticket);
        assert_eq!(Client::connect(&nginx).await.request(request).await.status, 400);
    }
    let log = nginx.error_log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("a login is too large")).collect();
    let [line] = lines[..] else { panic!("not one line but {lines:#?}") };
    assert!(line.contains("[warn]") && line.contains("\"large_client_header_buffers 4 64k;\""), "{line}");
    assert!(line.contains("; seen") && !line.contains("YII"), "{line}");
}

#[tokio::test]
async fn refusals_that_outnumber_logins_are_diagnosed() {
    let (_origin, nginx) = front("ntlm;").await;
    for _ in 0..10 {
        Client::connect(&nginx).await.login("bob", "/").await;
    }
    for _ in 0..19 {
        Client::connect(&nginx).await.login_with("NTLM", "alice", "guessed", "/").await;
    }
    assert_eq!(troubles(&nginx), 0, "{}", nginx.error_log());
    for _ in 0..3 {
        Client::connect(&nginx).await.login_with("NTLM", "alice", "guessed", "/").await;
    }
    told(&nginx, "the origin refused most logins of the last five minutes", "$ntlm_refused_user").await;
}
