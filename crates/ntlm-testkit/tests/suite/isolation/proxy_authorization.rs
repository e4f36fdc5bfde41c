//! An origin that asks as a proxy does: 407, `Proxy-Authenticate`, `Proxy-Authorization`. A login by these is one like any other.

use ntlm_testkit::client::{Login, kerberos_token};
use ntlm_testkit::{Client, Nginx, Origin, Request, password_of};

use super::{assert_bound, assert_stranger, client, groups};
use crate::common::front;

#[tokio::test]
async fn login_by_407_binds_its_client_alone() {
    for group in groups() {
        let (origin, nginx) = front(group).await;
        let mut alice = client(&nginx, "alice").await;
        assert_eq!(alice.get("/?proxy").await.status, 407);
        let login = Login::new("NTLM", "alice", &password_of("alice")).to_proxy();
        let legs = alice.login_as(login, Request::get("/?proxy")).await;
        assert_eq!((legs[0].status, legs[1].status), (407, 200), "{group}");
        assert_eq!(legs[1].identity(), "alice");
        let bound = legs[0].connection();
        let mut bob = client(&nginx, "bob").await;
        assert_stranger(&mut bob, "/", bound).await;
        assert_bound(&mut alice, "/?proxy", "alice", bound).await;
        alice.close().await;
        assert_stranger(&mut bob, "/", bound).await;
        origin.wait_closed(bound).await;
    }
}

#[tokio::test]
async fn ticket_for_a_proxy_is_one_clients_own() {
    for target in ["/?proxy", "/?proxy&nomutual", "/?proxy&nomutual&status=404"] {
        let (_origin, nginx) = front("ntlm; keepalive 8;").await;
        for scheme in ["Negotiate", "KERBEROS", "nego2\t"] {
            let ticket = format!("{scheme} {}", kerberos_token("alice", &password_of("alice")));
            let mut alice = client(&nginx, "alice").await;
            let response = alice.get_with(target, "Proxy-Authorization", &ticket).await;
            assert_eq!(response.identity(), "alice", "{target}");
            assert_stranger(&mut client(&nginx, "bob").await, "/", response.connection()).await;
            assert_bound(&mut alice, "/", "alice", response.connection()).await;
        }
    }
}

#[tokio::test]
async fn proxy_authenticate_with_a_token_alone_binds() {
    let (_origin, nginx) = front("ntlm; keepalive 8;").await;
    let mut alice = client(&nginx, "alice").await;
    let bound = alice.get("/?token_without_auth&proxy").await.connection();
    assert_stranger(&mut client(&nginx, "bob").await, "/", bound).await;
    assert_eq!(alice.get("/public/").await.connection(), bound);
}

#[tokio::test]
async fn both_fields_at_once_bind_by_either() {
    let (_origin, nginx) = front("ntlm; keepalive 8;").await;
    let ticket = format!("Negotiate {}", kerberos_token("alice", &password_of("alice")));
    for (target, basic, negotiate) in [
        ("/?nomutual", "Proxy-Authorization", "Authorization"),
        ("/?nomutual&proxy", "Authorization", "Proxy-Authorization"),
    ] {
        let request = Request::get(target).header(basic, "Basic YWxpY2U6YQ==").header(negotiate, &ticket);
        let mut alice = Client::connect(&nginx).await;
        let response = alice.request(request).await;
        assert_eq!(response.identity(), "alice");
        assert_stranger(&mut client(&nginx, "bob").await, "/", response.connection()).await;
        assert_bound(&mut alice, "/", "alice", response.connection()).await;
    }
}

#[tokio::test]
async fn basic_to_a_proxy_stays_pooled() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder().in_front_of(&[&origin], "ntlm; keepalive 8;").as_written().start().await;
    let ticket = format!("Negotiate {}", kerberos_token("alice", &password_of("alice")));
    // From here on the module looks for the field.
    client(&nginx, "alice").await.get_with("/?proxy", "Proxy-Authorization", &ticket).await;
    let basic = client(&nginx, "bob").await.get_with("/public/", "Proxy-Authorization", "Basic YTpi").await;
    let next = client(&nginx, "carol").await.get("/public/").await;
    assert_eq!(next.connection(), basic.connection());
}
