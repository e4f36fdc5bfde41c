//! Schemes that bind a connection, however they are spelled, and schemes that leave it to the pool.

use ntlm_testkit::client::kerberos_token;
use ntlm_testkit::{Origin, password_of};

use super::{assert_bound, assert_stranger, client, pool_of_group, pooled};

#[tokio::test]
async fn a_scheme_counts_however_it_is_spelled() {
    let origin = Origin::start().await;
    let nginx = pooled(&origin).await;
    let ticket = kerberos_token("alice", &password_of("alice"));
    for before in [
        "Negotiate ",
        "NEGOTIATE ",
        "negotiate\t",
        "Negotiate  \t  ",
        "Nego2 ",
        "nEGO2 ",
        "Kerberos ",
        "KERBEROS\t\t",
    ] {
        let mut alice = client(&nginx, "alice").await;
        let response = alice.get_with("/?nomutual", "Authorization", &format!("{before}{ticket}")).await;
        assert_eq!(response.identity(), "alice", "{before:?}");
        assert_stranger(&mut client(&nginx, "bob").await, "/", response.connection()).await;
        assert_bound(&mut alice, "/", "alice", response.connection()).await;
    }
    for scheme in ["NTLM", "ntlm", "nTlM"] {
        let mut alice = client(&nginx, "alice").await;
        let legs = alice.login_with(scheme, "alice", &password_of("alice"), "/").await;
        assert_eq!(legs[1].identity(), "alice");
        assert_stranger(&mut client(&nginx, "bob").await, "/", legs[1].connection()).await;
    }
}

#[tokio::test]
async fn other_schemes_leave_the_connection_pooled() {
    let origin = Origin::start().await;
    let nginx = pool_of_group(&origin).await;
    let pooled = client(&nginx, "bob").await.get("/public/").await.connection();
    for value in
        ["NTLMx TlRM", "Negotiated YII=", "Basic YWxpY2U6YQ==", "Bearer NTLM", "Bearer", "Kerberos5 YII="]
    {
        let mut alice = client(&nginx, "alice").await;
        let response = alice.get_with("/", "Authorization", value).await;
        assert_eq!((response.status, response.connection()), (401, pooled), "{value}");
        assert_eq!(client(&nginx, "bob").await.get("/public/").await.connection(), pooled, "{value}");
    }
}

#[tokio::test]
async fn empty_token_binds_under_authenticating_schemes_only() {
    let origin = Origin::start().await;
    let nginx = pool_of_group(&origin).await;
    for (value, binds) in [("Negotiate", true), ("NTLM", true), ("Bearer", false)] {
        let mut alice = client(&nginx, "alice").await;
        let first = alice.get_with("/", "Authorization", value).await;
        assert_eq!(first.status, 401);
        let second = client(&nginx, "bob").await.get("/public/").await;
        assert_eq!(second.connection() != first.connection(), binds, "{value}");
        let legs = alice.login("alice", "/").await;
        assert_eq!(legs[0].connection(), first.connection());
        assert_bound(&mut alice, "/", "alice", first.connection()).await;
    }
}
