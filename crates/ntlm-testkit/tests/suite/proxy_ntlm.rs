//! `proxy_ntlm`: binding where no `upstream` block says it, in every form that a server can have in `proxy_pass`.

mod errors;
mod kinds;
mod names;
mod programs;
mod smoke;
mod told;
mod wire;

use ntlm_testkit::{Client, Nginx, Origin};

use crate::common::{refuses, serves};

/// An nginx with these lines of `http`, in front of an origin that they name `{{origin}}`.
async fn nginx_with(origin: &Origin, http: &str) -> Nginx {
    let port = origin.address().rsplit(':').next().unwrap_or_default().to_owned();
    Nginx::builder().set("origin", &origin.address()).set("origin_port", &port).conf(http).start().await
}

/// Two clients log in one leg at a time, by turns, and then ask by turns; a stranger gets 401.
pub(crate) async fn two_clients_stay_apart(origin: &Origin, nginx: &Nginx) {
    let (mut alice, mut bob) = (Client::connect(nginx).await, Client::connect(nginx).await);
    refuses(&alice.get("/").await);
    refuses(&bob.get("/").await);
    let of_alice = alice.login("alice", "/").await;
    let of_bob = bob.login("bob", "/").await;
    let bound = [&of_alice, &of_bob].map(|legs| {
        assert_eq!(legs.iter().map(|leg| leg.status).collect::<Vec<_>>(), [401, 200], "{legs:?}");
        assert_eq!(legs[0].connection(), legs[1].connection());
        legs[1].connection()
    });
    assert_ne!(bound[0], bound[1]);
    for _ in 0..3 {
        serves(&alice.get("/a").await, "alice", bound[0]);
        serves(&bob.get("/b?c=d").await, "bob", bound[1]);
        refuses(&Client::connect(nginx).await.get("/").await);
    }
    drop(alice);
    origin.wait_closed(bound[0]).await;
    serves(&bob.get("/").await, "bob", bound[1]);
}
